"""Cursors of pages: where a page ended, opaque to the client and checked when it comes back. Pure."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from zlib import crc32

import orjson


def to_cursor(started_at: str, record_id: str) -> str:
    """A cursor behind this record."""
    payload = orjson.dumps([started_at, record_id])
    return base64.urlsafe_b64encode(crc32(payload).to_bytes(4, "big") + payload).decode().rstrip("=")


def from_cursor(cursor: str) -> tuple[datetime, str]:
    """(started_at, id) of the record it stands behind.

    Raises:
        ValueError: it is not one of ours.
    """
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        payload = raw[4:]
        if raw[:4] != crc32(payload).to_bytes(4, "big"):
            raise ValueError("checksum does not match")
        started_at, record_id = orjson.loads(payload)
        return datetime.fromisoformat(started_at), str(record_id)
    except (ValueError, TypeError, binascii.Error) as error:
        raise ValueError("not a cursor of this ledger") from error
