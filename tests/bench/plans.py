"""How Postgres answers the ledger's queries when there are very many records: plans, rows read, indexes that nobody uses.

    python -m tests.bench plans --rows 10000000

Rows are made by Postgres itself (one month in twelve partitions would be no test); each query goes through the real ledger, with
EXPLAIN ANALYZE in front of every statement it sends. Kept: what a page or a record reads does not grow with the ledger, sums
read roll-ups and no records, and each index has a query that needs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson

from proxy.ledger.ledger import RecordFilter
from proxy.ledger.partitions import month_of
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.postgres_schema import make_partitions
from proxy.ledger.reading import Row
from proxy.ledger.statements import Statement
from tests.bench.tables import Report, Table
from tests.servers import postgres_server

PAGE = 50
MOST_READ = 3_000
"""Records that a page, a session or a record may read, however many there are."""
BATCH = 500_000
DAYS = 330
USERS = 200
SESSION_CALLS = 20
INDEXES = ("usage_records_by_time", "usage_records_by_user", "usage_records_by_session", "usage_records_pkey")
_PARTS_SQL = """
    SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms, lpad(to_hex(n), 15, '0') AS tail
    FROM (
        SELECT n, $1::timestamptz + $2::interval * (n::double precision / $3) AS at
        FROM generate_series($4::bigint, $5::bigint) AS n
    ) AS numbered
"""
FILL_SQL = f"""
INSERT INTO usage_records (id, minted_at, started_at, duration_ms, "user", session, provider, api, method, path, request_model,
    streamed, status, outcome, input_tokens, output_tokens, total_tokens, usage_source, cost_usd)
SELECT left(ms, 8) || '-' || right(ms, 4) || '-7' || left(tail, 3) || '-8' || substr(tail, 4, 3) || '-' || substr(tail, 7, 9)
    || '000', date_trunc('milliseconds', at), at, 1000, 'user-' || n % {USERS}, 's-' || n / {SESSION_CALLS}, 'openai',
    'openai.chat', 'POST', '/v1/chat/completions', 'gpt-4o-mini', false, 200, 'ok', 100, 20, 120, 'reported', 0.000027
FROM ({_PARTS_SQL}) AS parts
"""
SUMS_SQL = f"""
WITH made AS (
    INSERT INTO series (id, "user", provider, api, outcome, request_model)
    SELECT decode(md5(n::text), 'hex'), 'user-' || n, 'openai', 'openai.chat', 'ok', 'gpt-4o-mini'
    FROM generate_series(0, {USERS - 1}) AS n RETURNING id
)
INSERT INTO rollups SELECT bucket, id, 10, 1000, 0, 0, 200, 0, 0, 0, 1200, 0, 0, 10000000, 0, 0, 0, 0, 0.00027, 0
FROM made, generate_series($1::timestamptz, $1::timestamptz + $2::interval, $3::interval) AS bucket
"""


@dataclass
class Seen:
    """What one query's statements did."""

    records_read: int = 0
    rollups_read: int = 0
    ways: set[str] = field(default_factory=set)
    seconds: float = 0.0


class ExplainingLedger(PostgresLedger):
    """The real ledger; every statement is explained first."""

    seen = Seen()

    async def _fetch(self, statement: Statement) -> Sequence[Row]:
        rows = await self._pool.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}", *statement.values)
        (explained,) = orjson.loads(rows[0][0])
        self.seen.seconds += explained["Execution Time"] / 1000
        for node in _nodes(explained["Plan"]):
            self._look(node)
        return await super()._fetch(statement)

    def _look(self, node: Mapping[str, Any]) -> None:
        name = str(node.get("Relation Name") or node.get("Index Name") or "")
        if not node["Node Type"].endswith("Scan") or not node["Actual Loops"]:
            return
        read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        if "usage_records" in name:
            self.seen.records_read += round(read)
        elif name == "rollups":
            self.seen.rollups_read += round(read)
        if read and ("usage_records" in name or name == "rollups"):
            self.seen.ways.add(node["Node Type"])


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def run(report: Report, rows: int) -> None:
    """Fill a database of its own and show how it is read."""
    with postgres_server() as server:
        began = time.monotonic()
        first_at = month_of(datetime.now(UTC)) - timedelta(days=DAYS)
        asyncio.run(fill(server.url, rows, first_at))
        filled = time.monotonic() - began
        found, unused = asyncio.run(look(server.url, rows, first_at))
    title = f"How {rows:,} records are read"
    how = f"`python -m tests.bench plans --rows {rows}`: EXPLAIN ANALYZE of what the ledger sends; filled in {filled:.0f} s."
    table = Table(title, how, ("query", "records read", "roll-up rows read", "ms", "by", "kept"))
    for name, seen in found.items():
        is_kept = is_bounded(name, seen)
        ways = ", ".join(sorted(seen.ways)) or "nothing"
        table.add(name, seen.records_read, seen.rollups_read, seen.seconds * 1000, ways, "yes" if is_kept else "NO")
        report.failed += not is_kept
    table.add("indexes that no query used", ", ".join(unused) or "none", "", "", "", "NO" if unused else "yes")
    report.failed += len(unused)
    report.show(table)


