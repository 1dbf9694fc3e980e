"""Past usage of the demo, as records: some weeks of working days, with what an operator wants to recognise in them.

In it: growth, quiet Sundays, one user's spike, an hour in which a provider was overloaded, a new model without a price,
refusals, hang-ups, cut answers. Deterministic from the seed and the end: the same call makes the same ids, so writing it
twice adds nothing. Prices are the pricebook's, at the record's own time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from proxy.demo.people import PEOPLE, UNPRICED, Model, Operation, Person
from proxy.pricing.pricebook import Pricebook, build_pricebook
from proxy.records import UsageRecord
from proxy.usage.tokens import Exactness, Reading, TokenUsage

GROWTH_PER_DAY = 0.008
SUNDAY_SHARE = 0.12
"""Of a working day's calls, at weekends."""
SPIKE_USER, SPIKE_DAYS_AGO, SPIKE_FACTOR = "alan", 4, 6
OVERLOADED_PROVIDER, OVERLOADED_DAYS_AGO, OVERLOADED_HOUR = "anthropic", 11, 14
UNPRICED_SINCE_DAYS = 9
DENIED_SHARE = {"intern": 0.18, "katherine": 0.05}


@dataclass(frozen=True, slots=True)
class _Step:
    """One call before it is priced: who, what, when, and how it went."""

    person: Person
    operation: Operation
    model: Model
    at: datetime
    session: str
    operation_id: str
    outcome: str
    status: int
    is_stream: bool
    is_estimated: bool


def history(seed: int, days: int, until: datetime, pricebook: Pricebook | None = None) -> Iterator[UsageRecord]:
    """Records of the `days` before `until` (aware), oldest first day by day; a few hundred a day."""
    book = pricebook or build_pricebook({"local": {"*": {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}}})
    for days_ago in range(days, -1, -1):
        rng = random.Random(f"{seed}:{days_ago}")  # noqa: S311 - samples, not secrets
        midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
        steps = [step for person in PEOPLE for step in _day_of(person, midnight, days_ago, days, rng)]
        for step in sorted(steps, key=lambda step: step.at):
            if step.at < until:
                yield _record(step, rng, book)


def _day_of(person: Person, midnight: datetime, days_ago: int, days: int, rng: random.Random) -> Iterator[_Step]:
    """One person's calls on one day, in sessions."""
    wanted = person.calls_per_day * (1 + GROWTH_PER_DAY * (days - days_ago)) * rng.uniform(0.75, 1.25)
    if midnight.weekday() >= 5 and not person.is_machine:
        wanted *= SUNDAY_SHARE
    if person.user == SPIKE_USER and days_ago == SPIKE_DAYS_AGO:
        wanted *= SPIKE_FACTOR
    made = 0
    while made < wanted:
        at = midnight + timedelta(hours=_hour(person, rng))
        session = f"{person.user}-{rng.getrandbits(32):08x}"
        operation = rng.choice(person.operations)
        for _ in range(rng.randint(1, 5)):
            operation_id = f"op-{rng.getrandbits(32):08x}"
            for _ in range(operation.steps):
                at += timedelta(seconds=rng.expovariate(1 / 40))
                yield _step(person, operation, at, session, operation_id, days_ago, rng)
                made += 1


def _hour(person: Person, rng: random.Random) -> float:
    """Working hours, and for one call in eight any hour: some of the crew sit in other zones."""
    if person.is_machine or rng.random() < 0.12:
        return rng.uniform(0, 23.5)
    return min(max(rng.gauss(13.5, 3.0), 6.0), 22.0)


def _step(
    person: Person, operation: Operation, at: datetime, session: str, operation_id: str, days_ago: int, rng: random.Random
) -> _Step:
    model = rng.choices(operation.models, operation.weights)[0]
    if model is UNPRICED and days_ago > UNPRICED_SINCE_DAYS:
        model = operation.models[0]
    is_overloaded = model.provider == OVERLOADED_PROVIDER and days_ago == OVERLOADED_DAYS_AGO and at.hour == OVERLOADED_HOUR
    chance = rng.random()
    outcome, status = "ok", 200
    if rng.random() < DENIED_SHARE.get(person.user, 0.0):
        outcome, status = "denied", 429
    elif is_overloaded and chance < 0.8:
        outcome, status = "upstream_error", 529
    elif chance < 0.006:
        outcome, status = "upstream_error", rng.choice((400, 429, 500))
    elif chance < 0.010:
        outcome = "upstream_aborted"
    elif chance < 0.028:
        outcome = "client_aborted"
    is_stream = rng.random() < operation.stream_share
    is_estimated = is_stream and (outcome == "upstream_aborted" or (outcome == "client_aborted" and rng.random() < 0.4))
    return _Step(person, operation, model, at, session, operation_id, outcome, status, is_stream, is_estimated)


