"""While Redis is away: each limit does what its `on_store_failure` says.

`closed` refuses the request (reason `store_away`), whatever its other limits say. `local` counts in this process, from the
ledger's figures on. `open` lets go. A request admitted so is counted in Redis when it settles and Redis is back; a long one moves
its hold there with its next renewal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxy.limits.limit import Demand, Refusal, Reservation
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.quota.redis_link import RedisFigures
from proxy.quota.redis_plan import Plan

WAIT_SECONDS = 5.0
"""What a `closed` refusal tells the caller to wait."""


class AwayAdmission:
    """Admits without Redis, and remembers whom."""

    def __init__(self, local: MemoryQuotaStore, figures: RedisFigures) -> None:
        self.local = local
        self._figures = figures
        self._admitted: dict[str, Reservation | None] = {}
        """By hold id: their part in the local counters, if any."""

    def admit(
        self, plan: Plan, hold_id: str, demands: Sequence[Demand], amounts: Sequence[int], now: float, lease_seconds: float
    ) -> Reservation | Refusal:
        """A reservation without Redis, or why not."""
        for limit, wanted in demands:
            if limit.on_store_failure == "closed":
                self._figures.closed_decisions += 1
                return Refusal(limit, 0, 0, wanted, WAIT_SECONDS, True, "store_away", "closed")
        own: Reservation | None = None
        counted_here = [demand for demand in demands if demand.limit.on_store_failure == "local"]
        if counted_here:
            outcome = self.local.reserve_now(hold_id, counted_here, now, lease_seconds)
            self._figures.local_decisions += 1
            if isinstance(outcome, Refusal):
                return replace(outcome, store_mode="local")
            own = outcome
        else:
            self._figures.open_decisions += 1
        self._admitted[hold_id] = own
        return Reservation(hold_id, plan.held(amounts), now + lease_seconds, store_mode="local" if own else "open", ticket=plan)

    def settle(self, reservation: Reservation, actual: Mapping[str, int]) -> bool:
        """Settle the local part; whether the reservation was one of these."""
        if reservation.id not in self._admitted:
            return False
        own = self._admitted.pop(reservation.id)
        if own is not None:
            self.local.settle(own, actual)
        return True

    def release(self, reservation: Reservation) -> bool:
        """Give the local part back; whether the reservation was one of these."""
        if reservation.id not in self._admitted:
            return False
        own = self._admitted.pop(reservation.id)
        if own is not None:
            self.local.release(own)
        return True

    def renew(self, reservation: Reservation, now: float, lease_seconds: float) -> None:
        """Move the deadline of the local part, if there is one."""
        own = self._admitted.get(reservation.id)
        if own is not None:
            self.local.renew(own, now, lease_seconds)
