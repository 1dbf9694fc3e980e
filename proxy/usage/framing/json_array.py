"""One JSON array that grows element by element: Gemini's `:streamGenerateContent` without `alt=sse`.

Elements are cut out as soon as their closing brace is there; strings and escapes are respected, nothing is parsed twice.
"""

from __future__ import annotations

import re

from proxy.usage.framing import MAX_EVENT_BYTES, Event

_OUTSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')
_SEPARATOR = b"\x1e"
"""Put between the elements of a block (ASCII record separator): no JSON text can hold it unescaped."""


class JsonArrayFraming:
    """Cuts the objects at depth 1 out of an array; what stands between them is dropped."""

    __slots__ = ("_buffer", "_depth", "_is_in_string", "_scanned", "broken_reason", "skipped_count")
    quick_ends: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._depth = 0
        self._is_in_string = False
        self._scanned = 0
        self.skipped_count = 0
        self.broken_reason: str | None = None

    @property
    def has_pending(self) -> bool:
        """Whether an element has begun and not ended."""
        return bool(self._buffer)

    def take(self, chunk: bytes) -> bytes:
        """Add a chunk; the elements that are complete now, each followed by a separator."""
        buffer = self._buffer
        buffer += chunk
        done: list[bytes] = []
        start = 0
        while (end := self._next_end()) is not None:
            element = bytes(memoryview(buffer)[start:end])
            begin = element.find(b"{")
            if begin >= 0:
                done.append(element[begin:])
            start = end
        if self._depth <= 1 and not self._is_in_string:
            start = self._scanned  # brackets, commas and blanks between elements
        if start:
            del buffer[:start]
            self._scanned -= start
        if len(buffer) > MAX_EVENT_BYTES:
            self.skipped_count += 1
            self.broken_reason = "one element of the JSON array is larger than the meter's buffer"
            buffer.clear()
            self._scanned = 0
        return b"".join(element + _SEPARATOR for element in done)

    def split(self, block: bytes) -> list[Event]:
        """The elements of a block."""
        events: list[Event] = []
        end = 0
        for element in block.split(_SEPARATOR):
            if element:
                end += len(element) + 1
                events.append(Event(b"", element, min(end, len(block))))
        return events

    def flush(self) -> bytes:
        """Nothing: an element without its closing brace is not JSON."""
        self._buffer.clear()
        return b""

    def _next_end(self) -> int | None:
        """Scan on to the end of the next element; its offset, or None where the bytes end first."""
        buffer = self._buffer
        while self._scanned < len(buffer):
            found = (_IN_STRING if self._is_in_string else _OUTSIDE).search(buffer, self._scanned)
            if found is None:
                self._scanned = len(buffer)
                return None
            at, byte = found.start(), buffer[found.start()]
            if byte == 0x5C:  # a backslash takes the next byte with it
                if at + 1 >= len(buffer):
                    self._scanned = at
                    return None
                self._scanned = at + 2
                continue
            self._scanned = at + 1
            if byte == 0x22:
                self._is_in_string = not self._is_in_string
            elif byte in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 1 and byte == 0x7D:
                    return self._scanned
        return None
