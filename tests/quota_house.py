"""What the contract tests of the quota port need of an adapter: a store, a clock to move, and a way to wait for the background."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proxy.limits.limit import Demand, Limit
from proxy.quota.store import QuotaStore

NOON = 1_795_262_400.0
"""2026-11-21T12:00:00Z."""


async def nothing_to_wait_for() -> None:
    """The background of a store that has none."""


@dataclass
class QuotaHouse:
    """One adapter under test. `now` is the only clock: the caller's, and the store's own where it has one."""

    store: QuotaStore
    settled: Callable[[], Awaitable[None]] = field(default=nothing_to_wait_for)
    now: float = NOON


def limit(
    amount: int, resource: str = "tokens", window: str | None = "day", *, mode: str = "balanced", counter: str = "", name: str = ""
) -> Limit:
    """A limit of alice's, unless the counter says otherwise."""
    return Limit(name or f"users.alice.{resource}.{window}", counter or f"user:alice:*:{resource}", resource, window, amount, mode)


def demand(of: Limit, amount: int = 1) -> Demand:
    """So much of that limit."""
    return Demand(of, amount)
