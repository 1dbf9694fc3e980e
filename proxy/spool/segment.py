"""One spool segment: its name, its lines, and how to tell whether its writer still lives.

A segment is an append-only file `<uuid7>.seg`. Every line is `<crc32 of the payload, 8 hex digits> <payload>\\n`. The
payload of the first line is `{"fields": [names]}`, that of every other line the values of one record in that order: a
segment says itself how it is to be read, by an older release and by a newer one, and a line costs half of what an
object with its 45 names would.

The writer holds an exclusive flock for as long as it may append. The kernel gives the lock up with the process, however
that ends, so a lock that can be had means: nothing will be added any more. A segment gets its final name only when it
is locked and has its header; a file without the lock is therefore never one that is about to be written.

Not here: when to rotate and sync (writer.py), how far it was read (reader.py).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import orjson

from proxy.records import FIELDS, UsageRecord, from_dict

SEGMENT_SUFFIX = ".seg"
OPENING_SUFFIX = ".new"
POISON_SUFFIX = ".poison"
CHECKSUM_BYTES = 9
"""Of a line: eight hex digits and a space."""
LARGEST_INTEGER = 2**63 - 1


def new_segment_stem() -> str:
    """A UUIDv7 (RFC 9562 §5.7): unique, and in the order of time, so that names sort as the segments were begun."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 68) << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def begun_at(name: str) -> float:
    """Unix time at which the segment of that name was begun; 0 where the name is not one of ours."""
    try:
        return int(name[:13].replace("-", ""), 16) / 1000
    except ValueError:
        return 0.0


def segment_names(directory: Path) -> list[str]:
    """Every segment of the spool, oldest first; empty where the directory does not exist."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.name.endswith(SEGMENT_SUFFIX))
    except FileNotFoundError:
        return []


def is_owned(fd: int) -> bool:
    """Whether a writer still holds the segment. Asks with a shared lock, so that two readers do not take each other for one."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def framed(payload: bytes) -> bytes:
    """The payload as a line."""
    return b"%08x %b\n" % (crc32(payload), payload)


HEADER = framed(orjson.dumps({"fields": FIELDS}))


def record_line(record: UsageRecord) -> bytes:
    """The line of one record: about 1 µs."""
    try:
        payload = orjson.dumps([*record])
    except TypeError:  # a lone surrogate, an integer beyond 64 bits, a Decimal among the details: rare, so paid for only here
        payload = orjson.dumps(_plain([*record]))
    return b"%08x %b\n" % (crc32(payload), payload)


def _plain(value: object) -> object:
    """The nearest thing that JSON can hold. What the ledger cannot hold either, it refuses and the drain sets aside."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_INTEGER else str(value)
    if isinstance(value, dict):
        return {str(_plain(str(name))): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value).encode("utf-8", "replace").decode()


def payload_of(line: bytes) -> object:
    """What stands in a line (without its newline).

    Raises:
        ValueError: the checksum does not match, or it is not JSON.
    """
    payload = line[CHECKSUM_BYTES:]
    if line[:CHECKSUM_BYTES] != b"%08x " % crc32(payload):
        raise ValueError("checksum does not match")
    return orjson.loads(payload)


def fields_of(payload: object) -> tuple[str, ...] | None:
    """The field names where the payload is a header, else None."""
    if isinstance(payload, dict):
        names = payload.get("fields")
        if isinstance(names, list):
            return tuple(str(name) for name in names)
    return None


def record_of(payload: object, fields: Sequence[str]) -> UsageRecord:
    """The record in a payload, written with these fields.

    Raises:
        ValueError: it is not a record.
    """
    if not isinstance(payload, list) or len(payload) != len(fields):
        raise ValueError(f"not a record of {len(fields)} fields")
    if fields == FIELDS:
        return UsageRecord._make(payload)
    try:
        return from_dict(dict(zip(fields, payload, strict=True)))
    except TypeError as error:
        raise ValueError(str(error)) from error
