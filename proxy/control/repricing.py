"""Pricing records again from what they carry: counts, details and tier; by the table in force, for the time of the call.

Tracked usage that came with a cost keeps it, and a record whose bill another record carries has no tokens to price.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from proxy.ledger.ledger import Ledger, RecordFilter, Repriced
from proxy.pricing.cost import Cost
from proxy.pricing.money import usd_text
from proxy.records import UsageRecord
from proxy.rules import Rules
from proxy.usage.tokens import Exactness, Reading, TokenUsage

BATCH = 500
_DETAIL_TOKENS = (
    "cache_write_1h_tokens",
    "cache_read_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "billed_input_tokens",
    "billed_output_tokens",
)
_NOT_UNITS = ("service_tier", "limits_mode", "model")
"""Details whose values are words; every other text among them is the decimal number of a billed unit."""
_RECORD_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "total_tokens",
)


@dataclass
class Repricing:
    """One run, and what it came to."""

    ledger: Ledger
    rules: Rules
    is_all: bool
    is_dry_run: bool
    examined: int = 0
    changed: int = 0
    still_unknown: int = 0
    before_usd: Decimal = Decimal(0)
    after_usd: Decimal = Decimal(0)
    unknown_models: set[str] = field(default_factory=set)


async def reprice_all(work: Repricing, which: RecordFilter) -> dict[str, object]:
    """Go through the records in batches; each is one transaction of the ledger."""
    waiting: list[Repriced] = []
    async for record in work.ledger.export(which):
        found = _look_at(work, record)
        if found is not None:
            waiting.append(found)
        if len(waiting) >= BATCH:
            await _store(work, waiting)
            waiting = []
    await _store(work, waiting)
    return {
        "examined": work.examined,
        "changed": work.changed,
        "still_unknown": work.still_unknown,
        "unknown_models": sorted(work.unknown_models)[:100],
        "before_usd": usd_text(work.before_usd),
        "after_usd": usd_text(work.after_usd),
        "dry_run": work.is_dry_run,
    }


async def _store(work: Repricing, prices: list[Repriced]) -> None:
    if prices and not work.is_dry_run:
        await work.ledger.reprice(prices)


def _look_at(work: Repricing, record: UsageRecord) -> Repriced | None:
    if record.total_tokens is None and not record.usage_details:
        return None
    if record.price_source == "tracked" or (record.cost_usd is not None and not work.is_all):
        return None
    work.examined += 1
    cost = cost_of_record(work.rules, record)
    if cost.cost_usd is None:
        work.still_unknown += 1
        work.unknown_models.add(f"{record.provider}/{record.response_model or record.request_model}"[:200])
        return None  # a price that was known once is not thrown away for one that is not
    new = Repriced(record.id, _text(cost.input_cost_usd), _text(cost.output_cost_usd), usd_text(cost.cost_usd), cost.source)
    if (record.cost_usd, record.price_source) == (new.cost_usd, new.price_source):
        return None
    work.changed += 1
    work.before_usd += Decimal(record.cost_usd or 0)
    work.after_usd += cost.cost_usd
    return new


def cost_of_record(rules: Rules, record: UsageRecord, *, model: str | None = None, provider: str | None = None) -> Cost:
    """What the record's counts cost by the table in force, perhaps on another model."""
    name = provider or record.provider
    configured = rules.providers.get(name)
    reading = reading_of(record)
    started_at = datetime.fromisoformat(record.started_at)
    price_provider = configured.price_provider if configured else name
    if model is not None:
        return rules.pricebook.cost(name, price_provider, model, reading, started_at)
    return rules.pricebook.cost(
        name,
        price_provider,
        record.response_model or record.request_model,
        reading,
        started_at,
        fallback_model=record.request_model,
    )


def reading_of(record: UsageRecord) -> Reading:
    """The meter's reading, as far as the record kept it."""
    details = record.usage_details or {}
    also = details.get("also_used")
    tier = details.get("service_tier")
    counts = {name: getattr(record, name) for name in _RECORD_TOKENS}
    others = [entry for entry in also if isinstance(entry, dict)] if isinstance(also, list) else []
    return Reading(
        api=record.api,
        usage=_usage({**counts, **details}),
        exactness=Exactness(record.exactness) if record.exactness else Exactness.EXACT,
        response_model=record.response_model,
        service_tier=tier if isinstance(tier, str) else None,
        billing_key=record.billing_key,
        also_used=tuple((str(entry.get("model")), _usage(entry)) for entry in others),
    )


def _usage(counts: dict[str, object]) -> TokenUsage:
    tokens = {name: count for name in (*_RECORD_TOKENS, *_DETAIL_TOKENS) if isinstance(count := counts.get(name), int)}
    units = {name: Decimal(amount) for name, amount in counts.items() if name not in _NOT_UNITS and isinstance(amount, str)}
    return TokenUsage(**tokens, units=units)


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else usd_text(amount)
