"""Beginnings of intervals, against the clock itself: every quarter of an hour belongs to the interval its local time says."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ledger.intervals import interval_starts, zone_of

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Asia/Beirut", "America/Havana", "Pacific/Apia", "Africa/Cairo", "Pacific/Chatham",
)  # fmt: skip
FIRST = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())


def local_name(at: int, interval: str, zone: ZoneInfo) -> object:
    """What a person in that zone calls the interval."""
    local = datetime.fromtimestamp(at, zone)
    if interval == "day":
        return local.date()
    if interval == "week":
        return local.date() - timedelta(days=local.weekday())
    return (local.year, local.month)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(FIRST // 900, LAST // 900).map(lambda quarter: quarter * 900),
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(("day", "week", "month")),
)
def test_every_quarter_is_in_the_interval_its_local_date_says(start: int, zone: str, interval: str) -> None:
    end = start + 70 * 86_400
    starts = interval_starts(start, end, interval, ZoneInfo(zone))
    assert starts[0] <= start
    assert len(starts) == 1 or starts[1] > start
    names: dict[int, object] = {}
    for at in range(start, end, 900):
        name = local_name(at, interval, ZoneInfo(zone))
        assert names.setdefault(starts[bisect_right(starts, at) - 1], name) == name
    assert len(set(names.values())) == len(names)


@settings(max_examples=60, deadline=None)
@given(start=st.integers(FIRST, LAST), zone=st.sampled_from(ZONES))
def test_hours_begin_on_the_full_hour_of_the_local_clock(start: int, zone: str) -> None:
    starts = interval_starts(start, start + 5 * 86_400, "hour", ZoneInfo(zone))
    assert starts[0] <= start
    assert all(datetime.fromtimestamp(at, ZoneInfo(zone)).minute == 0 for at in starts)
    lengths = {later - earlier for earlier, later in pairwise(starts)}
    assert lengths <= {3600, 5400, 1800}
    assert sum(length != 3600 for length in (later - earlier for earlier, later in pairwise(starts))) <= 1


def test_starts_are_multiples_of_a_bucket_everywhere() -> None:
    for zone in ZONES:
        for interval in ("hour", "day", "week", "month"):
            starts = interval_starts(FIRST, FIRST + 400 * 86_400, interval, ZoneInfo(zone))
            assert all(at % 900 == 0 for at in starts), (zone, interval)


def test_wrong_words() -> None:
    with pytest.raises(ValueError, match="year"):
        interval_starts(0, 1, "year", ZoneInfo("UTC"))
    with pytest.raises(ValueError, match="points"):
        interval_starts(0, 400_000 * 3600, "hour", ZoneInfo("UTC"))
    for name in ("", "Nowhere", "/etc/passwd", "../../etc/passwd", "Europe"):
        with pytest.raises(ValueError, match="time zone"):
            zone_of(name)
