"""Millions of records in Postgres, made there by SQL: what the ledger would have written, in minutes instead of hours.

A record follows from its number alone, so that every run has the same ones. Roll-ups and sessions are summed from the records by
the database; test_big_ledger.py appends the same records through the ledger and compares table by table. The shape is meant to be
hard: calls come day and night, few users make most of them, and each has several models, operations and outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from proxy.ledger.partitions import month_of, next_month
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.postgres_schema import make_partitions
from proxy.ledger.rollup import BUCKET_SECONDS, COUNTS, DIMENSIONS, TOKEN_FIELDS, series_id
from proxy.ledger.rows import MONEY_FIELDS

DAYS = 30
USERS = 500
TEAMS = 20
MODELS = (
    ("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "gpt-4.1"), ("openai", "o3"), ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-opus-4-1"), ("gemini", "gemini-2.5-pro"),
    ("gemini", "gemini-2.5-flash"),
    ("mistral", "mistral-large-latest"), ("groq", "llama-3.3-70b-versatile"), ("local", "in-house"),
)  # fmt: skip
SLICE = 250_000
"""Records in one statement."""
INDEXES = ("usage_records_by_time", "usage_records_by_user", "usage_records_by_session")
SETTINGS = (
    "shared_buffers=512MB", "work_mem=64MB", "maintenance_work_mem=512MB", "max_wal_size=8GB", "wal_level=minimal",
    "max_wal_senders=0",
)  # fmt: skip
"""Of the server: as an operator would set it for this many records, and no replica."""


def _share(salt: int) -> str:
    """An expression from 0 to 1 that depends on the record's number and nothing else."""
    return f"((hashint8extended(g.n, {salt}) & 1073741823)::float8 / 1073741824)"


_RECORDS = f"""
WITH drawn AS MATERIALIZED (
    SELECT g.n,
        date_trunc('milliseconds', $1::timestamptz + $2::interval * ((g.n + {_share(1)}) / $3::float8)) AS at,
        floor({USERS} * power({_share(2)}, 2.5))::int AS u,
        {_share(3)} AS pick, {_share(4)} AS luck, {_share(5)} AS size, {_share(6)} AS cached, {_share(7)} AS act
    FROM generate_series($4::bigint, $5::bigint - 1) AS g(n)
), placed AS (
    SELECT *, (u * 7 + floor(3 * pick * pick)::int) % {len(MODELS)} + 1 AS m,
        CASE WHEN luck < 0.955 THEN 'ok' WHEN luck < 0.975 THEN 'denied' WHEN luck < 0.99 THEN 'upstream_error'
             ELSE 'client_aborted' END AS outcome
    FROM drawn
), counted AS (
    SELECT *,
        CASE WHEN outcome IN ('denied', 'upstream_error') THEN NULL ELSE 200 + floor(size * 4000)::bigint END AS inputs,
        CASE WHEN outcome IN ('denied', 'upstream_error') THEN NULL ELSE 20 + floor(size * size * 900)::bigint END AS outputs
    FROM placed
)
INSERT INTO "usage_records" (
    "id", "minted_at", "started_at", "duration_ms", "time_to_first_byte_ms", "user", "team", "key_id", "session", "operation",
    "tags", "provider", "api", "method", "path", "request_model", "response_model", "streamed", "status", "outcome",
    "input_tokens", "cache_read_tokens", "output_tokens", "total_tokens", "usage_source",
    "input_cost_usd", "output_cost_usd", "cost_usd", "price_source", "exactness")
SELECT
    substr(ms, 1, 8) || '-' || substr(ms, 9) || '-7' || to_hex(256 + n % 3840) || '-8' || lpad(to_hex(n % 4096), 3, '0')
        || '-' || lpad(to_hex(n), 12, '0'),
    at, at, 300 + floor(size * 9000000) / 1000, CASE WHEN outputs IS NULL THEN NULL ELSE 100 + floor(pick * 900000) / 1000 END,
    'user-' || lpad(u::text, 4, '0'), 'team-' || u % {TEAMS}, substr(md5(u::text), 1, 12),
    CASE WHEN cached < 0.3 THEN 's-' || u || '-' || to_char(at AT TIME ZONE 'UTC', 'MMDD') END,
    (ARRAY['chat', 'search', 'summary', 'agent', NULL])[1 + (u + floor(2 * act)::int) % 5],
    CASE WHEN act < 0.2 THEN '{{"env":"test"}}'::jsonb END,
    ($6::text[])[m], CASE WHEN ($6::text[])[m] = 'anthropic' THEN 'anthropic.messages' ELSE 'openai.chat' END,
    'POST', '/v1/chat/completions', ($7::text[])[m], CASE WHEN outputs IS NULL THEN NULL ELSE ($7::text[])[m] END,
    act < 0.6, CASE outcome WHEN 'ok' THEN 200 WHEN 'denied' THEN 429 WHEN 'upstream_error' THEN 500 ELSE 0 END, outcome,
    inputs, CASE WHEN inputs IS NULL THEN NULL ELSE floor(inputs * cached * 0.8)::bigint END, outputs, inputs + outputs,
    CASE WHEN inputs IS NULL THEN 'none' WHEN outcome = 'ok' THEN 'reported' ELSE 'estimated' END,
    CASE WHEN m < {len(MODELS)} THEN inputs * 0.0000025 END, CASE WHEN m < {len(MODELS)} THEN outputs * 0.00001 END,
    CASE WHEN m < {len(MODELS)} THEN inputs * 0.0000025 + outputs * 0.00001 END,
    CASE WHEN m < {len(MODELS)} THEN 'genai-prices' END,
    CASE WHEN inputs IS NULL THEN 'none' ELSE 'exact' END
FROM (SELECT *, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms FROM counted) AS c
ORDER BY n
"""

