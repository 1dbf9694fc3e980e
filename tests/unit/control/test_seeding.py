"""What counters begin with is counted once for all who ask together, and never before they asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.control.seeding import Shared
from proxy.errors import LedgerError
from proxy.quota.store import SeedCount


class Counting:
    """Counts that take as long as the test wants."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        self.failing = 0

    async def __call__(self, context: Any) -> list[SeedCount]:
        self.begun += 1
        number = self.begun
        await self.go_on.wait()
        if self.failing:
            self.failing -= 1
            raise LedgerError("away")
        return [SeedCount("user:a", "day", "d", number)]


async def ask(shared: Shared, times: int) -> list[asyncio.Task[list[SeedCount]]]:
    tasks = [asyncio.create_task(shared.get(None)) for _ in range(times)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_those_who_wait_share_one_count_that_began_after_they_asked() -> None:
    count = Counting()
    shared = Shared(count)
    (first,) = await ask(shared, 1)
    others = await ask(shared, 5)
    count.go_on.set()
    assert (await first)[0].amount == 1
    assert {(await other)[0].amount for other in others} == {2}
    assert (await shared.get(None))[0].amount == 3  # type: ignore[arg-type]


async def test_a_count_that_fails_is_nobody_elses() -> None:
    count = Counting()
    shared, count.failing = Shared(count), 1
    (first,) = await ask(shared, 1)
    others = await ask(shared, 2)
    count.go_on.set()
    with pytest.raises(LedgerError):
        await first
    assert {(await other)[0].amount for other in others} == {2}
