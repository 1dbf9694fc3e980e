"""Bounds for limits: no way to split, serve or time a call costs more."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.pricing.fields import INPUT_RATES, OUTPUT_RATES
from proxy.pricing.money import to_nano_usd
from proxy.pricing.rates import Rate, Tiered
from proxy.pricing.schedule import Period, Variant
from proxy.pricing.tariff import Tariff
from proxy.usage.tokens import TokenUsage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LONG = {
    "input_mtok": Tiered(Decimal("1.25"), ((200_000, Decimal("2.5")),)),
    "cache_read_mtok": Decimal("0.1"),
    "cache_write_mtok": Decimal("1.5"),
    "output_mtok": Tiered(Decimal(10), ((200_000, Decimal(15)),)),
}


def test_the_bound_takes_the_dearest_class_but_only_lengths_that_can_be_reached() -> None:
    of = Tariff("p/m", "x", (Period(LONG),))
    assert of.upper_bound_nano_usd(1_000, 100) == 1_000 * 1_500 + 100 * 10_000  # cache writes at 1.50, output at 10
    assert of.upper_bound_nano_usd(200_000, 100) == 200_000 * 1_500 + 100 * 10_000
    assert of.upper_bound_nano_usd(200_001, 100) == 200_001 * 2_500 + 100 * 15_000
    assert of.usual_nano_usd(1_000, 100) == 1_000 * 1_250 + 100 * 10_000


def test_the_bound_knows_every_tier_that_may_be_returned() -> None:
    of = Tariff("p/m", "x", (Period(LONG),), (Variant({"service_tier": "priority"}, {"output_mtok": Decimal(40)}),))
    assert of.upper_bound_nano_usd(0, 1) == 40_000
    assert of.usual_nano_usd(0, 1) == 10_000


def test_the_day_leaves_out_prices_of_other_days_and_keeps_every_hour() -> None:
    of = Tariff(
        "p/m",
        "x",
        (
            Period({"input_mtok": Decimal(10), "output_mtok": Decimal(40)}),
            Period({"input_mtok": Decimal(2), "output_mtok": Decimal(8)}, date(2025, 6, 10)),
            Period({"input_mtok": Decimal(3), "output_mtok": Decimal(12)}, hours=(time(1), time(4))),
            Period({"input_mtok": Decimal(5), "output_mtok": Decimal(20)}, date(2027, 1, 1)),
        ),
    )
    assert of.upper_bound_nano_usd(1_000, 0, started_at=NOON) == 1_000 * 3_000
    assert of.usual_nano_usd(1_000, 0, started_at=NOON) == 1_000 * 3_000
    assert of.upper_bound_nano_usd(1_000, 0) == 1_000 * 10_000
    assert of.usual_nano_usd(1_000, 0) == 1_000 * 5_000


def test_what_is_usual_is_the_dearest_hour_of_the_day_and_the_earlier_list_only_before_it() -> None:
    built_in = Tariff("p/m", "x", (Period({"input_mtok": Decimal(1), "output_mtok": Decimal(4)}),))
    hours = (
        Period({"input_mtok": Decimal(2), "output_mtok": Decimal(8)}, date(2026, 11, 1), hours=(time(0), time(8))),
        Period({"input_mtok": Decimal(5), "output_mtok": Decimal(20)}, date(2026, 11, 1), hours=(time(8), time(0))),
    )
    of = Tariff("p/m", "y", hours, earlier=built_in)
    assert of.usual_nano_usd(1_000, 0, started_at=NOON) == 1_000 * 5_000
    assert of.usual_nano_usd(1_000, 0, started_at=datetime(2026, 10, 1, tzinfo=UTC)) == 1_000 * 1_000


def test_fees_are_bounded_by_the_units_that_are_named() -> None:
    of = Tariff("p/m", "x", (Period({**LONG, "requests_kcount": Decimal(5), "web_searches_kcount": Decimal(10)}),))
    assert of.upper_bound_nano_usd(0, 0) == 5_000_000
    assert of.upper_bound_nano_usd(0, 0, units={"web_searches": Decimal(3)}) == 5_000_000 + 3 * 10_000_000
    assert of.upper_bound_nano_usd(0, 0, units={"code_sessions": Decimal(3)}) == 5_000_000
    whisper = Tariff("p/m", "x", (Period({"audio_hours": Decimal("3.6")}),), minimum_audio_seconds=10)
    assert whisper.upper_bound_nano_usd(0, 0, units={"audio_seconds": Decimal(1)}) == 10 * 1_000_000


RATES = st.decimals(min_value=0, max_value=100, places=4).map(lambda rate: rate.copy_abs())
EITHER = st.one_of(RATES, st.builds(lambda base, start, over: Tiered(base, ((start, over),)), RATES, st.integers(0, 3_000), RATES))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Rate]:
    optional = [name for name in (*INPUT_RATES, *OUTPUT_RATES) if name not in ("input_mtok", "output_mtok")]
    names = ["input_mtok", "output_mtok", *draw(st.lists(st.sampled_from(optional), unique=True))]
    table: dict[str, Rate] = {name: draw(EITHER) for name in names}
    if draw(st.booleans()):
        table["requests_kcount"] = draw(RATES)
    return table


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    days = st.sampled_from([None, date(2026, 1, 1), date(2026, 11, 21), date(2027, 1, 1)])
    hours = st.sampled_from([None, None, (time(6), time(18)), (time(18), time(6))])
    periods = (Period(draw(tables())), *(Period(draw(tables()), draw(days), draw(hours)) for _ in range(draw(st.integers(0, 2)))))
    tiers = draw(st.lists(st.sampled_from(["flex", "priority", "fast"]), unique=True))
    variants = tuple(Variant({"service_tier": tier}, draw(tables()), draw(days)) for tier in tiers)
    return Tariff("p/m", "x", periods, variants)


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    """A consistent usage: disjoint buckets drawn first, totals added up from them."""
    text, read, write_5m, write_1h, audio, cached_audio, image, cached_image, video = (
        draw(st.integers(0, 1_000)) for _ in range(9)
    )
    answer, reasoning, audio_out, image_out, video_out, citation = (draw(st.integers(0, 1_000)) for _ in range(6))
    return TokenUsage(
        input_tokens=text + read + write_5m + write_1h + audio + cached_audio + image + cached_image + video,
        cache_read_tokens=read + cached_audio + cached_image,
        cache_write_tokens=write_5m + write_1h,
        cache_write_1h_tokens=write_1h,
        input_audio_tokens=audio + cached_audio,
        cache_read_audio_tokens=draw(st.sampled_from([None, cached_audio])),
        input_image_tokens=image + cached_image,
        output_tokens=answer + reasoning + audio_out + image_out + video_out + citation,
        reasoning_tokens=reasoning,
        output_audio_tokens=audio_out,
        output_image_tokens=image_out,
        units={
            "input_video_tokens": Decimal(video),
            "output_video_tokens": Decimal(video_out),
            "output_citation_tokens": Decimal(citation),
            **draw(st.sampled_from([{}, {"cache_read_image_tokens": Decimal(cached_image)}])),
        },
    )


@settings(max_examples=150, deadline=None)
@given(
    of=tariffs(),
    usage=usages(),
    tier=st.sampled_from([None, "default", "flex", "priority", "fast", "batch"]),
    at=st.sampled_from(
        [NOON, datetime(2026, 11, 21, 23, tzinfo=UTC), datetime(2025, 5, 1, 7, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)]
    ),
    spare=st.integers(0, 5_000),
)
def test_no_split_no_tier_and_no_hour_costs_more_than_the_bound(
    of: Tariff, usage: TokenUsage, tier: str | None, at: datetime, spare: int
) -> None:
    cost = of.price(usage, service_tier=tier, started_at=at)
    assert cost.cost_usd is not None
    assert cost.source == "x"  # a consistent usage is never called contradictory
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    nano = to_nano_usd(cost.cost_usd)
    assert 0 <= nano <= of.upper_bound_nano_usd(usage.input_tokens + spare, usage.output_tokens + spare, started_at=at)
    assert nano <= of.upper_bound_nano_usd(usage.input_tokens, usage.output_tokens)


@settings(max_examples=100, deadline=None)
@given(of=tariffs(), counts=st.lists(st.one_of(st.none(), st.integers(-5, 2_000)), min_size=11, max_size=11))
def test_no_counts_however_contradictory_raise_or_go_below_zero(of: Tariff, counts: list[int | None]) -> None:
    cost = of.price(TokenUsage(*counts), service_tier=None, started_at=NOON)
    for usd in (cost.input_cost_usd, cost.output_cost_usd, cost.cost_usd):
        assert usd is None or usd >= 0
    assert cost.source
