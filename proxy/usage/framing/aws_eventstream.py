"""`application/vnd.amazon.eventstream`: length-prefixed binary frames with CRCs (Bedrock's streams).

A frame: total length (4), headers length (4), CRC of these (4), headers, payload, CRC of all before (4); all big-endian.
A frame whose CRC is wrong breaks the framing for good: no length behind it can be trusted.
Source: https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html (encoding), read 2026-11-21.
"""

from __future__ import annotations

import struct
import zlib

from proxy.usage.framing import MAX_EVENT_BYTES, Event

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_MIN_FRAME_BYTES = 16
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Header value types with a fixed size: booleans, byte, short, int, long, timestamp, UUID. 6 and 7 carry a length."""


def starts_like_frame(head: bytes) -> bool | None:
    """Whether a body of no stated type begins with a frame, which its CRC proves; None: more bytes are needed to tell."""
    if len(head) < _PRELUDE.size:
        return None if head.startswith(b"\0") else False
    total, _, crc = _PRELUDE.unpack_from(head)
    return bool(_MIN_FRAME_BYTES <= total <= MAX_EVENT_BYTES + 1024 and zlib.crc32(head[:8]) == crc)


class AwsEventStreamFraming:
    """Cuts frames; names come from `:event-type`, `:exception-type` or `:error-code`."""

    __slots__ = ("_buffer", "broken_reason", "skipped_count")
    quick_ends: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped_count = 0
        self.broken_reason: str | None = None

    @property
    def has_pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def take(self, chunk: bytes) -> bytes:
        """Add a chunk; all whole frames."""
        if self.broken_reason:
            return b""
        buffer = self._buffer
        buffer += chunk
        end = 0
        while len(buffer) - end >= _PRELUDE.size:
            total, _, crc = _PRELUDE.unpack_from(buffer, end)
            if zlib.crc32(memoryview(buffer)[end : end + 8]) != crc or not _MIN_FRAME_BYTES <= total <= MAX_EVENT_BYTES + 1024:
                self.broken_reason = "a frame of the event stream has a damaged prelude"
                break
            if len(buffer) - end < total:
                break
            end += total
        block = bytes(memoryview(buffer)[:end])
        if self.broken_reason:
            buffer.clear()
        else:
            del buffer[:end]
        return block

    def split(self, block: bytes) -> list[Event]:
        """The frames of a block; those with a wrong CRC are left out and counted."""
        events: list[Event] = []
        at = 0
        while at < len(block):
            total, headers_bytes, _ = _PRELUDE.unpack_from(block, at)
            end = at + total
            (crc,) = _CRC.unpack_from(block, end - _CRC.size)
            payload_at = at + _PRELUDE.size + headers_bytes
            if payload_at > end - _CRC.size or zlib.crc32(memoryview(block)[at : end - _CRC.size]) != crc:
                self.skipped_count += 1
            else:
                headers = _headers(block[at + _PRELUDE.size : payload_at])
                events.append(_event(headers, block[payload_at : end - _CRC.size], end))
            at = end
        return events

    def flush(self) -> bytes:
        """Nothing: half a frame cannot be read."""
        self._buffer.clear()
        return b""


def _event(headers: dict[bytes, bytes], payload: bytes, end: int) -> Event:
    if headers.get(b":message-type", b"event") == b"event":
        return Event(headers.get(b":event-type", b""), payload, end)
    name = headers.get(b":exception-type") or headers.get(b":error-code") or b"exception"
    return Event(name, payload or headers.get(b":error-message", b""), end, is_exception=True)


def _headers(block: bytes) -> dict[bytes, bytes]:
    """The string headers of a frame; reading stops at the first thing that makes no sense."""
    headers: dict[bytes, bytes] = {}
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        if name_end >= len(block):
            break
        name, kind, at = block[at + 1 : name_end], block[name_end], name_end + 1
        if kind in (6, 7):
            size = int.from_bytes(block[at : at + 2], "big")
            at += 2
            if kind == 7:
                headers[name] = block[at : at + size]
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            break
        at += size
    return headers
