"""The one door to genai-prices (MIT): its list, compiled to our own form. Only its data is used, never its engine or its net.

Rules of this file: the import happens inside the function, because it costs half a second and 100 MB (pydantic, an HTTP
client and 30,000 lines of objects) that only the process which compiles the list should pay; the others take the snapshot.
An entry without any rate is free only where it says so (`:free`, or one of `FREE`); otherwise its price is unknown.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from proxy.pricing.fields import EQUIVALENT_RATES, RATES
from proxy.pricing.price_data import PriceData, ProviderPart

if TYPE_CHECKING:
    from genai_prices import types

RELEASES = {"0.2.3": "2026-11-10"}
"""Day a release of genai-prices was published (package index, read 2026-11-21); the data itself carries no date."""

FREE = frozenset(
    {
        ("google", "gemma-3"),  # free of charge, no paid tier: ai.google.dev/gemini-api/docs/pricing
        ("google", "gemma-3n"),
        ("google", "gemma-4-26b-a4b-it"),
        ("google", "gemma-4-31b-it"),
        ("openai", "moderation"),  # platform.openai.com/docs/guides/moderation: free
    }
)
FREE_TABLE = {"input_mtok": "0", "output_mtok": "0"}
NOT_USED = frozenset({"input_audio_hours", "output_audio_hours"})
"""Rates left out: `audio_hours` bills the same seconds, and no provider reports seconds by direction."""
MINIMUM_AUDIO_SECONDS = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}
"""console.groq.com/docs/speech-to-text: a minimum of ten seconds. In genai-prices this is code and not data."""


def read_price_data() -> PriceData:
    """The list of the installed release of genai-prices. Takes half a second; see the rules above."""
    from importlib.metadata import version

    from genai_prices.data import providers

    release = version("genai-prices")
    source = " ".join(("genai-prices", release, RELEASES.get(release, ""))).strip()
    return PriceData(source, {provider.id: _provider_part(provider) for provider in providers})


def _provider_part(provider: types.Provider) -> ProviderPart:
    return ProviderPart(
        match=None if provider.provider_match is None else _clause(provider.provider_match),
        model_match=None if provider.model_match is None else _clause(provider.model_match),
        fallback=tuple(provider.fallback_model_providers or ()),
        models=json.dumps([_model_row(provider.id, model) for model in provider.models], separators=(",", ":")),
    )


def _model_row(provider_id: str, model: types.ModelInfo) -> list[Any]:
    key = (provider_id, model.id)
    is_free = model.id.endswith(":free") or key in FREE
    periods: list[list[Any]] = []
    prices = model.prices if isinstance(model.prices, list) else [model]
    for part in prices:
        assert not isinstance(part.prices, list)
        table = _table(part.prices) or (FREE_TABLE if is_free else {})
        periods.append([*_constraint(getattr(part, "constraint", None)), table])
    if not any(table for _, _, table in periods):
        periods = []
    variants = [[variant.when, *_constraint(variant.constraint), _table(variant.prices)] for variant in model.price_variants or ()]
    return [model.id, _clause(model.match), model.context_window, MINIMUM_AUDIO_SECONDS.get(key, 0), periods, variants]


def _table(prices: types.ModelPrice) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, rate in vars(prices).items():
        if rate is None or name in NOT_USED:
            continue
        name = EQUIVALENT_RATES.get(name, name)
        if name in RATES:  # a rate for something no usage of ours counts bills nothing
            table[name] = _rate(rate)
    return table


def _rate(rate: Any) -> str | list[Any]:
    if hasattr(rate, "tiers"):
        return [str(rate.base), [[tier.start, str(tier.price)] for tier in sorted(rate.tiers, key=lambda tier: int(tier.start))]]
    return str(rate)


def _constraint(constraint: Any) -> list[Any]:
    """[first day or None, [start, end] or None], as the snapshot has them."""
    if constraint is None:
        return [None, None]
    if hasattr(constraint, "start_date"):
        return [constraint.start_date.isoformat(), None]
    return [None, [_utc_time(constraint.start_time), _utc_time(constraint.end_time)]]


def _utc_time(value: time) -> str:
    if value.tzinfo is not None:
        value = datetime.combine(date(1970, 1, 1), value).astimezone(UTC).time()
    return value.isoformat()


def _clause(clause: Any) -> list[Any]:
    """A clause as `matching.py` has it.

    Raises:
        ValueError: a kind that this release does not know.
    """
    for kind, attribute in (("or", "or_"), ("and", "and_")):
        if hasattr(clause, attribute):
            return [kind, *(_clause(part) for part in getattr(clause, attribute))]
    for kind in ("equals", "starts_with", "ends_with", "contains", "regex"):
        if hasattr(clause, kind):
            return [kind, getattr(clause, kind)]
    raise ValueError(f"genai-prices has a clause that is not known here: {clause!r}")
