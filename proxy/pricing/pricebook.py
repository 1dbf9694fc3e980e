"""Pricebook: every tariff there is, found by provider and model, once; and the cost of a whole reading.

Rules of this file: the operator's prices come first, by any name the call's model goes by, then the built-in list; a model
that neither knows has no tariff, and its cost is unknown with a reason. Finding is memoised: the request's way pays a
dictionary look-up. A provider's own figure of the cost is kept beside ours by the record, never used as ours.
Not here: reading the list (price_data.py, genai_source.py), arithmetic (tariff.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.pricing.cost import NOTHING_TO_PRICE, Cost, together, unknown
from proxy.pricing.entries import PriceEntry, entry_of_model, entry_of_override
from proxy.pricing.genai_source import read_price_data
from proxy.pricing.output_limits import max_output_tokens
from proxy.pricing.overrides import OverrideDocument, Overrides
from proxy.pricing.price_data import Model, PriceData
from proxy.pricing.provider_names import GATEWAYS, HUGGINGFACE, PRICE_PROVIDERS
from proxy.pricing.schedule import Moment
from proxy.pricing.tariff import Tariff
from proxy.usage.tokens import Reading

MEMO_SIZE = 8_192
"""Names remembered; emptied above that, so that made-up models cost time and no memory."""
MAX_NAME = 512
"""Longer model names are nobody's (the longest real ones are ARNs)."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What bounds an answer. None: not known; then a strict limit holds what the other one allows."""

    max_output_tokens: int | None
    context_tokens: int | None


NO_LIMITS = ModelLimits(None, None)


