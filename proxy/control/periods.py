"""Which stretch of time a request is about: `range=…`, or `from` and `to`.

`day`, `week`, `month`, `year` and `7d`, `24h` reach back from now (to a full hour, as the roll-ups are hourly); `today`,
`this_month` and their kin are calendar periods of the time zone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from proxy.control.parameters import Instant, Parameter, Zone
from proxy.control.replies import bad_parameter

_BACK = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}
_CALENDAR = ("today", "yesterday", "this_week", "this_month", "last_month", "this_year", "all")
_COUNTED = re.compile(r"([1-9][0-9]{0,3})([hdwmy])")
_UNITS = {"h": 1, "d": 24, "w": 7 * 24, "m": 30 * 24, "y": 365 * 24}


@dataclass(frozen=True, slots=True)
class RangeParameter(Parameter):
    """A named range, or a number of hours, days, weeks, months of 30 days, years of 365."""

    def read(self, raw: str) -> str:
        if raw not in _BACK and raw not in _CALENDAR and not _COUNTED.fullmatch(raw):
            names = ", ".join((*_BACK, *_CALENDAR))
            raise bad_parameter(self.name, f"one of {names}, or a number and a unit such as 24h, 30d, 12w")
        return raw

    def schema(self) -> dict[str, object]:
        names = "|".join((*_BACK, *_CALENDAR))
        return {"type": "string", "pattern": f"^({names}|[1-9][0-9]{{0,3}}[hdwmy])$", "examples": ["day", "month", "30d"]}


RANGE = RangeParameter("range", "The stretch of time, back from now or a calendar period; `from` and `to` go before it.", "month")
FROM = Instant("from", "First instant, inclusive; a date or instant without an offset is one of `timezone`.")
TO = Instant("to", "Last instant, exclusive.")
TIMEZONE = Zone("timezone", "Zone of dates and intervals; the configuration's where not given.")
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9000, 1, 1, tzinfo=UTC)
PERIOD = (RANGE, FROM, TO, TIMEZONE)


@dataclass(frozen=True, slots=True)
class Period:
    """From start_at (inclusive) to end_at (exclusive), aware UTC; None: without an end on that side."""

    start_at: datetime | None
    end_at: datetime | None
    zone: ZoneInfo

    def as_json(self) -> dict[str, object]:
        return {
            "from": self.start_at and iso(self.start_at),
            "to": self.end_at and iso(self.end_at),
            "timezone": self.zone.key,
        }


def iso(at: datetime) -> str:
    """UTC text with microseconds and Z, as in records."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_period(values: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> Period:
    """The period that the query's values name. Without `from`, `to` and `range` it has no bounds."""
    zone = values.get("timezone") or zone
    start_at, end_at = _placed(values.get("from"), zone), _placed(values.get("to"), zone)
    name = values.get("range")
    if start_at is None and end_at is None and name:
        start_at, end_at = _named(name, zone, now)
    return Period(_sane(start_at), _sane(end_at), zone)


def _sane(at: datetime | None) -> datetime | None:
    """There were no calls before FIRST and there are none after LAST, and neither clocks nor databases like other years."""
    return None if at is None else min(max(at, FIRST), LAST)


def month_of(at: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The calendar month around an instant: first instant, and first of the next, in UTC."""
    local = at.astimezone(zone)
    first = datetime(local.year, local.month, 1, tzinfo=zone)
    after = datetime(local.year + local.month // 12, local.month % 12 + 1, 1, tzinfo=zone)
    return first.astimezone(UTC), after.astimezone(UTC)


def midnight(at: datetime, zone: ZoneInfo, days: int = 0) -> datetime:
    """Begin of the local day around an instant, or of one some days later, in UTC."""
    day = at.astimezone(zone).date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _placed(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    if at is None or at.tzinfo is not None:
        return at
    try:
        return at.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:  # the first or last day of all time, in a zone that pushes it over the edge
        return at.replace(tzinfo=UTC)


def _named(name: str, zone: ZoneInfo, now: datetime) -> tuple[datetime | None, datetime | None]:
    counted = _COUNTED.fullmatch(name)
    if counted:
        return _hours_back(now, timedelta(hours=int(counted[1]) * _UNITS[counted[2]])), None
    if name in _BACK:
        return _hours_back(now, _BACK[name]), None
    return _calendar(name, zone, now)


def _hours_back(now: datetime, back: timedelta) -> datetime | None:
    try:
        return (now - back).replace(minute=0, second=0, microsecond=0)
    except OverflowError:  # 9999 years ago
        return None


def _calendar(name: str, zone: ZoneInfo, now: datetime) -> tuple[datetime | None, datetime | None]:
    month_start, _ = month_of(now, zone)
    if name == "today":
        return midnight(now, zone), None
    if name == "yesterday":
        return midnight(now, zone, -1), midnight(now, zone)
    if name == "this_week":
        return midnight(now, zone, -now.astimezone(zone).weekday()), None
    if name == "this_month":
        return month_start, None
    if name == "last_month":
        return month_of(month_start - timedelta(hours=12), zone)[0], month_start
    if name == "this_year":
        return datetime(now.astimezone(zone).year, 1, 1, tzinfo=zone).astimezone(UTC), None
    return None, None
