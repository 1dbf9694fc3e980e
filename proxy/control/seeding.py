"""What counters begin with: the ledger's sums of the windows that are open now, so that a restart forgives nothing.

Asked by a worker that counts in its own process, over the control plane's unix socket only; the spool is drained first,
so that calls answered a moment before the restart count as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import web

from proxy.control.context import Context, context_of
from proxy.control.replies import ApiError, json_reply
from proxy.ledger.ledger import GroupSums, Ledger
from proxy.limits.limit import WINDOWS
from proxy.limits.window import window_at
from proxy.pricing.money import to_nano_usd
from proxy.quota.store import SeedCount
from proxy.routing.callers import Caller
from proxy.rules import Rules

PATH = "/internal/seed"


def add_seeding(app: web.Application, drain_now: Callable[[], Awaitable[object]]) -> None:
    """Offer the seed; `drain_now` moves everything that is spooled into the ledger."""

    async def count(context: Context) -> list[SeedCount]:
        await drain_now()
        return await seed_counts(context.ledger, context.rules, context.clock())

    seeds = Shared(count)

    async def show_seed(request: web.Request) -> web.Response:
        transport = request.transport
        if transport is None or not isinstance(transport.get_extra_info("sockname"), (str, bytes)):
            raise ApiError(404, "not_found", "no such path")
        counts = await seeds.get(context_of(request))
        return json_reply(
            {"counts": [{"counter": c.counter, "window": c.window, "window_id": c.window_id, "amount": c.amount} for c in counts]}
        )

    app.router.add_get(PATH, show_seed)


class Shared:
    """One count for all who ask while it waits to begin: workers that start together do not sum the month once each."""

    def __init__(self, count: Callable[[Context], Awaitable[list[SeedCount]]]) -> None:
        self._count = count
        self._lock = asyncio.Lock()
        self._begun = self._counted = 0
        """Numbers of the count that began last and of the last that came to an end."""
        self._last: list[SeedCount] = []

    async def get(self, context: Context) -> list[SeedCount]:
        """What a count says that began after this was asked."""
        begun = self._begun
        async with self._lock:
            if self._counted <= begun:
                self._begun = number = self._begun + 1
                self._last = await self._count(context)
                self._counted = number
            return self._last


async def seed_counts(ledger: Ledger, rules: Rules, now: float) -> list[SeedCount]:
    """Sums of every open window, by counter. `now`: Unix seconds."""
    key_callers = {caller.key_id: caller for caller in rules.callers.values() if caller.key_id}
    counts: dict[tuple[str, str, str], int] = {}
    for window in WINDOWS:
        open_window = window_at(window, now, rules.timezone)
        for row in await ledger.used_since(datetime.fromtimestamp(open_window.starts_at, UTC)):
            for limit in rules.limits_for(_caller(row, key_callers, rules), row.group.get("model")):
                if limit.window == window:
                    place = (limit.counter, window, open_window.id)
                    counts[place] = counts.get(place, 0) + _amount(limit.resource, row)
    return [SeedCount(counter, window, window_id, amount) for (counter, window, window_id), amount in counts.items() if amount]


def _caller(row: GroupSums, key_callers: dict[str, Caller], rules: Rules) -> Caller:
    """Who would be limited today for what was used then."""
    user = row.group.get("user") or "anonymous"
    caller = key_callers.get(row.group.get("key_id") or "")
    if caller is None:
        return rules.anonymous_caller(user)
    return caller if caller.user == user else rules.caller_for_user(caller, user)


def _amount(resource: str, row: GroupSums) -> int:
    sums = row.sums
    if resource == "cost_usd":
        return to_nano_usd(sums.cost_usd)
    amounts = {
        "tokens": sums.total_tokens,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "requests": sums.requests,
    }
    return amounts.get(resource, 0)
