"""What SQL fills a ledger with for the benchmark is what the ledger itself would have written."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg

from proxy.ledger.ledger import RecordFilter
from proxy.ledger.postgres_ledger import PostgresLedger
from tests.bench.big_ledger import fill
from tests.servers import PostgresServer

ROWS = 3_000
END = datetime(2026, 11, 18, 12, 7, tzinfo=UTC)
TABLES = ("usage_records", "series", "rollups", "sessions")


async def test_the_fill_equals_the_ledgers_own_writing(postgres: PostgresServer) -> None:
    for name in ("filled", "appended"):
        postgres.run("createdb", name)
    filled, appended = (postgres.database_url(name) for name in ("filled", "appended"))
    await fill(filled, ROWS, END)
    one, other = PostgresLedger(filled), PostgresLedger(appended)
    await other.start()
    records = [record async for record in one.export(RecordFilter())]
    assert len(records) == ROWS
    for first in range(0, ROWS, 500):
        assert len(await other.append(records[first : first + 500])) == len(records[first : first + 500])
    await one.close()
    await other.close()
    by_sql, by_ledger = await _tables(filled), await _tables(appended)
    for table in TABLES:
        assert by_sql[table] == by_ledger[table], table
        assert by_sql[table]
    assert len(by_sql["series"]) > 500


async def _tables(url: str) -> dict[str, list[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return {
            table: sorted((tuple(row) for row in await connection.fetch(f'SELECT * FROM "{table}"')), key=str) for table in TABLES
        }
    finally:
        await connection.close()
