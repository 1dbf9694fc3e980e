"""The Redis store against the same reference model as the one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings

from proxy.quota.redis_store import RedisQuotaStore
from tests.properties.quota_machine import QuotaMachine
from tests.servers import RedisCluster, RedisServer

UTC = ZoneInfo("UTC")


class RedisMachine(QuotaMachine):
    """One event loop per walk; the server stays, empty at each beginning."""

    servers: ClassVar[list[RedisServer]]
    url: ClassVar[str]
    store: RedisQuotaStore

    def open_store(self) -> None:
        for server in self.servers:
            assert server.command("FLUSHALL") == b"+OK\r\n"
        self.runner = asyncio.Runner()
        self.store = RedisQuotaStore(
            self.url, lambda: UTC, clock=lambda: self.now, lease_clock=lambda: self.now, patience_seconds=5.0
        )
        self.run(self.store.start())
        self.settled = self.until_sent

    def run(self, work: Awaitable[Any]) -> Any:
        async def waited() -> Any:
            return await work

        return self.runner.run(waited())

    async def until_sent(self) -> None:
        async with asyncio.timeout(30):
            while self.store.unsent_count:
                await asyncio.sleep(0)

    def in_loop(self, work: Any, *arguments: Any) -> None:
        async def called() -> None:
            work(*arguments)

        self.run(called())

    def close_store(self) -> None:
        assert self.store.figures.failures == 0
        self.run(self.store.close())
        self.runner.close()


class ClusterMachine(RedisMachine):
    """The same on a cluster."""


@pytest.fixture(autouse=True)
def _servers(redis: RedisServer, cluster: RedisCluster) -> None:
    RedisMachine.servers, RedisMachine.url = [redis], f"unix://{redis.socket_path}"
    ClusterMachine.servers, ClusterMachine.url = cluster.nodes, cluster.url


TestRedisStore = RedisMachine.TestCase
TestRedisStore.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestClusterStore = ClusterMachine.TestCase
TestClusterStore.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
