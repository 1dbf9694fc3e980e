"""The ledger and a provider's report side by side, per day and model, and what the differences are called.

Names of differences, in the order in which they are looked for:

    missing here      the provider billed what the ledger does not have: calls that did not pass the proxy
    missing there     the ledger has calls that the report does not: another account, or a report that is not final
    time-zone edge    what one day has too much its neighbour has too little: days begin at another hour
    cache classes     the same input in all, read from or written to the cache in other parts
    estimated         streams that ended before their usage came: the ledger counts by estimate
    retries           the same tokens per call, and other numbers of calls
    tokens            the counts differ, and none of these says why
    tier              the same tokens at another price: batches, flex, priority, a discount
    unpriced          the ledger has tokens without a price
    rounding          money differs by less than the report's last digit
    price             the same tokens, other money: a rate of ours is not theirs

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from proxy.control.provider_reports import COUNTS, Place, Reported, Rows
from proxy.ledger.ledger import Sums
from proxy.pricing.money import usd_text

TOKENS = ("input_tokens", "output_tokens")
CACHE = ("cache_read_tokens", "cache_write_tokens")
ROUNDING_USD = Decimal("0.01")
"""Per row: the reports give cents, or fractions of them."""
EXPLAINED = ("rounding", "time-zone edge")
"""Differences that do not make a row differ: they are about the report's form."""


@dataclass(slots=True)
class Line:
    """One day and model."""

    day: date
    model: str | None
    ours: Sums
    theirs: Reported
    causes: list[str] = field(default_factory=list)
    is_beyond: bool = False

    def gap(self, name: str) -> int:
        """Ours minus theirs; 0 where the report does not say."""
        theirs = getattr(self.theirs, name)
        return 0 if theirs is None else getattr(self.ours, name) - theirs

    @property
    def money_gap(self) -> Decimal:
        return Decimal(0) if self.theirs.cost_usd is None else self.ours.cost_usd - self.theirs.cost_usd

    @property
    def token_gap(self) -> int:
        return self.gap("input_tokens") + self.gap("output_tokens")

    def as_json(self) -> dict[str, object]:
        ours: dict[str, object] = {name: getattr(self.ours, name) for name in COUNTS}
        theirs: dict[str, object] = {name: getattr(self.theirs, name) for name in COUNTS}
        return {
            "day": self.day.isoformat(),
            "model": self.model,
            "ours": {**ours, "cost_usd": usd_text(self.ours.cost_usd)},
            "theirs": {**theirs, "cost_usd": None if self.theirs.cost_usd is None else usd_text(self.theirs.cost_usd)},
            "difference": {
                **{name: self.gap(name) if getattr(self.theirs, name) is not None else None for name in COUNTS},
                "cost_usd": None if self.theirs.cost_usd is None else usd_text(self.money_gap),
            },
            "causes": self.causes,
            "is_beyond": self.is_beyond,
        }


def compare(ours: Mapping[Place, Sums], theirs: Rows, tolerance: Decimal) -> list[Line]:
    """Every day and model of either side, oldest first, with the names of their differences.

    Args:
        tolerance: share of the larger side that tokens or money may differ by.
    """
    ours = _with_days(ours, {day for day, model in theirs if model is None})
    only_days = {day for day, model in theirs} - {day for day, model in theirs if model is not None}
    places = {place for place in (*ours, *theirs) if not (place[0] in only_days and place[1] is not None)}
    lines = [
        Line(day, model, ours.get((day, model), Sums()), theirs.get((day, model), Reported()))
        for day, model in sorted(places, key=lambda place: (place[0], place[1] or ""))
    ]
    edges = _edges(lines, tolerance)
    for line in lines:
        if _has_something(line):
            line.causes = _causes(line, id(line) in edges, tolerance)
            line.is_beyond = _is_beyond(line, tolerance) and not all(cause in EXPLAINED for cause in line.causes)
    return [line for line in lines if _has_something(line)]


def _with_days(ours: Mapping[Place, Sums], days: Iterable[date]) -> dict[Place, Sums]:
    """A day's sum over all models, for days of which the report tells no models."""
    found = dict(ours)
    for day in days:
        parts = [sums for (one, model), sums in ours.items() if one == day and model is not None]
        found[(day, None)] = Sums(
            **{
                name: sum((getattr(part, name) for part in parts), start=getattr(Sums(), name))
                for name in (*COUNTS, "cost_usd", "estimated", "unpriced", "total_tokens")
            }
        )
    return found


def _has_something(line: Line) -> bool:
    return bool(line.ours.total_tokens or line.ours.cost_usd or not line.theirs.is_empty)


