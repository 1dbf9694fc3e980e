"""Fixtures that several rooms share. A server that is missing is a failure, never a skip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from zoneinfo import ZoneInfo

import pytest

from proxy.quota.memory_store import MemoryQuotaStore
from tests.quota_house import NOON, QuotaHouse

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


QUOTA_ADAPTERS: dict[str, QuotaAdapter] = {
    "memory": memory_house,
}


@pytest.fixture(params=list(QUOTA_ADAPTERS))
async def quota(request: pytest.FixtureRequest) -> AsyncIterator[QuotaHouse]:
    """A quota store of each kind, empty."""
    async with QUOTA_ADAPTERS[request.param](request) as house:
        yield house