class Pricebook:
    """All prices in force. Immutable but for its memos; swapped whole when the configuration changes."""

    __slots__ = ("_data", "_limits", "_overrides", "_tariffs", "source")

    def __init__(self, data: PriceData, overrides: Overrides) -> None:
        self._data = data
        self._overrides = overrides
        self.source = data.source
        self._tariffs: dict[tuple[str, str, str | None, str | None], Tariff | None] = {}
        self._limits: dict[tuple[str, str, str | None], ModelLimits] = {}

    @classmethod
    def from_snapshot(cls, text: str | bytes, overrides: OverrideDocument | None = None) -> Pricebook:
        """A pricebook on the list that another process compiled (`to_snapshot`): milliseconds instead of half a second.

        Raises:
            ValueError: the text is no such snapshot.
            ConfigError: the overrides cannot be used.
        """
        return cls(PriceData.from_snapshot(text), Overrides(overrides or {}))

    def to_snapshot(self) -> str:
        """The built-in list, without the overrides, for `from_snapshot`."""
        return self._data.to_snapshot()

    def warm(self, price_providers: Iterable[str]) -> None:
        """Parses the providers that will be asked for, so that no request has to wait for it."""
        for name in price_providers:
            provider_id = self._provider_id(name)
            if provider_id is not None:
                for part in (provider_id, *self._data.providers[provider_id].fallback):
                    if part in self._data.providers:
                        self._data.chapter(part)

    def tariff(self, provider: str, price_provider: str, model: str | None, fallback_model: str | None = None) -> Tariff | None:
        """The prices of a model; None where they are not known.

        Args:
            provider: as configured, for `prices.yaml`.
            price_provider: its name in the price list.
            model: the name that tells most: the answer's, where there is one.
            fallback_model: another name of the same model: the request's. An operator's price for either name comes
                before the list's price for any.
        """
        key = (provider, price_provider, model, fallback_model)
        try:
            return self._tariffs[key]
        except KeyError:
            pass
        names = _names(model, fallback_model)
        tariff = self._find_tariff(provider, price_provider, names)
        if len(self._tariffs) >= MEMO_SIZE:
            self._tariffs.clear()
        if sum(map(len, names)) <= 2 * MAX_NAME:
            self._tariffs[key] = tariff
        return tariff

    def model_limits(self, provider: str, price_provider: str, model: str | None) -> ModelLimits:
        """The longest answer and the context window of a model, as far as they are known."""
        key = (provider, price_provider, model)
        limits = self._limits.get(key)
        if limits is None:
            if len(self._limits) >= MEMO_SIZE:
                self._limits.clear()
            limits = self._find_limits(provider, price_provider, model)
            if model is None or len(model) <= MAX_NAME:
                self._limits[key] = limits
        return limits

    def cost(
        self,
        provider: str,
        price_provider: str,
        model: str | None,
        reading: Reading,
        started_at: Moment,
        *,
        fallback_model: str | None = None,
    ) -> Cost:
        """What an answer cost: its own usage and that of other models inside it, which are priced by their own tariffs.

        Arguments as of `tariff`; `started_at` decides between dated prices.
        """
        usage = reading.usage
        if usage is None:
            return unknown("no usage reported") if reading.is_usage_missing else NOTHING_TO_PRICE
        is_batch = reading.api.endswith(".batches") or (reading.billing_key or "").startswith("batch:")
        tariff = self.tariff(provider, price_provider, model, fallback_model)
        if tariff is None:
            cost = unknown(_unknown_model(provider, model or fallback_model))
        else:
            cost = tariff.price(usage, service_tier=reading.service_tier, started_at=started_at, is_batch=is_batch)
        for other_model, other_usage in reading.also_used:
            other = self.tariff(provider, price_provider, other_model)
            if other is None:
                cost = together(cost, unknown(_unknown_model(provider, other_model)))
            else:
                part = other.price(other_usage, service_tier=reading.service_tier, started_at=started_at, is_batch=is_batch)
                cost = together(cost, part)
        return cost

    def entries(self) -> Iterator[PriceEntry]:
        """Every price there is: the operator's, then the built-in list."""
        for override in self._overrides:
            yield entry_of_override(override)
        for model in self._data.models():
            yield entry_of_model(model, self.source, max_output_tokens(model.id))

    def _find_tariff(self, provider: str, price_provider: str, names: tuple[str, ...]) -> Tariff | None:
        override = self._overrides.find(provider, tuple(name.lower() for name in names))
        built_in: Tariff | None = None
        for name in names:
            found = self._built_in(price_provider, name)
            if found is not None and found[1] is not None:
                built_in = found[1]
                break
        return (override.tariff(built_in) if override is not None else None) or built_in

    def _built_in(self, price_provider: str, model: str) -> tuple[Model, Tariff | None] | None:
        """The list's entry, at the provider or, for gateways, at the vendor that the name gives away."""
        if len(model) > MAX_NAME:
            return None
        name = price_provider.lower()
        if name in GATEWAYS:
            vendor, slash, bare = model.partition("/")
            vendor_id = self._provider_id(vendor) if slash else self._data.provider_of_model(model)
            return None if vendor_id is None else self._data.find(vendor_id, bare if slash else model)
        if name == HUGGINGFACE:
            bare, _, routed_to = model.rpartition(":")
            return self._data.find(f"{HUGGINGFACE}_{routed_to.lower()}", bare) if bare else None
        provider_id = self._provider_id(name)
        return None if provider_id is None else self._data.find(provider_id, model)

    def _provider_id(self, name: str) -> str | None:
        return self._data.provider_id(PRICE_PROVIDERS.get(name.lower(), name))

    def _find_limits(self, provider: str, price_provider: str, model: str | None) -> ModelLimits:
        override = self._overrides.find(provider, _names(model, None) and ((model or "").lower(),))
        output_limit = override.max_output_tokens if override is not None else None
        context_limit = override.context_tokens if override is not None else None
        if model is not None and len(model) <= MAX_NAME:
            if output_limit is None:
                output_limit = max_output_tokens(model)
            if context_limit is None and (found := self._built_in(price_provider, model)) is not None:
                context_limit = found[0].context_tokens
        return ModelLimits(output_limit, context_limit) if output_limit is not None or context_limit is not None else NO_LIMITS


def build_pricebook(overrides: OverrideDocument | None = None, data: PriceData | None = None) -> Pricebook:
    """The pricebook of a configuration.

    Args:
        overrides: `prices:` of prices.yaml; {provider: {model or pattern: fields}}, fields as in `fields.OVERRIDE_FIELDS`.
        data: the built-in list. None: compiled from genai-prices, which takes half a second and 100 MB; a worker takes
            it from a snapshot (`PriceData.from_snapshot`).

    Raises:
        ConfigError: the overrides cannot be used.
    """
    return Pricebook(read_price_data() if data is None else data, Overrides(overrides or {}))


def _names(model: str | None, fallback_model: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (model, fallback_model) if name))


def _unknown_model(provider: str, model: str | None) -> str:
    if not model:
        return f"unknown model: {provider} (no model named)"
    return f"unknown model: {provider}/{model if len(model) <= MAX_NAME else model[:MAX_NAME] + '…'}"
