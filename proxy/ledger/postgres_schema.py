"""The schema in Postgres: migrations and monthly partitions, made under one advisory lock by whoever comes first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from proxy.ledger.migrations import missing
from proxy.ledger.partitions import NEARNESS, next_month, partition_month, partition_name
from proxy.ledger.postgres_pool import LONG_SECONDS, Connection

LOCK_ID = 0x77656967
"""`weig`: the advisory lock of everything that changes the schema."""
_CREATE = (
    'CREATE TABLE IF NOT EXISTS "schema_migrations" ("number" INTEGER NOT NULL PRIMARY KEY, "name" TEXT NOT NULL, '
    '"checksum" TEXT NOT NULL, "applied_at" TIMESTAMPTZ NOT NULL DEFAULT now())'
)


async def migrate(connection: Connection) -> int:
    """Bring the schema up to date; the number of files applied. All of them or none."""
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID, timeout=LONG_SECONDS)
        await connection.execute(_CREATE)
        applied = {row[0]: row[1] for row in await connection.fetch('SELECT "number", "checksum" FROM "schema_migrations"')}
        needed = missing("postgres", applied)
        for migration in needed:
            await connection.execute(migration.text, timeout=LONG_SECONDS)
            await connection.execute(
                'INSERT INTO "schema_migrations" ("number", "name", "checksum") VALUES ($1, $2, $3)',
                migration.number,
                migration.name,
                migration.checksum,
            )
        return len(needed)


async def make_partitions(connection: Connection, months: Iterable[datetime]) -> None:
    """Have a partition for each of these months; records of theirs that waited in the default partition move in. For use inside
    a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID)
    for month in sorted(months):
        name, end = partition_name(month), next_month(month)
        if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            continue
        # Attaching locks the parent less than creating in place; the default partition must not gain rows of that month meanwhile.
        await connection.execute('LOCK TABLE "usage_records_default" IN ACCESS EXCLUSIVE MODE')
        await connection.execute(f'CREATE TABLE "{name}" (LIKE "usage_records" INCLUDING DEFAULTS INCLUDING CONSTRAINTS)')
        leaving = 'DELETE FROM "usage_records_default" WHERE "minted_at" >= $1 AND "minted_at" < $2 RETURNING *'
        moving = f'WITH moved AS ({leaving}) INSERT INTO "{name}" SELECT * FROM moved'  # noqa: S608 -- a name made of digits
        await connection.execute(moving, month, end)
        await connection.execute(
            f'ALTER TABLE "usage_records" ATTACH PARTITION "{name}" '
            f"FOR VALUES FROM ('{month.isoformat()}') TO ('{end.isoformat()}')"
        )


async def drop_partitions_before(connection: Connection, at: datetime, names: Iterable[str]) -> list[str]:
    """Drop whole months all of whose records started before; a drop takes no longer for a million rows than for one. For use
    inside a transaction."""
    dropped = []
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID)
    await connection.execute("SET LOCAL lock_timeout = '5s'")
    for name in names:
        month = partition_month(name)
        if month is not None and next_month(month) + NEARNESS <= at:
            await connection.execute(f'DROP TABLE IF EXISTS "{name}"')
            dropped.append(name)
    return dropped
