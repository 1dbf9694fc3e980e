"""Bytes cut into events: server-sent events, JSON lines, one growing JSON array, AWS event-stream frames, one JSON document.

Rules of this room: any chunking of the same bytes gives the same events; nothing raises on damaged input (what cannot be
read is counted in `skipped_count`, and framing that is lost for good is told by `broken_reason`); the buffer is bounded
by MAX_EVENT_BYTES. Every framing works in two steps, so that a meter can throw away, unparsed, what cannot matter:

    block = framing.take(chunk)     all events that are complete now, still as bytes; cheap
    framing.split(block)            the events in it

What an event means is not known here; that is `dialects/`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

MAX_EVENT_BYTES = 16 << 20
"""One event above this is skipped and counted. Images travel as one base64 event of several MB; usage may be in it."""


class Event(NamedTuple):
    """One event as received. `end` is the offset just behind it, inside the block that it came from, in bytes."""

    name: bytes
    """SSE `event:` or AWS `:event-type`; empty where the framing has no names."""
    payload: bytes
    end: int
    is_exception: bool = False
    """An AWS frame with `:message-type` exception or error; `name` is then the exception's type."""


class Framing(Protocol):
    """What every framing of this room can do. None of it raises."""

    skipped_count: int
    broken_reason: str | None

    @property
    def quick_ends(self) -> tuple[bytes, ...]:
        """How chunks end that end with an event holding an object; empty where the end of a chunk does not tell."""
        ...

    @property
    def has_pending(self) -> bool:
        """Whether the last chunk ended inside an event."""
        ...

    def take(self, chunk: bytes) -> bytes:
        """Add a chunk; all bytes up to the end of the last complete event, or nothing."""
        ...

    def split(self, block: bytes) -> list[Event]:
        """The events of a block that take() or flush() returned."""
        ...

    def flush(self) -> bytes:
        """The rest at the end of the body: a last event without its terminator."""
        ...


def feed(framing: Framing, chunk: bytes) -> list[Event]:
    """Both steps in one, for callers that want every event."""
    block = framing.take(chunk)
    return framing.split(block) if block else []
