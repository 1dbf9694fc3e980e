"""PriceData: the built-in price list in a compact form, read one provider at a time.

The list has thousands of models and a proxy uses a handful, so what is handed from process to process is one JSON text per
provider, and a provider is parsed when it is first asked for (0.4 ms for openai, 1.5 ms for openrouter, the largest).
Not here: where the list comes from (genai_source.py), who asks (pricebook.py).

The snapshot, JSON: {"format": 1, "source": …, "providers": {id: {"match": clause|null, "model_match": clause|null,
"fallback": [ids], "models": text}}}; a model in `text` is [id, clause, context tokens|null, minimum audio seconds, periods,
variants]; a period [from|null, [start, end]|null, {rate name: rate}]; a variant [{context key: value}, from|null, hours|null,
{rate name: rate}]; a rate "2.5" or ["2.5", [[start, "5"], …]].
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any

from proxy.pricing.matching import Clause, NameIndex, is_match, spellings
from proxy.pricing.rates import Rate, RateTable, Tiered
from proxy.pricing.schedule import Hours, Period, Variant
from proxy.pricing.tariff import Tariff

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ProviderPart:
    """One provider of the list."""

    match: Clause | None
    """Which other names the provider goes by."""
    model_match: Clause | None
    """Which models are plainly this provider's."""
    fallback: tuple[str, ...]
    """Providers whose models it sells under their prices (azure → openai)."""
    models: str
    """JSON text, parsed when first needed."""


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the list, its prices not yet compiled."""

    id: str
    provider: str
    context_tokens: int | None
    minimum_audio_seconds: int
    periods: tuple[Period, ...]
    """Empty: the list knows the model and no price."""
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A provider's models, parsed."""

    models: tuple[Model, ...]
    index: NameIndex
    tariffs: dict[tuple[int, bool], Tariff] = field(default_factory=dict)


class PriceData:
    """The whole list. Lookups are slow (tens of microseconds) and memoised by their caller."""

    __slots__ = ("_chapters", "providers", "source")

    def __init__(self, source: str, providers: Mapping[str, ProviderPart]) -> None:
        """Args:
        source: name, version and date of the list, e.g. `genai-prices 0.2.3 2026-11-10`.
        """
        self.source = source
        self.providers = providers
        self._chapters: dict[str, Chapter] = {}

    @classmethod
    def from_snapshot(cls, text: str | bytes) -> PriceData:
        """The list from what `to_snapshot` gave.

        Raises:
            ValueError: not such a text, or of another release's format.
        """
        snapshot = json.loads(text)
        if not isinstance(snapshot, dict) or snapshot.get("format") != FORMAT:
            raise ValueError(f"not a price snapshot of format {FORMAT}")
        return cls(
            snapshot["source"],
            {
                name: ProviderPart(part["match"], part["model_match"], tuple(part["fallback"]), part["models"])
                for name, part in snapshot["providers"].items()
            },
        )

    def to_snapshot(self) -> str:
        """The list as one JSON text of half a megabyte, for processes that should not pay for making it."""
        providers = {
            name: {"match": part.match, "model_match": part.model_match, "fallback": part.fallback, "models": part.models}
            for name, part in self.providers.items()
        }
        return json.dumps({"format": FORMAT, "source": self.source, "providers": providers}, separators=(",", ":"))

    def provider_id(self, name: str) -> str | None:
        """The provider's id in the list, by id or by another name it goes by."""
        name = name.lower().strip()
        if name in self.providers:
            return name
        return next((key for key, part in self.providers.items() if part.match is not None and is_match(part.match, name)), None)

    def provider_of_model(self, model: str) -> str | None:
        """The provider that a model's bare name gives away (`claude-…`)."""
        model = model.lower()
        return next(
            (key for key, part in self.providers.items() if part.model_match is not None and is_match(part.model_match, model)),
            None,
        )

    def find(self, provider_id: str, model: str) -> tuple[Model, Tariff | None] | None:
        """The entry a model name means at a provider and its tariff; None where the list does not know it.

        The tariff of a model found at a fall-back provider has no variants: a tier's price is its provider's own.
        The tariff is None where the list knows the model but no price.
        """
        if provider_id not in self.providers:
            return None
        sellers = (provider_id, *self.providers[provider_id].fallback)
        for spelling in spellings(model, sellers):
            for name in sellers:
                if name in self.providers and (number := self.chapter(name).index.find(spelling)) is not None:
                    return self._entry(name, number, is_own=name == provider_id)
        for spelling in spellings(model, sellers):
            if (number := self.chapter(provider_id).index.find_id(spelling)) is not None:
                return self._entry(provider_id, number, is_own=True)
        return None

    def _entry(self, provider_id: str, number: int, *, is_own: bool) -> tuple[Model, Tariff | None]:
        chapter = self.chapter(provider_id)
        model = chapter.models[number]
        if not model.periods:
            return model, None
        tariff = chapter.tariffs.get((number, is_own))
        if tariff is None:
            tariff = chapter.tariffs[(number, is_own)] = Tariff(
                f"{provider_id}/{model.id}",
                self.source,
                model.periods,
                model.variants if is_own else (),
                minimum_audio_seconds=model.minimum_audio_seconds,
            )
        return model, tariff

    def chapter(self, provider_id: str) -> Chapter:
        """A provider's models, parsed at the first call."""
        chapter = self._chapters.get(provider_id)
        if chapter is None:
            rows: list[Any] = json.loads(self.providers[provider_id].models)
            models = tuple(_model(provider_id, row) for row in rows)
            chapter = self._chapters[provider_id] = Chapter(models, NameIndex([(row[0], row[1]) for row in rows]))
        return chapter

    def models(self) -> Iterator[Model]:
        """Every entry of the list."""
        for provider_id in self.providers:
            yield from self.chapter(provider_id).models


def _model(provider_id: str, row: list[Any]) -> Model:
    model_id, _, context_tokens, minimum_audio_seconds, periods, variants = row
    return Model(
        id=model_id,
        provider=provider_id,
        context_tokens=context_tokens,
        minimum_audio_seconds=minimum_audio_seconds,
        periods=tuple(Period(_table(table), _day(start), _hours(hours)) for start, hours, table in periods),
        variants=tuple(Variant(when, _table(table), _day(start), _hours(hours)) for when, start, hours, table in variants),
    )


def _table(rates: dict[str, Any]) -> RateTable:
    return {name: _rate(rate) for name, rate in rates.items()}


def _rate(rate: Any) -> Rate:
    if isinstance(rate, str):
        return Decimal(rate)
    base, tiers = rate
    return Tiered(Decimal(base), tuple((start, Decimal(price)) for start, price in tiers))


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _hours(texts: list[str] | None) -> Hours | None:
    return None if texts is None else (time.fromisoformat(texts[0]), time.fromisoformat(texts[1]))
