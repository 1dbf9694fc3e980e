"""Sums, forecasts, spikes, savings, ids: the arithmetic behind the resources, with figures a reader can check."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from proxy.control.figures import add_up, averages, money, shares, totals
from proxy.control.identifiers import make_uuid7
from proxy.control.overrides import merge
from proxy.control.projection import project
from proxy.control.savings import cheaper_models
from proxy.control.spikes import find_spikes
from proxy.control.values import money as read_money
from proxy.ledger.ledger import GroupSums, Sums

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_totals_keep_every_digit_of_money() -> None:
    tiny = Sums(requests=1, cost_usd=Decimal("0.0000000000075"))
    assert totals(add_up([tiny] * 3))["cost_usd"] == "0.0000000000225"
    assert totals(Sums(cost_usd=Decimal("1E+3")))["cost_usd"] == "1000"


def test_averages_are_over_answered_calls_and_null_without_any() -> None:
    some = Sums(
        requests=4,
        denied=2,
        total_tokens=100,
        cost_usd=Decimal("0.3"),
        duration_ms=40,
        time_to_first_byte_ms=30,
        first_byte_count=3,
    )
    found = averages(some)
    assert (found["total_tokens"], found["cost_usd"], found["duration_ms"], found["time_to_first_byte_ms"]) == (
        50.0,
        "0.15",
        10.0,
        10.0,
    )
    assert set(averages(Sums()).values()) == {None}
    assert averages(Sums(requests=2, denied=2))["total_tokens"] is None


def test_shares_of_nothing_are_null() -> None:
    assert shares(Sums(requests=1), Sums(requests=4)) == {"requests": 0.25, "total_tokens": None, "cost_usd": None}


def test_a_forecast_is_so_far_plus_the_mean_of_the_last_seven_days() -> None:
    days = [Decimal(1000)] + [Decimal(n) for n in (1, 2, 3, 4, 5, 6, 7)]  # the eighth day back does not count
    found = project(days, Decimal(50), NOON, NOON + timedelta(days=4))
    assert found.expected == 50 + 4 * 4
    # population deviation of 1…7 is 2; the root of 4 days is 2
    assert (found.low, found.high) == (Decimal(66 - 4), Decimal(66 + 4))
    assert project([], Decimal(5), NOON, NOON + timedelta(days=4)).expected == 5
    assert project(days, Decimal(5), NOON, NOON - timedelta(days=1)).expected == 5
    assert project([Decimal(0), Decimal(10)], Decimal(3), NOON, NOON + timedelta(days=9)).low == 3 + 45 - 15


def week(cost: str, **last: object) -> dict[date, Sums]:
    by_day = {date(2026, 11, day): Sums(requests=10, total_tokens=1000, cost_usd=Decimal(cost)) for day in range(11, 18)}
    return {**by_day, date(2026, 11, 18): Sums(**{"requests": 10, "total_tokens": 1000, "cost_usd": Decimal(cost), **last})}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "resources"),
    [
        ({"cost_usd": Decimal(2)}, []),  # twice is not more than twice
        ({"cost_usd": Decimal("2.01")}, ["cost_usd"]),
        ({"total_tokens": 2001}, ["total_tokens"]),
        ({"requests": 30}, []),
        ({"requests": 31}, ["requests"]),
    ],
)
def test_a_spike_passes_its_factor(last: dict[str, object], resources: list[str]) -> None:
    assert [spike.resource for spike in find_spikes(week("1", **last), [date(2026, 11, 18)])] == resources


def test_whoever_is_new_or_small_has_no_spikes() -> None:
    day = date(2026, 11, 18)
    new = {day - timedelta(days=back): Sums(total_tokens=5000) for back in (1, 2)} | {day: Sums(total_tokens=10**9)}
    assert find_spikes(new, [day]) == []
    small = week("0.0001", cost_usd=Decimal("0.009"))
    assert find_spikes(small, [day]) == []
    assert find_spikes({}, [day]) == []


def test_days_without_use_count_in_the_average() -> None:
    day = date(2026, 11, 18)
    sparse = {day - timedelta(days=7): Sums(total_tokens=7000), day: Sums(total_tokens=2500)}
    (spike,) = find_spikes(sparse, [day])
    assert (spike.average, spike.factor) == (Decimal(1000), Decimal("2.5"))


def test_cheaper_models_need_two_known_prices_and_a_tenth() -> None:
    prices = {"a": Decimal(100), "b": Decimal(91), "c": Decimal(50), "d": None}
    rows = [GroupSums({"provider": "p", "model": model}, Sums(requests=1, total_tokens=5)) for model in ("a", "d", None)]
    candidates = [("p", model) for model in "abcd"]
    found = cheaper_models(rows, candidates, lambda provider, model, sums: prices[model], is_class_kept=False)
    assert [(one.model, one.other_model, one.cost_usd - one.other_cost_usd) for one in found] == [("a", "c", 50)]
    # Of a model whose class nobody knows, only what is in use beside it is compared.
    assert cheaper_models(rows, candidates, lambda provider, model, sums: prices[model]) == []


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [make_uuid7(1_795_000_000 + n / 1000) for n in range(100)]
    assert made == sorted(made)
    assert {UUID(one).version for one in made} == {7}
    assert {UUID(one).variant for one in made} == {"specified in RFC 4122"}
    assert len({make_uuid7(5.0) for _ in range(1000)}) == 1000


def test_merging_as_rfc_7396_has_it() -> None:
    before = {"tokens": {"per_day": 1, "per_hour": 2}, "requests": {"total": 3}}
    changes = {"tokens": {"per_day": None, "per_month": 4}, "requests": {"total": None}, "cost_usd": {"per_day": Decimal("1.50")}}
    assert merge(before, changes) == {"tokens": {"per_hour": 2, "per_month": 4}, "cost_usd": {"per_day": "1.50"}}
    assert merge({}, {"a": {"b": None}}) == {}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (0.1, "0.1"),
        (5, "5"),
        ("12.50", "12.5"),
        (1e-13, "0"),
        ("0", "0"),
        (1e-7, "0.0000001"),
        (20, "20"),
        ("1000", "1000"),
        (1e9, "1000000000"),
    ],
)
def test_money_is_read_as_written(raw: object, expected: str) -> None:
    assert format(read_money(raw), "f") == expected
    assert "E+" not in str(read_money(raw))  # as pydantic shows it


@pytest.mark.parametrize("raw", [-1, "-1", "1e3", "", "five", True, None, float("nan"), float("inf"), 10**10, "1,5", " 1"])
def test_what_is_no_money_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="US dollars"):
        read_money(raw)


def test_amounts_that_came_from_a_division_are_cut_to_nano_dollars() -> None:
    assert money(Decimal(1) / 3) == "0.333333333"
