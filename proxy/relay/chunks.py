"""Where the chunks of a body end (RFC 9112 §7.1), without taking them apart: what the short way of a streamed answer needs.

Only bytes that the HTTP parser has taken are walked through, so a size line that it refuses ends the answer anyway; the bytes that
pass it by are those of `whole_chunk` alone, which is strict.
"""

from __future__ import annotations

LOST = -1
"""It can't be told where the next chunk begins (for the rest of this answer)."""
_MOST_SIZE_LINE_BYTES = 10


def whole_chunk(data: bytes) -> int:
    """The size of its payload, where `data`, which begins at a chunk's boundary, is one chunk in the plainest form; else 0."""
    digits = data.find(b"\r\n", 0, _MOST_SIZE_LINE_BYTES)
    size = len(data) - digits - 4
    if digits > 0 and size > 0 and data.endswith(b"\r\n") and data[:digits].lower() == b"%x" % size:
        return size
    return 0


def after_head(data: bytes) -> int:
    """Where the body begins in a read that began with the answer's head; LOST where that isn't plain to see."""
    end = data.find(b"\r\n\r\n")
    return end + 4 if end >= 0 and data.find(b"\n\n", 0, end) < 0 else LOST


def missing_of_chunk(data: bytes, at: int) -> int:
    """Bytes of the last chunk that are still to come behind `data`; 0 where it ends with a chunk.

    Args:
        at: where the next chunk begins, perhaps beyond the end of `data`.
    """
    end = len(data)
    while at < end:
        line_end = data.find(b"\r\n", at, at + _MOST_SIZE_LINE_BYTES)
        if line_end < 0:
            return LOST
        try:
            size = int(data[at:line_end], 16)
        except ValueError:  # an extension
            return LOST
        if size <= 0:
            return LOST  # the last chunk: trailers follow
        at = line_end + 4 + size
    return at - end
