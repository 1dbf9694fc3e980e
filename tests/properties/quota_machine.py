"""Random walks over a quota store, step by step against the reference model (quota_model.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.limits.limit import Limit, Reservation
from proxy.quota.store import QuotaStore
from tests.properties.quota_model import ModelHold, QuotaModel, cell_of
from tests.quota_house import NOON, demand, limit

LIMITS = (
    limit(50, window="minute"),
    limit(200, window="day"),
    limit(120, window="day", name="users.alice.override"),
    limit(150, window="day", mode="strict", name="teams.red.strict"),
    limit(300, window="total", mode="strict"),
    limit(90, window="month", mode="soft", counter="team:red:*:tokens"),
    limit(4, "requests", "minute"),
    limit(3, "concurrent_requests", None),
    limit(2, "concurrent_requests", None, counter="global:*:*:concurrent_requests"),
)
TOKENS = st.integers(0, 60)
LEASE = 40.0


class QuotaMachine(RuleBasedStateMachine):
    """Each rule does the same to the store and to the model; after each step they must show the same numbers."""

    store: QuotaStore
    settled: Callable[[], Awaitable[None]]

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.model = QuotaModel()
        self.pairs: list[tuple[Reservation, ModelHold]] = []
        self.overshoot = 0
        self.requests = 0

    def run(self, work: Awaitable[Any]) -> Any:
        """Wait for the store."""
        raise NotImplementedError

    def in_loop(self, work: Callable[..., None], *arguments: Any) -> None:
        """Call what returns at once, where an event loop runs if the store needs one."""
        work(*arguments)

    def open_store(self) -> None:
        """Set `store` and `settled` to an empty store."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.open_store()

    @rule(which=st.sets(st.sampled_from(range(len(LIMITS))), min_size=1), tokens=TOKENS)
    def reserve(self, which: set[int], tokens: int) -> None:
        chosen = [LIMITS[index] for index in sorted(which)]
        wanted = [demand(each, self._amount(each, tokens)) for each in chosen]
        self.requests += 1
        outcome = self.run(self.store.reserve(f"request-{self.requests}", wanted, self.now, LEASE))
        expected = self.model.reserve(wanted, self.now, LEASE)
        assert isinstance(outcome, Reservation) == (expected is not None), (outcome, wanted)
        if expected is not None:
            self.pairs.append((outcome, expected))

    @staticmethod
    def _amount(of: Limit, tokens: int) -> int:
        if of.resource != "tokens":
            return 1
        return 0 if of.mode == "soft" else tokens

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), tokens=TOKENS, is_again=st.booleans())
    def settle(self, data: st.DataObject, tokens: int, is_again: bool) -> None:
        reservation, hold = data.draw(st.sampled_from(self.pairs))
        actual = {"tokens": tokens}
        if not hold.is_closed:
            held = max((held.amount for held in reservation.held if held.resource == "tokens"), default=0)
            self.overshoot += max(0, tokens - held)
        for _ in range(2 if is_again else 1):
            self.in_loop(self.store.settle, reservation, actual)
            self.model.settle(hold, actual)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        reservation, hold = data.draw(st.sampled_from(self.pairs))
        self.in_loop(self.store.release, reservation)
        hold.is_closed = True

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        reservation, hold = data.draw(st.sampled_from(self.pairs))
        self.in_loop(self.store.renew, reservation, self.now, LEASE)
        if not hold.is_closed:
            hold.deadline_at = self.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 15.0, 41.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.store.sweep(self.now)

    @invariant()
    def shows_what_the_model_shows(self) -> None:
        if not hasattr(self, "store"):
            return
        self.run(self.settled())
        statuses = self.run(self.store.status(LIMITS, self.now))
        for status in statuses:
            cell = cell_of(status.limit, self.now)
            assert (status.used, status.reserved) == (self.model.settled(cell), self.model.held(cell, self.now)), status.limit.name

    def teardown(self) -> None:
        """When all have settled, nothing is held: not one token."""
        if not hasattr(self, "store"):
            return
        for reservation, _ in self.pairs:
            self.in_loop(self.store.settle, reservation, {"tokens": 0, "requests": 0})
        self.run(self.settled())
        assert [status.reserved for status in self.run(self.store.status(LIMITS, self.now))] == [0] * len(LIMITS)
        self.close_store()

    def close_store(self) -> None:
        """Let the store go."""
