"""Price entries: the price list as the control API and the dashboard show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.pricing.money import usd_text
from proxy.pricing.rates import Rate, RateTable, Tiered
from proxy.pricing.schedule import Hours

if TYPE_CHECKING:
    from proxy.pricing.overrides import Override
    from proxy.pricing.price_data import Model

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """All prices of one model (or of a pattern of models) at one provider."""

    provider: str
    """The list's name of the provider; the configured name for an operator's price."""
    model: str
    source: str
    rates: tuple[Json, ...]
    """Each {"rates": {name: "2.5" or {"base", "tiers"}}, "from": day|null, "hours": "00:30-16:30"|null, "when": {…}}; empty
    where the list knows the model and no price."""
    context_tokens: int | None
    max_output_tokens: int | None

    def as_dict(self) -> Json:
        """The entry as a JSON object; money as decimal strings."""
        return {
            "provider": self.provider,
            "model": self.model,
            "source": self.source,
            "prices": list(self.rates),
            "context_tokens": self.context_tokens,
            "max_output_tokens": self.max_output_tokens,
        }


def entry_of_model(model: Model, source: str, max_output_tokens: int | None) -> PriceEntry:
    """An entry of the built-in list."""
    rows = [_row(part.table, part.starts_on, part.hours, {}) for part in model.periods]
    rows.extend(_row(part.table, part.starts_on, part.hours, dict(part.when)) for part in model.variants)
    return PriceEntry(model.provider, model.id, source, tuple(rows), model.context_tokens, max_output_tokens)


def entry_of_override(override: Override) -> PriceEntry:
    """An entry of the operator's."""
    rows: list[Json] = []
    for table in override.tables:
        rows.append(_row(table.rates, table.valid_from, None, {}))
        rows.extend(_row(rates, table.valid_from, None, {"service_tier": tier}) for tier, rates in table.service_tiers.items())
    return PriceEntry(
        override.provider, override.model, "prices.yaml", tuple(rows), override.context_tokens, override.max_output_tokens
    )


def _row(table: RateTable, starts_on: object, hours: Hours | None, when: dict[str, str]) -> Json:
    return {
        "rates": {name: _rate(rate) for name, rate in table.items()},
        "from": None if starts_on is None else str(starts_on),
        "hours": None if hours is None else f"{hours[0]:%H:%M}-{hours[1]:%H:%M}",
        "when": when,
    }


def _rate(rate: Rate) -> object:
    if isinstance(rate, Tiered):
        return {
            "base": usd_text(rate.base),
            "tiers": [{"start": start, "price": usd_text(price)} for start, price in rate.tiers],
        }
    return usd_text(rate)
