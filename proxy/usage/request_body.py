"""A request's JSON body, read once and cheaply: the strict parse, the lenient parse, and long strings left out.

Rules of this file: the parser is the judge. What is skipped is skipped only where JSON's grammar proves it to be the
content of one string (see `_without_long_strings`), so the rest parses to the same document. Nothing raises.

What is not here: what the members mean (request_facts), edits (edits).

Measured (2 vCPU, Python 3.11): orjson takes about 0.8 µs per KB of chat text and 0.7 ms per MB of base64; leaving long strings out
brings a 4 MB image request from 2.8 ms to about 0.4 ms.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import orjson

LONG_BODY_BYTES = 65_536
"""Below this a plain parse costs less than looking for long strings."""
LONG_STRING_BYTES = 16_384
MAX_LENIENT_BYTES = 1 << 20
"""A body that the strict parser refuses is tried again by the slow one up to this size; past it the facts are unknown."""

MARK = "\x01wb:"
"""How the stand-in of a long string begins in the parsed document; the number of the string follows."""
_MARK_JSON = b"\\u0001wb:"
_QUOTE = b'"'
_BACKSLASH = 0x5C
_AFTER_A_STRING = b",:]} \t\r\n"


class ParsedBody(NamedTuple):
    """A JSON object as it was sent. `document` is None where the body is not a JSON object that any server would read."""

    document: dict[str, object] | None
    is_strict: bool
    """Valid JSON in UTF-8. Where False, some servers read the body and others refuse it: never edit such a body."""
    long_strings: tuple[int, ...] = ()
    """Lengths in bytes of the strings that were left out; string n stands in the document as MARK + str(n)."""


_UNREADABLE = ParsedBody(None, False)


def parse_body(body: bytes) -> ParsedBody:
    """Parse a whole body."""
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return _parse_lenient(body)
    return ParsedBody(document, True) if type(document) is dict else ParsedBody(None, True)


def parse_large_body(body: bytes) -> ParsedBody:
    """Parse a body without its long strings, where that is cheaper: same document, stand-ins for those strings."""
    if len(body) < LONG_BODY_BYTES:
        return parse_body(body)
    rest, lengths = _without_long_strings(body)
    if not lengths or b"\\u0001" in rest.replace(_MARK_JSON, b"", len(lengths)):
        return parse_body(body)  # nothing to gain, or a caller's own string could pass for a stand-in
    try:
        document = orjson.loads(rest)
    except (orjson.JSONDecodeError, RecursionError):
        return _parse_lenient(body)
    return ParsedBody(document, True, tuple(lengths)) if type(document) is dict else ParsedBody(None, True)


def text_bytes(value: str, long_strings: tuple[int, ...]) -> int:
    """Length of a string of the document, left out or not (characters stand for bytes where it was not)."""
    if long_strings and value.startswith(MARK):
        return long_strings[int(value[len(MARK) :])]
    return len(value)


def _without_long_strings(body: bytes) -> tuple[bytes, list[int]]:
    """Put stand-ins for long strings that hold neither a quote nor a backslash (base64 payloads, mostly).

    Why this is safe: between two neighbouring quotes without a backslash in front of the first there is either the whole
    content of one string or what stands between two strings, and the latter begins with one of `,:]}` or white space.
    """
    pieces: list[bytes] = []
    lengths: list[int] = []
    kept = 0
    at = LONG_STRING_BYTES
    size = len(body)
    while at < size:
        end = body.find(_QUOTE, at)
        if end < 0:
            break
        start = body.rfind(_QUOTE, kept, at)
        if (
            start > 0
            and end - start > LONG_STRING_BYTES
            and body[start - 1] != _BACKSLASH
            and body[start + 1] not in _AFTER_A_STRING
            and body.find(b"\\", start, end) < 0
        ):
            pieces += (body[kept : start + 1], _MARK_JSON, b"%d" % len(lengths))
            lengths.append(end - start - 1)
            kept = end
        at = end + LONG_STRING_BYTES
    pieces.append(body[kept:])
    return b"".join(pieces), lengths


def _parse_lenient(body: bytes) -> ParsedBody:
    """Read what lenient servers read: NaN, lone surrogates, a byte order mark, UTF-16, bytes after the document.

    Python's json.loads and Go's decoder take these where orjson does not; a model named in such a body must not
    slip past the limits unseen.
    """
    if not body or len(body) > MAX_LENIENT_BYTES or b"{" not in body[:64]:
        return _UNREADABLE
    text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff \t\r\n")
    try:
        document, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return _UNREADABLE
    return ParsedBody(document, False) if type(document) is dict else _UNREADABLE
