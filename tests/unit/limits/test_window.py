"""Calendar windows: bounds, names, and the days on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.limits.window import Calendar, Window, calendar_of, window_at

HOUR = 3600.0


def at(text: str) -> float:
    """Unix seconds of an ISO instant with offset."""
    return datetime.fromisoformat(text).timestamp()


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "name", "starts", "ends"),
    [
        ("minute", "2026-11-21T23:49", "2026-11-21T23:49", "2026-11-21T23:50"),
        ("hour", "2026-11-21T23", "2026-11-21T23:00", "2026-11-22T00:00"),
        ("day", "2026-11-21", "2026-11-21T00:00", "2026-11-22T00:00"),
        ("month", "2026-11", "2026-11-01T00:00", "2026-12-01T00:00"),
    ],
)
def test_windows_of_utc(kind: str, name: str, starts: str, ends: str) -> None:
    now = utc("2026-11-21T23:49:31") + 0.25
    assert window_at(kind, now, ZoneInfo("UTC")) == Window(name, utc(starts), utc(ends))


def test_total_never_ends() -> None:
    assert window_at("total", 1.0, ZoneInfo("UTC")) == Window("total", 0.0, None)


def test_a_month_is_a_calendar_month() -> None:
    window = window_at("month", utc("2028-02-29T12:00"), ZoneInfo("UTC"))
    assert (window.starts_at, window.ends_at) == (utc("2028-02-01T00:00"), utc("2028-03-01T00:00"))
    december = window_at("month", utc("2026-12-31T23:59:59"), ZoneInfo("UTC"))
    assert december.ends_at == utc("2027-01-01T00:00")


def test_a_day_begins_at_the_zones_midnight() -> None:
    window = window_at("day", at("2026-11-21T16:00:00+00:00"), ZoneInfo("Asia/Tokyo"))
    assert window.id == "2026-11-22"
    assert window.starts_at == at("2026-11-22T00:00:00+09:00")


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_days_have_as_many_hours_as_the_zone_gives_them(day: str, hours: int) -> None:
    window = window_at("day", at(f"{day}T12:00:00+01:00"), ZoneInfo("Europe/Berlin"))
    assert window.id == day
    assert window.ends_at is not None
    assert window.ends_at - window.starts_at == hours * HOUR


def test_the_repeated_hour_is_two_windows() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = window_at("hour", at("2026-10-25T02:30:00+02:00"), zone)
    second = window_at("hour", at("2026-10-25T02:30:00+01:00"), zone)
    assert (first.id, second.id) == ("2026-10-25T02+0200", "2026-10-25T02+0100")
    assert first.ends_at == second.starts_at == at("2026-10-25T02:00:00+01:00")
    minutes = {window_at("minute", at(f"2026-10-25T02:30:00{offset}"), zone).id for offset in ("+02:00", "+01:00")}
    assert minutes == {"2026-10-25T02:30+0200", "2026-10-25T02:30+0100"}


def test_the_skipped_hour_is_no_window() -> None:
    zone = ZoneInfo("Europe/Berlin")
    before = window_at("hour", at("2026-03-29T01:59:59+01:00"), zone)
    after = window_at("hour", at("2026-03-29T03:00:00+02:00"), zone)
    assert (before.id, after.id) == ("2026-03-29T01+0100", "2026-03-29T03+0200")
    assert before.ends_at == after.starts_at


def test_an_hour_is_cut_where_the_clock_moves_half_an_hour() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    window = window_at("hour", at("2026-04-05T01:45:00+10:30"), zone)
    assert window.id == "2026-04-05T01+1030"
    assert (window.starts_at, window.ends_at) == (at("2026-04-05T01:30:00+10:30"), at("2026-04-05T02:00:00+10:30"))


def test_a_day_whose_midnight_does_not_exist_begins_at_the_change() -> None:
    # Santiago 2025-09-07: 00:00 -04 becomes 01:00 -03.
    window = window_at("day", at("2025-09-07T12:00:00-03:00"), ZoneInfo("America/Santiago"))
    assert window.starts_at == at("2025-09-07T01:00:00-03:00")
    assert window.ends_at == at("2025-09-08T00:00:00-03:00")


def test_a_day_that_was_left_out_is_left_out() -> None:
    zone = ZoneInfo("Pacific/Apia")  # there was no 30 December 2011
    window = window_at("day", at("2011-12-29T12:00:00-10:00"), zone)
    assert window.ends_at == at("2011-12-31T00:00:00+14:00")
    assert window_at("day", window.ends_at, zone).id == "2011-12-31"


@pytest.mark.parametrize(
    "zone_name",
    ["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "America/Santiago", "America/St_Johns", "Asia/Kathmandu"],
)
@pytest.mark.parametrize("kind", ["hour", "day", "month"])
def test_windows_leave_no_gap_and_no_name_comes_twice(zone_name: str, kind: str) -> None:
    """Two years walked window by window, each asked at its first, middle and last second, with nothing remembered."""
    zone = ZoneInfo(zone_name)
    now, end = utc("2010-01-01T00:00"), utc("2010-04-20T00:00" if kind == "hour" else "2012-01-01T00:00")
    names: set[str] = set()
    while now < end:
        window = Calendar(zone).window_at(kind, now)
        assert window.id not in names
        assert window.ends_at is not None
        assert not names or window.starts_at == now
        names.add(window.id)
        for instant in (window.starts_at, (window.starts_at + window.ends_at) // 2, window.ends_at - 1):
            assert Calendar(zone).window_at(kind, instant) == window
        now = window.ends_at


def test_the_last_microseconds_belong_to_the_old_window() -> None:
    end = utc("2026-11-22T00:00")
    assert window_at("day", end - 5e-7, ZoneInfo("UTC")).id == "2026-11-21"
    assert window_at("day", end, ZoneInfo("UTC")).id == "2026-11-22"


def test_the_current_window_is_remembered_and_left_when_over() -> None:
    calendar = calendar_of(ZoneInfo("UTC"))
    first = calendar.window_at("minute", 90.0)
    assert calendar.window_at("minute", 119.9) is first
    assert calendar.window_at("minute", 120.0).id == "1970-01-01T00:02"
    assert calendar.window_at("minute", 90.0) == first


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="fortnight"):
        window_at("fortnight", 0.0, ZoneInfo("UTC"))
