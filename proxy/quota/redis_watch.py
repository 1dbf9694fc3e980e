"""Watching Redis: is it there, is its data still the data of before, how far apart are the clocks.

Lost data (FLUSHALL, a restart without persistence, a fail-over to an empty replica) shows by a missing epoch key. The first who
sees it makes a new epoch, marked `:new` until the ledger's figures are in. Whoever can ask the ledger and gets the lock puts them
in, and once more a little later, for records that were still on their way. `seed` never lowers a count, so that both may run
while calls settle. What settles during the milliseconds between the ledger's answer and the seed is missing from the counters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

import structlog

from proxy.errors import QuotaStoreError
from proxy.quota.redis_link import QUIET_PATIENCE_SECONDS, RedisLink
from proxy.quota.redis_nodes import Node
from proxy.quota.resp_client import encode
from proxy.quota.store import SeedCount
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger("quota.redis")

Reseed = Callable[[], Awaitable[Sequence[SeedCount]]]

WATCH_SECONDS = 0.25
MAP_SECONDS = 10.0
"""A cluster's map is read again this often, also without a redirection."""
RESEED_AGAIN_SECONDS = 10.0
RESEED_LOCK_MS = 20_000
SKEW_WARNING_SECONDS = 2.0
UNSEEDED = ":new"


class RedisWatch:
    """Looks after every node for as long as the store lives."""

    def __init__(
        self,
        link: RedisLink,
        tasks: Tasks,
        *,
        clock: Callable[[], float],
        reseed: Reseed | None,
        seed: Callable[[Sequence[SeedCount]], Awaitable[None]],
        send_unsent: Callable[[], None],
    ) -> None:
        """
        Args:
            clock: Unix seconds, for the skew.
            seed: puts the ledger's figures into Redis.
            send_unsent: called when a node may take again what waits for it.
        """
        self._link = link
        self._tasks = tasks
        self._clock = clock
        self._reseed = reseed
        self._seed = seed
        self._send_unsent = send_unsent

    async def came_up(self, node: Node) -> None:
        """After each greeting: is this still the same data? Then send what waited.

        Raises:
            QuotaStoreError: no answer.
        """
        await self._look_at_epoch(node)
        self._send_unsent()

    async def run(self) -> None:
        """Probe each node, send what waits, notice lost data."""
        loop = asyncio.get_running_loop()
        next_map_at = loop.time() + MAP_SECONDS
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if loop.time() >= next_map_at:
                next_map_at = loop.time() + MAP_SECONDS
                self._link.nodes.refresh_soon()
            for node in self._link.nodes.all():
                try:
                    await self._probe(node)
                except QuotaStoreError as error:
                    self._link.failed(node, error)
            self._send_unsent()

    async def _probe(self, node: Node) -> None:
        await self._look_at_epoch(node)
        reply = await node.client.call(encode("TIME"))
        if isinstance(reply, list):
            skew = self._clock() - int(reply[0]) - int(reply[1]) / 1e6
            if abs(skew) > SKEW_WARNING_SECONDS >= abs(self._link.figures.clock_skew_seconds):
                log.warning(
                    "clock_skew", seconds=round(skew, 3), consequence="this replica enters windows early or late by as much"
                )
            self._link.figures.clock_skew_seconds = skew
        if node.breaker.probed():
            log.info("redis_back", address=str(node.client.address))

    async def _look_at_epoch(self, node: Node) -> None:
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
            self._link.figures.flushes += 1
            log.error("redis_data_lost", address=str(client.address), consequence="counters are read back from the ledger")
        node.epoch = epoch
        if text.endswith(UNSEEDED) and self._reseed is not None:
            lock = await client.call(
                encode("SET", f"{node.epoch_key}:lock", "1", "NX", "PX", RESEED_LOCK_MS), QUIET_PATIENCE_SECONDS
            )
            if lock == b"OK":
                self._tasks.start(self._seed_anew(node, epoch, self._reseed), name="redis-reseed")

    async def _seed_anew(self, node: Node, epoch: str, reseed: Reseed) -> None:
        await self._seed(await reseed())
        await node.client.call(encode("SET", node.epoch_key, epoch, "XX"), QUIET_PATIENCE_SECONDS)
        self._link.figures.reseeds += 1
        log.info("redis_reseeded", address=str(node.client.address))
        await asyncio.sleep(RESEED_AGAIN_SECONDS)
        await self._seed(await reseed())