def _is_beyond(line: Line, tolerance: Decimal) -> bool:
    for name in TOKENS:
        theirs = getattr(line.theirs, name)
        if theirs is not None and _is_off(getattr(line.ours, name), theirs, tolerance):
            return True
    if line.theirs.cost_usd is None:
        return _is_missing_there(line)
    return abs(line.money_gap) > ROUNDING_USD and _is_off(line.ours.cost_usd, line.theirs.cost_usd, tolerance)


def _is_off(ours: int | Decimal, theirs: int | Decimal, tolerance: Decimal) -> bool:
    return abs(Decimal(ours) - Decimal(theirs)) > tolerance * max(abs(Decimal(ours)), abs(Decimal(theirs)))


def _is_missing_there(line: Line) -> bool:
    return line.theirs.is_empty and bool(line.ours.total_tokens)


def _is_missing_here(line: Line) -> bool:
    is_billed = bool(line.theirs.input_tokens or line.theirs.output_tokens or line.theirs.cost_usd)
    return is_billed and not line.ours.requests


def _causes(line: Line, is_edge: bool, tolerance: Decimal) -> list[str]:
    if is_edge:
        return ["time-zone edge"]
    if _is_missing_here(line):
        return ["missing here"]
    if _is_missing_there(line):
        return ["missing there"]
    causes = _token_causes(line)
    if line.theirs.cost_usd is not None and line.money_gap:
        causes += _money_causes(line, bool(causes), tolerance)
    return causes


def _token_causes(line: Line) -> list[str]:
    causes = []
    if any(line.gap(name) for name in CACHE):
        causes.append("cache classes")
    if line.token_gap or any(line.gap(name) for name in TOKENS):
        if line.ours.estimated:
            causes.append("estimated")
        elif _has_same_calls(line):
            causes.append("missing here" if line.token_gap < 0 else "missing there" if line.gap("requests") else "tokens")
        elif line.gap("requests"):
            causes.append("retries")
        else:
            causes.append("tokens")
    return causes


def _has_same_calls(line: Line) -> bool:
    """Tokens per call are alike (within a quarter), so that the difference is one of calls."""
    ours, theirs = line.ours.requests, line.theirs.requests
    if not ours or not theirs or ours == theirs:
        return False
    mean_ours = (line.ours.input_tokens + line.ours.output_tokens) / ours
    mean_theirs = ((line.theirs.input_tokens or 0) + (line.theirs.output_tokens or 0)) / theirs
    return mean_theirs > 0 and abs(mean_ours / mean_theirs - 1) < 0.25 and (line.gap("requests") < 0) == (line.token_gap < 0)


def _money_causes(line: Line, has_token_cause: bool, tolerance: Decimal) -> list[str]:
    if abs(line.money_gap) <= ROUNDING_USD:
        return ["rounding"]
    if line.theirs.tier_tokens:
        return ["tier"]
    if line.ours.unpriced:
        return ["unpriced"]
    if has_token_cause or not _is_off(line.ours.cost_usd, line.theirs.cost_usd or Decimal(0), tolerance):
        return [] if has_token_cause else ["rounding"]
    ratio = (line.theirs.cost_usd or Decimal(0)) / line.ours.cost_usd if line.ours.cost_usd else None
    return ["tier" if ratio is not None and Decimal("0.48") <= ratio <= Decimal("0.52") else "price"]


def _edges(lines: Sequence[Line], tolerance: Decimal) -> set[int]:
    """Neighbouring days of one model whose differences make up for each other."""
    by_place = {(line.day, line.model): line for line in lines}
    found: set[int] = set()
    for line in lines:
        after = by_place.get((line.day + timedelta(days=1), line.model))
        if after is None:
            continue
        gap, next_gap = line.token_gap, after.token_gap
        is_made_up_for = gap and next_gap and (gap > 0) != (next_gap > 0) and abs(gap + next_gap) <= tolerance * abs(gap)
        if is_made_up_for and not _is_missing_here(line) and not _is_missing_there(line):
            found |= {id(line), id(after)}
    return found


def in_all(lines: Sequence[Line]) -> dict[str, object]:
    """Both sides' totals over what both speak of."""
    ours: dict[str, object] = {}
    theirs: dict[str, object] = {}
    for name in COUNTS:
        told = [line for line in lines if getattr(line.theirs, name) is not None]
        ours[name] = sum(getattr(line.ours, name) for line in told) if told else None
        theirs[name] = sum(getattr(line.theirs, name) for line in told) if told else None
    priced = [line for line in lines if line.theirs.cost_usd is not None]
    ours["cost_usd"] = usd_text(sum((line.ours.cost_usd for line in priced), Decimal(0))) if priced else None
    theirs["cost_usd"] = usd_text(sum((line.theirs.cost_usd or Decimal(0) for line in priced), Decimal(0))) if priced else None
    causes: dict[str, int] = {}
    for line in lines:
        for cause in line.causes:
            causes[cause] = causes.get(cause, 0) + 1
    return {"ours": ours, "theirs": theirs, "causes": causes}
