"""One JSON value a line (Ollama, Cohere v1, results of batches). Blank lines are skipped, the last line may lack its end."""

from __future__ import annotations

from proxy.usage.framing import MAX_EVENT_BYTES, Event


class JsonLinesFraming:
    """Cuts at line feeds; a carriage return before one goes with it."""

    __slots__ = ("_buffer", "_is_skipping", "broken_reason", "skipped_count")
    quick_ends: tuple[bytes, ...] = (b"}\n",)

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_skipping = False
        self.skipped_count = 0
        self.broken_reason: str | None = None

    @property
    def has_pending(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._buffer) or self._is_skipping

    def take(self, chunk: bytes) -> bytes:
        """Add a chunk; everything up to the last line feed."""
        buffer = self._buffer
        end = chunk.rfind(b"\n") + 1
        if not end:
            buffer += chunk
            if len(buffer) > MAX_EVENT_BYTES:
                if not self._is_skipping:
                    self.skipped_count += 1
                    self._is_skipping = True
                buffer.clear()
            return b""
        block = bytes(buffer) + chunk[:end] if buffer else chunk[:end]
        buffer.clear()
        buffer += chunk[end:]
        if self._is_skipping:
            self._is_skipping = False
            return block[block.find(b"\n") + 1 :]
        return block

    def split(self, block: bytes) -> list[Event]:
        """The lines of a block that hold anything."""
        events: list[Event] = []
        end = 0
        for line in block.split(b"\n"):
            end += len(line) + 1
            if len(line) > MAX_EVENT_BYTES:
                self.skipped_count += 1
            elif line := line.strip():
                events.append(Event(b"", line, min(end, len(block))))
        return events

    def flush(self) -> bytes:
        """A last line without its line feed."""
        rest = b"" if self._is_skipping else bytes(self._buffer)
        self._buffer.clear()
        return rest
