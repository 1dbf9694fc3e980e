"""Limits and what is asked of them: the words that the counters, the stores and the refusals share.

Amounts are integers throughout: tokens, requests, slots, and nano-dollars for cost (1 USD = 10**9).
Demand and Held are NamedTuples: several of each are made per request, at a third of a frozen dataclass's price.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

RESOURCES = ("tokens", "input_tokens", "output_tokens", "cost_usd", "requests", "concurrent_requests")
WINDOWS = ("minute", "hour", "day", "month", "total")
MODES = ("strict", "balanced", "soft")
NANO_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule: so much of one resource, per window, for one subject (and perhaps for some models only)."""

    name: str
    """Where it stands in the configuration: `users.alice.tokens.per_day`; sent as `x-weighbridge-limit`."""
    counter: str
    """What is counted: `<scope>:<subject>:<model pattern>:<resource>`, e.g. `user:alice:*:tokens`; scope is global, team,
    user or key. Limits that come from defaults or a tier count per user, so several limits may share one counter."""
    resource: str
    window: str | None
    """minute, hour, day, month, total; None for concurrent_requests."""
    amount: int
    mode: str = "balanced"
    on_store_failure: str = "local"
    origin: str = "limits.yaml"
    """`limits.yaml` or `override` (set through the API)."""


class Demand(NamedTuple):
    """What one request asks of one limit: the amount to hold; 0 under `soft`, which only looks at what is settled."""

    limit: Limit
    amount: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not go: the limit with the longest wait among those that lack room."""

    limit: Limit
    used: int
    held: int
    wanted: int
    retry_after_seconds: float | None
    """Until there may be room (the window's end, or a guess for concurrency); None: waiting does not help."""
    can_ever_fit: bool
    """False where the demand alone is larger than the whole limit."""
    reason: str = "limit"
    """`limit`, or `store_away` where the counters cannot be reached and the limit says `closed`."""
    store_mode: str = "normal"
    """normal, local or closed: which policy refused it while the store was away."""


class Held(NamedTuple):
    """One counter's part of a reservation; amount 0 holds nothing and is still settled to."""

    counter: str
    resource: str
    window: str | None
    window_id: str
    """The window it was taken in; settling goes to the same window, however late."""
    amount: int
    mode: str


@dataclass(slots=True)
class Reservation:
    """All that one request holds. Settling or releasing twice is a no-op."""

    id: str
    held: tuple[Held, ...]
    deadline_at: float
    """Unix seconds; past it the store may take the hold back (its owner is dead)."""
    is_closed: bool = False
    store_mode: str = "normal"
    """normal, local or open: which policy admitted it while the store was away."""
    ticket: object = field(default=None, repr=False, compare=False)
    """What a store needs to find the holds again; its own business."""


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """A limit and what is left of it now. remaining = max(0, amount − used − reserved)."""

    limit: Limit
    used: int
    reserved: int
    window_id: str
    resets_at: float | None
    """Unix seconds; None for `total` and concurrency."""
