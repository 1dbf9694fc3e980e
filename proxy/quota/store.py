"""The port for counters: reserve → settle | release.

Failure policy: a store that cannot be reached does what each limit's `on_store_failure` says (local, open, closed); it
never makes a call wait longer than its deadline. `settle`, `release` and `renew` return at once; a networked store
sends them in the background and retries.

Every adapter passes tests/contract/test_quota_store.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.limits.limit import Demand, Limit, LimitStatus, Refusal, Reservation


@dataclass(frozen=True, slots=True)
class SeedCount:
    """What the ledger says is already used of one counter in one window."""

    counter: str
    window: str
    window_id: str
    amount: int


class QuotaStore(Protocol):
    """Counters with two numbers each, settled and held. All instants are Unix seconds, UTC."""

    async def start(self) -> None:
        """Connect and probe. Raises QuotaStoreError where the store cannot serve."""

    async def close(self) -> None:
        """Send what waits, then let go."""

    async def reserve(self, request_id: str, demands: Sequence[Demand], now: float, lease_seconds: float) -> Reservation | Refusal:
        """Test all demands and take all holds, or none, in one atomic step."""

    def settle(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        """Replace the holds by what was used. `actual` maps each resource to its amount (cost in nano-dollars);
        `requests` counts 1 where absent; concurrent_requests always goes back. Idempotent."""

    def release(self, reservation: Reservation) -> None:
        """Give everything back: the provider was never asked. Idempotent."""

    def renew(self, reservation: Reservation, now: float, lease_seconds: float) -> None:
        """Move the deadline of a long answer's hold."""

    async def status(self, limits: Sequence[Limit], now: float) -> list[LimitStatus]:
        """How much of each limit is used and held in its current window, in the order asked."""

    async def seed(self, counts: Sequence[SeedCount]) -> None:
        """Set the settled part of these counters to the ledger's figures where they are larger; holds stay."""

    async def add(self, counts: Sequence[SeedCount]) -> None:
        """Add usage that did not pass the proxy (usage/track)."""

    def sweep(self, now: float) -> int:
        """Take back holds past their deadline and drop windows that ended; how many holds were taken back."""
