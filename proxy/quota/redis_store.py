"""Counters in Redis or Valkey (one server, Sentinel, Cluster), shared by all workers and replicas.

Failure policy: a call waits at most `patience_seconds` (250 ms; under strict limits four times that, because a second's wait
on a busy machine is better than a budget granted twice); a store that fails three times in a row is not asked again
until it has answered two probes (breaker.py). Meanwhile each limit does what its `on_store_failure` says (redis_away.py). Nothing
here raises on the request's way.

- reserve: one atomic script per slot over all windows of all subjects in it. Several slots (a cluster only): all are asked at once,
  and what was taken is given back where one refuses, so that nothing is passed; a third request may meanwhile be refused a
  moment too early.
- settle, release, renew return at once (redis_closings.py).
- Windows go by the caller's `now`: their ids are part of the keys, so replicas whose clocks differ share the counters of a
  window and merely enter it at slightly different moments. Leases go by Redis' own clock, so that no replica takes back another's
  hold early. The difference is exported (`clock_skew_seconds`).
- A flushed server is noticed within a quarter of a second (redis_watch.py); holds of running calls come back with their next
  renewal, and are counted when they settle, renewed or not.

Keys: redis_plan.py. Scripts: lua/. Addresses: redis_url.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from time import time
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import hiredis
import structlog

from proxy.errors import QuotaStoreError
from proxy.limits.limit import Demand, Limit, LimitStatus, Refusal, Reservation
from proxy.limits.room import fits, longest_wait, refuse
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.quota.redis_away import AwayAdmission
from proxy.quota.redis_closings import Closings
from proxy.quota.redis_counts import RedisCounts
from proxy.quota.redis_link import QUIET_PATIENCE_SECONDS, RedisFigures, RedisLink, ignore
from proxy.quota.redis_nodes import Node, Nodes
from proxy.quota.redis_plan import Call, Plan, Plans
from proxy.quota.redis_scripts import COUNT, RENEW, RESERVE, SETTLE, Command, command
from proxy.quota.redis_url import RedisPlace, parse_url
from proxy.quota.redis_watch import RedisWatch, Reseed
from proxy.quota.resp_client import RedisRefused
from proxy.quota.store import SeedCount
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger("quota.redis")

PATIENCE_SECONDS = 0.25
STRICT_PATIENCE = 4
"""Times the patience, for calls under a strict limit: measured, a machine under threefold load lets 50 ms and more pass before it
reads a reply that is there; what then counts on its own grants the limit once more."""
LOCAL_SEED_SECONDS = 30.0
"""The local counters are not seeded more often than this."""
_PROBES = ((RESERVE, ("0", "", "0", "0", "")), (SETTLE, ("0", "", "0", "")), (RENEW, ("0", "", "0", "0")), (COUNT, ("a",)))
"""Each script with arguments that make it do nothing."""


class RedisQuotaStore:
    """The port over Redis."""

    def __init__(
        self,
        url: str | RedisPlace,
        zone: Callable[[], ZoneInfo],
        *,
        reseed: Reseed | None = None,
        clock: Callable[[], float] = time,
        lease_clock: Callable[[], float] | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """
        Args:
            url: REDIS_URL, as redis_url.py reads it.
            reseed: what the ledger says is used, asked for after the data was lost, and when this process must count alone.
            clock: Unix seconds; only for `seed`, `add` and the skew.
            lease_clock: Unix seconds for leases instead of Redis' own clock: for tests in which time stands still.
        """
        place = url if isinstance(url, RedisPlace) else parse_url(url)
        self._zone = zone
        self._clock = clock
        self._lease_clock = lease_clock
        self._reseed = reseed
        self._strict_patience_seconds = patience_seconds * STRICT_PATIENCE
        self._tasks = Tasks()
        self.figures = RedisFigures()
        self.local = MemoryQuotaStore(zone, clock)
        self._away = AwayAdmission(self.local, self.figures)
        self.nodes = Nodes(place, self._tasks, patience_seconds=patience_seconds, on_up=self._came_up)
        self._link = RedisLink(self.nodes, self.figures, self._seed_local_soon)
        self._closings = Closings(self._link)
        self._counts = RedisCounts(self._link, zone, clock)
        self._watch = RedisWatch(
            self._link, self._tasks, clock=clock, reseed=reseed, seed=self.seed, send_unsent=self._closings.send_unsent
        )
        self._plans = Plans(is_cluster=self.nodes.is_cluster)
        self._ids = count()
        self._local_seeded_at = float("-inf")

    @property
    def breaker_state(self) -> str:
        """closed (all is well) or open (at least one node is not asked)."""
        return "closed" if all(node.is_usable for node in self.nodes.all()) else "open"

    @property
    def state(self) -> str:
        """normal, or local while a node is away."""
        return "normal" if self.breaker_state == "closed" else "local"

    @property
    def unsent_count(self) -> int:
        """Settlements that Redis has not confirmed."""
        return self._closings.unsent_count

    async def start(self) -> None:
        """Connect, and see that the scripts run. A server that is away now is waited for in the background.

        Raises:
            QuotaStoreError: the server answers, and refuses the password or the scripts.
        """
        try:
            await self.nodes.start()
            for node in self.nodes.all():
                await self._probe_scripts(node)
        except RedisRefused:
            self.nodes.close()
            await self._tasks.close()
            raise
        except QuotaStoreError as error:
            log.error("redis_away_at_start", error=str(error), consequence="limits follow on_store_failure until it answers")
            self._seed_local_soon()
        self._tasks.start(self._watch.run(), name="redis-watch")

    async def _probe_scripts(self, node: Node) -> None:
        for script, arguments in _PROBES:
            asked = command(script, (), arguments)
            for form in (asked.in_full(), asked.by_sha()):  # taught first, so that its name must be known then
                reply = await node.client.call(form, QUIET_PATIENCE_SECONDS)
                if isinstance(reply, hiredis.ReplyError):
                    raise RedisRefused(f"Redis at {node.client.address} does not run the script {script.name}: {reply}")

    async def _came_up(self, node: Node) -> None:
        await self._watch.came_up(node)

    async def close(self) -> None:
        """Send what waits (two seconds at most), then let go."""
        deadline = self._time() + QUIET_PATIENCE_SECONDS
        while self.unsent_count and self._time() < deadline and any(node.client.is_up for node in self.nodes.all()):
            self._closings.send_unsent()
            await asyncio.sleep(0.005)
        if self.unsent_count:
            self.figures.lost_settlements += self.unsent_count
            log.warning("settlements_not_sent", count=self.unsent_count, consequence="the ledger has them; these counters do not")
        self.nodes.close()
        await self._tasks.close()

    async def reserve(self, request_id: str, demands: Sequence[Demand], now: float, lease_seconds: float) -> Reservation | Refusal:
        """Test all demands and take all holds, or none."""
        hold_id = f"{request_id if request_id.isascii() else quote(request_id)}.{next(self._ids)}"
        if not demands:
            return Reservation(hold_id, (), now + lease_seconds)
        plan = self._plans.plan(demands, now, self._zone())
        amounts = [0 if limit.mode == "soft" and limit.window is not None else wanted for limit, wanted in demands]
        nodes = [self.nodes.of_slot(call.slot) for call in plan.calls]
        for node in nodes:
            if node is None or not node.is_usable:
                return self._away.admit(plan, hold_id, demands, amounts, now, lease_seconds)
        try:
            if len(nodes) == 1:
                outcome = await self._reserve_in_one(plan, nodes[0], hold_id, amounts, now, lease_seconds)  # type: ignore[arg-type]
            else:
                outcome = await self._reserve_in_many(plan, nodes, hold_id, amounts, now, lease_seconds)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            self._closings.release(plan, hold_id)  # nobody will hear whether it was taken
            raise
        if outcome is not None:
            return outcome
        self._closings.release(plan, hold_id)
        return self._away.admit(plan, hold_id, demands, amounts, now, lease_seconds)

    async def _reserve_in_one(
        self, plan: Plan, node: Node, hold_id: str, amounts: Sequence[int], now: float, lease_seconds: float
    ) -> Reservation | Refusal | None:
        """One script call; None where Redis does not answer."""
        call = plan.calls[0]
        asked = call.reserve(hold_id, str(int(lease_seconds * 1000)), self._clock_ms(), amounts)
        began = self._time()
        try:
            reply = await node.client.call(asked.by_sha(), self._strict_patience_seconds if plan.has_strict else None)
            if isinstance(reply, hiredis.ReplyError):
                reply = await self._link.after_error(node, asked, reply)
        except QuotaStoreError as error:
            self._link.failed(node, error)
            return None
        figures = self.figures
        figures.latency_seconds += (self._time() - began - figures.latency_seconds) * 0.01
        node.breaker.succeeded()
        if reply == 1:
            return Reservation(hold_id, plan.held(amounts), now + lease_seconds, ticket=plan)
        return longest_wait(_refusals(plan, call, reply, amounts, now))

    async def _reserve_in_many(
        self, plan: Plan, nodes: Sequence[Node], hold_id: str, amounts: Sequence[int], now: float, lease_seconds: float
    ) -> Reservation | Refusal | None:
        """One script call per slot of a cluster, all at once; what was taken goes back unless all had room."""
        lease_ms, clock_ms = str(int(lease_seconds * 1000)), self._clock_ms()
        parts = list(zip(nodes, plan.calls, strict=True))
        patience = self._strict_patience_seconds if plan.has_strict else None
        asked = [self._link.ask(node, call.reserve(hold_id, lease_ms, clock_ms, amounts), patience) for node, call in parts]
        replies = await asyncio.gather(*asked, return_exceptions=True)
        refusals: list[Refusal] = []
        has_failed = False
        for (node, call), reply in zip(parts, replies, strict=True):
            if isinstance(reply, QuotaStoreError):
                self._link.failed(node, reply)
                has_failed = True
            elif isinstance(reply, BaseException):
                raise reply
            elif reply != 1:
                refusals += _refusals(plan, call, reply, amounts, now)
        if refusals:
            self._closings.release(plan, hold_id)
            return longest_wait(refusals)
        if has_failed:
            return None
        return Reservation(hold_id, plan.held(amounts), now + lease_seconds, ticket=plan)

    def settle(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        """Replace the holds by what was used. Idempotent; returns at once."""
        plan = reservation.ticket
        if reservation.is_closed or not isinstance(plan, Plan):
            return
        reservation.is_closed = True
        amounts = plan.settlement(reservation.held, actual)
        if plan.has_strict:
            for held, used in zip(reservation.held, amounts, strict=True):
                if used > held.amount and held.mode == "strict":
                    self.figures.strict_overruns += 1
        self._closings.settle(plan, reservation.id, amounts, is_forced=self._away.settle(reservation, actual))

    def release(self, reservation: Reservation) -> None:
        """Give everything back. Idempotent; returns at once."""
        plan = reservation.ticket
        if reservation.is_closed or not isinstance(plan, Plan):
            return
        reservation.is_closed = True
        if not self._away.release(reservation):
            self._closings.release(plan, reservation.id)

    def renew(self, reservation: Reservation, now: float, lease_seconds: float) -> None:
        """Move the deadline. A hold that is gone is taken again; one admitted without Redis moves there when it is back."""
        plan = reservation.ticket
        if reservation.is_closed or not isinstance(plan, Plan):
            return
        reservation.deadline_at = now + lease_seconds
        self._away.renew(reservation, now, lease_seconds)
        nodes = [node for call in plan.calls if (node := self.nodes.of_slot(call.slot)) is not None and node.is_usable]
        if len(nodes) < len(plan.calls):
            return
        for node, call in zip(nodes, plan.calls, strict=True):
            lease_ms = str(int(lease_seconds * 1000))
            renewal = plan.renew(call, reservation.id, lease_ms, self._clock_ms(), reservation.held)
            self._link.send(node, renewal, partial(self._renewed, node, renewal))
        self._away.release(reservation)

    def _renewed(self, node: Node, renewal: Command, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError) and (target := self._link.next_try(node, reply)) is not None:
            target.client.send(renewal.in_full(), ignore, QUIET_PATIENCE_SECONDS)
        elif reply != 1:
            self.figures.failures += 1  # the next renewal comes well before the lease ends

    async def status(self, limits: Sequence[Limit], now: float) -> list[LimitStatus]:
        """Used and held of each limit in its current window, in the order asked; this process' own while Redis is away."""
        try:
            return await self._counts.status(limits, now, self._clock_ms())
        except QuotaStoreError as error:
            log.warning("status_without_redis", error=str(error))
            return await self.local.status(limits, now)

    async def seed(self, counts: Sequence[SeedCount]) -> None:
        """Lift settled counts to the ledger's figures where they are smaller; holds stay.

        Raises:
            QuotaStoreError: Redis is away.
        """
        await self._counts.write("s", counts)

    async def add(self, counts: Sequence[SeedCount]) -> None:
        """Add usage that did not pass the proxy; what belongs to another window than the current one has nobody to read it.

        Raises:
            QuotaStoreError: Redis is away.
        """
        await self._counts.write("a", counts)

    def sweep(self, now: float) -> int:
        """Take back expired holds of the local counters; Redis' own go when their subject is next touched."""
        return self.local.sweep(now)

    def _seed_local_soon(self) -> None:
        """Counting alone should not begin at zero: ask the ledger."""
        if self._reseed is not None and self._time() - self._local_seeded_at > LOCAL_SEED_SECONDS:
            self._local_seeded_at = self._time()
            self._tasks.start(self._seed_local(self._reseed), name="redis-local-seed")

    async def _seed_local(self, reseed: Reseed) -> None:
        await self.local.seed(await reseed())

    def _clock_ms(self) -> str:
        return "0" if self._lease_clock is None else str(int(self._lease_clock() * 1000))

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()


def _refusals(plan: Plan, call: Call, reply: Any, amounts: Sequence[int], now: float) -> list[Refusal]:
    """The limits that lacked room, from the counts that the script gives where it took nothing."""
    refusals = []
    for number, demand in enumerate(call.demands):
        limit = plan.limits[demand]
        settled, held = int(reply[1 + 2 * number]), int(reply[2 + 2 * number])
        if not fits(limit, settled, held, amounts[demand]):
            refusals.append(refuse(limit, settled, held, amounts[demand], plan.windows[demand].ends_at, now))
    return refusals
