"""Parameters say what they allow, in words and in schema alike; periods begin where the zone says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from proxy.control.parameters import Choices, Flag, Fraction, Instant, Integer, Parameter, Zone, read_instant
from proxy.control.periods import FIRST, LAST, RANGE, Period, iso, midnight, month_of, read_period
from proxy.control.replies import ApiError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 18, 12, 34, 56, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (Integer("n", "", minimum=1, maximum=10), ["1", "10", "07"], ["0", "11", "1.5", "", "1e3", "٣", "-1", " 1"]),
        (Fraction("f", ""), ["0", "0.5", "1"], ["1.1", "-0", "nan", "inf", ".5", "1e-1", ""]),
        (Flag("b", ""), ["true", "false"], ["True", "1", "yes", ""]),
        (
            Instant("t", ""),
            ["2026-11-18", "2026-11-18T10:00:00Z", "2026-11-18T10:00:00.123+01:00"],
            ["18.11.2026", "2026-02-30", "now", ""],
        ),
        (Zone("z", ""), ["UTC", "Europe/Berlin"], ["CET+1", "../../etc/passwd", "", "europe/berlin"]),
        (Parameter("x", ""), ["a", "a b", "😀"], ["", "a\0", "x" * 513, "\ud800"]),
        (RANGE, ["day", "30d", "this_month", "all"], ["0d", "99999d", "d", "-1d", "1s", ""]),
    ],
)
def test_what_is_allowed_is_read_and_what_is_not_is_named(parameter: Parameter, good: list[str], bad: list[str]) -> None:
    for raw in good:
        parameter.read(raw)
    for raw in bad:
        with pytest.raises(ApiError, match=f"`{parameter.name}`") as refusal:
            parameter.read(raw)
        assert refusal.value.status == 400


def test_choices_come_in_either_form_each_once() -> None:
    names = Choices("group_by", "", choices=("user", "model", "team"), at_most=2)
    assert names.read_all(["user,model"]) == ("user", "model")
    assert names.read_all(["user", "model", "user"]) == ("user", "model")
    for raws in (["user,model,team"], ["user,"], ["colour"]):
        with pytest.raises(ApiError):
            names.read_all(raws)
    assert re.fullmatch(str(names.schema()["pattern"]), "user,model")


def test_a_parameter_stands_once() -> None:
    with pytest.raises(ApiError, match="once"):
        Integer("limit", "").read_all(["1", "2"])


@pytest.mark.parametrize(
    ("name", "start_at", "end_at"),
    [
        ("hour", "2026-11-18T11:00", None),
        ("day", "2026-11-17T12:00", None),
        ("week", "2026-11-11T12:00", None),
        ("month", "2026-10-19T12:00", None),
        ("24h", "2026-11-17T12:00", None),
        ("2w", "2026-11-04T12:00", None),
        ("today", "2026-11-17T23:00", None),
        ("yesterday", "2026-11-16T23:00", "2026-11-17T23:00"),
        ("this_week", "2026-11-15T23:00", None),
        ("this_month", "2026-10-31T23:00", None),
        ("last_month", "2026-09-30T22:00", "2026-10-31T23:00"),  # October begins in summer time
        ("this_year", "2025-12-31T23:00", None),
        ("all", None, None),
    ],
)
def test_ranges_in_a_zone(name: str, start_at: str | None, end_at: str | None) -> None:
    assert read_period({"range": name}, BERLIN, NOW) == Period(start_at and at(start_at), end_at and at(end_at), BERLIN)  # type: ignore[arg-type]


def test_from_and_to_go_before_the_range_and_dates_are_local() -> None:
    found = read_period(
        {"range": "day", "from": read_instant("2026-07-01"), "to": read_instant("2026-12-01T00:00:00Z")}, BERLIN, NOW
    )
    assert (found.start_at, found.end_at) == (at("2026-06-30T22:00"), at("2026-12-01T00:00"))


@pytest.mark.parametrize(
    ("raw", "expected"), [("0001-01-01", FIRST), ("9999-12-31T23:59:59", LAST), ("1969-12-31T23:59:59Z", FIRST)]
)
def test_years_that_clocks_refuse_are_pulled_in(raw: str, expected: datetime) -> None:
    for zone in (BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Pacific/Kiritimati")):
        assert read_period({"from": read_instant(raw)}, zone, NOW).start_at == expected


def test_months_and_midnights_follow_the_clock_changes() -> None:
    assert month_of(at("2026-03-31T22:30"), BERLIN) == (at("2026-03-31T22:00"), at("2026-04-30T22:00"))  # already April there
    assert month_of(at("2026-12-31T22:59"), BERLIN) == (at("2026-11-30T23:00"), at("2026-12-31T23:00"))
    assert midnight(at("2026-10-25T12:00"), BERLIN, 1) - midnight(at("2026-10-25T12:00"), BERLIN) == at("2026-01-02T01:00") - at(
        "2026-01-01T00:00"
    )


def test_instants_are_written_as_in_records() -> None:
    assert iso(datetime(2026, 11, 18, 13, 0, tzinfo=BERLIN)) == "2026-11-18T12:00:00.000000Z"
