"""Texts that only PostgreSQL understands: how batches are added, and how it says what statements.py asks for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from proxy.ledger.partitions import FOREIGN_AT, NEARNESS, shifted, time_of_id
from proxy.ledger.postgres_copy import COPY_COLUMNS
from proxy.ledger.rollup import COUNTS
from proxy.ledger.rows import MONEY_FIELDS
from proxy.ledger.statements import COLUMNS, Dialect, Parameters

_QUOTED = ", ".join(f'"{name}"' for name in COPY_COLUMNS)
STAGING = "usage_records_incoming_1"
"""A table of the session, emptied by every commit; a release with other columns takes another number."""
STAGE = f'CREATE TEMP TABLE IF NOT EXISTS "{STAGING}" (LIKE "usage_records" INCLUDING DEFAULTS) ON COMMIT DELETE ROWS'
INSERT = (
    f'INSERT INTO "usage_records" ({_QUOTED}) SELECT {_QUOTED} FROM "{STAGING}" AS s '  # noqa: S608 -- our own names
    'ORDER BY s."id" ON CONFLICT DO NOTHING RETURNING "id"'
)
_FOREIGN = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"


def unnested(types: Sequence[str]) -> str:
    """Rows from one array a column, of these types."""
    arrays = ", ".join(f"${at}::{kind}" for at, kind in enumerate(types, 1))
    return f"SELECT * FROM unnest({arrays})"  # noqa: S608 -- our own names


def _rollup_upsert() -> str:
    names = ("bucket_at", "series_id", *COUNTS, *MONEY_FIELDS)
    types = ("timestamptz[]", "bytea[]", *("bigint[]" for _ in COUNTS), *("text[]::numeric[]" for _ in MONEY_FIELDS))
    columns = ", ".join(f'"{name}"' for name in names)
    sums = ", ".join(f'"{name}" = kept."{name}" + excluded."{name}"' for name in (*COUNTS, *MONEY_FIELDS))
    return (
        f'INSERT INTO "rollups" AS kept ({columns}) {unnested(types)} ON CONFLICT ("bucket_at", "series_id") DO UPDATE SET {sums}'
    )


ADD_TO_ROLLUPS = _rollup_upsert()
IN_ITS_MONTH = 'SELECT "id" FROM "usage_records" WHERE "id" = $1 AND "minted_at" = $2'
LOCKED_RECORD = (
    f'SELECT {COLUMNS}, r."minted_at" FROM "usage_records" AS r '  # noqa: S608 -- our own names
    'WHERE r."id" = $1 AND r."minted_at" = ANY($2::timestamptz[]) FOR UPDATE'
)


def _span(values: Parameters, time: str, first: int, edges: Sequence[object]) -> tuple[str, str, str]:
    """width_bucket finds the interval by bisection."""
    starts = values.add(list(edges[:-1]))
    condition = f"{time} >= {values.add(edges[0])} AND {time} < {values.add(edges[-1])}"
    return "", condition, f"width_bucket({time}, {starts}::timestamptz[]) + {first - 1}"


def _pruning(values: Parameters, start: datetime | None, end: datetime | None, record_id: str | None) -> list[str]:
    conditions = []
    if record_id is not None:
        conditions.append(f'r."minted_at" = ANY({values.add([time_of_id(record_id) or FOREIGN_AT, FOREIGN_AT])}::timestamptz[])')
    if start is not None:
        conditions.append(f'(r."minted_at" >= {values.add(shifted(start, -NEARNESS))} OR r."minted_at" = {_FOREIGN})')
    if end is not None:
        conditions.append(f'r."minted_at" < {values.add(shifted(end, NEARNESS))}')
    return conditions


DIALECT = Dialect(
    mark="$",
    record_instant=lambda at: at,
    bucket_instant=lambda at: at,
    record_money=lambda name: (f'SUM(r."{name}")',),
    rollup_money=lambda name: (f'SUM(r."{name}")',),
    span=_span,
    tags='jsonb_each_text(r."tags")',
    record_pruning=_pruning,
)
