"""Fixtures that several rooms share. A server that is missing is a failure, never a skip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings

from proxy.quota.memory_store import MemoryQuotaStore
from proxy.quota.redis_store import RedisQuotaStore
from tests.quota_house import NOON, QuotaHouse
from tests.servers import PostgresServer, RedisCluster, RedisServer, postgres_server, redis_cluster, redis_server, valkey_server
from tests.waiting import until

# The same examples every time, and no verdict on speed: a run that fails says something about the change, not about the machine or
# the dice. `pytest --hypothesis-profile=explore` looks for new ones, ten times as many where a test does not say how many it takes.
settings.register_profile("steady", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

FROM_DEBIAN = frozenset(("browser", "promtool"))
"""Fixtures that need a Debian package (chromium, prometheus), which no wheel brings."""
SYSTEM = ("tests/browser/", "tests/deploy/")
"""Where tests with them are, and where .ci/run looks for them: elsewhere one of that name would never run."""

LONGEST_FIRST = (
    "e2e/test_sdk_refusals",
    "e2e/test_control_house",
    "control/test_schemathesis",
    "e2e/test_supervisor_house",
    "contract/test_ledger.py",
    "e2e/test_postgres_house",
    "e2e/test_concurrency",
    "e2e/test_reload",
    "e2e/test_kill",
    "e2e/",
    "commands/",
    "contract/",
    "properties/",
    "control/",
    "deploy/",
    "bench/",
    "relay/",
)
"""Files and folders below tests/ in the order of how long they take; all others come after them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs more than Python: `pytest -m system` runs it, plain `pytest` does not (.ci/run does both).

    And bring the longest files to the front: a file stays in one process (`--dist loadfile`), so that a long one that begins last
    would be waited for by all others.
    """
    for item in items:
        if FROM_DEBIAN & set(getattr(item, "fixturenames", ())):
            if not item.nodeid.startswith(SYSTEM):
                raise pytest.UsageError(f"{item.nodeid} uses {', '.join(FROM_DEBIAN)}: its place is below {' or '.join(SYSTEM)}")
            item.add_marker("system")
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    name = item.nodeid.partition("::")[0].removeprefix("tests/")
    return next((turn for turn, start in enumerate(LONGEST_FIRST) if name.startswith(start)), len(LONGEST_FIRST))


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A real Redis for the whole run. What a test leaves in it is the next one's: flush first, or use keys of your own."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """A real Valkey for the whole run."""
    with valkey_server() as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three for the whole run."""
    with redis_cluster() as servers:
        yield servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL for the whole run; make a database of your own with `postgres.run("createdb", name)`."""
    with postgres_server() as server:
        yield server


QuotaAdapter = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[QuotaHouse]]


@asynccontextmanager
async def memory_house(request: pytest.FixtureRequest) -> AsyncIterator[QuotaHouse]:
    """Counters in this process."""
    zone = ZoneInfo("UTC")
    house: QuotaHouse
    store = MemoryQuotaStore(lambda: zone, lambda: house.now)
    house = QuotaHouse(store, now=NOON)
    await store.start()
    yield house
    await store.close()


async def _redis_house(url: str, flush: Sequence[RedisServer]) -> AsyncIterator[QuotaHouse]:
    for server in flush:
        assert server.command("FLUSHALL") == b"+OK\r\n"
    zone = ZoneInfo("UTC")
    house: QuotaHouse
    store = RedisQuotaStore(url, lambda: zone, clock=lambda: house.now, lease_clock=lambda: house.now, patience_seconds=5.0)

    async def settled() -> None:
        await until(lambda: not store.unsent_count)

    house = QuotaHouse(store, settled)
    await store.start()
    try:
        yield house
        assert store.figures.failures == 0
    finally:
        await store.close()


@asynccontextmanager
async def redis_house(request: pytest.FixtureRequest) -> AsyncIterator[QuotaHouse]:
    """A real Redis."""
    server: RedisServer = request.getfixturevalue("redis")
    async for house in _redis_house(server.url, [server]):
        yield house


@asynccontextmanager
async def valkey_house(request: pytest.FixtureRequest) -> AsyncIterator[QuotaHouse]:
    """A real Valkey, over its unix socket."""
    server: RedisServer = request.getfixturevalue("valkey")
    async for house in _redis_house(f"unix://{server.socket_path}", [server]):
        yield house


@asynccontextmanager
async def cluster_house(request: pytest.FixtureRequest) -> AsyncIterator[QuotaHouse]:
    """A real Redis Cluster."""
    servers: RedisCluster = request.getfixturevalue("cluster")
    async for house in _redis_house(servers.url, servers.nodes):
        yield house


QUOTA_ADAPTERS: dict[str, QuotaAdapter] = {
    "memory": memory_house,
    "redis": redis_house,
    "valkey": valkey_house,
    "cluster": cluster_house,
}


@pytest.fixture(params=list(QUOTA_ADAPTERS))
async def quota(request: pytest.FixtureRequest) -> AsyncIterator[QuotaHouse]:
    """A quota store of each kind, empty."""
    async with QUOTA_ADAPTERS[request.param](request) as house:
        yield house
