"""Digests in PostgreSQL: which there are, and the making of the next ones. What they are: digests.py, 0003_digests.sql.

An hour is made when it has been over for a quarter of an hour, a day when its hours are. Whoever makes one holds a lock that
writers of roll-ups of hours that are over share: such a writer is seen as a whole, or takes the mark away after it. Writers of
the current hour never meet it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from proxy.ledger.digests import DAY, HOUR, KINDS, NAMES, cover, digest_statements, is_whole, kind_for, stretches
from proxy.ledger.ledger import RecordFilter
from proxy.ledger.postgres_pool import Connection
from proxy.ledger.reading import Row
from proxy.ledger.rollup import COUNTS
from proxy.ledger.rows import MONEY_FIELDS
from proxy.ledger.statements import Dialect, Piece, Statement, outcome_counts, sums_statement
from proxy.ledger.summing import COUNT_NAMES

LOCK_ID = 1464157556
"""As in 0003_digests.sql."""
DIGEST_DAYS = 400
"""Hours longer ago are left to the roll-ups."""
HOURS_AT_ONCE = 6
_EPOCH = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"
_LAST_HOUR = f"date_bin('1 hour', now() - INTERVAL '75 minutes', {_EPOCH})"
_FIRST_DAY = f"""GREATEST(
    (SELECT date_bin('1 day', MIN("bucket_at"), {_EPOCH}) FROM "rollups"),
    date_bin('1 day', now(), {_EPOCH}) - INTERVAL '{DIGEST_DAYS} days'
)"""  # noqa: S608 -- constants of this file
_NEXT_HOURS = f"""
SELECT hour FROM generate_series({_FIRST_DAY}, {_LAST_HOUR}, '1 hour') AS hour
WHERE NOT EXISTS (SELECT 1 FROM "digested" WHERE "level" = 'hour' AND "at" = hour) ORDER BY hour DESC LIMIT {HOURS_AT_ONCE}
"""  # noqa: S608 -- as above
_NEXT_DAY = f"""
SELECT day FROM generate_series({_FIRST_DAY}, {_LAST_HOUR} - INTERVAL '23 hours', '1 day') AS day
WHERE NOT EXISTS (SELECT 1 FROM "digested" WHERE "level" = 'day' AND "at" = day)
    AND 24 = (SELECT COUNT(*) FROM "digested" WHERE "level" = 'hour' AND "at" >= day AND "at" < day + INTERVAL '1 day')
ORDER BY day DESC LIMIT 1
"""  # noqa: S608 -- as above
_MARKS = """SELECT "level", "at" FROM "digested" AS d WHERE "at" >= $1 AND "at" < $2"""
_MARKS_BY_DAYS = f"""{_MARKS} AND ("level" = 'day' OR NOT EXISTS (
    SELECT 1 FROM "digested" AS whole WHERE whole."level" = 'day' AND whole."at" = date_bin('1 day', d."at", {_EPOCH})
        AND whole."at" >= $1 AND whole."at" + INTERVAL '1 day' <= $2
))"""  # noqa: S608 -- as above


def _insert(level: str, at: str, names: str, sums: Sequence[str], source: str, sets: str) -> str:
    columns = ", ".join(f'"{name}"' for name in ("level", "at", "kind", *NAMES, *COUNT_NAMES, *MONEY_FIELDS))
    return f"INSERT INTO \"digests\" ({columns}) SELECT '{level}', {at}, {names}, {', '.join(sums)} FROM {source} GROUP BY {sets}"  # noqa: S608 -- names from closed lists


_NAME_COLUMNS = ['COALESCE(s."response_model", s."request_model")' if name == "model" else f's."{name}"' for name in NAMES]
_HOUR_OF_BUCKET = f"date_bin('1 hour', r.\"bucket_at\", {_EPOCH})"
_SETS = ", ".join(
    "(" + ", ".join(column for name, column in zip(NAMES, _NAME_COLUMNS, strict=True) if name in kind) + ")" for kind in KINDS
)
_REQUESTS, *_OTHERS = (f'SUM(r."{name}")' for name in COUNTS)
_DIGEST_HOURS = _insert(
    "hour",
    _HOUR_OF_BUCKET,
    f"GROUPING({', '.join(_NAME_COLUMNS)}), {', '.join(_NAME_COLUMNS)}",
    [_REQUESTS, *outcome_counts('r."requests"', 's."outcome"'), *_OTHERS, *(f'SUM(r."{name}")' for name in MONEY_FIELDS)],
    f'"rollups" AS r JOIN "series" AS s ON s."id" = r."series_id" WHERE r."bucket_at" >= $1 AND r."bucket_at" < $2 '
    f"AND {_HOUR_OF_BUCKET} = ANY($3::timestamptz[])",
    f"{_HOUR_OF_BUCKET}, GROUPING SETS ({_SETS})",
)
_PLAIN_NAMES = ", ".join(f'r."{name}"' for name in ("kind", *NAMES))
_DIGEST_DAY = _insert(
    "day",
    "$1",
    _PLAIN_NAMES,
    [f'SUM(r."{name}")' for name in (*COUNT_NAMES, *MONEY_FIELDS)],
    '"digests" AS r WHERE r."level" = \'hour\' AND r."at" >= $1 AND r."at" < $1 + INTERVAL \'1 day\'',
    _PLAIN_NAMES,
)
_FORGET = 'DELETE FROM "digests" WHERE "level" = $1 AND "at" = ANY($2::timestamptz[])'
_MARK = 'INSERT INTO "digested" ("level", "at") SELECT $1, unnest($2::timestamptz[])'


async def digest_next(connection: Connection) -> bool:
    """Make the newest hours that are missing, or a day; False where nothing is. For use inside a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID)
    hours = sorted(row[0] for row in await connection.fetch(_NEXT_HOURS))
    if hours:
        await connection.execute(_FORGET, "hour", hours)
        await connection.execute(_DIGEST_HOURS, hours[0], hours[-1] + HOUR, hours)
        await connection.execute(_MARK, "hour", hours)
        return True
    day = await connection.fetchval(_NEXT_DAY)
    if day is None:
        return False
    await connection.execute(_FORGET, "day", [day])
    await connection.execute(_DIGEST_DAY, day)
    await connection.execute(_MARK, "day", [day])
    return True


async def statements_by_digest(
    fetch: Callable[[Statement], Awaitable[Sequence[Row]]],
    dialect: Dialect,
    piece: Piece,
    which: RecordFilter,
    group_by: Sequence[str],
    starts: Sequence[int],
) -> list[Statement] | None:
    """What adds up to the sums of a piece of the roll-ups; None where the digests are of no use.

    Args:
        piece: bounded on both sides, by whole buckets.
        starts: as of statements.sums_statement.
    """
    kind = kind_for(which, group_by)
    start, end = piece.start_at, piece.end_at
    if kind is None or start is None or end is None or end - start < timedelta(hours=2):
        return None
    edges = [datetime.fromtimestamp(at, UTC) for at in starts]
    has_whole_days = all(is_whole(edge, DAY) for edge in edges)
    marks = await fetch(Statement(_MARKS_BY_DAYS if has_whole_days else _MARKS, [start, end]))
    days, hours = ({at for level, at in marks if level == wanted} for wanted in ("day", "hour"))
    found = cover(start, end, edges, days, hours)
    if found is None or not (found.days or found.hours):
        return None
    left = (Piece("rollups", *stretch) for stretch in stretches(found.buckets))
    return [
        *digest_statements(kind, found, which, group_by, edges),
        *(sums_statement(dialect, one, which, group_by, starts) for one in left),
    ]
