"""Records in the order of time against other limits: who would have been refused, when, and by which limit.

What is known is what the calls really used. A call asks for that much (so estimates do no harm here: balanced limits refuse a
little earlier in life, strict ones earlier still, as they hold the worst case while a call runs), holds it from its start to its
end, and then it counts. A call that was refused in its time used nothing: it asks for one request, one slot and one token.
Retries that a refusal would have caused, and calls it would have spared, are not made up.

Pure. Memory: one counter per limit's subject and open window, one tally per user and limit that refused, the calls in flight.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from math import inf

from proxy.limits.counting import Counters
from proxy.limits.limit import NANO_USD, Demand, Refusal, Reservation
from proxy.limits.window import window_at
from proxy.pricing.money import to_nano_usd, usd_text
from proxy.records import UsageRecord
from proxy.routing.callers import Caller
from proxy.rules import Rules

MODELS = "models"
"""In a limit's place: the model is on no allow-list."""
UNMETERED = ("count_tokens", "tokenize", "files", "batches")
EXAMPLES = 50
SWEEP_SECONDS = 60.0
MAX_SHOWN = 1000


@dataclass(slots=True)
class Tally:
    """What some of the calls came to."""

    calls: int = 0
    refused: int = 0
    refused_tokens: int = 0
    refused_nano_usd: int = 0
    first_at: str | None = None
    last_at: str | None = None
    others: dict[str, int] = field(default_factory=dict)
    """A user's refusals by limit; a limit's by user."""

    def refuse(self, record: UsageRecord, nano_usd: int, other: str) -> None:
        self.refused += 1
        self.refused_tokens += record.total_tokens or 0
        self.refused_nano_usd += nano_usd
        self.first_at = self.first_at or record.started_at
        self.last_at = record.started_at
        self.others[other] = self.others.get(other, 0) + 1

    def as_json(self) -> dict[str, object]:
        return {
            "refused": self.refused,
            "refused_tokens": self.refused_tokens,
            "refused_cost_usd": usd_text(Decimal(self.refused_nano_usd) / NANO_USD),
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class Replay:
    """One simulation. `see` every record, oldest first, then ask for the `result`."""

    def __init__(self, rules: Rules, tell_from: float) -> None:
        """
        Args:
            rules: with the limits to be tried.
            tell_from: Unix seconds; earlier records only fill the counters.
        """
        self._rules = rules
        self._tell_from = tell_from
        self._counters = Counters(rules.timezone)
        self._keyed = {caller.key_id: caller for caller in rules.callers.values() if caller.key_id}
        self._callers: dict[tuple[str, str | None, str | None, str | None], Caller] = {}
        self._running: list[tuple[float, int, Reservation, dict[str, int]]] = []
        self._swept_at = -inf
        self._number = 0
        self._whole = Tally()
        self._users: dict[str, Tally] = {}
        self._limits: dict[str, Tally] = {}
        self._examples: list[dict[str, object]] = []
        self._refused_then = self._passes_now = 0
        self.seen = 0

    def see(self, record: UsageRecord) -> None:
        """The next record."""
        self.seen += 1
        if not _is_limited(record):
            return
        now = datetime.fromisoformat(record.started_at).timestamp()
        self._finish_until(now)
        caller = self._caller(record)
        amounts = amounts_of(record)
        if record.usage_source == "tracked":
            self._count_outside(caller, record, amounts, now)
            return
        self._number += 1
        refusal = self._admit(caller, record, amounts, now)
        if now >= self._tell_from:
            self._tell(record, refusal, amounts["cost_usd"])

    def _admit(self, caller: Caller, record: UsageRecord, amounts: dict[str, int], now: float) -> Refusal | str | None:
        """Why the call may not go, or None; then it runs to its end."""
        if not self._rules.model_allowed(caller, record.request_model):
            return MODELS
        limits = self._rules.limits_for(caller, record.request_model)
        if not limits:
            return None
        is_unpriced = record.cost_usd is None
        demands = [
            Demand(
                limit,
                0 if limit.mode == "soft" and limit.window is not None
                else amounts[limit.resource] if limit.resource == "cost_usd" and not is_unpriced
                else max(1, amounts[limit.resource]),
            )
            for limit in limits
        ]  # fmt: skip
        answer = self._counters.reserve(str(self._number), demands, now, inf)
        if isinstance(answer, Refusal):
            return answer
        heapq.heappush(self._running, (now + max(0.0, record.duration_ms) / 1000, self._number, answer, amounts))
        return None

    def _count_outside(self, caller: Caller, record: UsageRecord, amounts: dict[str, int], now: float) -> None:
        """Usage that was told afterwards counts and cannot be refused."""
        counted = set()
        for limit in self._rules.limits_for(caller, record.request_model):
            if limit.window is not None and (limit.counter, limit.window) not in counted:
                counted.add((limit.counter, limit.window))
                window_id = window_at(limit.window, now, self._rules.timezone).id
                self._counters.add(limit.counter, limit.window, window_id, amounts[limit.resource], now)

    def _finish_until(self, now: float) -> None:
        running = self._running
        while running and running[0][0] <= now:
            _, _, reservation, amounts = heapq.heappop(running)
            self._counters.settle(reservation, amounts)
        if now - self._swept_at > SWEEP_SECONDS:
            self._counters.sweep(now)
            self._swept_at = now

    def _caller(self, record: UsageRecord) -> Caller:
        """Who would be limited under the new file for what was called then."""
        place = (record.user, record.team, record.tier, record.key_id)
        found = self._callers.get(place)
        if found is None:
            keyed = self._keyed.get(record.key_id or "")
            standing = self._rules.standing_of(record.user)
            if keyed is not None:
                found = keyed if keyed.user == record.user else self._rules.caller_for_user(keyed, record.user)
            else:
                team, tier = standing.team or record.team, standing.tier or record.tier
                found = Caller(record.user, team, tier, record.key_id, record.key_name)
            if len(self._callers) > 50_000:
                self._callers.clear()
            self._callers[place] = found
        return found

    def _tell(self, record: UsageRecord, refusal: Refusal | str | None, nano_usd: int) -> None:
        self._whole.calls += 1
        was_refused = record.outcome == "denied"
        self._refused_then += was_refused
        self._passes_now += was_refused and refusal is None
        user = self._users.setdefault(record.user, Tally())
        user.calls += 1
        if refusal is None:
            return
        name = refusal if isinstance(refusal, str) else refusal.limit.name
        self._whole.refuse(record, nano_usd, name)
        user.refuse(record, nano_usd, name)
        self._limits.setdefault(name, Tally()).refuse(record, nano_usd, record.user)
        if len(self._examples) < EXAMPLES:
            self._examples.append(_example(record, refusal, name))

    def result(self) -> dict[str, object]:
        """What the whole came to: totals, users and limits by how much was refused, the first refusals."""
        refused = [(user, tally) for user, tally in self._users.items() if tally.refused]
        by_count = sorted(refused, key=lambda pair: (-pair[1].refused, pair[0]))[:MAX_SHOWN]
        by_limit = sorted(self._limits.items(), key=lambda pair: (-pair[1].refused, pair[0]))[:MAX_SHOWN]
        whole = self._whole
        return {
            "calls": whole.calls,
            **whole.as_json(),
            "refused_share": round(whole.refused / whole.calls, 6) if whole.calls else 0.0,
            "refused_then": self._refused_then,
            "refused_then_passes_now": self._passes_now,
            "users_refused": len(refused),
            "users": [
                {"user": user, "calls": tally.calls, **tally.as_json(), "limits": dict(_top(tally.others))}
                for user, tally in by_count
            ],
            "limits": [
                {"limit": name, **tally.as_json(), "users_refused": len(tally.others), "users": dict(_top(tally.others))}
                for name, tally in by_limit
            ],
            "examples": self._examples,
        }


def amounts_of(record: UsageRecord) -> dict[str, int]:
    """What a call took of each resource."""
    return {
        "tokens": record.total_tokens or 0,
        "input_tokens": record.input_tokens or 0,
        "output_tokens": record.output_tokens or 0,
        "cost_usd": to_nano_usd(Decimal(record.cost_usd)) if record.cost_usd is not None else 0,
        "requests": 1,
        "concurrent_requests": 1,
    }


def _is_limited(record: UsageRecord) -> bool:
    """Calls that limits are about: those that make work, and of the refused ones those that a limit or list refused."""
    if record.usage_source == "tracked":
        return True
    if record.outcome == "denied" and record.limit is None and record.status != 429:
        return False
    return record.method == "POST" and not record.api.endswith(UNMETERED)


def _example(record: UsageRecord, refusal: Refusal | str, name: str) -> dict[str, object]:
    shown: dict[str, object] = {
        "at": record.started_at,
        "id": record.id,
        "user": record.user,
        "model": record.request_model,
        "limit": name,
        "amount": None,
        "used": None,
        "wanted": None,
    }
    if isinstance(refusal, Refusal):
        is_money = refusal.limit.resource == "cost_usd"
        for word, amount in (("amount", refusal.limit.amount), ("used", refusal.used + refusal.held), ("wanted", refusal.wanted)):
            shown[word] = usd_text(Decimal(amount) / NANO_USD) if is_money else amount
    return shown


def _top(counts: dict[str, int], most: int = 20) -> Iterator[tuple[str, int]]:
    return iter(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most])
