"""Names for new things: UUIDv7 (RFC 9562 §5.7), which sort by the time they were made."""

from __future__ import annotations

import secrets
from uuid import UUID


def make_uuid7(unix_seconds: float, bits_74: int | None = None) -> str:
    """A UUIDv7 of that moment: 48 bits of milliseconds, then 74 random bits (or those given)."""
    milliseconds = max(0, int(unix_seconds * 1000)) & ((1 << 48) - 1)
    random = secrets.randbits(74) if bits_74 is None else bits_74
    bits = milliseconds << 80 | 7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & ((1 << 62) - 1)
    return str(UUID(int=bits))
