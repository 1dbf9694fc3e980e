"""What is worked out beforehand or left out for speed gives what the long way gives, to the last digit."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pricing.money import to_nano_usd, usd_text
from proxy.pricing.rates import input_cost, length_table, output_cost, plain_costs
from proxy.pricing.schedule import Period, Variant, date_of, day_number
from proxy.pricing.tariff import Tariff, nano_rates
from proxy.usage.tokens import TokenUsage

USD_PER_TOKEN = st.decimals(min_value=0, max_value="0.001", places=15).map(lambda rate: rate.copy_abs())
COUNTS = st.integers(0, 10**9)


@given(USD_PER_TOKEN, USD_PER_TOKEN, USD_PER_TOKEN, COUNTS, COUNTS)
def test_bounds_in_whole_numbers_are_the_same_as_in_decimals(a: Decimal, b: Decimal, fee: Decimal, i: int, o: int) -> None:
    assert nano_rates((), [(a, b, fee)]).nano_usd(i, o) == to_nano_usd(a * i + b * o + fee)


COUNTS_OR_NONE = st.none() | st.sampled_from([0, 1, 7, 40])
USAGES = st.builds(
    TokenUsage,
    *[COUNTS_OR_NONE] * 6,
    input_audio_tokens=COUNTS_OR_NONE,
    units=st.sampled_from([{}, {"web_searches": Decimal(2)}]),
)
RATE_TABLES = [
    {"input_mtok": Decimal("0.15"), "output_mtok": Decimal("0.6")},
    {"input_mtok": Decimal("0.15"), "output_mtok": Decimal("0.6"), "cache_read_mtok": Decimal("0.075")},
    {"input_mtok": Decimal(3), "output_mtok": Decimal(15), "cache_read_mtok": Decimal("0.3"), "cache_write_mtok": Decimal("3.75")},
    {"input_mtok": Decimal("0.15"), "output_mtok": Decimal("0.6"), "input_audio_mtok": Decimal(10)},
    {"input_mtok": Decimal("0.15"), "output_mtok": Decimal("0.6"), "requests_kcount": Decimal(5)},
    {"input_mtok": Decimal(0), "output_mtok": Decimal(0)},
    {"input_mtok": Decimal(1)},
]


@given(st.sampled_from(RATE_TABLES), USAGES)
def test_plain_costs_are_those_of_the_long_way(table: dict[str, Decimal], usage: TokenUsage) -> None:
    rates = length_table(table).by_length[0]
    plain = plain_costs(rates, usage)
    if plain is None:
        return
    notes: list[str] = []
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    assert plain == (
        input_cost(rates, usage, usage.input_tokens, notes),
        output_cost(rates, usage, usage.output_tokens, notes),
    )
    assert notes == []
    assert rates.request_usd == 0
    assert not usage.units


def test_nine_of_ten_calls_are_plain() -> None:
    rates = length_table(RATE_TABLES[1]).by_length[0]
    assert plain_costs(rates, TokenUsage(1_000, 100, 400, reasoning_tokens=50)) == (
        400 * Decimal("0.000000075") + 600 * Decimal("0.00000015"),
        100 * Decimal("0.0000006"),
    )


@pytest.mark.parametrize("at", [0.0, 1_763_769_599.999, 1_763_769_600.0, 1_800_000_000.5])
def test_a_number_is_the_same_moment_as_its_datetime(at: float) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    assert day_number(at) == day_number(moment) == day_number(moment.replace(tzinfo=None))
    assert date_of(day_number(at)) == moment.date()
    of = Tariff(
        "p/m",
        "x",
        (
            Period({"input_mtok": Decimal(1), "output_mtok": Decimal(2)}),
            Period({"input_mtok": Decimal(3), "output_mtok": Decimal(4)}, date(2025, 11, 22)),
            Period({"input_mtok": Decimal(5), "output_mtok": Decimal(6)}, hours=(time(1), time(9))),
        ),
        (Variant({"service_tier": "flex"}, {"input_mtok": Decimal(9)}, date(2026, 1, 1)),),
    )
    for tier, (i, o) in product((None, "flex"), ((10, 20), (0, 5))):
        usage = TokenUsage(i, o)
        assert of.price(usage, service_tier=tier, started_at=at) == of.price(usage, service_tier=tier, started_at=moment)
        assert of.upper_bound_nano_usd(i, o, started_at=at) == of.upper_bound_nano_usd(i, o, started_at=moment)
        assert of.usual_nano_usd(i, o, started_at=at) == of.usual_nano_usd(i, o, started_at=moment)


@given(st.decimals(min_value=0, max_value=10**6, places=12))
def test_text_of_money_is_the_normalized_text(usd: Decimal) -> None:
    usd = usd.copy_abs()
    assert usd_text(usd) == format(usd.normalize(), "f")
