"""Plain counters against the reference model; strict is never passed; balanced overshoots by no more than estimates err."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.counting import Counters
from proxy.limits.limit import Reservation
from proxy.quota.memory_store import MemoryQuotaStore
from tests.properties.quota_machine import QuotaMachine
from tests.quota_house import NOON, demand, limit, nothing_to_wait_for

UTC = ZoneInfo("UTC")


class MemoryMachine(QuotaMachine):
    def open_store(self) -> None:
        self.store = MemoryQuotaStore(lambda: UTC, lambda: self.now)
        self.settled = nothing_to_wait_for

    def run(self, work: Awaitable[Any]) -> Any:
        """The store in memory never waits: one step of the coroutine is all of it."""
        assert isinstance(work, Coroutine)
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("the store in memory waited for something")


TestMemoryStore = MemoryMachine.TestCase
TestMemoryStore.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

CALLS = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(0, 9)), min_size=1, max_size=60)
"""(held, really used, how many calls later it settles)"""


def drive(mode: str, calls: list[tuple[int, int, int]], amount: int) -> tuple[int, int]:
    """Interleaved calls at one limit: (what is settled in the end, by how much the admitted calls used more than they held)."""
    counters, scarce = Counters(UTC), limit(amount, mode=mode)
    running: list[tuple[int, Reservation, int]] = []
    error = 0
    for number, (held, used, later) in enumerate(calls):
        outcome = counters.reserve(f"r{number}", [demand(scarce, held)], NOON, 60.0)
        if isinstance(outcome, Reservation):
            running.append((number + later, outcome, used))
            error += max(0, used - held)
        for due in [each for each in running if each[0] <= number]:
            running.remove(due)
            counters.settle(due[1], {"tokens": due[2]})
    for _, reservation, used in running:
        counters.settle(reservation, {"tokens": used})
    [status] = counters.status([scarce], NOON)
    assert status.reserved == 0
    assert sum(counters.overrun_amounts.values()) == (error if mode == "balanced" else 0)
    return status.used, error


@given(CALLS, st.integers(0, 300))
def test_strict_is_not_passed_by_one_token(calls: list[tuple[int, int, int]], amount: int) -> None:
    """Where the bound holds (nothing uses more than it held), no order of calls passes the limit."""
    used, _ = drive("strict", [(max(held, used), used, later) for held, used, later in calls], amount)
    assert used <= amount


@given(CALLS, st.integers(0, 300))
def test_balanced_overshoots_by_no_more_than_the_estimates_err(calls: list[tuple[int, int, int]], amount: int) -> None:
    used, error = drive("balanced", calls, amount)
    assert used <= amount + error


@given(CALLS)
def test_reserve_and_settle_conserve(calls: list[tuple[int, int, int]]) -> None:
    """With room for all, the sum in the end is the sum of what was used."""
    used, _ = drive("balanced", calls, 10**9)
    assert used == sum(really for _, really, _ in calls)
