"""Where the members of a JSON object stand in its bytes, so that one can be changed and the rest left alone.

Rules of this file: the text has been parsed already and is valid JSON (this scanner does not check); offsets are in bytes;
a name given twice is reported twice, in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import orjson

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NAME = re.compile(rb"[\s,]*+(" + _STRING + rb")\s*+:\s*+", re.DOTALL)
_STRING_VALUE = re.compile(_STRING, re.DOTALL)
_PLAIN_VALUE = re.compile(rb"[^\s,}\]]++")
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+([{}\[\]])", re.DOTALL)
_OPENING = (b"{", b"[")


class Member(NamedTuple):
    """One `"name": value`; body[start:end] is the value."""

    name: str
    start: int
    end: int


def object_start(body: bytes) -> int:
    """Offset of the outermost object's brace."""
    return body.index(b"{")


def members(body: bytes, at: int) -> Iterator[Member]:
    """The members of the object whose brace stands at `at`."""
    at += 1
    while (found := _NAME.match(body, at)) is not None:
        start = found.end()
        at = _value_end(body, start)
        yield Member(orjson.loads(found[1]), start, at)


def object_end(body: bytes, at: int) -> int:
    """Offset of the closing brace of the object whose opening brace stands at `at`."""
    return _value_end(body, at) - 1


def _value_end(body: bytes, start: int) -> int:
    first = body[start : start + 1]
    if first == b'"':
        found = _STRING_VALUE.match(body, start)
    elif first in _OPENING:
        return _nested_end(body, start)
    else:
        found = _PLAIN_VALUE.match(body, start)
    if found is None:
        raise ValueError(f"no JSON value at byte {start}")
    return found.end()


def _nested_end(body: bytes, at: int) -> int:
    depth = 0
    while (found := _TO_BRACKET.match(body, at)) is not None:
        at = found.end()
        depth += 1 if found[1] in _OPENING else -1
        if depth == 0:
            return at
    raise ValueError("JSON ends inside an array or object")
