"""How a caller asks the fake provider to misbehave: the request header `x-demo: name=value, name=value`.

Header and not model name, because every SDK can add a header and a model name must stay one that has a price.
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER = "x-demo"


@dataclass(frozen=True, slots=True)
class Knobs:
    """What one request asks for beyond a plain answer. Chunk numbers count the events of a stream from its first."""

    call: str = ""
    """The caller's own name for this call; its tries share it, so that retries can be counted in the book."""
    status: int = 200
    """Answer with this status and the dialect's error body."""
    times: int | None = None
    """How many tries of this call the status goes to (None: all); later ones are served."""
    retry_after: str | None = None
    words: int | None = None
    """Output tokens of text; seeded where absent."""
    first_byte: float = 0.0
    """Seconds before the head of the answer."""
    delay: float = 0.0
    """Seconds between two chunks."""
    cut: int | None = None
    """Close the connection after so many chunks (of a whole answer: after half its bytes)."""
    stall: int | None = None
    """Fall silent after so many chunks, for `stall_seconds`."""
    stall_seconds: float = 3600.0
    error: int | None = None
    """After so many chunks of a stream: the dialect's error event, then the end."""
    usage: bool = True
    """False: never report usage."""
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    gzip: bool = False
    """Compress, where the request's accept-encoding allows it."""
    split: int = 0
    """Cut a stream into pieces of so many bytes instead of one piece per event."""


def read_knobs(header: str | None) -> Knobs:
    """Knobs from the header's text.

    Raises:
        ValueError: a name that is not a knob, or a value that is not of its kind.
    """
    if not header:
        return Knobs()
    given: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name not in Knobs.__dataclass_fields__:
            raise ValueError(f"{name!r} is not a knob of the fake provider")
        given[name] = value

    def whole(name: str) -> int | None:
        return int(given[name]) if name in given else None

    return Knobs(
        call=given.get("call", ""),
        status=int(given.get("status", "200")),
        times=whole("times"),
        retry_after=given.get("retry_after"),
        words=whole("words"),
        first_byte=float(given.get("first_byte", "0")),
        delay=float(given.get("delay", "0")),
        cut=whole("cut"),
        stall=whole("stall"),
        stall_seconds=float(given.get("stall_seconds", "3600")),
        error=whole("error"),
        usage=given.get("usage", "yes") not in ("no", "none", "0", "false"),
        cached=int(given.get("cached", "0")),
        cache_write=int(given.get("cache_write", "0")),
        reasoning=int(given.get("reasoning", "0")),
        gzip=given.get("gzip", "0") in ("1", "yes", "true"),
        split=int(given.get("split", "0")),
    )
