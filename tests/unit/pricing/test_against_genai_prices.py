"""Our prices against genai-prices' own engine, over its whole list: where the two differ, the reason stands here.

Matching: every id, every name that a clause spells out, and dated forms of them must find the same entry.
Money: every entry, at moments in every period it has, in every tier, with usages that touch every class it prices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from genai_prices import data_snapshot, types

from proxy.pricing.fields import EQUIVALENT_RATES, RATES
from proxy.pricing.genai_source import FREE, NOT_USED
from proxy.pricing.matching import is_match
from proxy.pricing.price_data import PriceData
from proxy.pricing.schedule import Period
from proxy.pricing.tariff import Tariff
from proxy.usage.tokens import TokenUsage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIST = data_snapshot.get_snapshot()

TOKEN_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_image_tokens": "output_image_tokens",
}
"""Our name of a count → theirs."""
UNIT_COUNTS = {
    "cache_read_image_tokens": "cache_image_read_tokens",
    "input_video_tokens": "input_video_tokens",
    "output_video_tokens": "output_video_tokens",
    "output_citation_tokens": "output_citation_tokens",
    "web_searches": "web_searches",
    "file_searches": "storage_searches",
    "characters": "input_characters",
    "audio_seconds": "audio_seconds",
    "pages": "input_document_pages",
    "annotated_pages": "input_annotated_document_pages",
    "text_messages": "input_text_messages",
}
FEE_RATES = {
    "web_searches_kcount": "web_searches",
    "storage_searches_kcount": "file_searches",
    "input_mchars": "characters",
    "audio_hours": "audio_seconds",
    "input_document_kpages": "pages",
    "input_annotated_document_kpages": "annotated_pages",
    "input_text_messages_kcount": "text_messages",
}
CONTEXTS: tuple[tuple[str | None, bool, dict[str, str]], ...] = (
    (None, False, {}),
    ("default", False, {"service_tier": "default"}),
    ("flex", False, {"service_tier": "flex"}),
    ("priority", False, {"service_tier": "priority"}),
    ("fast", False, {"service_tier": "fast", "speed": "fast"}),
    ("default", True, {"service_tier": "default", "processing": "batch"}),
)


def entries() -> Iterator[tuple[types.Provider, int, types.ModelInfo]]:
    for provider in LIST.providers:
        for number, model in enumerate(provider.models):
            yield provider, number, model


def tables(model: types.ModelInfo) -> list[dict[str, object]]:
    prices = [model.prices] if isinstance(model.prices, types.ModelPrice) else [part.prices for part in model.prices]
    prices.extend(variant.prices for variant in model.price_variants or ())
    return [{name: rate for name, rate in vars(part).items() if rate is not None} for part in prices]


def usages(model: types.ModelInfo) -> Iterator[TokenUsage]:
    """A short call, a long one with caches, and one that touches every further class that has a rate."""
    rates = {name for table in tables(model) for name in table}
    units = {unit: Decimal(7) for rate, unit in FEE_RATES.items() if rate in rates}
    if not rates & {"input_mtok", "output_mtok"} and rates:
        yield TokenUsage(units={name: Decimal(count) for name in units for count in (125,)})
        return
    output = 300 if not rates or "output_mtok" in rates else None
    yield TokenUsage(input_tokens=1_234, output_tokens=output)
    yield TokenUsage(
        input_tokens=600_000,
        output_tokens=output,
        cache_read_tokens=250_000,
        cache_write_tokens=40_000,
        cache_write_1h_tokens=15_000,
        reasoning_tokens=None if output is None else 120,
        units=units,
    )
    yield TokenUsage(
        input_tokens=150_000,
        output_tokens=None if output is None else 5_000,
        cache_read_tokens=900,
        cache_read_audio_tokens=200 if "input_audio_mtok" in rates else None,
        input_audio_tokens=700 if "input_audio_mtok" in rates else None,
        input_image_tokens=600 if "input_image_mtok" in rates else None,
        output_audio_tokens=400 if "output_audio_mtok" in rates else None,
        output_image_tokens=1_100 if "output_image_mtok" in rates else None,
        units={
            **({"cache_read_image_tokens": Decimal(100)} if "input_image_mtok" in rates else {}),
            **({"input_video_tokens": Decimal(50)} if "input_video_mtok" in rates else {}),
            **({"output_video_tokens": Decimal(60)} if "output_video_mtok" in rates else {}),
            **({"output_citation_tokens": Decimal(70)} if "output_citation_mtok" in rates else {}),
        },
    )


def moments(tariff: Tariff) -> list[datetime]:
    """Today, the day each rate starts and the day before, the edges of every interval of hours."""
    found = [NOON]
    for part in (*tariff.periods, *tariff.variants):
        if part.starts_on is not None:
            start = datetime(part.starts_on.year, part.starts_on.month, part.starts_on.day, tzinfo=UTC)
            found += [start, start - timedelta(seconds=1)]
        for edge in part.hours or ():
            at = datetime.combine(NOON.date(), edge, UTC)
            found += [at, at - timedelta(seconds=1)]
    return list(dict.fromkeys(found))


def theirs(usage: TokenUsage) -> types.Usage:
    counts: dict[str, int | Decimal] = {}
    for our_name, name in TOKEN_COUNTS.items():
        if (count := getattr(usage, our_name)) is not None:
            counts[name] = count
    counts.update({UNIT_COUNTS[unit]: count for unit, count in usage.units.items()})
    if "annotated_pages" in usage.units:  # theirs are part of the pages, ours are counted instead of them
        counts["input_document_pages"] = usage.units["annotated_pages"] + usage.units.get("pages", 0)
    return types.Usage(**counts)


def difference(of: Tariff | None, model: types.ModelInfo, rates: dict[str, object], unknown: str | None) -> str:
    """Why the two may differ here; `unexplained` fails the test."""
    if of is None and not any(tables(model)):
        return "no rate at all: they say 0, we say unknown unless the entry is free"
    if of is not None and not rates:
        return "a period without any rate: they say 0, we say unknown"
    if unknown is not None and unknown.startswith("no rate for ") and any(rate not in rates for rate in FEE_RATES):
        return "a fee that another period has and this one has not: they leave it out, we say unknown"
    return "unexplained"


def test_money_agrees_over_the_whole_list(price_data: PriceData) -> None:
    compared, reasons, wrong = 0, Counter[str](), []
    for provider, number, model in entries():
        chapter = price_data.chapter(provider.id)
        ours = chapter.models[number]
        assert ours.id == model.id
        tariff = price_data._entry(provider.id, number, is_own=True)[1]
        probe = tariff or Tariff("none", "none", (Period({}),))
        contexts = CONTEXTS if model.price_variants else CONTEXTS[:1]
        for at in moments(probe):
            for tier, is_batch, context in contexts:
                price = model.get_prices(at, context)
                rates = {name: rate for name, rate in vars(price).items() if rate is not None}
                for usage in usages(model):
                    expected = model.calc_price(theirs(usage), provider, genai_request_timestamp=at, price_context=context)
                    cost = probe.price(usage, service_tier=tier, started_at=at, is_batch=is_batch)
                    compared += 1
                    if cost.cost_usd == expected.total_price and cost.source == price_data.source:
                        continue
                    if cost.cost_usd is not None and round(cost.cost_usd, 15) == round(expected.total_price, 15):
                        reasons["a price per hour, which we round to 15 decimals"] += 1
                        continue
                    reason = difference(tariff, model, rates, cost.source)
                    reasons[reason] += 1
                    if reason == "unexplained":
                        wrong.append((provider.id, model.id, at, tier, is_batch, cost, expected.total_price))
    assert wrong[:5] == []
    assert compared > 10_000
    assert set(reasons) <= {
        "no rate at all: they say 0, we say unknown unless the entry is free",
        "a period without any rate: they say 0, we say unknown",
        "a fee that another period has and this one has not: they leave it out, we say unknown",
        "a price per hour, which we round to 15 decimals",
    }
    assert sum(reasons.values()) < compared / 50


def test_entries_without_a_rate_are_free_only_where_they_say_so(price_data: PriceData) -> None:
    for provider, number, model in entries():
        if any(tables(model)):
            continue
        tariff = price_data._entry(provider.id, number, is_own=True)[1]
        is_free = model.id.endswith(":free") or (provider.id, model.id) in FREE
        assert (tariff is not None) == is_free, (provider.id, model.id)


def test_every_rate_of_the_list_is_one_of_ours() -> None:
    used = {name for _, _, model in entries() for table in tables(model) for name in table}
    assert used - set(RATES) - set(EQUIVALENT_RATES) <= NOT_USED


def spelled_out(clause: object) -> Iterator[str]:
    """Names that a clause equals or starts with."""
    for attribute in ("or_", "and_"):
        for part in getattr(clause, attribute, ()):
            yield from spelled_out(part)
    for attribute in ("equals", "starts_with"):
        if hasattr(clause, attribute):
            yield getattr(clause, attribute)


def test_matching_agrees_over_the_whole_list(price_data: PriceData) -> None:
    compared, wrong = 0, []
    for provider, _, model in entries():
        names = {model.id, *spelled_out(model.match)}
        for name in names:
            for spelling in (name, f"{name.upper()}-20260401", f"us.{name}"):
                ours = price_data.find(provider.id, spelling)
                their_model = provider.find_model(spelling, all_providers=LIST.providers)
                compared += 1
                if their_model is None:
                    # beyond theirs: an id that no clause knows, `…/models/` left out, the plain name of a fine-tune
                    if ours is not None and ours[0].id.lower() not in spelling.lower():
                        wrong.append((provider.id, spelling, ours[0].id, None))
                elif ours is None or ours[0].id != their_model.id:
                    wrong.append((provider.id, spelling, ours and ours[0].id, their_model.id))
    assert wrong[:5] == []
    assert compared > 10_000


def test_providers_agree(price_data: PriceData) -> None:
    for name in (
        "openai",
        "azure",
        "google-vertex",
        "gemini",
        "xai",
        "bedrock",
        "anthropic",
        "mistralai",
        "huggingface-groq",
        "nobody",
    ):
        provider = data_snapshot.find_provider_by_id(LIST.providers, name)
        assert price_data.provider_id(name) == (None if provider is None else provider.id)


def test_a_clause_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        is_match(["sounds_like", "gpt"], "gpt")