def _usage(step: _Step, rng: random.Random) -> TokenUsage | None:
    """Counts spread around the operation's usual size; None where nothing was answered."""
    if step.outcome in ("denied", "upstream_error") or (step.outcome == "upstream_aborted" and not step.is_stream):
        return None
    input_tokens = max(8, round(step.operation.input_tokens * rng.lognormvariate(0, 0.5)))
    output_tokens = round(step.operation.output_tokens * rng.lognormvariate(0, 0.6))
    if step.outcome == "upstream_aborted":
        output_tokens = round(output_tokens * rng.random())
    reasoning = round(output_tokens * rng.uniform(0.2, 0.6)) if step.model.reasons and not step.is_estimated else 0
    cached = round(input_tokens * rng.uniform(0.3, 0.9)) if step.model.caches and rng.random() < 0.35 else 0
    writes = step.model.provider == "anthropic" and not cached and input_tokens > 4_000 and rng.random() < 0.3
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cached,
        cache_write_tokens=round(input_tokens * 0.6) if writes else 0,
        reasoning_tokens=reasoning,
        total_tokens=input_tokens + output_tokens,
    )


ERRORS = {
    400: "invalid_request_error: a message is empty",
    429: "rate_limit_exceeded: too many requests for this organisation",
    500: "server_error: the server had an error",
    529: "overloaded_error: Overloaded",
}
LIMITS = {"intern": "users.intern.requests.per_minute", "katherine": "users.katherine.per_model.gpt-4o*.tokens.per_minute"}


def _record(step: _Step, rng: random.Random, pricebook: Pricebook) -> UsageRecord:
    """The record that the proxy would have written."""
    usage = _usage(step, rng)
    person, model = step.person, step.model
    exactness = Exactness.NONE if usage is None else Exactness.ESTIMATED if step.is_estimated else Exactness.EXACT
    reading = Reading(api=model.api, usage=usage, exactness=exactness, response_model=model.response_name if usage else None)
    cost = (
        pricebook.cost(model.provider, model.price_provider, model.response_name or model.name, reading, step.at) if usage else None
    )
    output_tokens = usage.output_tokens or 0 if usage else 0
    first_byte = None if step.outcome == "denied" else round(rng.lognormvariate(6.0, 0.5), 3)
    duration = 0.4 if first_byte is None else round(first_byte + output_tokens * rng.uniform(6, 14), 3)
    overhead = round(rng.lognormvariate(-1.2, 0.4), 3)
    is_denied = step.outcome == "denied"
    limit = LIMITS.get(person.user) if is_denied else None
    return UsageRecord(
        id=_uuid7(step.at, rng),
        started_at=step.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        duration_ms=duration,
        time_to_first_byte_ms=first_byte,
        user=person.user,
        team=person.team,
        key_id=person.key_id,
        session=step.session,
        operation=step.operation.name,
        operation_id=step.operation_id,
        tags={"app": person.key_name},
        provider=model.provider,
        api=model.api,
        method="POST",
        path=model.path,
        request_model=model.name,
        response_model=reading.response_model,
        streamed=step.is_stream and not is_denied,
        status=step.status,
        outcome=step.outcome,
        error=f"limit {limit} reached" if is_denied else ERRORS.get(step.status),
        input_tokens=usage.input_tokens if usage else None,
        cache_read_tokens=usage.cache_read_tokens if usage else None,
        cache_write_tokens=usage.cache_write_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        reasoning_tokens=usage.reasoning_tokens if usage else None,
        input_audio_tokens=None,
        output_audio_tokens=None,
        total_tokens=usage.total_tokens if usage else None,
        usage_source="none" if usage is None else "estimated" if step.is_estimated else "reported",
        input_cost_usd=_text(cost.input_cost_usd) if cost else None,
        output_cost_usd=_text(cost.output_cost_usd) if cost else None,
        cost_usd=_text(cost.cost_usd) if cost else None,
        price_source=cost.source if cost else None,
        provider_request_id=None if is_denied else f"req_{rng.getrandbits(96):024x}",
        limit=limit,
        overhead_ms=overhead,
        timings=_timings(overhead, first_byte, duration, rng),
        exactness=exactness.value,
        key_name=person.key_name,
        tier=person.tier,
    )


def _timings(overhead: float, first_byte: float | None, duration: float, rng: random.Random) -> dict[str, float]:
    """Marks on the call's way, in milliseconds since it arrived; a refused call ends where it is admitted."""
    marks = {"admitted": round(overhead * 0.6, 3)}
    if first_byte is not None:
        marks |= {"forwarded": round(overhead * 0.8, 3), "first_byte": first_byte, "last_byte": duration}
    settled = round(max(duration, overhead) + overhead * 0.2, 3)
    return marks | {"settled": settled, "recorded": round(settled + rng.uniform(4, 210), 3)}


def _text(amount: object) -> str | None:
    return None if amount is None else f"{amount:f}"


def _uuid7(at: datetime, rng: random.Random) -> str:
    """RFC 9562 §5.7, with the sample's own randomness."""
    milliseconds = int(at.timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)))