def is_bounded(name: str, seen: Seen) -> bool:
    """Pages and records read a bounded number of rows, sums no record at all."""
    return seen.records_read <= (0 if name.startswith("sums") else MOST_READ)


async def fill(url: str, rows: int, first_at: datetime, every: timedelta = timedelta(hours=6)) -> None:
    """So many records, evenly over DAYS, and a roll-up of each user each so often."""
    ledger = PostgresLedger(url)
    await ledger.start()
    await ledger.close()
    connection = await asyncpg.connect(url, command_timeout=None)
    try:
        months = {month_of(first_at + timedelta(days=day)) for day in range(DAYS + 1)}
        async with connection.transaction():
            await make_partitions(connection, months)
        span = timedelta(days=DAYS)
        for start in range(0, rows, BATCH):
            await connection.execute(FILL_SQL, first_at, span, float(rows), start, min(start + BATCH, rows) - 1)
        await connection.execute(SUMS_SQL, first_at, span, every)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def look(url: str, rows: int, first_at: datetime) -> tuple[dict[str, Seen], list[str]]:
    """What each query did, and the indexes that none of them used."""
    ledger = ExplainingLedger(url)
    middle = first_at + timedelta(days=DAYS // 2)
    year, month = RecordFilter(start_at=first_at, end_at=middle + timedelta(days=DAYS)), RecordFilter(start_at=middle)
    newest = await ledger.records(RecordFilter(), PAGE, None)
    some_id = newest.records[-1].id
    session = f"s-{rows // 2 // SESSION_CALLS}"

    async def exported() -> None:
        async for _ in ledger.export(RecordFilter(user="user-7", start_at=middle, end_at=middle + timedelta(days=3))):
            pass

    queries: dict[str, Callable[[], Awaitable[object]]] = {
        "newest page": lambda: ledger.records(RecordFilter(), PAGE, None),
        "page behind a cursor": lambda: ledger.records(RecordFilter(), PAGE, newest.next_cursor),
        "page of a user": lambda: ledger.records(RecordFilter(user="user-7"), PAGE, None),
        "page of a month": lambda: ledger.records(RecordFilter(start_at=middle, end_at=middle + timedelta(days=30)), PAGE, None),
        "one record": lambda: ledger.record(some_id),
        "calls of a session": lambda: ledger.records(RecordFilter(session=session), PAGE, None),
        "export of three days of a user": exported,
        "sums of a year by user": lambda: ledger.sums(year, ("user",)),
        "sums of a user by model": lambda: ledger.sums(RecordFilter(user="user-7"), ("model",)),
        "sums by day": lambda: ledger.timeseries(year, "day", "UTC"),
        "sums that counters are seeded with": lambda: ledger.used_since(month.start_at or first_at),
    }
    found: dict[str, Seen] = {}
    try:
        for name, ask in queries.items():
            ledger.seen = Seen()
            await ask()
            found[name] = ledger.seen
    finally:
        await ledger.close()
    return found, await _unused(url)


async def _unused(url: str) -> list[str]:
    """Indexes of the records that were never scanned, in any partition."""
    connection = await asyncpg.connect(url)
    try:
        await asyncio.sleep(1.0)  # statistics are told when a connection ends
        counts = await connection.fetch(
            "SELECT parent.relname, SUM(stats.idx_scan) FROM pg_stat_user_indexes AS stats "
            "JOIN pg_inherits AS link ON link.inhrelid = stats.indexrelid JOIN pg_class AS parent ON parent.oid = link.inhparent "
            "GROUP BY parent.relname"
        )
    finally:
        await connection.close()
    scanned = {name: int(count) for name, count in counts}
    return [name for name in INDEXES if not scanned.get(name)]
