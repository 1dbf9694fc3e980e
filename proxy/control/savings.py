"""What the same traffic would have cost otherwise: pure arithmetic over sums by provider and model.

Rules of this file: a saving is only named where both prices are known; a cheaper model is a question to its user, never a
claim that it does the work as well; money is Decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from decimal import Decimal

from proxy.control.abilities import ability_class
from proxy.control.figures import money
from proxy.ledger.ledger import GroupSums, Sums
from proxy.pricing.money import usd_text

Price = Callable[[str, str, Sums], Decimal | None]
"""(provider, model, sums) → what these tokens cost there; None where the price is not known."""
MIN_SAVING_USD = Decimal("0.01")
MIN_SAVING_SHARE = Decimal("0.1")
CACHE_FLOOR_TOKENS = 100_000
"""Models with less input are left out of the cache's advice."""
LOW_CACHE_SHARE = 0.1
ASSUMED_CACHE_SHARE = Decimal("0.5")
"""Of the input: what a fixed prompt of some length at the front of each call brings about."""
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
    is_class_kept: bool = True,
) -> list[Alternative]:
    """For each (provider, model) with a cost, the candidates that are at least a tenth cheaper, cheapest first.

    Both sides are priced anew by the table in force, so that an old price does not look like a saving. A model that costs
    nothing (one's own) is named only where `is_free_told`: its cost is the machine it runs on. With `is_class_kept` only models
    of the same ability class are.
    """
    found: list[Alternative] = []
    rows = list(rows)
    in_use = {(row.group.get("provider"), row.group.get("model")) for row in rows}
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
            if is_class_kept and not _may_stand_in(model, (other_provider, other_model), in_use):
                continue
            cost = price(other_provider, other_model, row.sums)
            if cost is not None and (cost or is_free_told) and now - cost >= max(MIN_SAVING_USD, now * MIN_SAVING_SHARE):
                others.append(Alternative(provider, model, other_provider, other_model, now, cost))
        found += sorted(others, key=lambda one: (one.other_cost_usd, one.other_model))[:per_model]
    return sorted(found, key=lambda one: one.cost_usd - one.other_cost_usd, reverse=True)


def _may_stand_in(model: str, other: tuple[str, str], in_use: AbstractSet[tuple[str | None, str | None]]) -> bool:
    """A model of the same class may; for one whose name says nothing, what its owner has in use besides."""
    wanted = ability_class(model)
    return other in in_use if wanted is None else ability_class(other[1]) == wanted


def cache_use(rows: Iterable[GroupSums], price: Price) -> list[dict[str, object]]:
    """Models with much input, which part of it came from the provider's cache, and what more of it would have saved."""
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
                "assumed_share": float(ASSUMED_CACHE_SHARE),
                "saving_usd": _cache_discount(row, price),
            }
        )
    return found


def _cache_discount(row: GroupSums, price: Price) -> str | None:
    """What reading ASSUMED_CACHE_SHARE of the input from the cache would have saved; None where prices say nothing of it."""
    provider, model = row.group.get("provider"), row.group.get("model")
    cached = int(row.sums.input_tokens * ASSUMED_CACHE_SHARE)
    if not provider or not model or row.sums.cache_read_tokens >= cached:
        return None
    now = price(provider, model, row.sums)
    then = price(provider, model, replace(row.sums, cache_read_tokens=cached, cache_write_tokens=0))
    return None if now is None or then is None or then >= now else money(now - then)


def paid_failures(rows: Iterable[GroupSums]) -> list[dict[str, object]]:
    """Calls that ended badly and cost money all the same, by provider, model and outcome; dearest first."""
    found = [
        {**row.group, "requests": row.sums.requests, "total_tokens": row.sums.total_tokens, "cost_usd": usd_text(row.sums.cost_usd)}
        for row in sorted(rows, key=lambda row: -row.sums.cost_usd)
        if row.group.get("outcome") not in ("ok", "denied") and row.sums.cost_usd > 0
    ]
    return [{name: one[name] for name in ("provider", "model", "outcome", "requests", "total_tokens", "cost_usd")} for one in found]


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
