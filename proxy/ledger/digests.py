"""Sums of whole hours, six hours, days and weeks, made beforehand: what they answer, and what is left to the roll-ups.

A question is answered by a digest where its groups and filters are among the names that one kind of digest tells apart. Of the
time asked for, each stretch comes from the widest digest that lies in it, and what is not digested (the last hour or two, hours
that changed since) from the roll-ups; an interval that begins within an hour (time zones at :30) leaves that hour to them. The sum
is the same.

Pure. Not here: making them (postgres_digests.py), the sums of roll-ups and records (statements.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.ledger.ledger import RecordFilter
from proxy.ledger.rollup import BUCKET_SECONDS
from proxy.ledger.rows import MONEY_FIELDS
from proxy.ledger.statements import EPOCH, FILTER_COLUMNS, Parameters, Statement, count_sum
from proxy.ledger.summing import COUNT_NAMES

NAMES = ("user", "team", "key_id", "provider", "model", "operation", "api", "outcome")
KINDS: tuple[tuple[str, ...], ...] = (
    (), ("team",), ("operation",), ("api",), ("provider", "model", "outcome"), ("user", "team"), ("key_id",),
)  # fmt: skip
"""The fewest rows first."""
WIDTHS = {"week": timedelta(days=7), "day": timedelta(days=1), "quarter": timedelta(hours=6), "hour": timedelta(hours=1)}
"""The levels of digests, the widest first; each begins at a multiple of its width since the epoch."""
BUCKET = timedelta(seconds=BUCKET_SECONDS)
MAX_BUCKETS = 400
"""Where more quarters of an hour are left over, the digests are not made yet: everything comes from the roll-ups."""


def kind_number(names: Sequence[str]) -> int:
    """PostgreSQL's GROUPING(): a bit for each name that is not told apart, the first name's the highest."""
    return sum(1 << (len(NAMES) - 1 - at) for at, name in enumerate(NAMES) if name not in names)


def kind_for(which: RecordFilter, group_by: Sequence[str]) -> tuple[str, ...] | None:
    """The smallest kind that can answer; None where none can."""
    if which.model is not None:
        return None  # it matches what was asked for as well, which no digest knows
    wanted = {*group_by, *(name for name in FILTER_COLUMNS if getattr(which, name) is not None)}
    return next((kind for kind in KINDS if wanted <= set(kind)), None)


@dataclass(frozen=True, slots=True)
class Cover:
    """A stretch of time taken apart: by level the beginnings of digests, and those of buckets that are left."""

    spans: dict[str, list[datetime]]
    buckets: list[datetime]


def cover(start: datetime, end: datetime, edges: Sequence[datetime], marks: Mapping[str, Collection[datetime]]) -> Cover | None:
    """
    Args:
        start, end: whole buckets.
        edges: beginnings of intervals, in order, which nothing may reach over.
        marks: of each level those that are digested.

    Returns:
        None where too much is left over.
    """
    found = Cover({level: [] for level in WIDTHS}, [])
    at = start
    while at < end:
        for level, width in WIDTHS.items():
            if at in marks[level] and at + width <= end and not _is_cut(edges, at, width):
                found.spans[level].append(at)
                at += width
                break
        else:
            found.buckets.append(at)
            if len(found.buckets) > MAX_BUCKETS:
                return None
            at += BUCKET
    return found


def _is_cut(edges: Sequence[datetime], at: datetime, width: timedelta) -> bool:
    """Whether an interval begins within, after the first instant."""
    place = bisect_left(edges, at + timedelta(microseconds=1))
    return place < len(edges) and edges[place] < at + width


def digest_statement(
    kind: Sequence[str], found: Cover, which: RecordFilter, group_by: Sequence[str], starts: Sequence[datetime]
) -> Statement:
    """Sums of the digested part, in the columns of statements.sums_statement. For PostgreSQL alone."""
    values = Parameters("$")
    groups = [f'r."{name}"' for name in group_by]
    if starts:
        groups.insert(0, f'width_bucket(r."at", {values.add(list(starts))}::timestamptz[]) - 1')
    spans = [_within(values, level, instants) for level, instants in found.spans.items() if instants]
    conditions = [f'r."kind" = {values.add(kind_number(kind))}', f"({' OR '.join(spans)})", *_matches(values, which)]
    columns = [*groups, *(count_sum(f'r."{name}"') for name in COUNT_NAMES), *(f'SUM(r."{name}")' for name in MONEY_FIELDS)]
    text = f'SELECT {", ".join(columns)} FROM "digests" AS r WHERE {" AND ".join(conditions)}'  # noqa: S608 -- names from closed lists
    return Statement(text + (f" GROUP BY {', '.join(groups)}" if groups else ""), values.values)


def _within(values: Parameters, level: str, instants: Sequence[datetime]) -> str:
    """The condition for the digests of one level that begin at these instants."""
    first, last = instants[0], instants[-1]
    text = f'r."level" = \'{level}\' AND r."at" >= {values.add(first)} AND r."at" <= {values.add(last)}'
    if len(instants) * WIDTHS[level] != last - first + WIDTHS[level]:
        text += f' AND r."at" = ANY({values.add(list(instants))}::timestamptz[])'
    return f"({text})"


def stretches(buckets: Iterable[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Buckets as stretches without gaps: from, to."""
    first = last = None
    for at in buckets:
        if first is None or last is None:
            first = at
        elif at != last + BUCKET:
            yield first, last + BUCKET
            first = at
        last = at
    if first is not None and last is not None:
        yield first, last + BUCKET


def _matches(values: Parameters, which: RecordFilter) -> list[str]:
    return [f'r."{name}" = {values.add(getattr(which, name))}' for name in FILTER_COLUMNS if getattr(which, name) is not None]


def is_whole(at: datetime, width: timedelta) -> bool:
    """Whether an instant is a multiple of the width."""
    return not (at - EPOCH) % width
