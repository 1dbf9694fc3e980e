"""Which rates count: length of the input, service tier, batch, day and hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest

from proxy.pricing.rates import Tiered
from proxy.pricing.schedule import Period, Variant
from proxy.pricing.tariff import Tariff
from proxy.usage.tokens import TokenUsage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def mtok(rate: str, tokens: int) -> Decimal:
    return Decimal(rate) * tokens / 1_000_000


def two(input_mtok: str, output_mtok: str) -> dict[str, Decimal | Tiered]:
    return {"input_mtok": Decimal(input_mtok), "output_mtok": Decimal(output_mtok)}


def cost(of: Tariff, usage: TokenUsage, tier: str | None = None, at: datetime = NOON, is_batch: bool = False) -> Decimal | None:
    return of.price(usage, service_tier=tier, started_at=at, is_batch=is_batch).cost_usd


LONG = Tariff(
    "openai/long",
    "the list",
    (
        Period(
            {
                "input_mtok": Tiered(Decimal("1.25"), ((272_000, Decimal("2.5")),)),
                "cache_read_mtok": Tiered(Decimal("0.125"), ((272_000, Decimal("0.25")),)),
                "output_mtok": Tiered(Decimal(10), ((272_000, Decimal(15)),)),
            }
        ),
    ),
)


@pytest.mark.parametrize(
    ("tokens", "rate", "output_rate"),
    [(271_999, "1.25", "10"), (272_000, "1.25", "10"), (272_001, "2.5", "15"), (900_000, "2.5", "15")],
)
def test_an_exclusive_threshold_reprices_every_token_above_it(tokens: int, rate: str, output_rate: str) -> None:
    usage = TokenUsage(input_tokens=tokens, output_tokens=1_000)
    assert cost(LONG, usage) == mtok(rate, tokens) + mtok(output_rate, 1_000)


@pytest.mark.parametrize(("tokens", "rate"), [(199_999, "3"), (200_000, "6"), (200_001, "6")])
def test_an_inclusive_threshold_is_one_less_in_the_data(tokens: int, rate: str) -> None:
    grok = Tariff(
        "x-ai/grok", "the list", (Period({"input_mtok": Tiered(Decimal(3), ((199_999, Decimal(6)),)), "output_mtok": Decimal(15)}),)
    )
    assert cost(grok, TokenUsage(input_tokens=tokens, output_tokens=0)) == mtok(rate, tokens)


def test_cached_tokens_count_towards_the_threshold() -> None:
    usage = TokenUsage(input_tokens=300_000, cache_read_tokens=299_000, output_tokens=10)
    assert cost(LONG, usage) == mtok("0.25", 299_000) + mtok("2.5", 1_000) + mtok("15", 10)


def test_several_thresholds() -> None:
    of = Tariff("p/m", "x", (Period({"input_mtok": Tiered(Decimal(1), ((32_000, Decimal(2)), (128_000, Decimal(3))))}),))
    assert [cost(of, TokenUsage(input_tokens=n)) for n in (32_000, 32_001, 128_001)] == [
        mtok("1", 32_000),
        mtok("2", 32_001),
        mtok("3", 128_001),
    ]


TIERED_SERVICE = Tariff(
    "openai/o3",
    "the list",
    (Period({**two("2", "8"), "cache_read_mtok": Decimal("0.5"), "web_searches_kcount": Decimal(10)}),),
    (
        Variant({"processing": "batch"}, two("1", "4"), date(2026, 10, 14)),
        Variant({"service_tier": "priority"}, {**two("3.5", "14"), "cache_read_mtok": Decimal("0.875")}, date(2026, 10, 12)),
        Variant({"service_tier": "flex"}, two("1.1", "4.4"), date(2026, 10, 12)),
        Variant({"service_tier": "default"}, {}),
        Variant({"speed": "fast"}, two("12", "60")),
    ),
)
CALL = TokenUsage(input_tokens=1_000, cache_read_tokens=400, output_tokens=100)


@pytest.mark.parametrize(
    ("tier", "is_batch", "expected"),
    [
        (None, False, mtok("2", 600) + mtok("0.5", 400) + mtok("8", 100)),
        ("default", False, mtok("2", 600) + mtok("0.5", 400) + mtok("8", 100)),
        ("scale", False, mtok("2", 600) + mtok("0.5", 400) + mtok("8", 100)),
        ("priority", False, mtok("3.5", 600) + mtok("0.875", 400) + mtok("14", 100)),
        ("PRIORITY", False, mtok("3.5", 600) + mtok("0.875", 400) + mtok("14", 100)),
        ("ON_DEMAND_PRIORITY", False, mtok("3.5", 600) + mtok("0.875", 400) + mtok("14", 100)),
        ("flex", False, mtok("1.1", 600) + mtok("0.5", 400) + mtok("4.4", 100)),
        ("fast", False, mtok("12", 600) + mtok("0.5", 400) + mtok("60", 100)),
        ("default", True, mtok("1", 600) + mtok("0.5", 400) + mtok("4", 100)),
        ("batch", False, mtok("1", 600) + mtok("0.5", 400) + mtok("4", 100)),
        ("priority", True, mtok("1", 600) + mtok("0.875", 400) + mtok("4", 100)),
    ],
)
def test_the_returned_tier_decides_and_what_it_leaves_open_stays(tier: str | None, is_batch: bool, expected: Decimal) -> None:
    assert cost(TIERED_SERVICE, CALL, tier, is_batch=is_batch) == expected


def test_tier_rates_count_from_their_day() -> None:
    before = datetime(2026, 10, 11, 23, 59, 59, tzinfo=UTC)
    assert cost(TIERED_SERVICE, CALL, "flex", before) == cost(TIERED_SERVICE, CALL, None)
    assert cost(TIERED_SERVICE, CALL, "flex", before + timedelta(seconds=1)) == cost(TIERED_SERVICE, CALL, "flex")


def test_the_request_start_chooses_the_period() -> None:
    of = Tariff("p/m", "x", (Period(two("10", "40")), Period(two("2", "8"), date(2025, 6, 10))))
    usage = TokenUsage(input_tokens=1_000, output_tokens=0)
    assert cost(of, usage, at=datetime(2025, 6, 9, 23, 59, tzinfo=UTC)) == mtok("10", 1_000)
    assert cost(of, usage, at=datetime(2025, 6, 10, tzinfo=UTC)) == mtok("2", 1_000)
    in_tokyo = datetime(2025, 6, 10, 8, 59, tzinfo=timezone(timedelta(hours=9)))
    assert cost(of, usage, at=in_tokyo) == mtok("10", 1_000)
    assert cost(of, usage, at=datetime(2025, 6, 10)) == mtok("2", 1_000)


OFF_PEAK = Tariff(
    "deepseek/chat", "x", (Period(two("0.135", "0.55")), Period(two("0.27", "1.1"), hours=(time(0, 30), time(16, 30))))
)


@pytest.mark.parametrize(
    ("at", "rate"), [(time(0, 29, 59), "0.135"), (time(0, 30), "0.27"), (time(16, 29, 59), "0.27"), (time(16, 30), "0.135")]
)
def test_the_hour_of_day(at: time, rate: str) -> None:
    moment = datetime.combine(date(2026, 11, 21), at, UTC)
    assert cost(OFF_PEAK, TokenUsage(input_tokens=1_000_000, output_tokens=0), at=moment) == Decimal(rate)


def test_hours_over_midnight() -> None:
    of = Tariff("p/m", "x", (Period(two("2", "2")), Period(two("1", "1"), hours=(time(22), time(6)))))
    usage = TokenUsage(input_tokens=1_000_000, output_tokens=0)
    costs = [cost(of, usage, at=datetime(2026, 11, 21, hour, tzinfo=UTC)) for hour in (21, 22, 23, 0, 5, 6)]
    assert costs == [2, 1, 1, 1, 1, 2]


def test_tiers_made_up_by_a_provider_do_not_grow_the_memo() -> None:
    for number in range(2_000):
        cost(TIERED_SERVICE, CALL, f"tier-{number}")
    assert len(TIERED_SERVICE._tables) <= 512
