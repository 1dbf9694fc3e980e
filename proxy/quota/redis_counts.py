"""Reading and writing counts in Redis off the request's way: status pages, the ledger's figures, usage from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from proxy.errors import QuotaStoreError
from proxy.limits.limit import Limit, LimitStatus
from proxy.limits.window import calendar_of
from proxy.quota.redis_link import QUIET_PATIENCE_SECONDS, RedisLink
from proxy.quota.redis_nodes import Node
from proxy.quota.redis_plan import Plan, forget_in_ms, slot_of, split_counter, window_key
from proxy.quota.redis_scripts import COUNT, command
from proxy.quota.store import SeedCount

COUNTS_PER_CALL = 200


class RedisCounts:
    """Counts, asked for and written without a hold."""

    def __init__(self, link: RedisLink, zone: Callable[[], ZoneInfo], clock: Callable[[], float]) -> None:
        self._link = link
        self._zone = zone
        self._clock = clock

    async def status(self, limits: Sequence[Limit], now: float, clock_ms: str) -> list[LimitStatus]:
        """Used and held of each limit in its current window, in the order asked.

        Raises:
            QuotaStoreError: a node that is needed is away.
        """
        if not limits:
            return []
        plan = Plan(limits, now, self._zone(), is_cluster=self._link.nodes.is_cluster)
        numbers: dict[int, tuple[int, int]] = {}
        for call in plan.calls:
            look = call.reserve("", "0", clock_ms, [0] * len(limits))
            reply = await self._link.ask(self._node(call.slot), look, QUIET_PATIENCE_SECONDS)
            for number, demand in enumerate(call.demands):
                numbers[demand] = int(reply[1 + 2 * number]), int(reply[2 + 2 * number])
        return [
            LimitStatus(limit, *numbers[number], window.id, window.ends_at)
            for number, (limit, window) in enumerate(zip(limits, plan.windows, strict=True))
        ]

    async def write(self, how: str, counts: Sequence[SeedCount]) -> None:
        """Lift settled counts to these ("s"), or add to them ("a"). Windows other than the current ones are left alone.

        Raises:
            QuotaStoreError: a node that is needed is away.
        """
        now, calendar = self._clock(), calendar_of(self._zone())
        slots: dict[int, list[tuple[str, str, str, int]]] = {}
        for one in counts:
            window = calendar.window_at(one.window, now)
            if window.id == one.window_id and one.amount > 0:
                tag, field = split_counter(one.counter)
                slot = slot_of(tag) if self._link.nodes.is_cluster else 0
                slots.setdefault(slot, []).append((window_key(tag, window.id), forget_in_ms(window, now), field, one.amount))
        for slot, rows in slots.items():
            for start in range(0, len(rows), COUNTS_PER_CALL):
                some = rows[start : start + COUNTS_PER_CALL]
                words = [word for _, forget_in, field, amount in some for word in (forget_in, "1", field, str(amount))]
                written = command(COUNT, [row[0] for row in some], [how, *words])
                await self._link.ask(self._node(slot), written, QUIET_PATIENCE_SECONDS)

    def _node(self, slot: int) -> Node:
        node = self._link.nodes.of_slot(slot)
        if node is None or not node.is_usable:
            raise QuotaStoreError("Redis is away")
        return node
