"""A body that begins like one JSON document: it may be one, or turn out to be JSON lines sent under another name.

Up to MAX_EVENT_BYTES a document is kept whole. Above, only its head and its tail are kept, and flush() gives what can
be read of them: usage stands at the end of long answers (embeddings, images), model and kind at the beginning.
"""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder

import orjson

from proxy.usage.framing import MAX_EVENT_BYTES, Event
from proxy.usage.framing.json_lines import JsonLinesFraming

HEAD_BYTES = 4 << 10
TAIL_BYTES = 64 << 10
LONG_BYTES = 256 << 10
"""A list of embeddings above this is read from head and tail too: parsing megabytes of floats would cost milliseconds."""

_VECTORS = re.compile(rb'"(?:embedding|embeddings|values)"\s*:\s*[\[{"]')
_USAGE_KEYS = (b"usage", b"usageMetadata", b"meta", b"usage_info")
_TO_OBJECT = re.compile(rb"\s*:\s*(?=\{)")
_LABEL = re.compile(rb'(?<!\\)"(model|object|id|modelVersion|service_tier)"\s*:\s*"([^"\\]{1,200})"')


class JsonDocumentFraming:
    """One event at the end of the body; or one a line, once the first line has proved to be JSON of its own."""

    __slots__ = ("_has_looked", "_has_newline", "_lines", "_parts", "_size", "_tail", "broken_reason", "skipped_count")
    quick_ends: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._lines: JsonLinesFraming | None = None
        self._has_looked = self._has_newline = False
        self.skipped_count = 0
        self.broken_reason: str | None = None

    @property
    def has_pending(self) -> bool:
        """Whether there is more to read than what was given out."""
        return self._lines.has_pending if self._lines else self._size > 0

    @property
    def is_lines(self) -> bool:
        """Whether the body has proved to be JSON lines."""
        return self._lines is not None

    @property
    def size_bytes(self) -> int:
        """How much of the document has come, decoded."""
        return self._size

    def take(self, chunk: bytes) -> bytes:
        """Add a chunk; nothing until the end, unless these are lines."""
        if self._lines:
            return self._lines.take(chunk)
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            self._shrink(chunk)
            return b""
        self._parts.append(chunk)
        if not self._has_looked and (self._has_newline or b"\n" in chunk):
            self._has_newline = True
            first, _, second = b"".join(self._parts).lstrip().partition(b"\n")
            self._has_looked = bool(second.strip())  # a line feed at the end of a single document does not make it lines
            if self._has_looked and _is_json(first):
                self._lines = JsonLinesFraming()
                block = self._lines.take(b"".join(self._parts))
                self._parts, self._size = [], 0
                return block
        return b""

    def split(self, block: bytes) -> list[Event]:
        """The document, or the lines."""
        if self._lines:
            return self._lines.split(block)
        return [Event(b"", block, len(block))] if block.strip() else []

    def flush(self) -> bytes:
        """The document, as it came; or what head and tail tell of one that is too long."""
        if self._lines:
            return self._lines.flush()
        body = b"".join(self._parts)
        self._parts = []
        if self._size > MAX_EVENT_BYTES:
            return _summary(body[:HEAD_BYTES], self._tail)
        if self._size > LONG_BYTES and _VECTORS.search(body, 0, HEAD_BYTES):
            return _summary(body[:HEAD_BYTES], body[-TAIL_BYTES:]) or body
        return body

    def _shrink(self, chunk: bytes) -> None:
        if not self._tail:
            self.skipped_count += 1
            whole = b"".join(self._parts)
            self._parts, self._tail = [whole[:HEAD_BYTES]], whole[-TAIL_BYTES:]
        self._tail = (self._tail + chunk)[-TAIL_BYTES:]


def _is_json(line: bytes) -> bool:
    line = line.strip()
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _summary(head: bytes, tail: bytes) -> bytes:
    """A small document with the usage object and the labels of a long one; empty where the tail has no usage."""
    found: dict[str, object] = {}
    for key in _USAGE_KEYS:
        quoted = b'"' + key + b'"'
        at = tail.rfind(quoted)  # the last one; a quote inside a text would have a backslash before it
        begin = _TO_OBJECT.match(tail, at + len(quoted)) if at >= 0 and tail[at - 1 : at] != b"\\" else None
        if begin is None:
            continue
        try:
            found[key.decode()], _ = JSONDecoder().raw_decode(tail[begin.end() :].decode("utf-8", "replace"))
        except (JSONDecodeError, RecursionError):
            continue
    if not found:
        return b""
    for part in (tail[-HEAD_BYTES:], head):
        for label in _LABEL.finditer(part):
            found[label[1].decode()] = label[2].decode("utf-8", "replace")
    kinds = ("data", "embeddings", "embedding", "predictions", "results", "choices", "candidates", "texts")
    for kind in kinds:
        if re.search(rb'(?<!\\)"' + kind.encode() + rb'"\s*:', head):
            found[kind] = []
    return orjson.dumps(found)
