"""Wire formats: what the events of an answer mean. One file per format, chosen by what is in the bytes, not by the route.

How to add a dialect
    1. Make `dialects/<provider>_<format>.py` with one class that fits `Dialect` below: its `api` (the name in the usage
       record), `needles` (see there), `matches` and `read`. About 50 lines; `cohere.py` is a good example.
    2. `matches(name, event)` sees the first parsed events of an answer and says "this is mine" by object names, event
       types and the shape of the usage object. The request's facts are not given: a base URL says nothing of a format.
    3. `read(name, event, found)` moves what the event says into `Findings`: usage as `TokenUsage` (inclusive totals:
       add up what the provider reports apart), model, id, tier, cost, error, `is_final`, `has_ended`. Narrow every
       value with `fields.py`: null, strings and floats occur where the documentation says integer.
    4. Put the class into `registry.DIALECTS`, before every format whose `matches` would also take its events.
    5. Write its tests by hand from the documented shapes: whole, byte by byte, gzipped (tests/unit/usage/dialects).

Rules of this room: nothing raises on any JSON; in cumulative streams the last value of a field wins; a missing or null
field never erases; a format's quirk stays in its file; all figures come from the provider, nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy.usage.dialects.findings import Findings

Object = Mapping[str, object]


class Dialect(Protocol):
    """How to read one wire format. An instance lives as long as one answer and may keep state between its events."""

    @property
    def api(self) -> str:
        """Name in the usage record, e.g. `openai.chat`; empty where the bytes do not tell (a class attribute does)."""
        ...

    @property
    def needles(self) -> tuple[bytes, ...]:
        """What an event must hold to be worth parsing (a class attribute does).

        Once model and dialect are known, an event holding none of these is not parsed: it cannot carry usage, an error or the
        end. Few and rare (each costs about 40 ns an event); empty where every event carries usage, so that all are read.
        """
        ...

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """Whether this event (`name` is its SSE or AWS name, or empty) can only be of this format."""
        ...

    def read(self, name: str, event: Object, found: Findings) -> None:
        """Take what the event says."""
        ...
