"""Calendar windows: when the minute, hour, day or month that holds an instant begins and ends, and what it is called.

Rules of this file: windows are aligned to the calendar of one IANA zone; they never overlap, leave no gap, and an id never
names two of them in one zone. The id is part of the counter's key, so a reset is a new key and no job has to run.
Ids are wall time: `2026-11-21T23:49`, `2026-11-21T23`, `2026-11-21`, `2026-11`, `total`. Where the zone's offset is not UTC's,
minutes and hours carry it (`2026-10-25T02+0200`): when clocks go back, the repeated hour is a window of its own. A day
has 23, 24 or 25 hours, as the zone has it. The zone's name is not part of the id: after a change of `timezone` the count
of the day with the same date goes on (errs towards the stricter side) instead of starting afresh.

Not here: counts (counting.py), rolling windows (there are none: a limit says `per_day`, and a day begins at midnight).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import floor
from typing import NamedTuple
from zoneinfo import ZoneInfo

LEASES = ""
"""The window id of concurrency: leases live in no window."""


class Window(NamedTuple):
    """One window; starts_at ≤ instant < ends_at, in Unix seconds. A window without end (`total`) ends at None."""

    id: str
    starts_at: float
    ends_at: float | None


class Calendar:
    """The windows of one zone; remembers the current one of each kind, so that asking again costs a comparison."""

    __slots__ = ("_current", "zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._current: dict[str, Window] = {"total": Window("total", 0.0, None)}

    def window_at(self, window: str, now: float) -> Window:
        """The window of that kind (minute, hour, day, month, total) which holds the instant `now` (Unix seconds).

        Raises:
            ValueError: no such kind of window.
        """
        current = self._current.get(window)
        if current is not None and (current.ends_at is None or current.starts_at <= now < current.ends_at):
            return current
        make = _KINDS.get(window)
        if make is None:
            raise ValueError(f"no such window: {window!r} (minute, hour, day, month, total)")
        current = self._current[window] = make(floor(now), self.zone)
        return current


@lru_cache(maxsize=64)
def calendar_of(zone: ZoneInfo) -> Calendar:
    """The one calendar of a zone in this process."""
    return Calendar(zone)


def window_at(window: str, now: float, zone: ZoneInfo) -> Window:
    """The window of that kind which holds `now` in `zone`; see Calendar.window_at."""
    return calendar_of(zone).window_at(window, now)


def _minute(now: int, zone: ZoneInfo) -> Window:
    return _slice(now, zone, 60, "%Y-%m-%dT%H:%M")


def _hour(now: int, zone: ZoneInfo) -> Window:
    return _slice(now, zone, 3600, "%Y-%m-%dT%H")


def _slice(now: int, zone: ZoneInfo, seconds: int, id_format: str) -> Window:
    """A minute or hour of wall time, cut where the zone's offset changes inside it (Lord Howe shifts by half an hour)."""
    local = datetime.fromtimestamp(now, zone)
    offset = _offset_at(now, zone)
    starts_at = now - (now + offset) % seconds
    ends_at = starts_at + seconds
    if _offset_at(starts_at, zone) != offset:
        starts_at = _change_between(starts_at, now, zone)
    if _offset_at(ends_at - 1, zone) != offset:
        ends_at = _change_between(now, ends_at - 1, zone)
    suffix = local.strftime("%z") if offset else ""
    return Window(local.strftime(id_format) + suffix, float(starts_at), float(ends_at))


def _day(now: int, zone: ZoneInfo) -> Window:
    return _span(now, zone, lambda day: day, lambda day: day + timedelta(days=1), "%Y-%m-%d")


def _month(now: int, zone: ZoneInfo) -> Window:
    return _span(now, zone, _first_of_month, lambda day: _first_of_month(_first_of_month(day) + timedelta(days=32)), "%Y-%m")


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _span(now: int, zone: ZoneInfo, first: Callable[[date], date], following: Callable[[date], date], id_format: str) -> Window:
    """From one local midnight to another. Where clocks go back over midnight, the new day has begun and stays the day."""
    day = first(datetime.fromtimestamp(now, zone).date())
    ends_at = _midnight(following(day), zone)
    while ends_at <= now:
        day = following(day)
        ends_at = _midnight(following(day), zone)
    return Window(day.strftime(id_format), _midnight(day, zone), ends_at)


def _midnight(day: date, zone: ZoneInfo) -> float:
    """When a local date begins. fold=0 gives the first of two midnights, and the moment of change for a skipped one (PEP 495)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _offset_at(instant: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(instant, UTC).astimezone(zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0


def _change_between(before: int, after: int, zone: ZoneInfo) -> int:
    """First second of the offset that holds at `after`, by bisection; the offsets at both ends differ."""
    wanted = _offset_at(after, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset_at(middle, zone) == wanted:
            after = middle
        else:
            before = middle
    return after


_KINDS: dict[str, Callable[[int, ZoneInfo], Window]] = {"minute": _minute, "hour": _hour, "day": _day, "month": _month}
