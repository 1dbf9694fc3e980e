"""The two ledgers that the control API is held to, each empty: SQLite in a file of its own, PostgreSQL in one database for the
whole run, emptied before each test (a tenth of the time of a new one)."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from proxy.ledger.ledger import Ledger
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.sqlite_ledger import SqliteLedger

KINDS = ("sqlite", "postgres")
KEPT_TABLES = ("schema_migrations", "changes")


async def open_ledger(kind: str, folder: Path, postgres_url: str | None) -> Ledger:
    """An empty ledger, started; the caller closes it."""
    if kind == "sqlite":
        ledger: Ledger = SqliteLedger(folder / "ledger.sqlite3")
    else:
        assert postgres_url is not None
        ledger = PostgresLedger(postgres_url)
    await ledger.start()
    if postgres_url is not None and kind == "postgres":
        await empty_tables(postgres_url)
    return ledger


async def empty_tables(url: str) -> None:
    """Every row away, the schema stays. DELETE and not TRUNCATE: tables are small, and files need not be made anew."""
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
        wanted = sorted((row[0] for row in names if row[0] not in KEPT_TABLES), key=lambda name: name != "rollups")
        await connection.execute(";".join(f'DELETE FROM "{name}"' for name in wanted))
    finally:
        await connection.close()
