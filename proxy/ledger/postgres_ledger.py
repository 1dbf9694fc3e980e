"""The ledger in Postgres: for many writers and any number of records.

Rules of this file: a batch, its bills and its sums are one transaction. Every writer touches rows in the same order (bills by key,
records by id, series, roll-ups, sessions, each sorted), so that writers wait for each other and never deadlock. A batch travels
by COPY straight into its partitions; where one of its ids is known already, that transaction is undone and the batch goes by COPY
into a temporary table of the session and from there, once by id, into the partitions. Ids are known only after a crash, and the
straight way costs both sides a third less.

Not here: what the statements say (statements.py, postgres_statements.py, sql/queries/postgres.sql), the text of a COPY
(postgres_copy.py), connections (postgres_pool.py), schema (postgres_schema.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any

import orjson

from proxy.errors import LedgerError, RefusedRecord
from proxy.ledger.columns import AT, Batch, storable_batch
from proxy.ledger.ledger import Entry, GroupSums, RecordFilter, Repriced, StoredKey
from proxy.ledger.migrations import queries
from proxy.ledger.partitions import (
    FOREIGN_AT,
    has_own_partition,
    months_ahead,
    time_of_id,
)
from proxy.ledger.postgres_copy import COPY_COLUMNS, FOREIGN_TEXT, copy_text, minted_texts, months_of
from proxy.ledger.postgres_digests import digest_next, statements_by_digest
from proxy.ledger.postgres_pool import LONG_SECONDS, Connection, PostgresPool
from proxy.ledger.postgres_ranking import ranked_statement
from proxy.ledger.postgres_schema import drop_partitions_before, make_partitions, migrate
from proxy.ledger.postgres_statements import (
    ADD_TO_ROLLUPS,
    DIALECT,
    IN_ITS_MONTH,
    INSERT,
    LOCKED_RECORD,
    STAGE,
    STAGING,
)
from proxy.ledger.reading import Row, SqlReading, key_values
from proxy.ledger.rollup import EXACT, Cell, Dimensions, roll_up, roll_up_columns, roll_up_sessions, series_id
from proxy.ledger.rows import (
    JSON_FIELDS,
    MONEY_FIELDS,
    claims,
    json_text,
    time_text,
    without_second_bills,
)
from proxy.ledger.statements import Piece, Statement, checked_groups, pieces
from proxy.ledger.summing import Totals
from proxy.records import FIELDS, UsageRecord

_JSON_AT = tuple(FIELDS.index(name) for name in JSON_FIELDS)
_MONEY_AT = tuple(FIELDS.index(name) for name in MONEY_FIELDS)
_STARTED_AT = FIELDS.index("started_at")
APPEND_TRIES = 4
UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
KNOWN_SERIES = 50_000
"""Ids of series that are in the database already; each costs some 100 bytes here and 20 µs there, if it were offered again."""
CHUNK_BYTES = 256 * 1024


class PostgresLedger(SqlReading):
    """Implements `Ledger`. Any number of processes and machines at once."""

    has_digests = True

    def __init__(self, url: str) -> None:
        """
        Args:
            url: `DATABASE_URL`; see postgres_pool.py for its parameters.
        """
        self._dialect = DIALECT
        self._sql = queries("postgres")
        self._months: set[datetime] = set()
        self._known_series: set[bytes] = set()
        self._pool = PostgresPool(url, self._prepare)

    async def start(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def append(self, records: Sequence[UsageRecord]) -> list[UsageRecord]:
        batch = storable_batch(records)
        if not batch.records:
            return []
        minted = minted_texts(batch.columns)
        await self._have_months(months_of(minted))
        is_staged = False
        for _ in range(APPEND_TRIES):
            try:
                return await self._append(batch, minted, is_staged)
            except RefusedRecord as refusal:
                state = getattr(refusal.__cause__, "sqlstate", None)
                if state == UNIQUE_VIOLATION and not is_staged:
                    is_staged = True  # an id is known
                elif state == FOREIGN_KEY_VIOLATION:
                    self._known_series.clear()  # a person's data was deleted in the meantime
                else:
                    raise
        raise LedgerError("postgres: series are deleted as fast as they are made")

    async def put_key(self, key: StoredKey) -> None:
        await self._change("put_key", key_values(key))

    async def put_setting(self, name: str, value: object) -> None:
        await self._change("put_setting", [name, json_text(value)])

    async def add_setting(self, name: str, value: object) -> bool:
        return await self._change("add_setting", [name, json_text(value)])

    async def delete_setting(self, name: str) -> bool:
        return await self._change("delete_setting", [name])

    async def put_entry(self, entry: Entry, *, replace: bool = False) -> bool:
        at = datetime.fromisoformat(entry.at)
        return await self._run("put_entry" if replace else "add_entry", entry.kind, entry.id, at, json_text(entry.body)) > 0

    async def delete_entries(self, kind: str, before: datetime) -> int:
        return await self._run("delete_entries", kind, before)

    async def reprice(self, prices: Sequence[Repriced]) -> int:
        return await self._pool.transaction(lambda connection: self._reprice(connection, prices))

    async def digest(self) -> bool:
        return await self._pool.transaction(digest_next)

    async def forget_user(self, user: str) -> int:
        async def work(connection: Connection) -> int:
            await connection.execute("SET LOCAL statement_timeout = 0")
            count = await self._run_named(connection, "delete_user_records", user)
            for name in ("delete_user_series", "delete_user_sessions", "delete_user_digests"):
                await self._run_named(connection, name, user)
            return count

        return await self._pool.transaction(work)

    async def forget_before(self, at: datetime) -> None:
        async def drop(connection: Connection) -> list[str]:
            names = [row[0] for row in await connection.fetch(self._sql["partitions"])]
            return await drop_partitions_before(connection, at, names)

        async def delete(connection: Connection) -> None:
            await connection.execute("SET LOCAL statement_timeout = 0")
            for name in ("delete_foreign_before", "delete_default_before", "delete_bills_before", "delete_sessions_before"):
                await self._run_named(connection, name, at)

        await self._pool.transaction(drop)
        self._months.clear()
        await self._pool.transaction(delete)

    async def forget_sessions_before(self, at: datetime) -> int:
        return await self._run("delete_sessions_before", at)

    async def _append(self, batch: Batch, minted: list[str], is_staged: bool) -> list[UsageRecord]:
        series: set[bytes] = set()

        async def work(connection: Connection) -> list[UsageRecord]:
            new = await self._insert(connection, batch, minted, is_staged)
            if new.records:
                series.update(await self._add_to_rollups(connection, roll_up_columns(new.columns)))
                await self._add_to_sessions(connection, new.records)
            return new.records

        new = await self._pool.transaction(work)
        if len(self._known_series) > KNOWN_SERIES:
            self._known_series.clear()
        self._known_series |= series  # only now are they there for good
        return new

    async def _insert(self, connection: Connection, batch: Batch, minted: list[str], is_staged: bool) -> Batch:
        """Into their partitions; what is new of them, as it is stored."""
        elsewhere = await self._stored_in_another_partition(connection, batch, minted)
        if elsewhere:
            batch = Batch.of([record for record in batch.records if record.id not in elsewhere])
            minted = minted_texts(batch.columns)
        if not batch.records:
            return batch
        if any(batch.columns[AT["billing_key"]]):
            batch = Batch.of(without_second_bills(batch.records, await self._claimed(connection, batch.records)))
        text = copy_text(batch.columns, minted)
        if not is_staged:
            await connection.copy_to_table("usage_records", source=_chunks(text), columns=COPY_COLUMNS)
            return batch
        await connection.execute(STAGE)
        await connection.copy_to_table(STAGING, source=_chunks(text), columns=COPY_COLUMNS)
        inserted = {row[0] for row in await connection.fetch(INSERT)}
        return Batch.of([record for record in batch.records if record.id in inserted])

    async def _stored_in_another_partition(self, connection: Connection, batch: Batch, minted: list[str]) -> set[str]:
        """Those whose id is stored where no unique key would notice: in the foreign partition, or, where that is their own, in
        the month of their id (see partitions.py)."""
        found = {row[0] for row in await connection.fetch(self._sql["foreign_ids"], batch.columns[AT["id"]])}
        if FOREIGN_TEXT in minted:
            foreign = [record.id for record, at in zip(batch.records, minted, strict=True) if at == FOREIGN_TEXT]
            found.difference_update(foreign)  # there the unique key does notice
            for record_id in foreign:
                if (at := time_of_id(record_id)) is not None:
                    found.update(row[0] for row in await connection.fetch(IN_ITS_MONTH, record_id, at))
        return found

    async def _claimed(self, connection: Connection, offered: list[UsageRecord]) -> dict[str, str]:
        """Claim the bills nobody has; who owns each. Waits for a writer that claims one of them at the same moment."""
        started = {record.id: datetime.fromisoformat(record.started_at) for record in offered}
        wanted = claims(offered)
        if wanted:
            owners = list(wanted.values())
            await connection.execute(self._sql["claim_bills"], list(wanted), owners, [started[owner] for owner in owners])
        keys = [record.billing_key for record in offered if record.billing_key is not None]
        return dict(await connection.fetch(self._sql["bill_owners"], keys))

    async def _add_to_rollups(self, connection: Connection, cells: dict[tuple[int, Dimensions], Cell]) -> set[bytes]:
        """Returns the ids of the series that were made."""
        series: dict[bytes, Dimensions] = {}
        rows = []
        for (bucket, dimensions), cell in cells.items():
            key = series_id(dimensions)
            series[key] = dimensions
            rows.append((bucket, key, cell))
        rows.sort(key=itemgetter(0, 1))
        unknown = sorted(series.keys() - self._known_series)
        if unknown:
            await connection.execute(self._sql["insert_series"], unknown, *zip(*(series[key] for key in unknown), strict=True))
        buckets, keys, sums = zip(*rows, strict=True)
        counts = zip(*(cell.counts for cell in sums), strict=True)
        money = zip(*(map(str, cell.money) for cell in sums), strict=True)
        at = {bucket: datetime.fromtimestamp(bucket, UTC) for bucket in set(buckets)}
        await connection.execute(ADD_TO_ROLLUPS, [at[bucket] for bucket in buckets], keys, *counts, *money)
        return set(unknown)

    async def _add_to_sessions(self, connection: Connection, new: list[UsageRecord]) -> None:
        cells = roll_up_sessions(new)
        if cells:
            users, sessions = zip(*cells, strict=True)
            requests, tokens, costs, first, last = zip(*cells.values(), strict=True)
            first_at, last_at = ([datetime.fromisoformat(at) for at in times] for times in (first, last))
            await connection.execute(self._sql["add_to_sessions"], users, sessions, requests, tokens, costs, first_at, last_at)

    async def _reprice(self, connection: Connection, prices: Sequence[Repriced]) -> int:
        count = 0
        for price in sorted(prices, key=lambda each: each.record_id):
            row = await connection.fetchrow(LOCKED_RECORD, price.record_id, [time_of_id(price.record_id) or FOREIGN_AT, FOREIGN_AT])
            if row is None:
                continue
            *columns, minted = row
            old = self._record(columns)
            new = price.applied_to(old)
            money = [None if text is None else Decimal(text) for text in (new.input_cost_usd, new.output_cost_usd, new.cost_usd)]
            await connection.execute(self._sql["reprice_record"], old.id, minted, *money, new.price_source)
            await self._add_to_rollups(connection, roll_up([old], -1))
            await self._add_to_rollups(connection, roll_up([new]))
            if old.session is not None:
                change = EXACT.subtract(Decimal(new.cost_usd or 0), Decimal(old.cost_usd or 0))
                await connection.execute(self._sql["add_cost_to_session"], old.user, old.session, change)
            count += 1
        return count

    async def _run(self, name: str, *values: object) -> int:
        """How many rows it changed."""
        return await self._pool.transaction(lambda connection: self._run_named(connection, name, *values))

    async def _run_named(self, connection: Connection, name: str, *values: object) -> int:
        tag: str = await connection.execute(self._sql[name], *values, timeout=LONG_SECONDS)
        return int(tag.rsplit(" ", 1)[1])

    async def _change(self, name: str, values: Sequence[object]) -> bool:
        """Change a key or a setting, and the marker with it; False where nothing changed."""

        async def work(connection: Connection) -> bool:
            if not await self._run_named(connection, name, *values):
                return False
            await connection.execute(self._sql["count_change"])
            return True

        return await self._pool.transaction(work)

    async def _prepare(self, connection: Connection) -> None:
        await migrate(connection)
        async with connection.transaction():
            await make_partitions(connection, months_ahead(datetime.now(UTC)))

    async def _have_months(self, months: set[datetime]) -> None:
        """Have partitions for these months and for those to come, in a transaction of its own."""
        now = datetime.now(UTC)
        wanted = {month for month in months if has_own_partition(month, now)} | set(months_ahead(now))
        needed = wanted - self._months
        if needed:
            await self._pool.transaction(lambda connection: make_partitions(connection, needed))
            self._months |= needed

    async def sums(self, which: RecordFilter, group_by: Sequence[str] = (), limit: int = 1000) -> list[GroupSums]:
        groups = checked_groups(group_by)
        if not groups:
            return await super().sums(which, groups, limit)
        found = [await self._statements(piece, which, groups, ()) for piece in pieces(which, groups)]
        partial = [statement for statements in found for statement in statements]
        totals = Totals(len(groups), self._amount)
        if partial:
            totals.add(await self._fetch(ranked_statement(partial, len(groups), limit)))
        return totals.ranked(groups, limit)

    async def _statements(
        self, piece: Piece, which: RecordFilter, groups: Sequence[str], starts: Sequence[int]
    ) -> Sequence[Statement]:
        if piece.source == "rollups":
            bounded = await self._bounded(replace(which, start_at=piece.start_at, end_at=piece.end_at))
            if bounded is None:
                return []
            piece = Piece("rollups", bounded.start_at, bounded.end_at)
            found = await statements_by_digest(self._fetch, self._dialect, piece, which, groups, starts)
            if found is not None:
                return found
        return await super()._statements(piece, which, groups, starts)

    async def _fetch(self, statement: Statement) -> Sequence[Row]:
        return await self._pool.fetch(statement.text, *statement.values)

    @staticmethod
    def _record(row: Row) -> UsageRecord:
        values = list(row)
        values[_STARTED_AT] = time_text(values[_STARTED_AT])
        for at in _JSON_AT:
            if values[at] is not None:
                values[at] = orjson.loads(values[at])
        for at in _MONEY_AT:
            if values[at] is not None:
                values[at] = f"{values[at]:f}"
        return UsageRecord._make(values)

    @staticmethod
    def _amount(parts: Sequence[Any]) -> Decimal:
        return Decimal(parts[0] or 0)

    @staticmethod
    def _bucket(value: datetime) -> datetime:
        return value


async def _chunks(text: bytes) -> AsyncIterator[bytes]:
    """For asyncpg, which sends each as one message."""
    for start in range(0, len(text), CHUNK_BYTES):
        yield text[start : start + CHUNK_BYTES]
