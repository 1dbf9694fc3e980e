"""Counters in this process: for one worker, for tests, and for the time in which Redis is away.

Failure policy: none is needed, nothing here can be away. What is lost with the process is read back from the ledger (`seed`).
The semantics are those of limits/counting.py; here they only get a clock and a zone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import time
from zoneinfo import ZoneInfo

from proxy.limits.counting import Counters
from proxy.limits.limit import Demand, Limit, LimitStatus, Refusal, Reservation
from proxy.quota.store import SeedCount


class MemoryQuotaStore:
    """The port over plain counters. One event loop; no await between test and take, so that it is one atomic step."""

    def __init__(self, zone: Callable[[], ZoneInfo], clock: Callable[[], float] = time) -> None:
        """
        Args:
            zone: asked at each call: days and months begin by this zone's clock.
            clock: Unix seconds; only for `seed` and `add`, which are not told the time.
        """
        self._zone = zone
        self._clock = clock
        self.counters = Counters(zone())

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to send."""

    async def reserve(self, request_id: str, demands: Sequence[Demand], now: float, lease_seconds: float) -> Reservation | Refusal:
        """Test all demands and take all holds, or none."""
        return self.reserve_now(request_id, demands, now, lease_seconds)

    def reserve_now(self, request_id: str, demands: Sequence[Demand], now: float, lease_seconds: float) -> Reservation | Refusal:
        """The same without an event loop's turn."""
        self.counters.use_zone(self._zone())
        return self.counters.reserve(request_id, demands, now, lease_seconds)

    def settle(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        """Replace the holds by what was used. Idempotent."""
        self.counters.settle(reservation, actual)

    def release(self, reservation: Reservation) -> None:
        """Give everything back. Idempotent."""
        self.counters.release(reservation)

    def renew(self, reservation: Reservation, now: float, lease_seconds: float) -> None:
        """Move the deadline; take the hold again where it was taken back."""
        self.counters.renew(reservation, now, lease_seconds)

    async def status(self, limits: Sequence[Limit], now: float) -> list[LimitStatus]:
        """Used and held of each limit in its current window, in the order asked."""
        self.counters.use_zone(self._zone())
        return self.counters.status(limits, now)

    async def seed(self, counts: Sequence[SeedCount]) -> None:
        """Lift settled counts to the ledger's figures where they are smaller."""
        self.counters.use_zone(self._zone())
        now = self._clock()
        for count in counts:
            self.counters.raise_to(count.counter, count.window, count.window_id, count.amount, now)

    async def add(self, counts: Sequence[SeedCount]) -> None:
        """Add usage that did not pass the proxy; what belongs to a window long over has nobody to read it."""
        self.counters.use_zone(self._zone())
        now = self._clock()
        for count in counts:
            self.counters.add(count.counter, count.window, count.window_id, count.amount, now)

    def sweep(self, now: float) -> int:
        """Take back holds past their deadline and drop windows that ended."""
        return self.counters.sweep(now)
