"""May this call go? Stops, allowed models, prices, then every limit in one atomic step.

Fast path: a caller without limits asks no store at all. What is the same for all calls of a caller to a model is in a Plan
(limits/plan.py), which also says what is held, by mode; this file only asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from proxy.limits.estimate import Estimator, output_cap_of
from proxy.limits.hidden_input import PLAIN, hidden_input
from proxy.limits.limit import Demand, Limit, Refusal, Reservation
from proxy.limits.plan import Plan
from proxy.quota.store import QuotaStore
from proxy.relay.identity import Denied
from proxy.routing.callers import Caller
from proxy.routing.provider import Provider
from proxy.rules import Rules
from proxy.usage.request_facts import RequestFacts

SMALLEST_CAP_TOKENS = 16
"""`output_cap: inject` does not cap an answer below this: OpenAI's Responses API refuses less, and nobody wants it."""
SHORT_WINDOWS = (None, "minute")
"""Limits on which waiting a minute helps: concurrency and per minute."""


class Asked(Protocol):
    """What is known of a call when it asks to be admitted (weighing.Weighing)."""

    request_id: str
    started_at: float
    caller: Caller
    provider: Provider
    facts: RequestFacts
    rules: Rules


class Session(Asked, Protocol):
    """A call that goes on for long and settles in parts."""

    is_closed: bool
    settled: dict[str, int]


class Admitted(NamedTuple):
    """A call that may go."""

    reservation: Reservation | None
    """None where no limit applies."""
    expected_input_tokens: int
    model_key: str
    hidden: int = PLAIN
    """Flags of limits.hidden_input, for learning."""
    injected_cap_tokens: int | None = None
    """The body must be given this output cap before it is forwarded (`output_cap: inject`)."""


async def admit(asked: Asked, store: QuotaStore, estimator: Estimator) -> Admitted | Denied:
    """Test everything that may refuse a call, and take its holds."""
    caller, provider, facts, rules = asked.caller, asked.provider, asked.facts, asked.rules
    model = facts.model
    if rules.stops:
        stop = rules.stop_for(provider.name, model, caller)
        if stop is not None:
            reason = stop.get("reason")
            return Denied(
                "stopped", "emergency_stop", "Calls are stopped by the administrator" + (f": {reason}." if reason else ".")
            )
    if not facts.is_metered:
        return Admitted(None, 0, f"{provider.name}/{model}")
    plan = rules.plan_for(caller, provider, model)
    if not plan.is_allowed:
        named = f"The model '{model}' is" if model else "A request that names no model is"
        return Denied("forbidden_model", "model_not_allowed", f"{named} not among the models allowed for '{caller.user}'.")
    if plan.tariff is None and rules.unknown_model == "refuse":
        message = (
            f"No price is known for the model '{model}' of '{provider.name}', "
            "and calls without a price are refused (prices.yaml: unknown_model)."
        )
        return Denied("unpriced_refused", "unknown_model_price", message)
    cap = output_cap_of(facts.api, facts.output_cap_tokens)
    usual = estimator.usual(plan.model_key, facts.input_bytes, cap, facts.choice_count)
    if not plan.limits:
        return Admitted(None, usual[0], plan.model_key)
    hidden = hidden_input(facts.document) if plan.has_strict else PLAIN
    started_at, lease_seconds = asked.started_at, rules.settings.lease_seconds
    wanted = plan.demands(estimator, facts, cap, usual, hidden, started_at)
    answer = await store.reserve(asked.request_id, wanted, started_at, lease_seconds)
    if isinstance(answer, Reservation):
        return tuple.__new__(Admitted, (answer, usual[0], plan.model_key, hidden, None))  # as in usage/whole_body.py
    if rules.output_cap == "inject" and cap is None and answer.reason == "limit" and answer.limit.mode == "strict":
        room = await _room_for_output(plan, asked, store, estimator, hidden)
        if room >= SMALLEST_CAP_TOKENS:
            wanted = plan.demands(estimator, facts, room, usual, hidden, started_at)
            again = await store.reserve(asked.request_id, wanted, started_at, lease_seconds)
            if isinstance(again, Reservation):
                return Admitted(again, usual[0], plan.model_key, hidden, room)
            answer = again
    return _denied(answer)


