"""Where Redis is: one server, a master named by Sentinel, or a cluster; and which node serves which slot.

A cluster's map is read at the start, after a redirection, and when a node is gone; replicas are not asked: a hold needs the master.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import hiredis
import structlog

from proxy.errors import QuotaStoreError
from proxy.quota.breaker import Breaker
from proxy.quota.redis_plan import PREFIX, SLOTS, slot_of
from proxy.quota.redis_url import RedisPlace
from proxy.quota.resp_client import Address, RespClient, encode
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger("quota.redis")

TOPOLOGY_SECONDS = 2.0
REFRESH_EVERY_SECONDS = 0.25
"""A cluster's map is not read more often than this."""


@dataclass(eq=False)
class Node:
    """One master: its connection, its breaker, and the epoch of its data (an id that a flush takes away)."""

    client: RespClient
    breaker: Breaker = field(default_factory=Breaker)
    epoch: str | None = None
    epoch_key: str = f"{PREFIX}:epoch"

    @property
    def is_usable(self) -> bool:
        """Connected, and not failing."""
        return self.client.is_up and not self.breaker.is_open


class Nodes:
    """All masters, and the way to each."""

    def __init__(
        self, place: RedisPlace, tasks: Tasks, *, patience_seconds: float, on_up: Callable[[Node], Awaitable[None]]
    ) -> None:
        """
        Args:
            on_up: awaited whenever a node was (re)connected, before it counts as usable.
        """
        self.place = place
        self.is_cluster = place.kind == "cluster"
        self._tasks = tasks
        self._patience_seconds = patience_seconds
        self._on_up = on_up
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[Node | None] = [None] * (SLOTS if self.is_cluster else 1)
        self._refreshed_at = 0.0
        self._refreshing: asyncio.Task[Any] | None = None

    def all(self) -> list[Node]:
        """Every master that is known."""
        return list(self._nodes.values())

    def of_slot(self, slot: int) -> Node | None:
        """Who serves a slot (0 stands for all where there is no cluster)."""
        return self._slots[slot]

    def of_address(self, text: str, known: Node) -> Node:
        """The node that a redirection names (`host:port`; no host: the one that answered)."""
        host, _, port = text.rpartition(":")
        answered = known.client.address
        return self._node((host or (answered.host if answered else "127.0.0.1"), int(port)))

    async def start(self) -> None:
        """Connect to all.

        Raises:
            QuotaStoreError: nobody answers, or the greeting was refused.
        """
        if self.is_cluster:
            await self.refresh()
            return
        node = self._slots[0] = Node(self._client(self._resolver()))
        self._nodes[("", 0)] = node
        await self._connect(node)

    def refresh_soon(self) -> None:
        """Read the cluster's map again in the background, if that was not just done."""
        if not self.is_cluster or (self._refreshing is not None and not self._refreshing.done()):
            return
        if asyncio.get_running_loop().time() - self._refreshed_at >= REFRESH_EVERY_SECONDS:
            self._refreshing = self._tasks.start(self._refresh_or_say(), name="redis-cluster-map")

    async def _refresh_or_say(self) -> None:
        try:
            await self.refresh()
        except QuotaStoreError as error:
            log.warning("redis_cluster_map_unreadable", error=str(error))

    async def refresh(self) -> None:
        """Read the cluster's map from the first node that gives it, and connect to masters that are new.

        Raises:
            QuotaStoreError: no node gives it.
        """
        self._refreshed_at = asyncio.get_running_loop().time()
        ranges = await self._read_map()
        masters: set[tuple[str, int]] = set()
        for first, last, key in ranges:
            node = self._node(key)
            masters.add(key)
            self._slots[first : last + 1] = [node] * (last + 1 - first)
            node.epoch_key = _epoch_key(first, last)
        for key in [key for key in self._nodes if key not in masters]:
            self._nodes.pop(key).client.close()
        waiting = [self._connect(node) for node in self._nodes.values() if node.client.is_idle]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures and not any(node.client.is_up for node in self._nodes.values()):
            raise QuotaStoreError(str(failures[0]))

    async def _read_map(self) -> list[tuple[int, int, tuple[str, int]]]:
        failure: QuotaStoreError | None = None
        for node in self._nodes.values():
            if node.client.is_up:
                try:
                    return _ranges(await node.client.call(encode("CLUSTER", "SLOTS"), TOPOLOGY_SECONDS), node.client.address)
                except QuotaStoreError as error:
                    failure = error
        for address in self.place.addresses:
            visitor = self._client(_always(address))
            try:
                await visitor.connect()
                return _ranges(await visitor.call(encode("CLUSTER", "SLOTS"), TOPOLOGY_SECONDS), address)
            except QuotaStoreError as error:
                failure = error
            finally:
                visitor.close()
        raise failure or QuotaStoreError("no node of the Redis cluster is known")

    def _node(self, key: tuple[str, int]) -> Node:
        node = self._nodes.get(key)
        if node is None:
            address = replace(self.place.addresses[0], host=key[0], port=key[1])
            node = self._nodes[key] = Node(self._client(_always(address)))
            node.client.on_up = self._greeter(node)
        return node

    def _client(self, resolve: Callable[[], Awaitable[Address]]) -> RespClient:
        return RespClient(resolve, self._tasks, patience_seconds=self._patience_seconds)

    def _greeter(self, node: Node) -> Callable[[RespClient], Awaitable[None]]:
        async def greet(client: RespClient) -> None:
            await self._on_up(node)

        return greet

    async def _connect(self, node: Node) -> None:
        node.client.on_up = self._greeter(node)
        try:
            await node.client.connect()
        except QuotaStoreError:
            node.client.reconnect()
            raise

    def _resolver(self) -> Callable[[], Awaitable[Address]]:
        return self._ask_sentinels if self.place.kind == "sentinel" else _always(self.place.addresses[0])

    async def _ask_sentinels(self) -> Address:
        """The master's address now. REDIS_URL's password is the master's; a sentinel is told it only if it wants one."""
        failure = "no sentinel answered"
        for address in self.place.addresses:
            for sentinel in (replace(address, user=None, password=None), address):
                visitor = self._client(_always(sentinel))
                try:
                    await visitor.connect()
                    asked = encode("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.place.master_name)
                    found = await visitor.call(asked, TOPOLOGY_SECONDS)
                except QuotaStoreError as error:
                    failure = str(error)
                    continue
                finally:
                    visitor.close()
                if isinstance(found, list) and len(found) == 2:
                    return replace(address, host=found[0].decode(), port=int(found[1]), database=self.place.database)
                failure = f"sentinel {address} does not know {self.place.master_name!r}: {found}"
                break
        raise QuotaStoreError(failure)

    def close(self) -> None:
        """Let go of every connection."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        for node in self._nodes.values():
            node.client.close()


def _always(address: Address) -> Callable[[], Awaitable[Address]]:
    async def resolve() -> Address:
        return address

    return resolve


def _ranges(reply: Any, asked: Address | None) -> list[tuple[int, int, tuple[str, int]]]:
    """CLUSTER SLOTS as (first, last, master)."""
    if isinstance(reply, hiredis.ReplyError) or not isinstance(reply, list):
        raise QuotaStoreError(f"CLUSTER SLOTS: {reply}")
    if not reply:
        raise QuotaStoreError("the Redis cluster serves no slots")
    own = asked.host if asked else "127.0.0.1"
    return [(int(one[0]), int(one[1]), (one[2][0].decode() if one[2][0] else own, int(one[2][1]))) for one in reply]


def _epoch_key(first: int, last: int) -> str:
    """A key in this range of slots; every replica of this program finds the same one."""
    number = 0
    while not first <= slot_of(str(number)) <= last:
        number += 1
    return f"{PREFIX}:{{{number}}}:epoch"