_SAME_SERIES = " AND ".join(f"COALESCE(r.\"{name}\", '') = COALESCE(s.\"{name}\", '')" for name in DIMENSIONS)
_COUNTED: dict[str, str] = {
    "requests": "COUNT(*)",
    **{name: f'COALESCE(SUM(r."{name}"), 0)' for name in TOKEN_FIELDS},
    "estimated": "COUNT(*) FILTER (WHERE r.\"usage_source\" = 'estimated')",
    "unpriced": 'COUNT(*) FILTER (WHERE r."cost_usd" IS NULL AND COALESCE(r."total_tokens", 0) > 0)',
    "duration_us": 'SUM(round(r."duration_ms" * 1000)::bigint)',
    "time_to_first_byte_us": 'COALESCE(SUM(round(r."time_to_first_byte_ms" * 1000)::bigint), 0)',
    "first_byte_count": 'COUNT(r."time_to_first_byte_ms")',
}
_ROLLUPS = f"""
INSERT INTO "rollups" ("bucket_at", "series_id", {", ".join(f'"{name}"' for name in (*COUNTS, *MONEY_FIELDS))})
SELECT date_bin('{BUCKET_SECONDS} seconds', r."started_at", TIMESTAMPTZ '1970-01-01 00:00:00+00') AS bucket, s."id",
    {", ".join(_COUNTED[name] for name in COUNTS)}, {", ".join(f'COALESCE(SUM(r."{name}"), 0)' for name in MONEY_FIELDS)}
FROM "usage_records" AS r JOIN "series" AS s ON {_SAME_SERIES}
WHERE r."started_at" >= $1 AND r."started_at" < $2 GROUP BY 1, 2 ORDER BY 1, 2
"""
_SESSIONS = """
INSERT INTO "sessions" SELECT r."user", r."session", COUNT(*), COALESCE(SUM(r."total_tokens"), 0), COALESCE(SUM(r."cost_usd"), 0),
    MIN(r."started_at"), MAX(r."started_at")
FROM "usage_records" AS r WHERE r."session" IS NOT NULL GROUP BY 1, 2
"""
_SERIES = f'SELECT DISTINCT {", ".join(f"""r."{name}" """ for name in DIMENSIONS)} FROM "usage_records" AS r'


async def fill(url: str, rows: int, end_at: datetime, say: Callable[[str], None] = lambda _: None) -> None:
    """`rows` records of the DAYS before `end_at`, into an empty ledger."""
    ledger = PostgresLedger(url)
    await ledger.start()
    await ledger.close()
    connection = await asyncpg.connect(url, command_timeout=3600)
    start_at, day = end_at - timedelta(days=DAYS), timedelta(days=1)
    try:
        await _have_months(connection, start_at, end_at)
        made_again = [await connection.fetchval("SELECT pg_get_indexdef($1::regclass)", name) for name in INDEXES]
        for name in INDEXES:
            await connection.execute(f'DROP INDEX "{name}"')
        providers, models = ([pair[at] for pair in MODELS] for at in (0, 1))
        for first in range(0, rows, SLICE):
            behind = min(first + SLICE, rows)
            await connection.execute(_RECORDS, start_at, timedelta(days=DAYS), float(rows), first, behind, providers, models)
            say(f"{behind:,} records")
        for text in made_again:
            await connection.execute(text.replace(" ON ONLY ", " ON "))  # ONLY would leave the partitions without
            say("an index")
        await connection.execute('ANALYZE "usage_records"')
        await connection.execute("SET enable_mergejoin = off")  # nine texts are quicker hashed than sorted
        dimensions = [tuple(row) for row in await connection.fetch(_SERIES)]
        await connection.copy_records_to_table("series", records=[(series_id(one), *one) for one in dimensions])
        await connection.execute('ANALYZE "series"')
        at = start_at
        while at < end_at:
            midnight = min(datetime(at.year, at.month, at.day, tzinfo=UTC) + day, end_at)
            await connection.execute(_ROLLUPS, at, midnight)
            say(f"roll-ups until {midnight:%Y-%m-%d}")
            at = midnight
        await connection.execute(_SESSIONS)
        for table in ("rollups", "sessions"):
            await connection.execute(f'VACUUM ANALYZE "{table}"')
        await connection.execute('VACUUM "usage_records"')
    finally:
        await connection.close()


async def _have_months(connection: Any, start_at: datetime, end_at: datetime) -> None:
    months = [month_of(start_at)]
    while next_month(months[-1]) <= end_at:
        months.append(next_month(months[-1]))
    async with connection.transaction():
        await make_partitions(connection, months)
