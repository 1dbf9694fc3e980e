"""The ledger in one SQLite file: the standard library's driver, one thread that writes, a few that read.

Rules of this file: the loop never runs SQL; appends have a thread of their own, so no long query holds them up (WAL: readers
do not block the writer either). A commit is durable (`synchronous = FULL`, one fsync per batch) because the spool deletes what
the ledger has acknowledged. Several processes may share the file: every write is one `BEGIN IMMEDIATE` transaction.

Not here: what the statements say (statements.py, sql/queries/sqlite.sql), what sums mean (rollup.py, summing.py).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import orjson

from proxy.errors import LedgerError, RefusedRecord
from proxy.ledger.columns import AT, Batch, json_texts, storable_batch
from proxy.ledger.ledger import Entry, RecordFilter, Repriced, StoredKey
from proxy.ledger.migrations import missing, queries
from proxy.ledger.reading import Row, SqlReading, key_values
from proxy.ledger.rollup import COUNTS, EXACT, Cell, Dimensions, roll_up, roll_up_columns, roll_up_sessions, series_id
from proxy.ledger.rows import JSON_FIELDS, MONEY_FIELDS, claims, json_text, time_text, without_second_bills
from proxy.ledger.sqlite_money import DIALECT, amount_of, register_decimals, units_and_rest
from proxy.ledger.statements import Statement, page_statement
from proxy.records import FIELDS, UsageRecord

READERS = 3
BUSY_SECONDS = 10.0
DELETED_AT_ONCE = 5000
_JSON_AT = tuple(FIELDS.index(name) for name in JSON_FIELDS)
_STREAMED_AT = FIELDS.index("streamed")
_MONEY_COLUMNS = tuple(f"{name}_{part}" for name in MONEY_FIELDS for part in ("units", "rest"))
_INSERT = (
    f'INSERT INTO "usage_records" ({", ".join(f"{chr(34)}{name}{chr(34)}" for name in FIELDS)}) '  # noqa: S608 -- our own names
    f'VALUES ({", ".join("?" * len(FIELDS))}) ON CONFLICT ("id") DO NOTHING'
)

T = TypeVar("T")


def _rollup_upsert() -> str:
    columns = ("bucket_at", "series_id", *COUNTS, *_MONEY_COLUMNS)
    quoted = ", ".join(f'"{name}"' for name in columns)
    sums = [f'"{name}" = kept."{name}" + excluded."{name}"' for name in (*COUNTS, *_MONEY_COLUMNS[::2])]
    # Hardly any cell has a rest: ask SQLite before calling into Python.
    rests = [
        f'"{name}" = CASE WHEN excluded."{name}" IS NULL THEN kept."{name}" ELSE decimal_add(kept."{name}", excluded."{name}") END'
        for name in _MONEY_COLUMNS[1::2]
    ]
    return (
        f'INSERT INTO "rollups" AS kept ({quoted}) VALUES ({", ".join("?" * len(columns))}) '  # noqa: S608 -- our own names
        f'ON CONFLICT ("bucket_at", "series_id") DO UPDATE SET {", ".join([*sums, *rests])}'
    )


_ADD_TO_ROLLUP = _rollup_upsert()


class SqliteLedger(SqlReading):
    """Implements `Ledger`. One file, any number of processes on one machine."""

    has_digests = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dialect = DIALECT
        self._sql = queries("sqlite")
        self._write_thread = ThreadPoolExecutor(1, "ledger-write")
        self._read_threads = ThreadPoolExecutor(READERS, "ledger-read")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    async def start(self) -> None:
        await self._write(lambda connection: None)

    async def close(self) -> None:
        """Running queries are interrupted; a running append is finished. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._write_thread.shutdown)
        for connection in self._connections:
            connection.interrupt()
        await asyncio.to_thread(self._read_threads.shutdown)
        for connection in self._connections:
            connection.close()

    async def append(self, records: Sequence[UsageRecord]) -> list[UsageRecord]:
        batch = storable_batch(records)
        return await self._write(lambda connection: self._append(connection, batch))

    async def put_key(self, key: StoredKey) -> None:
        await self._change("put_key", key_values(key))

    async def put_setting(self, name: str, value: object) -> None:
        await self._change("put_setting", [name, json_text(value)])

    async def add_setting(self, name: str, value: object) -> bool:
        return await self._change("add_setting", [name, json_text(value)])

    async def delete_setting(self, name: str) -> bool:
        return await self._change("delete_setting", [name])

    async def put_entry(self, entry: Entry, *, replace: bool = False) -> bool:
        at = time_text(datetime.fromisoformat(entry.at))
        values = (entry.kind, entry.id, at, json_text(entry.body))
        return (
            await self._write(lambda connection: self._run_named(connection, "put_entry" if replace else "add_entry", *values)) > 0
        )

    async def delete_entries(self, kind: str, before: datetime) -> int:
        return await self._write(lambda connection: self._run_named(connection, "delete_entries", kind, time_text(before)))

    async def reprice(self, prices: Sequence[Repriced]) -> int:
        return await self._write(lambda connection: self._reprice(connection, prices))

    async def digest(self) -> bool:
        return False

    async def forget_user(self, user: str) -> int:
        return await self._write(lambda connection: self._forget_user(connection, user))

    async def forget_before(self, at: datetime) -> None:
        """In small transactions, so that appends get in between."""
        until = time_text(at)
        while await self._write(lambda connection: self._run_named(connection, "delete_records_before", until, DELETED_AT_ONCE)):
            pass
        await self._write(lambda connection: self._run_named(connection, "delete_bills_before", until))
        await self.forget_sessions_before(at)

    async def forget_sessions_before(self, at: datetime) -> int:
        return await self._write(lambda connection: self._run_named(connection, "delete_sessions_before", time_text(at)))

    def _append(self, connection: sqlite3.Connection, batch: Batch) -> list[UsageRecord]:
        """Straight in; where an id is known already (after a crash), again without what is known."""
        connection.execute("SAVEPOINT straight")
        new = self._insert(connection, batch)
        if new is None:
            connection.execute("ROLLBACK TO straight")
            ids = orjson.dumps(batch.columns[AT["id"]]).decode()
            known = {row[0] for row in connection.execute(self._sql["known_ids"], (ids,))}
            new = self._insert(connection, Batch.of([record for record in batch.records if record.id not in known]))
            assert new is not None, "one id twice in a batch"
        if new.records:
            self._add_to_rollups(connection, roll_up_columns(new.columns))
            connection.executemany(
                self._sql["add_to_session"],
                [
                    (*key, cell.requests, cell.total_tokens, f"{cell.cost_usd:f}", cell.first_at, cell.last_at)
                    for key, cell in roll_up_sessions(new.records).items()
                ],
            )
        return new.records

    def _insert(self, connection: sqlite3.Connection, batch: Batch) -> Batch | None:
        """The records as they are stored now; None, and something half done, where one is known already."""
        if not batch.records:
            return batch
        keys = [key for key in batch.columns[AT["billing_key"]] if key is not None]
        if keys:
            started = dict(zip(batch.columns[AT["id"]], batch.columns[AT["started_at"]], strict=True))
            claimed = [(key, owner, started[owner]) for key, owner in claims(batch.records).items()]
            connection.executemany(self._sql["claim_bill"], claimed)
            owners = dict(connection.execute(self._sql["bill_owners"], (orjson.dumps(keys).decode(),)).fetchall())
            batch = Batch.of(without_second_bills(batch.records, owners))
        columns: list[Sequence[object]] = list(batch.columns)
        for at in _JSON_AT:
            columns[at] = json_texts(columns[at])
        count = connection.executemany(_INSERT, zip(*columns, strict=True)).rowcount
        return batch if count == len(batch.records) else None

    def _add_to_rollups(self, connection: sqlite3.Connection, cells: dict[tuple[int, Dimensions], Cell]) -> None:
        series = {dimensions: series_id(dimensions) for _, dimensions in cells}
        connection.executemany(self._sql["insert_series"], [(key, *dimensions) for dimensions, key in series.items()])
        connection.executemany(
            _ADD_TO_ROLLUP,
            [
                (bucket, series[dimensions], *cell.counts, *chain.from_iterable(map(units_and_rest, cell.money)))
                for (bucket, dimensions), cell in cells.items()
            ],
        )

    def _reprice(self, connection: sqlite3.Connection, prices: Sequence[Repriced]) -> int:
        count = 0
        for price in prices:
            statement = page_statement(DIALECT, RecordFilter(request_id=price.record_id), 1, None)
            row = connection.execute(statement.text, statement.values).fetchone()
            if row is None:
                continue
            old = self._record(row)
            new = price.applied_to(old)
            connection.execute(
                self._sql["reprice_record"], (old.id, new.input_cost_usd, new.output_cost_usd, new.cost_usd, new.price_source)
            )
            self._add_to_rollups(connection, roll_up([old], -1))
            self._add_to_rollups(connection, roll_up([new]))
            if old.session is not None:
                change = EXACT.subtract(Decimal(new.cost_usd or 0), Decimal(old.cost_usd or 0))
                connection.execute(self._sql["add_cost_to_session"], (old.user, old.session, f"{change:f}"))
            count += 1
        return count

    def _forget_user(self, connection: sqlite3.Connection, user: str) -> int:
        count = self._run_named(connection, "delete_user_records", user)
        for name in ("delete_user_rollups", "delete_user_series", "delete_user_sessions"):
            self._run_named(connection, name, user)
        return count

    def _run_named(self, connection: sqlite3.Connection, name: str, *values: object) -> int:
        """How many rows it changed."""
        return connection.execute(self._sql[name], values).rowcount

    async def _change(self, name: str, values: Sequence[object]) -> bool:
        """Change a key or a setting, and the marker with it; False where nothing changed."""

        def work(connection: sqlite3.Connection) -> bool:
            if not self._run_named(connection, name, *values):
                return False
            connection.execute(self._sql["count_change"])
            return True

        return await self._write(work)

    @staticmethod
    def _record(row: Row) -> UsageRecord:
        values = list(row)
        for at in _JSON_AT:
            if values[at] is not None:
                values[at] = orjson.loads(values[at])
        values[_STREAMED_AT] = bool(values[_STREAMED_AT])
        return UsageRecord._make(values)

    @staticmethod
    def _amount(parts: Sequence[object]) -> Decimal:
        return amount_of(parts)

    @staticmethod
    def _bucket(value: int) -> datetime:
        return datetime.fromtimestamp(value, UTC)

    async def _fetch(self, statement: Statement) -> list[tuple[Any, ...]]:
        def run() -> list[tuple[Any, ...]]:
            return self._connection().execute(statement.text, statement.values).fetchall()

        return await self._run(self._read_threads, run)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of the writing thread."""

        def run() -> T:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

        return await self._run(self._write_thread, run)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise LedgerError("the ledger is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except (OverflowError, UnicodeError, sqlite3.DataError) as error:
            raise RefusedRecord(str(error)) from error
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"{self._path}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's own; the first one of the process brings the schema up to date."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            with self._lock:
                connection = self._local.connection = self._open()
                self._connections.append(connection)
        return connection

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _switch_to_wal(connection)
            for pragma in ("synchronous = FULL", "temp_store = MEMORY", "cache_size = -16000"):
                connection.execute(f"PRAGMA {pragma}")
            register_decimals(connection)
            if not self._connections:
                _migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """The one statement that SQLite does not wait with: of several processes that begin a file, all but one are told `locked`."""
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection) -> None:
    """Under the write lock: of several starters at once, one applies each file."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            'CREATE TABLE IF NOT EXISTS "schema_migrations" ("number" INTEGER NOT NULL PRIMARY KEY, "name" TEXT NOT NULL, '
            '"checksum" TEXT NOT NULL, "applied_at" TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)'
        )
        applied = dict(connection.execute('SELECT "number", "checksum" FROM "schema_migrations"').fetchall())
        for migration in missing("sqlite", applied):
            for statement in _statements(migration.text):
                connection.execute(statement)
            connection.execute(
                'INSERT INTO "schema_migrations" ("number", "name", "checksum") VALUES (?, ?, ?)',
                (migration.number, migration.name, migration.checksum),
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(text: str) -> list[str]:
    """The file in single statements: executescript would commit the transaction first."""
    found, part = [], ""
    for line in text.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found
