"""The SQL that both adapters share: conditions, sums, pages. Text and values only; nothing here runs it.

Rules of this file: values travel as parameters, names come from closed lists. What the two databases say differently is a
`Dialect`. Sums come from the roll-ups for whole quarters of an hour and from the records for the ragged ends, so that any
two instants give an exact sum.

Pure. Not here: what a sum's row means (summing.py), writing (the adapters, sql/queries).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from proxy.ledger.ledger import GROUPS, RecordFilter
from proxy.ledger.rollup import BUCKET_SECONDS, COUNTS, FAILED_OUTCOMES, TOKEN_FIELDS
from proxy.ledger.rows import MONEY_FIELDS
from proxy.records import FIELDS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = ", ".join(f'r."{name}"' for name in FIELDS)
ONLY_IN_RECORDS = ("session", "tag", "request_id")
UNKNOWN_TO_ROLLUPS = frozenset(("session", "tag"))
FILTER_COLUMNS = ("user", "team", "key_id", "provider", "operation", "outcome")
_TAG = 't."key" || \'=\' || t."value"'
_TOKENS_OR_NONE = 'COALESCE(NULLIF(r."total_tokens", 0), NULLIF(r."input_tokens", 0), NULLIF(r."output_tokens", 0))'


class Parameters:
    """Values of one statement; `add` gives the place-holder."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.values: list[object] = []

    def add(self, value: object) -> str:
        self.values.append(value)
        return f"{self._mark}{len(self.values)}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What SQLite and Postgres say differently."""

    mark: str
    """Before the number of a place-holder: `?` or `$`."""
    record_instant: Callable[[datetime], object]
    """An instant as the value that started_at is compared with."""
    bucket_instant: Callable[[datetime], object]
    """An instant as the value that bucket_at is compared with."""
    record_money: Callable[[str], Sequence[str]]
    """Expressions that sum a column of money exactly, as the adapter's `money` reads them."""
    rollup_money: Callable[[str], Sequence[str]]
    span: Callable[[Parameters, str, int, Sequence[object]], tuple[str, str, str]]
    """(parameters, time column, number of the first interval, edges) → (what stands before the table in FROM, condition that
    keeps to the edges, expression of the interval's number); edges are the beginnings and the end of the last."""
    tags: str
    """What gives each pair of a record's tags as a row of `key` and `value`, in FROM."""
    record_pruning: Callable[[Parameters, datetime | None, datetime | None, str | None], Sequence[str]] = lambda *_: ()
    """(parameters, start, end, id) → conditions that keep a search out of partitions which cannot hold anything."""


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    values: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an interval and where its sums come from: `rollups` or `records`."""

    source: str
    start_at: datetime | None
    end_at: datetime | None


def checked_groups(group_by: Sequence[str]) -> tuple[str, ...]:
    """Raises ValueError for a name that sums cannot be grouped by."""
    for name in group_by:
        if name not in GROUPS:
            raise ValueError(f"cannot group by {name!r}; one of {', '.join(GROUPS)}")
    return tuple(dict.fromkeys(group_by))


def pieces(which: RecordFilter, group_by: Sequence[str]) -> list[Piece]:
    """Where to sum: roll-ups for whole buckets, records for the rest and for what roll-ups do not know."""
    start, end = which.start_at, which.end_at
    if any(getattr(which, name) is not None for name in ONLY_IN_RECORDS) or not UNKNOWN_TO_ROLLUPS.isdisjoint(group_by):
        return [Piece("records", start, end)]
    first = None if start is None else _bucket(start, is_up=True)
    last = None if end is None else _bucket(end, is_up=False)
    if first is not None and last is not None and first >= last:
        return [Piece("records", start, end)]
    found = [Piece("rollups", first, last)]
    if first != start:
        found.insert(0, Piece("records", start, first))
    if last != end:
        found.append(Piece("records", last, end))
    return found


def sums_statement(
    dialect: Dialect, piece: Piece, which: RecordFilter, group_by: Sequence[str], starts: Sequence[int] = ()
) -> Statement:
    """Sums of one piece, one row per group: [interval number,] groups, counts (see summing.py), money.

    Args:
        starts: of a time series: the beginnings of its intervals; rows begin with the interval's number. The piece is then
            bounded on both sides.
    """
    is_rollup = piece.source == "rollups"
    values = Parameters(dialect.mark)
    side, time = ("s", 'r."bucket_at"') if is_rollup else ("r", 'r."started_at"')
    instant = dialect.bucket_instant if is_rollup else dialect.record_instant
    groups = [_group(name, side) for name in group_by]
    table = '"rollups" AS r' if is_rollup else '"usage_records" AS r'
    if starts:
        first, edges = _clipped(starts, piece)
        before, condition, number = dialect.span(values, time, first, [instant(edge) for edge in edges])
        table, groups, conditions = before + table, [number, *groups], [condition]
    else:
        conditions = _between(values, time, instant, piece)
    if is_rollup:
        table += ' JOIN "series" AS s ON s."id" = r."series_id"'
    if "tag" in group_by:
        table += f" LEFT JOIN {dialect.tags} AS t ON TRUE"
    if not is_rollup:
        conditions += dialect.record_pruning(values, piece.start_at, piece.end_at, which.request_id)
    conditions += _matches(dialect, values, which, side)
    columns = [*groups, *(_rollup_counts() if is_rollup else _record_counts())]
    for name in MONEY_FIELDS:
        columns += dialect.rollup_money(name) if is_rollup else dialect.record_money(name)
    text = f"SELECT {', '.join(columns)} FROM {table}{_where(conditions)}"  # noqa: S608 -- names from closed lists, values as parameters
    if groups:
        text += f" GROUP BY {', '.join(groups)}"
    return Statement(text, values.values)


def page_statement(
    dialect: Dialect, which: RecordFilter, limit: int, behind: tuple[datetime, str] | None, *, is_oldest_first: bool = False
) -> Statement:
    """Records by (started_at, id); `behind` is the (started_at, id) after which to go on."""
    values = Parameters(dialect.mark)
    piece = Piece("records", which.start_at, which.end_at)
    conditions = _between(values, 'r."started_at"', dialect.record_instant, piece)
    conditions += dialect.record_pruning(values, which.start_at, which.end_at, which.request_id)
    conditions += _matches(dialect, values, which, "r")
    order, sign = ("ASC", ">") if is_oldest_first else ("DESC", "<")
    if behind is not None:
        conditions.append(
            f'(r."started_at", r."id") {sign} ({values.add(dialect.record_instant(behind[0]))}, {values.add(behind[1])})'
        )
    text = f'SELECT {COLUMNS} FROM "usage_records" AS r{_where(conditions)}'  # noqa: S608 -- as above
    text += f' ORDER BY r."started_at" {order}, r."id" {order} LIMIT {values.add(limit)}'
    return Statement(text, values.values)


def entries_statement(
    dialect: Dialect, kind: str, limit: int, behind: tuple[datetime, str] | None, start: datetime | None, end: datetime | None
) -> Statement:
    """Lines of a journal, newest first."""
    values = Parameters(dialect.mark)
    conditions = [f'r."kind" = {values.add(kind)}']
    conditions += _between(values, 'r."at"', dialect.record_instant, Piece("journal", start, end))
    if behind is not None:
        conditions.append(f'(r."at", r."id") < ({values.add(dialect.record_instant(behind[0]))}, {values.add(behind[1])})')
    text = f'SELECT r."id", r."at", r."body" FROM "journal" AS r{_where(conditions)}'  # noqa: S608 -- as above
    return Statement(f'{text} ORDER BY r."at" DESC, r."id" DESC LIMIT {values.add(limit)}', values.values)


def _bucket(at: datetime, is_up: bool) -> datetime:
    over = (at - EPOCH) % timedelta(seconds=BUCKET_SECONDS)
    return at if not over else at - over + timedelta(seconds=BUCKET_SECONDS if is_up else 0)


def _clipped(starts: Sequence[int], piece: Piece) -> tuple[int, list[datetime]]:
    """The number of the first interval that the piece touches, and the edges of the intervals within the piece."""
    assert piece.start_at is not None
    assert piece.end_at is not None
    first = bisect_right(starts, piece.start_at.timestamp()) - 1
    behind = bisect_left(starts, piece.end_at.timestamp())
    inner = [datetime.fromtimestamp(at, UTC) for at in starts[first + 1 : behind]]
    return first, [piece.start_at, *inner, piece.end_at]


def _between(values: Parameters, time: str, instant: Callable[[datetime], object], piece: Piece) -> list[str]:
    conditions = []
    if piece.start_at is not None:
        conditions.append(f"{time} >= {values.add(instant(piece.start_at))}")
    if piece.end_at is not None:
        conditions.append(f"{time} < {values.add(instant(piece.end_at))}")
    return conditions


def _matches(dialect: Dialect, values: Parameters, which: RecordFilter, side: str) -> list[str]:
    conditions = [
        f'{side}."{name}" = {values.add(getattr(which, name))}' for name in FILTER_COLUMNS if getattr(which, name) is not None
    ]
    if which.model is not None:
        model = values.add(which.model)
        conditions.append(f'({side}."request_model" = {model} OR {side}."response_model" = {model})')
    if which.session is not None:
        conditions.append(f'{side}."session" = {values.add(which.session)}')
    if which.tag is not None:
        conditions.append(f"EXISTS (SELECT 1 FROM {dialect.tags} AS t WHERE {_TAG} = {values.add(which.tag)})")  # noqa: S608 -- as above
    if which.request_id is not None:
        conditions.append(f'{side}."id" = {values.add(which.request_id)}')
    return conditions


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _group(name: str, side: str) -> str:
    if name == "tag":
        return _TAG
    return f'COALESCE({side}."response_model", {side}."request_model")' if name == "model" else f'{side}."{name}"'


def count_sum(expression: str) -> str:
    """A sum of whole numbers as one: PostgreSQL makes it NUMERIC, and reading that back was half of the time of a page of users."""
    return f"CAST(SUM({expression}) AS BIGINT)"


def outcome_counts(counted: str, column: str) -> list[str]:
    """Sums of `counted` by how the call ended: ok, denied, failed, client_aborted."""
    failed = ", ".join(f"'{outcome}'" for outcome in FAILED_OUTCOMES)
    tests = (f"{column} = 'ok'", f"{column} = 'denied'", f"{column} IN ({failed})", f"{column} = 'client_aborted'")
    return [count_sum(f"CASE WHEN {test} THEN {counted} ELSE 0 END") for test in tests]


def _rollup_counts() -> list[str]:
    requests, *others = (count_sum(f'r."{name}"') for name in COUNTS)
    return [requests, *outcome_counts('r."requests"', 's."outcome"'), *others]


def _record_counts() -> list[str]:
    return [
        "COUNT(*)",
        *outcome_counts("1", 'r."outcome"'),
        *(count_sum(f'r."{name}"') for name in TOKEN_FIELDS),
        count_sum("CASE WHEN r.\"usage_source\" = 'estimated' THEN 1 ELSE 0 END"),
        count_sum(f'CASE WHEN r."cost_usd" IS NULL AND {_TOKENS_OR_NONE} IS NOT NULL THEN 1 ELSE 0 END'),
        count_sum('CAST(ROUND(r."duration_ms" * 1000) AS BIGINT)'),
        count_sum('CAST(ROUND(r."time_to_first_byte_ms" * 1000) AS BIGINT)'),
        'COUNT(r."time_to_first_byte_ms")',
    ]
