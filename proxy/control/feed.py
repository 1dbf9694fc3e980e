"""The live feed: new records, to whoever watches or listens, and never a reason to wait.

Each viewer has a bounded queue; a slow one loses events (counted) and is told how many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from proxy.records import UsageRecord

MAX_VIEWERS = 200
QUEUE_EVENTS = 500


class Viewer:
    """One watcher. `dropped` counts events that did not fit since it was last told."""

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.dropped = 0
        self.queue: asyncio.Queue[UsageRecord] = asyncio.Queue(QUEUE_EVENTS)


class LiveFeed:
    """Hands new records to the viewers that may see them."""

    def __init__(self, on_drop: Callable[[], None] | None = None) -> None:
        self._viewers: set[Viewer] = set()
        self.on_drop = on_drop
        self.listeners: list[Callable[[Sequence[UsageRecord]], None]] = []
        """Who wants all records (alerts); called in turn, must neither raise nor wait."""

    def __len__(self) -> int:
        return len(self._viewers)

    def join(self, user: str | None) -> Viewer | None:
        """A new viewer, of one user's calls or (None) of all; None where there are too many already."""
        if len(self._viewers) >= MAX_VIEWERS:
            return None
        viewer = Viewer(user)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)

    def publish(self, records: Sequence[UsageRecord]) -> None:
        """Show records that are new in the ledger."""
        for listener in self.listeners:
            listener(records)
        if not self._viewers:
            return
        for record in records:
            for viewer in self._viewers:
                if viewer.user is None or viewer.user == record.user:
                    self._put(viewer, record)

    def _put(self, viewer: Viewer, record: UsageRecord) -> None:
        try:
            viewer.queue.put_nowait(record)
        except asyncio.QueueFull:
            viewer.dropped += 1
            if self.on_drop is not None:
                self.on_drop()
