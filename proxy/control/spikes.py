"""Spikes against the weekly average: pure; the API's `usage/anomalies` and the alerts read the same rule.

A day is a spike where it passes its factor times the mean of the seven days before it (tokens 2, cost 2, calls 3) and a
floor below which nobody cares. Somebody with less than three days of history has no usual day yet and so no spikes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from proxy.ledger.ledger import Sums

BASELINE_DAYS = 7
HISTORY_DAYS = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as a spike of one resource."""

    resource: str
    factor: Decimal
    floor: Decimal


RULES = (
    Rule("total_tokens", Decimal(2), Decimal(1000)),
    Rule("cost_usd", Decimal(2), Decimal("0.01")),
    Rule("requests", Decimal(3), Decimal(10)),
)


@dataclass(frozen=True, slots=True)
class Spike:
    """One day of one resource that stands out."""

    day: date
    resource: str
    amount: Decimal
    average: Decimal
    factor: Decimal
    """amount / average."""


def find_spikes(by_day: Mapping[date, Sums], days: Sequence[date], rules: Sequence[Rule] = RULES) -> list[Spike]:
    """Spikes among `days`, oldest first. `by_day` must reach seven days further back; days without use may be left out."""
    found: list[Spike] = []
    first_day = min(by_day, default=None)
    for day in days:
        history = [day - timedelta(days=back) for back in range(1, BASELINE_DAYS + 1)]
        known = [one for one in history if first_day is not None and one >= first_day]
        if day not in by_day or len(known) < HISTORY_DAYS:
            continue
        for rule in rules:
            amount = Decimal(getattr(by_day[day], rule.resource))
            before = sum((Decimal(getattr(by_day[one], rule.resource)) for one in known if one in by_day), Decimal(0))
            average = before / len(known)
            if average > 0 and amount > rule.floor and amount > rule.factor * average:
                found.append(Spike(day, rule.resource, amount, average, amount / average))
    return found
