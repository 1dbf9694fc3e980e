"""What the same traffic would have cost otherwise: pure arithmetic over sums by provider and model.

Rules of this file: a saving is only named where both prices are known; a cheaper model is a question to its user, never a
claim that it does the work as well; money is Decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from proxy.ledger.ledger import GroupSums, Sums

Price = Callable[[str, str, Sums], Decimal | None]
"""(provider, model, sums) → what these tokens cost there; None where the price is not known."""
MIN_SAVING_USD = Decimal("0.01")
MIN_SAVING_SHARE = Decimal("0.1")
CACHE_FLOOR_TOKENS = 100_000
"""Models with less input are left out of the cache's advice."""
LOW_CACHE_SHARE = 0.1
WASTE_SHARE = 0.05
WASTE_CALLS = 20


@dataclass(frozen=True, slots=True)
class Alternative:
    """One model's traffic on another model."""

    provider: str
    model: str
    other_provider: str
    other_model: str
    cost_usd: Decimal
    other_cost_usd: Decimal


def cheaper_models(
    rows: Iterable[GroupSums],
    candidates: Sequence[tuple[str, str]],
    price: Price,
    per_model: int = 3,
    *,
    is_free_told: bool = False,
) -> list[Alternative]:
    """For each (provider, model) with a cost, the candidates that are at least a tenth cheaper, cheapest first.

    Both sides are priced anew by the table in force, so that an old price does not look like a saving. A model that costs
    nothing (one's own) is named only where `is_free_told`: its cost is the machine it runs on.
    """
    found: list[Alternative] = []
    for row in rows:
        provider, model = row.group.get("provider"), row.group.get("model")
        if not provider or not model or row.sums.total_tokens == 0:
            continue
        now = price(provider, model, row.sums)
        if now is None or now <= MIN_SAVING_USD:
            continue
        others = []
        for other_provider, other_model in candidates:
            if (other_provider, other_model) == (provider, model):
                continue
            cost = price(other_provider, other_model, row.sums)
            if cost is not None and (cost or is_free_told) and now - cost >= max(MIN_SAVING_USD, now * MIN_SAVING_SHARE):
                others.append(Alternative(provider, model, other_provider, other_model, now, cost))
        found += sorted(others, key=lambda one: (one.other_cost_usd, one.other_model))[:per_model]
    return sorted(found, key=lambda one: one.cost_usd - one.other_cost_usd, reverse=True)


def cache_use(rows: Iterable[GroupSums]) -> list[dict[str, object]]:
    """Models with much input, and which part of it came from the provider's cache."""
    found: list[dict[str, object]] = []
    for row in rows:
        sums = row.sums
        if sums.input_tokens < CACHE_FLOOR_TOKENS:
            continue
        share = sums.cache_read_tokens / sums.input_tokens
        found.append(
            {
                "provider": row.group.get("provider"),
                "model": row.group.get("model"),
                "input_tokens": sums.input_tokens,
                "cache_read_tokens": sums.cache_read_tokens,
                "cache_write_tokens": sums.cache_write_tokens,
                "cache_share": round(share, 4),
                "is_low": share < LOW_CACHE_SHARE,
            }
        )
    return found


def waste(rows: Iterable[GroupSums]) -> list[dict[str, object]]:
    """Calls that were refused, failed or left half-way, where they are more than a few."""
    found: list[dict[str, object]] = []
    for row in rows:
        sums = row.sums
        lost = sums.failed + sums.client_aborted + sums.denied
        if sums.requests < WASTE_CALLS or lost < WASTE_SHARE * sums.requests:
            continue
        found.append(
            {
                "provider": row.group.get("provider"),
                "model": row.group.get("model"),
                "requests": sums.requests,
                "denied": sums.denied,
                "failed": sums.failed,
                "client_aborted": sums.client_aborted,
                "share": round(lost / sums.requests, 4),
            }
        )
    return found
