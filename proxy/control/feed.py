"""The live feed: new records, to whoever watches or listens, and never a reason to wait.

What all viewers of the same calls are told in a beat is written once and handed to each: fifty dashboards cost little more than
one. Each viewer has a bounded queue of beats; a slow one loses them (counted) and is told how many calls were in them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import add, sub
from typing import NamedTuple

import orjson

from proxy.ledger.rollup import FAILED_OUTCOMES
from proxy.pricing.money import usd_text
from proxy.records import UsageRecord, as_dict

MAX_VIEWERS = 200
QUEUE_BEATS = 20
BEAT_SECONDS = 1.0
"""What happens meanwhile goes out together: for fifty viewers each beat is fifty writes by control, and as many by workers."""
RATE_SECONDS = 1.0
CALLS_PER_BEAT = 10
"""Calls shown one by one in a beat; more than these nobody can read."""


class Beat(NamedTuple):
    """What happened in a second, as server-sent events."""

    events: bytes
    calls: int


class Tally(NamedTuple):
    """What calls come to."""

    calls: int
    total_tokens: int
    cost_usd: Decimal
    denied: int
    failed: int

    def plus(self, other: Tally) -> Tally:
        return Tally(*map(add, self, other))

    def less(self, other: Tally) -> Tally:
        return Tally(*map(sub, self, other))


NOTHING = Tally(0, 0, Decimal(0), 0, 0)


class Viewer:
    """One watcher. `dropped` counts calls that did not fit since it was last told."""

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.dropped = 0
        self.queue: asyncio.Queue[Beat] = asyncio.Queue(QUEUE_BEATS)


class LiveFeed:
    """Hands new records to the viewers that may see them. Belongs to the event loop that publishes."""

    def __init__(self, on_drop: Callable[[int], None] | None = None) -> None:
        self._viewers: dict[str | None, set[Viewer]] = {}
        self._pending: dict[str | None, tuple[Tally, list[UsageRecord]]] = {}
        """Since the last beat: what all calls come to, and the newest of them."""
        self._timer: asyncio.TimerHandle | None = None
        self._rate_timer: asyncio.TimerHandle | None = None
        self._seen: dict[str | None, Tally] = {}
        self._rates: dict[str | None, bytes] = {}
        """To be told with the next beat."""
        self._beat_at = float("-inf")
        self.on_drop = on_drop
        self.listeners: list[Callable[[Sequence[UsageRecord]], None]] = []
        """Who wants all records (alerts); called in turn, must neither raise nor wait."""

    def __len__(self) -> int:
        return sum(map(len, self._viewers.values()))

    def join(self, user: str | None) -> Viewer | None:
        """A new viewer, of one user's calls or (None) of all; None where there are too many already."""
        if len(self) >= MAX_VIEWERS:
            return None
        viewer = Viewer(user)
        self._viewers.setdefault(user, set()).add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        alike = self._viewers.get(viewer.user, set())
        alike.discard(viewer)
        if not alike:
            self._viewers.pop(viewer.user, None)
            self._pending.pop(viewer.user, None)
            self._seen.pop(viewer.user, None)
            self._rates.pop(viewer.user, None)

    def publish(self, records: Sequence[UsageRecord]) -> None:
        """Show records that are new in the ledger: at the next beat, which is now where the last one is long enough ago."""
        for listener in self.listeners:
            listener(records)
        for user in self._viewers:
            seen = records if user is None else [record for record in records if record.user == user]
            if seen:  # added up now, while the records are at hand: a second later it costs twice as much
                sums, newest = self._pending.get(user, (NOTHING, []))
                self._pending[user] = sums.plus(tally(seen)), [*newest, *seen[-CALLS_PER_BEAT:]][-CALLS_PER_BEAT:]
        self._soon()

    def _soon(self) -> None:
        """Beat when it is time, where there is something to tell."""
        if (self._pending or self._rates) and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._beat_at + BEAT_SECONDS), self._beat)

    def _beat(self) -> None:
        self._timer, pending, self._pending = None, self._pending, {}
        rates, self._rates = self._rates, {}
        loop = asyncio.get_running_loop()
        self._beat_at = loop.time()
        if pending and self._rate_timer is None:
            self._rate_timer = loop.call_later(RATE_SECONDS, self._reckon_rates)
        for user in pending | rates:
            sums, newest = pending.get(user, (NOTHING, []))
            self._seen[user] = self._seen.get(user, NOTHING).plus(sums)
            beat = Beat(rates.get(user, b"") + events_of(sums.less(tally(newest)), newest), sums.calls)
            for viewer in self._viewers.get(user, ()):
                self._put(viewer, beat)

    def _reckon_rates(self) -> None:
        """What happened in the last second, to be told to whoever may know."""
        self._rate_timer, seen, self._seen = None, self._seen, {}
        self._rates = {user: rate_of(sums) for user, sums in seen.items() if sums.calls and user in self._viewers}
        self._soon()

    def _put(self, viewer: Viewer, beat: Beat) -> None:
        try:
            viewer.queue.put_nowait(beat)
        except asyncio.QueueFull:
            viewer.dropped += beat.calls
            if self.on_drop is not None:
                self.on_drop(beat.calls)


def tally(records: Sequence[UsageRecord]) -> Tally:
    """Half a microsecond a record, half of that for its cost."""
    outcomes = Counter([one.outcome for one in records])
    return Tally(
        len(records),
        sum([one.total_tokens or 0 for one in records]),
        sum(map(Decimal, [one.cost_usd for one in records if one.cost_usd]), Decimal(0)),
        outcomes["denied"],
        sum(outcomes[outcome] for outcome in FAILED_OUTCOMES),
    )


def rate_of(sums: Tally) -> bytes:
    """A second's calls in one line."""
    told = {
        "seconds": RATE_SECONDS,
        "calls": sums.calls,
        "total_tokens": sums.total_tokens,
        "tokens_per_second": round(sums.total_tokens / RATE_SECONDS, 3),
        "cost_usd": usd_text(sums.cost_usd),
        "denied": sums.denied,
        "failed": sums.failed,
    }
    return b"event: rate\ndata: %s\n\n" % orjson.dumps(told)


def events_of(summed: Tally, shown: Sequence[UsageRecord]) -> bytes:
    """The newest calls one by one, those before them as one sum."""
    events = [b"event: call\nid: %s\ndata: %s\n\n" % (one.id.encode(), orjson.dumps(as_dict(one))) for one in shown]
    if summed.calls:
        sums = {"calls": summed.calls, "total_tokens": summed.total_tokens, "cost_usd": usd_text(summed.cost_usd)}
        events.insert(0, b"event: calls\ndata: %s\n\n" % orjson.dumps(sums))
    return b"".join(events)
