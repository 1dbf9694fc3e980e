"""Users who stay far under what their tier allows: a smaller tier would do, or is what they are used to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from proxy.ledger.ledger import Sums
from proxy.limits.limit import NANO_USD, Limit

FAR_UNDER = Decimal("0.1")
"""The highest day (or the whole month) stayed under this share of the limit."""
MIN_DAYS = 7
"""Days with calls, before anybody is said to need little."""
_COUNTED = {
    "tokens": "total_tokens", "input_tokens": "input_tokens", "output_tokens": "output_tokens", "requests": "requests",
    "cost_usd": "cost_usd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Roomy:
    """A limit of a tier that a user never came near."""

    limit: Limit
    highest: Decimal
    """The highest day, or all of the 30 days, in the limit's own unit (nano-dollars for money)."""

    @property
    def share(self) -> float:
        return round(float(self.highest / self.limit.amount), 4)


def roomy_limits(days: Sequence[Sums], limits: Sequence[Limit]) -> list[Roomy]:
    """
    Args:
        days: a user's sums by day, of the last 30 days, days without calls left out.
        limits: all that apply to the user; only a tier's by day and month are looked at.

    Returns:
        All of those, if the user is far under each of them; else none: one that is used is reason enough for the tier.
    """
    wanted = [
        limit
        for limit in limits
        if limit.name.startswith("tiers.") and limit.window in ("day", "month") and limit.resource in _COUNTED and limit.amount > 0
    ]
    if len(days) < MIN_DAYS:
        return []
    found = [Roomy(limit, _highest(days, limit)) for limit in wanted]
    return found if all(one.highest < FAR_UNDER * one.limit.amount for one in found) else []


def _highest(days: Sequence[Sums], limit: Limit) -> Decimal:
    amounts = [Decimal(getattr(day, _COUNTED[limit.resource])) for day in days]
    unit = Decimal(NANO_USD) if limit.resource == "cost_usd" else Decimal(1)
    return unit * (max(amounts) if limit.window == "day" else sum(amounts, Decimal(0)))


def by_user(points: Sequence[tuple[str | None, Sums]]) -> Mapping[str, list[Sums]]:
    """Daily sums under their users."""
    found: dict[str, list[Sums]] = {}
    for user, sums in points:
        if user is not None and sums.requests:
            found.setdefault(user, []).append(sums)
    return found
