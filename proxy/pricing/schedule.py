"""When which rates count: price periods by date and hour, variants by service tier, and the choice among them.

Rules of this file: days and hours are UTC, and a call belongs to the moment it started. Periods are in the order of the
price list and the last one that is active counts (else the first); of the variants that match, the first one to name a rate
gives it. Both orders are genai-prices' own.
Not here: money (rates.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType

from proxy.pricing.rates import Rate, RateTable

Moment = datetime | float
"""A point in time. A datetime without a zone is UTC; a number is Unix seconds, as the way of a request has it."""
_EPOCH = date(1970, 1, 1)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_DAY_SECONDS = 86_400

Hours = tuple[time, time]
"""From (inclusive) until (exclusive), UTC; may run over midnight."""

TIER_SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "on_demand": "default",
        "on_demand_flex": "flex",
        "on_demand_priority": "priority",
        "traffic_type_unspecified": "default",
        "service_tier_flex": "flex",
        "service_tier_priority": "priority",
        "service_tier_standard": "default",
    }
)
"""Vertex reports `trafficType`, the Gemini API an enum name; the price list says flex and priority."""


@dataclass(frozen=True, slots=True)
class Period:
    """A whole table of rates and when it counts."""

    table: RateTable
    starts_on: date | None = None
    hours: Hours | None = None

    def has_started(self, day: date | None) -> bool:
        """Whether its first day has come. None: all first days have."""
        return self.starts_on is None or day is None or day >= self.starts_on


@dataclass(frozen=True, slots=True)
class Variant:
    """Rates that replace those of the period for some calls (`{"service_tier": "flex"}`)."""

    when: Mapping[str, str]
    table: RateTable
    starts_on: date | None = None
    hours: Hours | None = None

    def has_started(self, day: date | None) -> bool:
        """Whether its first day has come. None: all first days have."""
        return self.starts_on is None or day is None or day >= self.starts_on


def in_utc(moment: Moment) -> datetime:
    """The moment in UTC."""
    if not isinstance(moment, datetime):
        return datetime.fromtimestamp(moment, UTC)
    if moment.tzinfo is UTC or moment.tzinfo is None:
        return moment
    return moment.astimezone(UTC)


def day_number(moment: Moment) -> int:
    """The UTC day as days since 1970: what memos go by, at a fifth of the price of a date."""
    if isinstance(moment, datetime):
        return in_utc(moment).toordinal() - _EPOCH_ORDINAL
    return int(moment // _DAY_SECONDS)


def date_of(day: int) -> date:
    """The date of a day number."""
    return _EPOCH + timedelta(days=day)


def is_within(at: time, hours: Hours) -> bool:
    """Whether a time of day lies in the interval."""
    start, end = hours
    if end < start:
        return at >= start or at < end
    return start <= at < end


def call_context(service_tier: str | None, is_batch: bool) -> dict[str, str]:
    """What the variants of the price list ask about: the tier that served the call, the way it was handed in."""
    context: dict[str, str] = {}
    if service_tier:
        tier = service_tier.lower()
        tier = TIER_SYNONYMS.get(tier, tier)
        if tier == "batch":
            is_batch = True
        else:
            context["service_tier"] = tier
            context["speed"] = tier  # Anthropic calls its fast tier a speed; dialects report both as the tier
    if is_batch:
        context["processing"] = "batch"
    return context


def table_in_force(
    periods: tuple[Period, ...], variants: tuple[Variant, ...], day: date, open_hours: frozenset[Hours], context: Mapping[str, str]
) -> RateTable | None:
    """The rates of a call: its period's, with the matching variants laid over.

    Args:
        open_hours: those of the schedule's intervals that the call started in.

    Returns:
        None where no period is active, which only happens to operators' tables that start later.
    """

    def is_active(part: Period | Variant) -> bool:
        return part.has_started(day) and (part.hours is None or part.hours in open_hours)

    period = next((period for period in reversed(periods) if is_active(period)), None)
    if period is None:
        return None
    table: dict[str, Rate] = {}
    for variant in variants:
        if is_active(variant) and all(context.get(key) == value for key, value in variant.when.items()):
            for name, rate in variant.table.items():
                table.setdefault(name, rate)
    return {**period.table, **table} if table else period.table


def possible_periods(periods: tuple[Period, ...], day: date | None) -> list[Period]:
    """The periods that can be in force at some hour of a day. None: once all first days have come."""
    possible: list[Period] = []
    for period in reversed(periods):
        if period.has_started(day):
            possible.append(period)
            if period.hours is None:
                break
    return possible


def all_hours(parts: Iterable[Period | Variant]) -> tuple[Hours, ...]:
    """Every distinct interval of a schedule."""
    return tuple(dict.fromkeys(part.hours for part in parts if part.hours is not None))
