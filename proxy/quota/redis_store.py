"""Counters in Redis or Valkey (one server, Sentinel, Cluster), shared by all workers and replicas.

Failure policy: a call waits at most `patience_seconds` (50 ms); a store that fails three times in a row is not asked again
until it has answered two probes (breaker.py). Meanwhile each limit does what its `on_store_failure` says: `closed` refuses
(reason `store_away`), `local` counts in this process, starting from the ledger's figures, `open` lets go. What is used
meanwhile is counted in Redis when it is back. Nothing here ever raises on the request's way.

What goes on:
- reserve: one atomic script per slot over all windows of all subjects in it. Several slots (a cluster only): all are asked at once,
  and what was taken is given back where one refuses, so nothing is passed; a third request may meanwhile be refused a moment
  too early.
- settle, release, renew return at once; they travel with the next write, and again after a reconnect until they are answered.
  Twice does no harm: a hold is there once, and what was counted without one leaves a mark.
- Windows go by the caller's `now`: their ids are part of the keys, so replicas whose clocks differ share the counters of a
  window and merely enter it at slightly different moments. Leases go by Redis' own clock, so that no replica takes back another's
  hold early. The difference is exported (`clock_skew_seconds`).
- A flushed server lacks its epoch key. Then, once for all replicas, `reseed` is asked for the ledger's figures; holds of running
  calls come back with their next renewal, and are counted when they settle, renewed or not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from time import time
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import hiredis
import structlog

from proxy.errors import QuotaStoreError
from proxy.limits.counting import fits, longest_wait, refuse
from proxy.limits.limit import Demand, Limit, LimitStatus, Refusal, Reservation
from proxy.limits.window import LEASES, Window, calendar_of
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.quota.redis_nodes import Node, Nodes, RedisPlace, parse_url
from proxy.quota.redis_plan import Call, Plan, Plans, forget_in_ms, slot_of, split_counter, window_key
from proxy.quota.redis_scripts import COUNT, RENEW, RESERVE, SETTLE, Command, command
from proxy.quota.resp_client import encode
from proxy.quota.store import SeedCount
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger("quota.redis")

PATIENCE_SECONDS = 0.05
QUIET_PATIENCE_SECONDS = 2.0
"""Deadline of what nobody waits for: settlements, probes, seeds."""
WATCH_SECONDS = 0.25
MAP_SECONDS = 10.0
MAX_UNSENT = 200_000
RESEED_AGAIN_SECONDS = 10.0
RESEED_LOCK_MS = 20_000
SKEW_WARNING_SECONDS = 2.0
COUNTS_PER_CALL = 200
AWAY_WAIT_SECONDS = 5.0
MAX_REDIRECTIONS = 4
UNSEEDED = ":new"

Reseed = Callable[[], Awaitable[Sequence[SeedCount]]]


class _Closing:
    """A settlement or release that Redis has not confirmed yet."""

    __slots__ = ("amounts", "call", "epoch", "hold_id", "is_forced", "is_release", "is_repeated", "plan")

    def __init__(self, plan: Plan, call: Call, hold_id: str, amounts: Sequence[int], *, is_forced: bool, is_release: bool) -> None:
        self.plan = plan
        self.call = call
        self.hold_id = hold_id
        self.amounts = amounts
        self.is_forced = is_forced
        """Count also where the hold is unknown."""
        self.is_release = is_release
        self.is_repeated = False
        """Sent before, and nobody knows whether it arrived."""
        self.epoch: str | None = None
        """The data's epoch when it was first sent."""

    def command(self) -> Command:
        return self.call.settle(self.hold_id, self.is_forced, self.amounts)


