"""Server-sent events, as the WHATWG standard defines them and as providers really send them.

Stands: LF, CRLF and bare CR; a byte order mark; comments and blank lines anywhere; `data:` with and without the space;
several data lines; a last event without its blank line; a plain JSON block in the middle of a stream (Vertex breaks off
with one). Not here: what an event means.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from proxy.usage.framing import MAX_EVENT_BYTES, Event

_BOM = b"\xef\xbb\xbf"
_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")
"""The ways one line end can follow another; `\\r\\n\\r\\n` and `\\n\\r\\n` both end in the second."""


class SseFraming:
    """Cuts an SSE stream. A block runs up to the last blank line; only split() looks at lines."""

    __slots__ = ("_buffer", "_is_first", "_is_skipping", "broken_reason", "skipped_count")
    quick_ends: tuple[bytes, ...] = (b"}\n\n", b"}\r\n\r\n")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_first = True
        self._is_skipping = False
        self.skipped_count = 0
        self.broken_reason: str | None = None

    @property
    def has_pending(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._buffer) or self._is_skipping

    def take(self, chunk: bytes) -> bytes:
        """Add a chunk; everything up to the last blank line."""
        buffer = self._buffer
        if not buffer and not self._is_skipping and chunk.endswith((b"\n\n", b"\r\n\r\n")):
            return chunk
        start = max(0, len(buffer) - 3)
        buffer += chunk
        end = max(found + len(blank) if (found := buffer.rfind(blank, start)) >= 0 else 0 for blank in _BLANK_LINES)
        if not end:
            if len(buffer) > MAX_EVENT_BYTES:
                self._skip()
            return b""
        block = bytes(memoryview(buffer)[:end])
        del buffer[:end]
        if self._is_skipping:
            self._is_skipping = False
            return self._after_skipped(block)
        return block

    def split(self, block: bytes) -> list[Event]:
        """The events of a block, by the standard's line rules."""
        if self._is_first:
            self._is_first = False
            if block.startswith(_BOM):  # its three bytes stay counted in the offsets
                block = b" " * len(_BOM) + block[len(_BOM) :]
        events: list[Event] = []
        name, end, is_bare = b"", 0, False
        lines: list[bytes] = []
        for line in block.splitlines(keepends=True):
            end += len(line)
            line = line.strip(b" \r\n") if not is_bare else line.rstrip(b"\r\n")
            if not line:
                self._emit(events, name, lines, end)
                name, lines, is_bare = b"", [], False
            elif line.startswith(b"data:"):
                lines.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                name = line[6:].strip()
            elif is_bare or (line[0] == 0x7B and not lines):  # `{`: no field of SSE begins so
                is_bare = True
                lines.append(line)
        self._emit(events, name, lines, end)
        return events

    def flush(self) -> bytes:
        """A last event that has no blank line behind it."""
        rest = b"" if self._is_skipping else bytes(self._buffer)
        self._buffer.clear()
        self._is_skipping = False
        return rest

    def _emit(self, events: list[Event], name: bytes, lines: list[bytes], end: int) -> None:
        if not lines:
            return
        payload = lines[0] if len(lines) == 1 else b"\n".join(lines)
        if len(payload) > MAX_EVENT_BYTES:
            self.skipped_count += 1
        else:
            events.append(Event(name, payload, end))

    def _skip(self) -> None:
        """Drop a giant event but for the bytes that may be the first half of its blank line."""
        if not self._is_skipping:
            self.skipped_count += 1
            self._is_skipping = True
        del self._buffer[:-3]

    @staticmethod
    def _after_skipped(block: bytes) -> bytes:
        """What follows the first blank line: the rest of the giant event is gone with what came before."""
        ends = [found + len(blank) for blank in _BLANK_LINES if (found := block.find(blank)) >= 0]
        return block[min(ends) :] if ends else b""
