"""Where hours, days, weeks and months begin in a time zone, as Unix times. Pure.

Days begin at local midnight: where a clock change skips it, at the change; where it happens twice, at the first. Weeks begin on
Monday. Hours begin where the local clock shows :00, which keeps zones at :30 and :45 and half-hour changes right.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proxy.ledger.ledger import INTERVALS
from proxy.ledger.rollup import BUCKET_SECONDS

MAX_POINTS = 100_000


def zone_of(name: str) -> ZoneInfo:
    """Raises ValueError for a name that is not an IANA zone's."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name!r}") from error


def interval_starts(start: float, end: float, interval: str, zone: ZoneInfo) -> list[int]:
    """Beginnings of all intervals that overlap [start, end), in order; the first is not after start.

    Raises:
        ValueError: an unknown interval, or more than MAX_POINTS of them.
    """
    if interval not in INTERVALS:
        raise ValueError(f"unknown interval {interval!r}; one of {', '.join(INTERVALS)}")
    if (end - start) / 3600 > MAX_POINTS * (1 if interval == "hour" else 24):
        raise ValueError(f"more than {MAX_POINTS} points")
    if interval == "hour":
        return _hours(start, end, zone)
    day = datetime.fromtimestamp(start, UTC).astimezone(zone).date()
    first = _first_day(day, interval)
    starts = []
    while (at := _midnight(first, zone)) < end:
        starts.append(at)
        first = _next_day(first, interval)
    return starts


def _hours(start: float, end: float, zone: ZoneInfo) -> list[int]:
    at = int(start // BUCKET_SECONDS) * BUCKET_SECONDS
    while datetime.fromtimestamp(at, zone).minute != 0:
        at -= BUCKET_SECONDS
    starts = []
    while at < end:
        starts.append(at)
        at += 3600
        if datetime.fromtimestamp(at, zone).minute != 0:  # a change by half an hour: go on from the next full hour
            at -= 3600 - BUCKET_SECONDS
            while datetime.fromtimestamp(at, zone).minute != 0:
                at += BUCKET_SECONDS
    return starts


def _first_day(day: date, interval: str) -> date:
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def _next_day(day: date, interval: str) -> date:
    if interval == "month":
        return (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return day + timedelta(days=7 if interval == "week" else 1)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
