"""Usage that did not pass the proxy, as it is sent in: its shape, the record it becomes, what it counts in the limits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, RootModel

from proxy.control.context import Context
from proxy.control.identifiers import make_uuid7
from proxy.control.people import caller_of_user
from proxy.control.periods import iso
from proxy.control.routes import Body
from proxy.control.values import CLOSED, Count, Moment, Money, Name
from proxy.limits.window import window_at
from proxy.pricing.money import to_nano_usd, usd_text
from proxy.quota.store import SeedCount
from proxy.records import UsageRecord
from proxy.routing.callers import Caller
from proxy.usage.tokens import Exactness, Reading, TokenUsage

MAX_BATCH = 1000
_SUBSETS = (
    ("cache_read_tokens", "input_tokens"),
    ("cache_write_tokens", "input_tokens"),
    ("input_audio_tokens", "input_tokens"),
    ("reasoning_tokens", "output_tokens"),
    ("output_audio_tokens", "output_tokens"),
)


class TrackedUsage(Body):
    """One call that did not pass the proxy. Totals are inclusive: cached tokens are part of the input, reasoning of the output."""

    id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")] | None = None
    """The same id counts once, however often it is sent; made up where absent."""
    user: Name | None = None
    """Needed with the admin key; a user's own key tracks for that user."""
    team: Name | None = None
    provider: Name
    model: Name
    api: Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,64}$")] = "unknown"
    started_at: Moment | None = None
    duration_ms: Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)] = 0.0
    session: Name | None = None
    operation: Name | None = None
    operation_id: Name | None = None
    tags: (
        Annotated[
            dict[Name, Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]], Field(max_length=50, json_schema_extra=CLOSED)
        ]
        | None
    ) = None
    outcome: Literal["ok", "upstream_error", "upstream_aborted", "client_aborted"] = "ok"
    provider_request_id: Name | None = None
    service_tier: Name | None = None
    input_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    output_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    input_audio_tokens: Count | None = None
    output_audio_tokens: Count | None = None
    cost_usd: Money | None = None
    """What it cost, where that is known; else it is priced by the table in force."""

    def contradiction(self) -> str | None:
        """Why these counts cannot be; None where they can."""
        for part, whole in _SUBSETS:
            inner, outer = getattr(self, part), getattr(self, whole)
            if inner is not None and inner > (outer or 0):
                return f"{part} ({inner}) is part of {whole} ({outer or 0}) and cannot be more"
        return None


class TrackedBatch(Body):
    """Several at once."""

    records: Annotated[list[TrackedUsage], Field(min_length=1, max_length=MAX_BATCH)]


class TrackBody(RootModel[TrackedUsage | TrackedBatch]):
    """One or a batch."""


def make_record(context: Context, sent: TrackedUsage, user: str) -> UsageRecord:
    """The record of tracked usage; priced by the table in force where no cost was sent."""
    caller = caller_of_user(context.rules, user)
    started_at = sent.started_at or context.now()
    usage = TokenUsage(
        input_tokens=sent.input_tokens,
        output_tokens=sent.output_tokens,
        cache_read_tokens=sent.cache_read_tokens,
        cache_write_tokens=sent.cache_write_tokens,
        reasoning_tokens=sent.reasoning_tokens,
        input_audio_tokens=sent.input_audio_tokens,
        output_audio_tokens=sent.output_audio_tokens,
    )
    input_cost, output_cost, cost, source = _price(context, sent, usage, started_at)
    is_counted = sent.input_tokens is not None or sent.output_tokens is not None
    return UsageRecord(
        id=sent.id or make_uuid7(context.clock()),
        started_at=iso(started_at),
        duration_ms=sent.duration_ms,
        time_to_first_byte_ms=None,
        user=user,
        team=sent.team or caller.team,
        key_id=None,
        session=sent.session,
        operation=sent.operation,
        operation_id=sent.operation_id,
        tags=sent.tags,
        provider=sent.provider,
        api=sent.api,
        method="POST",
        path="/api/v1/usage/track",
        request_model=sent.model,
        response_model=None,
        streamed=False,
        status=200 if sent.outcome == "ok" else 502 if sent.outcome == "upstream_error" else 0,
        outcome=sent.outcome,
        error=None,
        input_tokens=sent.input_tokens,
        cache_read_tokens=sent.cache_read_tokens,
        cache_write_tokens=sent.cache_write_tokens,
        output_tokens=sent.output_tokens,
        reasoning_tokens=sent.reasoning_tokens,
        input_audio_tokens=sent.input_audio_tokens,
        output_audio_tokens=sent.output_audio_tokens,
        total_tokens=(sent.input_tokens or 0) + (sent.output_tokens or 0) if is_counted else None,
        usage_source="tracked",
        input_cost_usd=input_cost,
        output_cost_usd=output_cost,
        cost_usd=cost,
        price_source=source,
        provider_request_id=sent.provider_request_id,
        usage_details={"service_tier": sent.service_tier} if sent.service_tier else None,
        exactness="exact" if is_counted else "none",
        tier=caller.tier,
    )


def counts_of(context: Context, records: Iterable[UsageRecord]) -> list[SeedCount]:
    """What these records take of every limit that applies to their users, in the windows of their time."""
    rules = context.rules
    totals: dict[tuple[str, str, str], int] = {}
    for record in records:
        caller = Caller(record.user, record.team, record.tier)
        at = datetime.fromisoformat(record.started_at).timestamp()
        amounts = _amounts(record)
        counted: set[tuple[str, str, str]] = set()
        for limit in rules.limits_for(caller, record.request_model):
            if limit.window is None:
                continue
            place = (limit.counter, limit.window, window_at(limit.window, at, rules.timezone).id)
            if place not in counted:  # several limits may share one counter
                counted.add(place)
                totals[place] = totals.get(place, 0) + amounts[limit.resource]
    return [SeedCount(*place, amount) for place, amount in totals.items() if amount]


def _amounts(record: UsageRecord) -> dict[str, int]:
    return {
        "tokens": record.total_tokens or 0,
        "input_tokens": record.input_tokens or 0,
        "output_tokens": record.output_tokens or 0,
        "cost_usd": to_nano_usd(Decimal(record.cost_usd)) if record.cost_usd is not None else 0,
        "requests": 1,
    }


def _price(
    context: Context, sent: TrackedUsage, usage: TokenUsage, started_at: datetime
) -> tuple[str | None, str | None, str | None, str | None]:
    if sent.cost_usd is not None:
        return None, None, usd_text(sent.cost_usd), "tracked"
    rules = context.rules
    provider = rules.providers.get(sent.provider)
    reading = Reading(api=sent.api, usage=usage, exactness=Exactness.EXACT, service_tier=sent.service_tier)
    price_provider = provider.price_provider if provider else sent.provider
    cost = rules.pricebook.cost(sent.provider, price_provider, sent.model, reading, started_at)
    return _text(cost.input_cost_usd), _text(cost.output_cost_usd), _text(cost.cost_usd), cost.source


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else usd_text(amount)
