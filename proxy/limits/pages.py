"""Where counters lie: two plain numbers per counter in the page of its window, and the places of some limits found once per window.

One dict of ints per window, so that a million users are no million objects for the garbage collector.
Not here: what is done with them (counting.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from proxy.limits.limit import Limit
from proxy.limits.room import STRICT_KEYS
from proxy.limits.window import Window

SHARDS = 64
"""A dict that grows is copied whole: at a million users and six windows that stood still for 440 ms, cut in 64 for 6."""
SHARD_MASK = SHARDS - 1
HELD, SOFT, LEASE = range(3)


class Page:
    """The counters of one window: two plain numbers each, absent where 0. `settled` is cut into SHARDS dicts by the key's hash."""

    __slots__ = ("ends_at", "held", "id", "is_dropped", "settled", "starts_at")

    def __init__(self, window: Window) -> None:
        self.id = window.id
        self.starts_at = window.starts_at
        self.ends_at = inf if window.ends_at is None else window.ends_at
        self.settled: list[dict[str, int]] = [{} for _ in range(SHARDS)]
        self.held: dict[str, int] = {}
        self.is_dropped = False

    def settled_of(self, counter: str) -> int:
        """The settled part of a counter."""
        return self.settled[hash(counter) & SHARD_MASK].get(counter, 0)

    def settle(self, counter: str, amount: int) -> None:
        """Add to the settled part."""
        shard = self.settled[hash(counter) & SHARD_MASK]
        shard[counter] = shard.get(counter, 0) + amount

    def hold(self, counter: str, amount: int) -> None:
        """Add to what is held (or take away, where negative); a counter that holds nothing takes no memory."""
        total = self.held.get(counter, 0) + amount
        if total > 0:
            self.held[counter] = total
        else:
            self.held.pop(counter, None)


Row = tuple[Page, dict[str, int], dict[str, int], str, int, int, str, str | None]
"""Of one limit: page, settled shard, held dict, counter, amount, kind, resource, and its name in STRICT_KEYS where strict."""


class Places:
    """Where the counters of some limits lie in the windows of now: found once per window, not per request (25 µs for three
    limits with it, 12 without), and as fast whatever else is counted."""

    __slots__ = ("ends_at", "is_distinct", "limits", "rows", "starts_at", "takes")

    def __init__(self, limits: tuple[Limit, ...], pages: Sequence[Page]) -> None:
        self.limits = limits  # kept, because these places are found by the limits' ids
        self.starts_at = max([page.starts_at for page in pages], default=-inf)
        self.ends_at = min([page.ends_at for page in pages], default=inf)
        self.rows: list[Row] = []
        self.takes: list[tuple[str, str, str | None, str, str]] = []
        """counter, resource, window, window id, mode of each."""
        for limit, page in zip(limits, pages, strict=True):
            counter, mode = limit.counter, limit.mode
            kind = LEASE if limit.window is None else SOFT if mode == "soft" else HELD
            shard = page.settled[hash(counter) & SHARD_MASK]
            strict_key = STRICT_KEYS.get(limit.resource) if mode == "strict" else None
            self.rows.append((page, shard, page.held, counter, limit.amount, kind, limit.resource, strict_key))
            self.takes.append((counter, limit.resource, limit.window, page.id, mode))
        self.is_distinct = len({(take[0], take[3]) for take in self.takes}) == len(limits)
        """No two of the limits share a counter in one window."""