@dataclass(slots=True)
class RedisFigures:
    """What happened so far; plain numbers for /metrics."""

    failures: int = 0
    """Calls and probes that failed."""
    local_admissions: int = 0
    open_admissions: int = 0
    closed_refusals: int = 0
    repeated: int = 0
    """Settlements sent again."""
    lost_settlements: int = 0
    """Settlements given up because too many waited; the ledger still has them."""
    recovered_holds: int = 0
    """Settlements whose hold had vanished with the data and that were counted all the same."""
    flushes: int = 0
    """How often the data was found gone."""
    reseeds: int = 0
    strict_overruns: int = 0
    latency_seconds: float = 0.0
    """Of a reservation: moving average."""
    clock_skew_seconds: float = 0.0
    """Our clock minus Redis' clock."""


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
            reseed: what the ledger says is used, asked for after the data was lost, and when this process must count alone.
            clock: Unix seconds; only for `seed`, `add` and the skew.
            lease_clock: Unix seconds for leases instead of Redis' own clock: for tests in which time stands still.
        """
        place = url if isinstance(url, RedisPlace) else parse_url(url)
        self._zone = zone
        self._clock = clock
        self._lease_clock = lease_clock
        self._reseed = reseed
        self._tasks = Tasks()
        self.nodes = Nodes(place, self._tasks, patience_seconds=patience_seconds, on_up=self._came_up)
        self._plans = Plans(is_cluster=self.nodes.is_cluster)
        self._ids = count()
        self._unsent: deque[_Closing] = deque()
        self._in_flight = 0
        self._away: dict[str, Reservation | None] = {}
        """Reservations admitted without Redis, with their part in the local counters."""
        self.local = MemoryQuotaStore(zone, clock)
        self.figures = RedisFigures()
        self._local_seeded_at = float("-inf")

    # ── state ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def breaker_state(self) -> str:
        """closed (all is well) or open (at least one node is not asked)."""
        return "open" if any(not node.is_usable for node in self.nodes.all()) else "closed"

    @property
    def state(self) -> str:
        """normal, or local while a node is away."""
        return "normal" if self.breaker_state == "closed" else "local"

    @property
    def unsent_count(self) -> int:
        """Settlements that Redis has not confirmed: waiting for a connection or for a reply."""
        return len(self._unsent) + self._in_flight

    # ── start and stop ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Connect, and see that the scripts run. A server that is away now is waited for in the background.

        Raises:
            QuotaStoreError: the server answers, and refuses the password or the scripts.
        """
        try:
            await self.nodes.start()
        except QuotaStoreError as error:
            if _is_refusal(str(error)):
                await self.close()
                raise
            log.error("redis_away_at_start", error=str(error), consequence="limits follow on_store_failure until it answers")
        for node in self.nodes.all():
            if node.client.is_up:
                await self._probe_scripts(node)
        self._tasks.start(self._watch(), name="redis-watch")

    async def _probe_scripts(self, node: Node) -> None:
        for script, arguments in (
            (RESERVE, ("0", "", "0", "0", "")),
            (SETTLE, ("0", "", "0", "")),
            (RENEW, ("0", "", "0", "0")),
            (COUNT, ("a",)),
        ):
            reply = await node.client.call(command(script, 0, (), arguments).in_full(), QUIET_PATIENCE_SECONDS)
            if isinstance(reply, hiredis.ReplyError):
                await self.close()
                raise QuotaStoreError(f"Redis at {node.client.address} does not run the script {script.name}: {reply}")

    async def close(self) -> None:
        """Send what waits (two seconds at most), then let go."""
        deadline = self._time() + QUIET_PATIENCE_SECONDS
        while self.unsent_count and self._time() < deadline and any(node.client.is_up for node in self.nodes.all()):
            self._send_unsent()
            await asyncio.sleep(0.005)
        if self.unsent_count:
            self.figures.lost_settlements += self.unsent_count
            log.warning("settlements_not_sent", count=self.unsent_count, consequence="the ledger has them; these counters do not")
        self.nodes.close()
        await self._tasks.close()

    # ── the request's way ────────────────────────────────────────────────────────────────────────────────────────────────

    async def reserve(self, request_id: str, demands: Sequence[Demand], now: float, lease_seconds: float) -> Reservation | Refusal:
        """Test all demands and take all holds, or none."""
        hold_id = f"{request_id}.{next(self._ids)}"
        if not demands:
            return Reservation(hold_id, (), now + lease_seconds)
        plan = self._plans.plan(demands, now, self._zone())
        amounts = [0 if limit.mode == "soft" and limit.window is not None else wanted for limit, wanted in demands]
        lease_ms = str(int(lease_seconds * 1000))
        if len(plan.calls) > 1:
            return await self._reserve_in_slots(plan, hold_id, demands, amounts, now, lease_seconds)
        call = plan.calls[0]
        node = self.nodes.of_slot(call.slot)
        if node is None or not node.is_usable:
            return self._admit_away(plan, hold_id, demands, amounts, now, lease_seconds)
        began = self._time()
        try:
            reply = await self._ask(node, call.reserve(hold_id, lease_ms, self._clock_ms(), amounts))
        except QuotaStoreError as error:
            self._failed(node, error)
            self._abandon(plan, hold_id)
            return self._admit_away(plan, hold_id, demands, amounts, now, lease_seconds)
        except asyncio.CancelledError:
            self._abandon(plan, hold_id)
            raise
        figures = self.figures
        figures.latency_seconds += (self._time() - began - figures.latency_seconds) * 0.01
        node.breaker.succeeded()
        if reply == 1:
            return Reservation(hold_id, plan.held(amounts), now + lease_seconds, ticket=plan)
        return longest_wait(self._refusals(plan, call, reply, amounts, now))

    async def _reserve_in_slots(
        self, plan: Plan, hold_id: str, demands: Sequence[Demand], amounts: Sequence[int], now: float, lease_seconds: float
    ) -> Reservation | Refusal:
        """The same over several slots of a cluster: ask all, and give back what was taken unless all had room."""
        lease_ms = str(int(lease_seconds * 1000))
        nodes = [self.nodes.of_slot(call.slot) for call in plan.calls]
        if any(node is None or not node.is_usable for node in nodes):
            return self._admit_away(plan, hold_id, demands, amounts, now, lease_seconds)
        asked = [
            self._ask(node, call.reserve(hold_id, lease_ms, self._clock_ms(), amounts))
            for node, call in zip(nodes, plan.calls, strict=True)
            if node is not None
        ]
        try:
            replies = await asyncio.gather(*asked, return_exceptions=True)
        except asyncio.CancelledError:
            self._abandon(plan, hold_id)
            raise
        failure: BaseException | None = None
        refusals: list[Refusal] = []
        for node, call, reply in zip(nodes, plan.calls, replies, strict=True):
            if isinstance(reply, QuotaStoreError):
                failure = reply
                if node is not None:
                    self._failed(node, reply)
            elif isinstance(reply, BaseException):
                raise reply
            elif reply != 1:
                refusals += self._refusals(plan, call, reply, amounts, now)
        if failure is None and not refusals:
            return Reservation(hold_id, plan.held(amounts), now + lease_seconds, ticket=plan)
        self._abandon(plan, hold_id)
        return longest_wait(refusals) if refusals else self._admit_away(plan, hold_id, demands, amounts, now, lease_seconds)

    def settle(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        """Replace the holds by what was used. Idempotent; returns at once."""
        if reservation.is_closed:
            return
        reservation.is_closed = True
        plan = reservation.ticket
        if not isinstance(plan, Plan):
            return
        amounts = plan.settlement(reservation.held, actual)
        for held, used in zip(reservation.held, amounts, strict=True):
            if used > held.amount and held.mode == "strict":
                self.figures.strict_overruns += 1
        is_away = reservation.id in self._away
        if is_away:
            own = self._away.pop(reservation.id)
            if own is not None:
                self.local.settle(own, actual)
        for call in plan.calls:
            self._send(_Closing(plan, call, reservation.id, amounts, is_forced=is_away, is_release=False))

    def release(self, reservation: Reservation) -> None:
        """Give everything back. Idempotent; returns at once."""
        if reservation.is_closed:
            return
        reservation.is_closed = True
        plan = reservation.ticket
        if not isinstance(plan, Plan):
            return
        if reservation.id in self._away:
            own = self._away.pop(reservation.id)
            if own is not None:
                self.local.release(own)
            return
        self._give_back(plan, reservation.id)

    def renew(self, reservation: Reservation, now: float, lease_seconds: float) -> None:
        """Move the deadline. A hold that is gone is taken again; one admitted without Redis moves there when it is back."""
        plan = reservation.ticket
        if reservation.is_closed or not isinstance(plan, Plan):
            return
        reservation.deadline_at = now + lease_seconds
        own = self._away.get(reservation.id)
        if own is not None:
            self.local.renew(own, now, lease_seconds)
        lease_ms = str(int(lease_seconds * 1000))
        nodes = [self.nodes.of_slot(call.slot) for call in plan.calls]
        if any(node is None or not node.is_usable for node in nodes):
            return
        for node, call in zip(nodes, plan.calls, strict=True):
            if node is not None:
                renewal = plan.renew(call, reservation.id, lease_ms, self._clock_ms(), reservation.held)
                node.client.send(renewal.by_sha(), partial(self._renewed, node, renewal), QUIET_PATIENCE_SECONDS)
        if reservation.id in self._away:
            own = self._away.pop(reservation.id)
            if own is not None:
                self.local.release(own)

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, node: Node, asked: Command, patience_seconds: float | None = None) -> Any:
        """A script's reply.

        Raises:
            QuotaStoreError: none came, or an error did.
        """
        reply = await node.client.call(asked.by_sha(), patience_seconds)
        for _ in range(MAX_REDIRECTIONS):
            if not isinstance(reply, hiredis.ReplyError):
                return reply
            word, _, rest = str(reply).partition(" ")
            if word == "NOSCRIPT":
                reply = await node.client.call(asked.in_full(), patience_seconds)
            elif word in ("MOVED", "ASK"):
                self.nodes.refresh_soon()
                node = self.nodes.of_address(rest.rpartition(" ")[2], node)
                if not node.client.is_up:
                    break
                if word == "ASK":
                    node.client.send(encode("ASKING"), _ignore)
                reply = await node.client.call(asked.in_full(), patience_seconds)
            else:
                break
        self._heard_error(node, reply)
        raise QuotaStoreError(str(reply))

    def _heard_error(self, node: Node, error: hiredis.ReplyError) -> None:
        """A master that is one no more must be looked for anew."""
        if str(error).startswith(("READONLY", "MASTERDOWN")):
            node.client.reconnect()
        self.nodes.refresh_soon()

    def _failed(self, node: Node, error: QuotaStoreError) -> None:
        self.figures.failures += 1
        if node.breaker.failed():
            log.error(
                "redis_away", address=str(node.client.address), error=str(error), consequence="limits follow on_store_failure"
            )
            self._seed_local_soon()
        if not node.client.is_up:
            self.nodes.refresh_soon()

    def _refusals(self, plan: Plan, call: Call, reply: Any, amounts: Sequence[int], now: float) -> list[Refusal]:
        refusals = []
        for number, demand in enumerate(call.demands):
            limit = plan.limits[demand]
            settled, held = int(reply[1 + 2 * number]), int(reply[2 + 2 * number])
            if not fits(limit, settled, held, amounts[demand]):
                refusals.append(refuse(limit, settled, held, amounts[demand], self._window(limit, now).ends_at, now))
        return refusals

    def _window(self, limit: Limit, now: float) -> Window:
        return _LEASE_WINDOW if limit.window is None else calendar_of(self._zone()).window_at(limit.window, now)

    def _clock_ms(self) -> str:
        return "0" if self._lease_clock is None else str(int(self._lease_clock() * 1000))

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()

    # ── without Redis ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _admit_away(
        self, plan: Plan, hold_id: str, demands: Sequence[Demand], amounts: Sequence[int], now: float, lease_seconds: float
    ) -> Reservation | Refusal:
        """What each limit's `on_store_failure` says."""
        for limit, wanted in demands:
            if limit.on_store_failure == "closed":
                self.figures.closed_refusals += 1
                return Refusal(limit, 0, 0, wanted, AWAY_WAIT_SECONDS, True, "store_away")
        own: Reservation | None = None
        counted_here = [demand for demand in demands if demand.limit.on_store_failure == "local"]
        if counted_here:
            outcome = self.local.reserve_now(hold_id, counted_here, now, lease_seconds)
            if isinstance(outcome, Refusal):
                return outcome
            own = outcome
            self.figures.local_admissions += 1
        else:
            self.figures.open_admissions += 1
        self._away[hold_id] = own
        return Reservation(hold_id, plan.held(amounts), now + lease_seconds, store_mode="local" if own else "open", ticket=plan)

    def _seed_local_soon(self) -> None:
        """Counting alone should not begin at zero: ask the ledger, at most twice a minute."""
        if self._reseed is not None and self._time() - self._local_seeded_at > 30.0:
            self._local_seeded_at = self._time()
            self._tasks.start(self._seed_local(self._reseed), name="redis-local-seed")

    async def _seed_local(self, reseed: Reseed) -> None:
        await self.local.seed(await reseed())

    # ── settling in the background ───────────────────────────────────────────────────────────────────────────────────────

    def _abandon(self, plan: Plan, hold_id: str) -> None:
        """A reservation nobody heard the answer of may have been taken: give it back."""
        self._give_back(plan, hold_id)

    def _give_back(self, plan: Plan, hold_id: str) -> None:
        nothing = [0] * len(plan.cells)
        for call in plan.calls:
            self._send(_Closing(plan, call, hold_id, nothing, is_forced=False, is_release=True))

    def _send(self, closing: _Closing) -> None:
        node = self.nodes.of_slot(closing.call.slot)
        if node is None or not node.client.is_up:
            self._keep(closing)
            return
        if closing.epoch is None:
            closing.epoch = node.epoch
        self._in_flight += 1
        node.client.send(closing.command().by_sha(), partial(self._closed, node, closing), QUIET_PATIENCE_SECONDS)

    def _closed(self, node: Node, closing: _Closing, reply: Any) -> None:
        """The reply to a settlement: states of its subjects, or why there are none."""
        self._in_flight -= 1
        if isinstance(reply, list):
            unknown = [subject.tag for subject, state in zip(closing.call.subjects, reply, strict=True) if state == 0]
            if unknown and not closing.is_release and (not closing.is_repeated or node.epoch != closing.epoch):
                # Nobody but us settles this hold, and we had not: it vanished with the data. Count it all the same.
                self.figures.recovered_holds += 1
                forced = _Closing(
                    closing.plan, closing.plan.settle_only(closing.call, unknown), closing.hold_id, closing.amounts,
                    is_forced=True, is_release=False,
                )  # fmt: skip
                self._send(forced)
            return
        if isinstance(reply, hiredis.ReplyError):
            word, _, rest = str(reply).partition(" ")
            if word in ("NOSCRIPT", "MOVED", "ASK"):
                self._send_in_full(node, closing, word, rest)
                return
            self._heard_error(node, reply)
        else:
            closing.is_repeated = True
        self.figures.failures += 1
        self._keep(closing)

    def _send_in_full(self, node: Node, closing: _Closing, word: str, rest: str) -> None:
        if word != "NOSCRIPT":
            self.nodes.refresh_soon()
            node = self.nodes.of_address(rest.rpartition(" ")[2], node)
            if not node.client.is_up:
                self._keep(closing)
                return
            if word == "ASK":
                node.client.send(encode("ASKING"), _ignore)
        self._in_flight += 1
        node.client.send(closing.command().in_full(), partial(self._closed, node, closing), QUIET_PATIENCE_SECONDS)

    def _keep(self, closing: _Closing) -> None:
        if len(self._unsent) >= MAX_UNSENT:
            self._unsent.popleft()
            self.figures.lost_settlements += 1
        self._unsent.append(closing)

    def _send_unsent(self) -> None:
        for _ in range(len(self._unsent)):
            closing = self._unsent.popleft()
            node = self.nodes.of_slot(closing.call.slot)
            if node is None or not node.client.is_up:
                self._unsent.append(closing)
                continue
            self.figures.repeated += 1
            self._send(closing)

    def _renewed(self, node: Node, renewal: Command, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            node.client.send(renewal.in_full(), _ignore, QUIET_PATIENCE_SECONDS)
        elif reply != 1:
            self.figures.failures += 1  # the next renewal comes well before the lease ends

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _came_up(self, node: Node) -> None:
        """After each greeting: is this still the same data? Then send what waited."""
        await self._look_at_epoch(node)
        self._send_unsent()

    async def _watch(self) -> None:
        """Probe each node, send what waits, notice lost data, for as long as the store lives."""
        next_map_at = self._time() + MAP_SECONDS
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self.nodes.is_cluster and self._time() >= next_map_at:
                next_map_at = self._time() + MAP_SECONDS
                self.nodes.refresh_soon()
            for node in self.nodes.all():
                try:
                    await self._probe(node)
                except QuotaStoreError as error:
                    self._failed(node, error)
            self._send_unsent()

    async def _probe(self, node: Node) -> None:
        await self._look_at_epoch(node)
        reply = await node.client.call(encode("TIME"), QUIET_PATIENCE_SECONDS if node.breaker.is_open else None)
        if isinstance(reply, list):
            skew = self._clock() - int(reply[0]) - int(reply[1]) / 1e6
            if abs(skew) > SKEW_WARNING_SECONDS >= abs(self.figures.clock_skew_seconds) and self._lease_clock is None:
                log.warning(
                    "clock_skew", seconds=round(skew, 3), consequence="this replica enters windows early or late by as much"
                )
            self.figures.clock_skew_seconds = skew
        if node.breaker.probed():
            log.info("redis_back", address=str(node.client.address))

    async def _look_at_epoch(self, node: Node) -> None:
        """See whether the data is that of before. New data gets an epoch, and the ledger's figures.

        Raises:
            QuotaStoreError: no answer.
        """
        client = node.client
        value = await client.call(encode("GET", node.epoch_key), QUIET_PATIENCE_SECONDS)
        if value is None:
            fresh = f"{uuid4().hex}{UNSEEDED}"
            await client.call(encode("SET", node.epoch_key, fresh, "NX"), QUIET_PATIENCE_SECONDS)
            value = await client.call(encode("GET", node.epoch_key), QUIET_PATIENCE_SECONDS)
        if not isinstance(value, bytes):
            raise QuotaStoreError(f"no epoch: {value}")
        text = value.decode()
        epoch = text.removesuffix(UNSEEDED)
        if node.epoch is not None and epoch != node.epoch:
            self.figures.flushes += 1
            log.error("redis_data_lost", address=str(client.address), consequence="counters are read back from the ledger")
        node.epoch = epoch
        if text.endswith(UNSEEDED) and self._reseed is not None:
            lock = await client.call(
                encode("SET", f"{node.epoch_key}:lock", "1", "NX", "PX", RESEED_LOCK_MS), QUIET_PATIENCE_SECONDS
            )
            if lock == b"OK":
                self._tasks.start(self._seed_again(node, epoch, self._reseed), name="redis-reseed")

    async def _seed_again(self, node: Node, epoch: str, reseed: Reseed) -> None:
        """Put the ledger's figures into new data; once more a little later, for records that were still on their way."""
        await self.seed(await reseed())
        await node.client.call(encode("SET", node.epoch_key, epoch, "XX"), QUIET_PATIENCE_SECONDS)
        self.figures.reseeds += 1
        log.info("redis_reseeded", address=str(node.client.address))
        await asyncio.sleep(RESEED_AGAIN_SECONDS)
        await self.seed(await reseed())

    # ── off the request's way ────────────────────────────────────────────────────────────────────────────────────────────

    async def status(self, limits: Sequence[Limit], now: float) -> list[LimitStatus]:
        """Used and held of each limit in its current window, in the order asked; this process' own while Redis is away."""
        if not limits:
            return []
        plan = Plan(limits, now, self._zone(), is_cluster=self.nodes.is_cluster)
        numbers: dict[int, tuple[int, int]] = {}
        try:
            for call in plan.calls:
                node = self.nodes.of_slot(call.slot)
                if node is None or not node.is_usable:
                    return await self.local.status(limits, now)
                look = call.reserve("", "0", self._clock_ms(), [0] * len(limits))
                reply = await self._ask(node, look, QUIET_PATIENCE_SECONDS)
                for number, demand in enumerate(call.demands):
                    numbers[demand] = int(reply[1 + 2 * number]), int(reply[2 + 2 * number])
        except QuotaStoreError as error:
            log.warning("status_without_redis", error=str(error))
            return await self.local.status(limits, now)
        statuses = []
        for number, limit in enumerate(limits):
            window = self._window(limit, now)
            statuses.append(LimitStatus(limit, *numbers[number], window.id, window.ends_at))
        return statuses

    async def seed(self, counts: Sequence[SeedCount]) -> None:
        """Lift settled counts to the ledger's figures where they are smaller; holds stay.

        Raises:
            QuotaStoreError: Redis is away.
        """
        await self._count("s", counts)

    async def add(self, counts: Sequence[SeedCount]) -> None:
        """Add usage that did not pass the proxy; what belongs to another window than the current one has nobody to read it.

        Raises:
            QuotaStoreError: Redis is away.
        """
        await self._count("a", counts)

    async def _count(self, how: str, counts: Sequence[SeedCount]) -> None:
        now, calendar = self._clock(), calendar_of(self._zone())
        slots: dict[int, list[tuple[str, str, str, int]]] = {}
        for one in counts:
            window = calendar.window_at(one.window, now)
            if window.id == one.window_id and one.amount > 0:
                tag, field = split_counter(one.counter)
                slot = slot_of(tag) if self.nodes.is_cluster else 0
                slots.setdefault(slot, []).append((window_key(tag, window.id), forget_in_ms(window, now), field, one.amount))
        for slot, rows in slots.items():
            node = self.nodes.of_slot(slot)
            if node is None:
                raise QuotaStoreError("no node serves this part of the cluster")
            for start in range(0, len(rows), COUNTS_PER_CALL):
                some = rows[start : start + COUNTS_PER_CALL]
                words = [word for _, forget_in, field, amount in some for word in (forget_in, "1", field, str(amount))]
                await self._ask(node, command(COUNT, slot, [row[0] for row in some], [how, *words]), QUIET_PATIENCE_SECONDS)

    def sweep(self, now: float) -> int:
        """Take back expired holds of the local counters; Redis' own go when their subject is next touched."""
        return self.local.sweep(now)


def _is_refusal(text: str) -> bool:
    """Whether the server answered and said no: wrong password, no permission, no such database."""
    return any(word in text for word in ("WRONGPASS", "NOAUTH", "NOPERM", "invalid password", "AUTH", "SELECT", "DB index"))


def _ignore(_: Any) -> None:
    """For replies that decide nothing."""


_LEASE_WINDOW = Window(LEASES, 0.0, None)
