"""Every price class of one call, on tariffs written out here; expected money is arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.pricing.cost import Cost
from proxy.pricing.rates import Rate
from proxy.pricing.schedule import Period
from proxy.pricing.tariff import Tariff
from proxy.usage.tokens import TokenUsage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def mtok(rate: str, tokens: int) -> Decimal:
    """USD of tokens at a rate per million."""
    return Decimal(rate) * tokens / 1_000_000


def tariff(*, minimum_audio_seconds: int = 0, **rates: str) -> Tariff:
    table: Mapping[str, Rate] = {name: Decimal(rate) for name, rate in rates.items()}
    return Tariff("p/m", "the list", (Period(table),), minimum_audio_seconds=minimum_audio_seconds)


def price(of: Tariff, usage: TokenUsage) -> Cost:
    return of.price(usage, service_tier=None, started_at=NOON)


CLAUDE = tariff(input_mtok="3", cache_read_mtok="0.3", cache_write_mtok="3.75", cache_write_1h_mtok="6", output_mtok="15")
REALTIME = tariff(
    input_mtok="4",
    cache_read_mtok="0.4",
    output_mtok="16",
    input_audio_mtok="32",
    cache_audio_read_mtok="0.5",
    output_audio_mtok="64",
    input_image_mtok="5",
    cache_image_read_mtok="0.6",
)


def test_plain_input_and_output() -> None:
    cost = price(CLAUDE, TokenUsage(input_tokens=1_000, output_tokens=200))
    assert cost == Cost(mtok("3", 1_000), mtok("15", 200), mtok("3", 1_000) + mtok("15", 200), "the list")


def test_cached_and_written_tokens_are_taken_out_of_the_input() -> None:
    usage = TokenUsage(
        input_tokens=10_000, cache_read_tokens=6_000, cache_write_tokens=3_000, cache_write_1h_tokens=1_000, output_tokens=0
    )
    assert price(CLAUDE, usage).cost_usd == mtok("0.3", 6_000) + mtok("3.75", 2_000) + mtok("6", 1_000) + mtok("3", 1_000)


def test_a_class_without_a_rate_is_billed_as_what_it_is_part_of() -> None:
    usage = TokenUsage(
        input_tokens=100,
        cache_read_tokens=60,
        cache_write_tokens=20,
        cache_write_1h_tokens=10,
        output_tokens=50,
        reasoning_tokens=40,
    )
    assert price(tariff(input_mtok="2", output_mtok="8"), usage).cost_usd == mtok("2", 100) + mtok("8", 50)
    without_1h = tariff(input_mtok="2", cache_write_mtok="3", output_mtok="8")
    assert price(without_1h, usage).input_cost_usd == mtok("3", 20) + mtok("2", 80)
    without_5m = tariff(input_mtok="2", cache_write_1h_mtok="4", output_mtok="8")
    assert price(without_5m, usage).input_cost_usd == mtok("4", 10) + mtok("2", 90)


def test_reasoning_with_a_rate_of_its_own() -> None:
    usage = TokenUsage(input_tokens=0, output_tokens=1_000, reasoning_tokens=700)
    own = tariff(input_mtok="2", output_mtok="8", output_reasoning_mtok="3")
    assert price(own, usage).output_cost_usd == mtok("3", 700) + mtok("8", 300)


def test_audio_and_images_and_their_cached_parts() -> None:
    usage = TokenUsage(
        input_tokens=1_000,
        cache_read_tokens=300,
        cache_read_audio_tokens=100,
        input_audio_tokens=400,
        input_image_tokens=50,
        output_tokens=500,
        output_audio_tokens=450,
        units={"cache_read_image_tokens": Decimal(20)},
    )
    cost = price(REALTIME, usage)
    text_cached, text_plain = 300 - 100 - 20, 1_000 - (300 - 100 - 20) - 400 - 50
    assert cost.input_cost_usd == (
        mtok("0.5", 100) + mtok("32", 300) + mtok("0.6", 20) + mtok("5", 30) + mtok("0.4", text_cached) + mtok("4", text_plain)
    )
    assert cost.output_cost_usd == mtok("64", 450) + mtok("16", 50)
    assert cost.source == "the list"


def test_an_overlap_that_is_not_reported_is_as_small_as_the_totals_allow() -> None:
    fits = TokenUsage(input_tokens=1_000, cache_read_tokens=300, input_audio_tokens=400, output_tokens=0)
    assert price(REALTIME, fits).input_cost_usd == mtok("0.4", 300) + mtok("32", 400) + mtok("4", 300)
    must_overlap = TokenUsage(input_tokens=1_000, cache_read_tokens=700, input_audio_tokens=400, output_tokens=0)
    cost = price(REALTIME, must_overlap)
    assert cost.input_cost_usd == mtok("0.5", 100) + mtok("0.4", 600) + mtok("32", 300)
    assert cost.source == "the list"


def test_cached_audio_without_a_rate_is_billed_at_the_dearer_of_its_two() -> None:
    usage = TokenUsage(input_tokens=10, cache_read_tokens=10, cache_read_audio_tokens=10, input_audio_tokens=10, output_tokens=0)
    assert price(tariff(input_mtok="1", cache_read_mtok="0.1", input_audio_mtok="5", output_mtok="1"), usage).cost_usd == mtok(
        "5", 10
    )


def test_video_and_citations_come_as_units_and_are_part_of_the_totals() -> None:
    of = tariff(
        input_mtok="1",
        input_video_mtok="3",
        output_mtok="2",
        output_citation_mtok="7",
        output_video_mtok="9",
        output_reasoning_mtok="4",
    )
    units = {"input_video_tokens": Decimal(40), "output_citation_tokens": Decimal(10), "output_video_tokens": Decimal(5)}
    cost = price(of, TokenUsage(input_tokens=100, output_tokens=100, units=units))
    assert cost.input_cost_usd == mtok("3", 40) + mtok("1", 60)
    assert cost.output_cost_usd == mtok("7", 10) + mtok("9", 5) + mtok("2", 85)


def test_tool_calls_and_request_fees_belong_to_the_total_only() -> None:
    of = tariff(input_mtok="1", output_mtok="2", web_searches_kcount="10", storage_searches_kcount="2.5", requests_kcount="12")
    usage = TokenUsage(input_tokens=100, output_tokens=100, units={"web_searches": Decimal(3), "file_searches": Decimal(2)})
    cost = price(of, usage)
    tokens = mtok("1", 100) + mtok("2", 100)
    assert cost.input_cost_usd == mtok("1", 100)
    assert cost.output_cost_usd == mtok("2", 100)
    assert cost.cost_usd == tokens + 3 * Decimal("0.010") + 2 * Decimal("0.0025") + Decimal("0.012")


def test_a_request_fee_is_due_once_and_without_being_counted() -> None:
    of = tariff(input_mtok="1", output_mtok="1", requests_kcount="5")
    assert price(of, TokenUsage(input_tokens=0, output_tokens=0)).cost_usd == Decimal("0.005")
    four = TokenUsage(input_tokens=0, output_tokens=0, units={"requests": Decimal(4)})
    assert price(of, four).cost_usd == 4 * Decimal("0.005")


def test_a_request_fee_covers_the_search_it_is_for() -> None:
    of = tariff(input_mtok="1", output_mtok="1", requests_kcount="5")
    usage = TokenUsage(input_tokens=1, output_tokens=0, units={"web_searches": Decimal(1)})
    assert price(of, usage).cost_usd == mtok("1", 1) + Decimal("0.005")


def test_characters_seconds_and_pages() -> None:
    speech = TokenUsage(units={"characters": Decimal(2_000)})
    assert price(tariff(input_mchars="15"), speech) == Cost(mtok("15", 2_000), Decimal(0), mtok("15", 2_000), "the list")
    pages = TokenUsage(units={"pages": Decimal(7)})
    assert price(tariff(input_document_kpages="4"), pages).cost_usd == 7 * Decimal("0.004")
    seconds = TokenUsage(units={"audio_seconds": Decimal(90)})
    assert price(tariff(audio_hours="0.36"), seconds).cost_usd == Decimal("0.36") * 90 / 3_600


def test_tokens_reported_beside_what_is_billed_cost_nothing() -> None:
    usage = TokenUsage(input_tokens=4, output_tokens=1_073, units={"audio_seconds": Decimal(60)})
    assert price(tariff(audio_hours="0.18"), usage).cost_usd == Decimal("0.18") * 60 / 3_600
    assert price(tariff(audio_hours="0.18"), TokenUsage(input_tokens=4, output_tokens=1_073)).cost_usd is None


def test_a_price_per_hour_is_rounded_to_fifteen_decimals() -> None:
    cost = price(tariff(audio_hours="0.111"), TokenUsage(units={"audio_seconds": Decimal(10)}))
    assert cost.cost_usd == Decimal("0.000308333333333")  # 0.111 × 10 ÷ 3,600 = 0.00030833…


def test_short_audio_is_billed_as_the_minimum() -> None:
    whisper = tariff(audio_hours="0.36", minimum_audio_seconds=10)
    assert price(whisper, TokenUsage(units={"audio_seconds": Decimal(2)})).cost_usd == Decimal("0.36") * 10 / 3_600
    assert price(whisper, TokenUsage(units={"audio_seconds": Decimal(20)})).cost_usd == Decimal("0.36") * 20 / 3_600
    assert price(whisper, TokenUsage(input_tokens=0, units={"audio_seconds": Decimal(0)})).cost_usd == 0


def test_a_larger_billed_output_keeps_its_parts_and_the_input() -> None:
    of = tariff(input_mtok="2", output_mtok="8", output_reasoning_mtok="3", output_citation_mtok="2")
    usage = TokenUsage(
        input_tokens=33,
        output_tokens=7_163,
        reasoning_tokens=73_997,
        billed_output_tokens=7_163 + 73_997 + 20_016,
        units={"output_citation_tokens": Decimal(20_016)},
    )
    expected = mtok("2", 33) + mtok("8", 7_163) + mtok("3", 73_997) + mtok("2", 20_016)
    assert price(of, usage).cost_usd == expected


def test_billed_counts_are_priced_alone() -> None:
    usage = TokenUsage(input_tokens=507, output_tokens=30, cache_read_tokens=200, billed_input_tokens=12, billed_output_tokens=25)
    assert price(CLAUDE, usage).cost_usd == mtok("3", 12) + mtok("15", 25)


@pytest.mark.parametrize(
    ("usage", "usd", "note"),
    [
        (
            TokenUsage(input_tokens=100, cache_read_tokens=160, output_tokens=0),
            mtok("3", 100) + mtok("0.3", 160),
            "160 cache reads",
        ),
        (
            TokenUsage(input_tokens=10, cache_write_tokens=5, cache_write_1h_tokens=8, output_tokens=0),
            mtok("6", 8) + mtok("3", 2),
            "8 cache",
        ),
        (TokenUsage(input_tokens=0, cache_read_tokens=5, output_tokens=0), mtok("0.3", 5), "5 cache reads"),
        (
            TokenUsage(input_tokens=100, cache_read_tokens=60, cache_write_tokens=60, output_tokens=0),
            mtok("0.3", 60) + mtok("3.75", 60),
            "60 cache reads + 60 cache writes > 100",
        ),
        (TokenUsage(input_tokens=0, output_tokens=10, reasoning_tokens=30), mtok("15", 10 + 30), "30 reasoning_tokens > 10"),
    ],
)
def test_contradictory_counts_are_billed_as_they_stand_and_flagged(usage: TokenUsage, usd: Decimal, note: str) -> None:
    cost = price(CLAUDE, usage)
    assert cost.cost_usd == usd
    assert cost.source is not None
    assert cost.source.startswith("the list; contradictory counts: ")
    assert note in cost.source


def test_contradictory_parts_with_rates_of_their_own_are_never_negative() -> None:
    own = tariff(input_mtok="2", output_mtok="8", output_reasoning_mtok="3", output_audio_mtok="9")
    reasoning = price(own, TokenUsage(input_tokens=0, output_tokens=10, reasoning_tokens=30))
    assert reasoning.output_cost_usd == mtok("8", 10) + mtok("3", 30)
    parts = price(own, TokenUsage(input_tokens=0, output_tokens=10, reasoning_tokens=6, output_audio_tokens=6))
    assert parts.output_cost_usd == mtok("3", 6) + mtok("9", 6)
    assert "12 tokens in parts of 10 output_tokens" in str(parts.source)
    media = TokenUsage(input_tokens=10, cache_read_tokens=4, cache_read_audio_tokens=6, input_audio_tokens=5, output_tokens=0)
    odd = price(REALTIME, media)
    assert odd.input_cost_usd is not None
    assert odd.input_cost_usd >= mtok("0.5", 6)
    assert "contradictory counts" in str(odd.source)


def test_zero_is_a_price_and_absent_is_not() -> None:
    free = tariff(input_mtok="0", output_mtok="0")
    assert price(free, TokenUsage(input_tokens=9, output_tokens=9)).cost_usd == 0
    embeddings = tariff(input_mtok="0.02")
    assert price(embeddings, TokenUsage(input_tokens=1_000)).cost_usd == mtok("0.02", 1_000)
    cost = price(embeddings, TokenUsage(input_tokens=1_000, output_tokens=1))
    assert cost == Cost(mtok("0.02", 1_000), None, None, "no rate for output tokens: p/m (the list)")
    speech_only = price(tariff(audio_hours="1"), TokenUsage(input_tokens=5, output_tokens=5))
    assert speech_only.cost_usd is None
    assert speech_only.source == "no rate for input tokens, no rate for output tokens: p/m (the list)"


def test_a_fee_that_has_no_rate_makes_the_total_unknown() -> None:
    usage = TokenUsage(input_tokens=100, output_tokens=100, units={"code_sessions": Decimal(1)})
    cost = price(CLAUDE, usage)
    assert cost == Cost(mtok("3", 100), mtok("15", 100), None, "no rate for code_sessions: p/m (the list)")


def test_a_size_that_tokens_already_measure_needs_no_rate() -> None:
    usage = TokenUsage(input_tokens=100, output_tokens=100, units={"audio_seconds": Decimal(10), "images": Decimal(1)})
    assert price(CLAUDE, usage).cost_usd == mtok("3", 100) + mtok("15", 100)
    alone = price(CLAUDE, TokenUsage(units={"images": Decimal(1)}))
    assert alone == Cost(None, None, None, "no rate for images: p/m (the list)")


def test_what_was_not_reported_is_not_free() -> None:
    assert price(CLAUDE, TokenUsage()).source == "no counts reported: p/m (the list)"
    assert price(CLAUDE, TokenUsage()).cost_usd is None
    fee_only = price(
        tariff(input_mtok="1", output_mtok="1", web_searches_kcount="10"), TokenUsage(units={"web_searches": Decimal(1)})
    )
    assert fee_only == Cost(None, None, None, "no counts reported: p/m (the list)")
    output_only = price(CLAUDE, TokenUsage(output_tokens=10))
    assert output_only == Cost(None, mtok("15", 10), None, "input_tokens not reported: p/m (the list)")
    assert price(tariff(input_mtok="0", output_mtok="0"), TokenUsage(output_tokens=10)).cost_usd == 0