async def _room_for_output(plan: Plan, asked: Asked, store: QuotaStore, estimator: Estimator, hidden: int) -> int:
    """The largest output cap per choice with which this call fits into every strict limit; 0 where none does."""
    facts = asked.facts
    input_tokens, room = plan.worst(estimator, facts, None, hidden)
    strict = [limit for limit in plan.limits if limit.mode == "strict"]
    for status in await store.status(strict, asked.started_at):
        left = status.limit.amount - status.used - status.reserved
        resource = status.limit.resource
        if resource == "tokens":
            room = min(room, left - input_tokens)
        elif resource == "output_tokens":
            room = min(room, left)
        elif resource == "cost_usd":
            room = _affordable(plan, asked, input_tokens, room, left)
    return max(0, room) // max(1, facts.choice_count)


def _affordable(plan: Plan, asked: Asked, input_tokens: int, most: int, left_nano_usd: int) -> int:
    """The most output tokens that cost no more than what is left (the bound grows with the tokens: bisection)."""
    if plan.tariff is None:
        return most
    low, high = -1, most
    while low < high:
        middle = (low + high + 1) // 2
        if middle >= 0 and plan.bound_nano_usd(input_tokens, middle, asked.started_at, asked.facts.units) <= left_nano_usd:
            low = middle
        else:
            high = middle - 1
    return low


async def settle_part(
    asked: Session, part: int, used: Mapping[str, int], rules: Rules, store: QuotaStore, now: float
) -> Denied | None:
    """Settle what one response of a session used, beside the session's own holds, which stay for the next one.

    Args:
        used: amounts by resource, cost in nano-dollars.
        rules: those in force now; the session may be older.
        now: Unix seconds; a session may have begun in another window.

    Returns:
        Denied where the limits have no room for another response. Whether `used` is settled then tells `asked.settled`.
    """
    limits = [limit for limit in rules.limits_for(asked.caller, asked.facts.model) if limit.resource in used]
    lease_seconds = rules.settings.lease_seconds
    hold_id = f"{asked.request_id}/{part}"
    wanted = [Demand(limit, 0 if limit.mode == "soft" else used[limit.resource]) for limit in limits]
    held = await store.reserve(hold_id, wanted, now, lease_seconds)
    if isinstance(held, Refusal):
        return _denied(held)
    if asked.is_closed:
        store.release(held)  # the session ended meanwhile, and all of it was settled then
        return None
    store.settle(held, used)
    for resource, amount in used.items():
        asked.settled[resource] = asked.settled.get(resource, 0) + amount
    soft = [Demand(limit, 0) for limit in limits if limit.mode == "soft"]  # these look at what is settled, so afterwards
    if soft:
        room = await store.reserve(f"{hold_id}?", soft, now, lease_seconds)
        if isinstance(room, Refusal):
            return _denied(room)
        store.release(room)
    return None


def _denied(refusal: Refusal) -> Denied:
    limit = refusal.limit
    if refusal.reason == "store_away":
        return Denied(
            "store_away",
            "limits_unavailable",
            "Limits can't be checked at the moment, and this one is set to refuse then.",
            limit.name,
            limit.window,
            5.0,
            store_mode=refusal.store_mode,
        )
    if not refusal.can_ever_fit:
        message = (
            f"This request may use {_amount(limit, refusal.wanted)}, more than all of {limit.name} "
            f"({_amount(limit, limit.amount)}). Send a smaller request or set a smaller output cap (max_tokens)."
        )
        return Denied("quota_exceeded", "limit_too_small", message, limit.name, limit.window, store_mode=refusal.store_mode)
    kind = "rate_limited" if limit.window in SHORT_WINDOWS else "quota_exceeded"
    used = f"{_amount(limit, refusal.used)} used"
    if refusal.held:
        used += f", {_amount(limit, refusal.held)} held by running calls"
    wanted = _amount(limit, refusal.wanted)
    message = f"Limit {limit.name} reached: {used} of {_amount(limit, limit.amount)}; this request needs {wanted}."
    return Denied(
        kind,
        "rate_limit_exceeded" if kind == "rate_limited" else "quota_exceeded",
        message,
        limit.name,
        limit.window,
        refusal.retry_after_seconds,
        store_mode=refusal.store_mode,
    )


def _amount(limit: Limit, amount: int) -> str:
    if limit.resource == "cost_usd":
        return f"${amount / 1e9:.6f}".rstrip("0").rstrip(".")
    words = {"requests": "requests", "concurrent_requests": "concurrent requests"}
    return f"{amount:,} {words.get(limit.resource, 'tokens')}"
