"""Digests in PostgreSQL: which there are, and the making of the next ones. What they are: digests.py, migrations 0003 and 0004.

An hour is made when it has been over for a quarter of an hour, a wider one when all in it are. Whoever makes one holds a lock that
writers of roll-ups of hours that are over share: such a writer is seen as a whole, or takes the mark away after it. Writers of
the current hour never meet it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from proxy.ledger.digests import KINDS, NAMES, WIDTHS, cover, digest_statement, is_whole, kind_for, stretches
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
_INTERVALS = {"week": "7 days", "day": "1 day", "quarter": "6 hours"}
_MARKS = """SELECT "level", "at" FROM "digested" AS d WHERE "at" >= $1 AND "at" < $2"""


def _next(level: str, lower: str) -> str:
    """The newest that is missing and whose parts are there."""
    interval = f"INTERVAL '{_INTERVALS[level]}'"
    return f"""
SELECT start FROM generate_series(
    date_bin({interval}, {_FIRST_DAY}, {_EPOCH}), {_LAST_HOUR} + INTERVAL '1 hour' - {interval}, {interval}
) AS start
WHERE NOT EXISTS (SELECT 1 FROM "digested" WHERE "level" = '{level}' AND "at" = start)
    AND {WIDTHS[level] // WIDTHS[lower]} =
        (SELECT COUNT(*) FROM "digested" WHERE "level" = '{lower}' AND "at" >= start AND "at" < start + {interval})
ORDER BY start DESC LIMIT 1
"""  # noqa: S608 -- as above


def _outside(wide: str) -> str:
    """Of the marks those that lie in no digested `wide` of the stretch; those of that width and wider stay."""
    kept = ", ".join(f"'{level}'" for level, width in WIDTHS.items() if width >= WIDTHS[wide])
    interval = _INTERVALS[wide]
    return f""" AND ("level" IN ({kept}) OR NOT EXISTS (
    SELECT 1 FROM "digested" AS whole WHERE whole."level" = '{wide}' AND whole."at" = date_bin('{interval}', d."at", {_EPOCH})
        AND whole."at" >= $1 AND whole."at" + INTERVAL '{interval}' <= $2
))"""  # noqa: S608 -- as above


_MARKS_BY_DAYS = f"{_MARKS} AND \"level\" <> 'week'{_outside('day')}"
_MARKS_BY_WEEKS = f"{_MARKS}{_outside('day')}{_outside('week')}"


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


def _digest(level: str, lower: str) -> str:
    return _insert(
        level,
        "$1",
        _PLAIN_NAMES,
        [f'SUM(r."{name}")' for name in (*COUNT_NAMES, *MONEY_FIELDS)],
        f'"digests" AS r WHERE r."level" = \'{lower}\' AND r."at" >= $1 AND r."at" < $1 + INTERVAL \'{_INTERVALS[level]}\'',
        _PLAIN_NAMES,
    )


_LEVELS = (("quarter", "hour"), ("day", "quarter"), ("week", "day"))
_WIDER = [(level, _next(level, lower), _digest(level, lower)) for level, lower in _LEVELS]
"""Level, what finds the next one, what makes it; each from the level below."""
_FORGET = 'DELETE FROM "digests" WHERE "level" = $1 AND "at" = ANY($2::timestamptz[])'
_MARK = 'INSERT INTO "digested" ("level", "at") SELECT $1, unnest($2::timestamptz[])'


async def digest_next(connection: Connection) -> bool:
    """Make the newest hours that are missing, or a wider one; False where nothing is. For use inside a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_ID)
    hours = sorted(row[0] for row in await connection.fetch(_NEXT_HOURS))
    if hours:
        await connection.execute(_FORGET, "hour", hours)
        await connection.execute(_DIGEST_HOURS, hours[0], hours[-1] + WIDTHS["hour"], hours)
        await connection.execute(_MARK, "hour", hours)
        return True
    for level, find, make in _WIDER:
        start = await connection.fetchval(find)
        if start is not None:
            await connection.execute(_FORGET, level, [start])
            await connection.execute(make, start)
            await connection.execute(_MARK, level, [start])
            return True
    return False


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
    text = _MARKS
    if all(is_whole(edge, WIDTHS["day"]) for edge in edges):
        text = _MARKS_BY_WEEKS if all(is_whole(edge, WIDTHS["week"]) for edge in edges) else _MARKS_BY_DAYS
    marks: dict[str, set[datetime]] = {level: set() for level in WIDTHS}
    for level, at in await fetch(Statement(text, [start, end])):
        marks[level].add(at)
    found = cover(start, end, edges, marks)
    if found is None or not any(found.spans.values()):
        return None
    left = (Piece("rollups", *stretch) for stretch in stretches(found.buckets))
    return [
        digest_statement(kind, found, which, group_by, edges),
        *(sums_statement(dialect, one, which, group_by, starts) for one in left),
    ]
