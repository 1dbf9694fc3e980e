"""Heads that were understood before: a request whose head differs from an earlier one in nothing but the caller's key, the
length of its body and lines whose values mean nothing to the framing is understood by a look-up instead of a parse.

SDKs send the same head with every call, and tracing, sessions and end users change a line or two of it (`traceparent`,
`x-weighbridge-user`). Which lines those are is not listed but seen: where a head comes that has the header names of an earlier
one, the names whose values differ vary from then on.

Rules of this file: the parser is the judge. A head is remembered only after it was parsed, found to be plain, and found to hold
exactly one key and one length where they are looked for here (`learn`), and each varying value at one line; what is known of it
then holds for every head that is the same, byte for byte, around these holes. Whatever is not one whole head with its own body
behind it, or the beginning of that, takes the parser's way. No key is kept. Pure.
Measured with seven header lines: 1,050 of a request's 8,250 bytecodes became 200; with an SDK's eighteen and two that vary beside
them, 775 thousand instructions a request became 574 (`instructions`).
Not here: parsing (headers.py), reading the socket (relay/request_reader.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from proxy.routing.headers import LABEL, LABEL_PREFIX, Credential, Header, RequestHead, kind_of
from proxy.routing.request_lines import request_lines
from proxy.routing.route import Route

MAX_HEADS: Final = 1_024
"""Heads remembered (about 4 KB each); emptied above that, so that made-up headers cost time and no memory."""
MAX_HEAD_BYTES: Final = 8_192
MAX_KEY_BYTES: Final = 512
MAX_DIGITS: Final = 12
MAX_VARYING: Final = 32
"""Names of lines that vary; above that they are seen anew."""
_MARK: Final = b"\0key\0"
"""Stands for the key in what is remembered; no parsed header can hold it."""
_VALUE_MARK: Final = b"\0%d\0"
"""The same for a value that varies."""
_MARKS: Final = re.compile(rb"\0(key|\d+)\0")
_VALUE: Final = rb"([!-~](?:[ -~]*[!-~])?)"
"""A value that the parser hands on as it stands; a line that has more than this is not learned."""
_make: Final = tuple.__new__
"""As in usage/whole_body.py: a NamedTuple without its constructor."""
_VISIBLE: Final = bytes(range(0x21, 0x7F))
_PLACES: Final = {b"authorization": "bearer", b"x-api-key": "x-api-key", b"api-key": "api-key", b"x-goog-api-key": "x-goog-api-key"}


class Found(NamedTuple):
    """One request, its head whole, cut at its holes."""

    shape: bytes
    """The head without key and length."""
    key: bytes
    key_at: int
    size: int
    size_at: int
    body_at: int


class KnownHead:
    """What follows from a head for everyone who sends it. Shared by many requests: nobody changes it."""

    __slots__ = ("_lines", "_place", "head", "kind", "route")

    def __init__(self, head: RequestHead, where: Route, kind: str, place: str) -> None:
        self.head = head
        self.route = where
        self.kind = kind
        """How its body is read (`body_kind`)."""
        self._place = place
        self._lines: dict[tuple[bool, bool], tuple[bytes, bytes]] = {}

    def credential(self, key: bytes) -> Credential:
        """The key that stood in the hole."""
        return _make(Credential, (self._place, key.decode("ascii")))

    def lines(self, key: str, target: bytes, host: bytes, *, is_swapped: bool, wants_identity: bool) -> bytes:
        """`request_lines` as far as the framing. `target` and `host` are the same in every call."""
        kept = self._lines.get((is_swapped, wants_identity))
        if kept is None:
            provider = self.route.provider
            assert provider is not None
            made = request_lines(self.head, target, host, b"", provider, is_swapped=is_swapped, wants_identity=wants_identity)
            before, _, after = made[:-2].partition(_MARK)
            kept = self._lines[is_swapped, wants_identity] = before, after
        return kept[0] if is_swapped else kept[0] + key.encode("ascii") + kept[1]


class _Spot(NamedTuple):
    """Where a value that varies stands in a head."""

    name: bytes
    at: int
    """Among all headers."""
    forwarded_at: int
    """Among those that are forwarded; -1: it is a label."""


class _Template:
    """A head with holes for values too."""

    __slots__ = ("_lines", "_spots", "head", "kind", "place", "route")

    def __init__(self, head: RequestHead, where: Route, kind: str, place: str, spots: Sequence[_Spot]) -> None:
        self.head = head
        self.route = where
        self.kind = kind
        self.place = place
        self._spots = spots
        self._lines: dict[tuple[bool, bool], tuple[bytes, list[tuple[int, bytes]]]] = {}

    def filled(self, values: Sequence[bytes]) -> RequestHead:
        """The head with these values in it."""
        head = self.head
        headers, forwarded, labels = head.headers.copy(), head.forwarded.copy(), head.labels
        if labels:
            labels = labels.copy()
        for (name, at, forwarded_at), value in zip(self._spots, values, strict=True):
            headers[at] = header = name, value
            if forwarded_at >= 0:
                forwarded[forwarded_at] = header
            else:
                labels[name[len(LABEL_PREFIX) :].lower()] = value
        return head.with_headers(headers, forwarded, labels)

    def lines(
        self, values: Sequence[bytes], key: str, target: bytes, host: bytes, *, is_swapped: bool, wants_identity: bool
    ) -> bytes:
        """As `KnownHead.lines`."""
        kept = self._lines.get((is_swapped, wants_identity))
        if kept is None:
            provider = self.route.provider
            assert provider is not None
            made = request_lines(self.head, target, host, b"", provider, is_swapped=is_swapped, wants_identity=wants_identity)
            first, *pieces = _MARKS.split(made[:-2])
            holes = [-1 if hole == b"key" else int(hole) for hole in pieces[::2]]
            kept = self._lines[is_swapped, wants_identity] = first, list(zip(holes, pieces[1::2], strict=True))
        made, pieces_after = kept
        for hole, text in pieces_after:
            made += (values[hole] if hole >= 0 else key.encode("ascii")) + text
        return made


class VariedHead(KnownHead):
    """One request's head: a known one, with this request's values."""

    __slots__ = ("_template", "_values")

    def __init__(self, template: _Template, values: Sequence[bytes]) -> None:
        self.head = template.filled(values)
        self.route = template.route
        self.kind = template.kind
        self._place = template.place
        self._template = template
        self._values = values

    def lines(self, key: str, target: bytes, host: bytes, *, is_swapped: bool, wants_identity: bool) -> bytes:
        """As `KnownHead.lines`."""
        return self._template.lines(self._values, key, target, host, is_swapped=is_swapped, wants_identity=wants_identity)


def cut(data: bytes) -> Found | None:
    """Take one request with a key and a length apart, as far as its body has come; None where these bytes are anything else."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or end > MAX_HEAD_BYTES:
        return None
    size_at = data.find(b"ontent-Length: ", 0, end)
    if size_at < 0:
        size_at = data.find(b"ontent-length: ", 0, end)
        if size_at < 0:
            return None
    size_at += 15
    size_end = data.find(b"\r\n", size_at)
    digits = data[size_at:size_end]
    if not digits.isdigit() or len(digits) > MAX_DIGITS:
        return None
    size, body_at = int(digits), end + 4
    if len(data) - body_at > size:
        return None
    key_at = data.find(b"uthorization: Bearer ", 0, end) + 21
    if key_at < 21:
        key_at = data.find(b"-key: ", 0, end) + 6
        if key_at < 6:
            key_at = data.find(b"-Key: ", 0, end) + 6
            if key_at < 6:
                return None
    key_end = data.find(b"\r\n", key_at)
    key = data[key_at:key_end]
    if not key or len(key) > MAX_KEY_BYTES or key.translate(None, _VISIBLE):
        return None
    if key_at < size_at:
        shape = b"\0".join((data[:key_at], data[key_end:size_at], data[size_end:end]))
    else:
        shape = b"\0".join((data[:size_at], data[size_end:key_at], data[key_end:end]))
    return _make(Found, (shape, key, key_at, size, size_at, body_at))


class KnownHeads:
    """The heads known under one set of rules (which decide where a path leads); made anew when these change."""

    def __init__(self, rules: object) -> None:
        self.rules = rules
        self._known: dict[bytes, KnownHead] = {}
        self._templates: dict[tuple[bytes, ...], _Template] = {}
        self._varying: re.Pattern[bytes] | None = None
        """Takes a shape apart at the values that vary: text, line's beginning, value, text …"""
        self._varying_names: set[bytes] = set()
        self._seen: dict[tuple[bytes, ...], list[Header]] = {}
        """A head for each sequence of header names, to see what differs in the next one."""

    def find(self, shape: bytes) -> KnownHead | None:
        """What is known of a head."""
        known = self._known.get(shape)
        if known is not None or self._varying is None:
            return known
        pieces = self._varying.split(shape)
        values = pieces[2::3]
        if not values:
            return None
        del pieces[2::3]
        template = self._templates.get(tuple(pieces))
        return None if template is None else VariedHead(template, values)

    def learn(self, found: Found, data: bytes, head: RequestHead, where: Route, kind: str) -> None:
        """Remember a head that was parsed from `data`, if it is a plain one."""
        if len(head.credentials) != 1 or len(head.swapped_at) != 1 or head.content_length != found.size or kind != "json":
            return
        if where.provider is None or head.is_http10 or head.wants_close or head.expects_continue or head.upgrade or head.is_chunked:
            return
        name = _name_at(data, found.key_at)
        place = _PLACES.get(name)
        credential = head.credentials[0]
        if credential != (place, found.key.decode("ascii")) or _name_at(data, found.size_at) != b"content-length":
            return
        at = head.swapped_at[0]
        marked = (head.forwarded[at][0], b"Bearer " + _MARK if place == "bearer" else _MARK)
        kept = replace(
            head,
            headers=[marked if header is head.forwarded[at] else header for header in head.headers],
            forwarded=[marked if number == at else header for number, header in enumerate(head.forwarded)],
            credentials=(),
        )
        if len(self._known) + len(self._templates) >= MAX_HEADS:
            self._known.clear()
            self._templates.clear()
        self._notice(kept.headers)
        pieces = self._varying.split(found.shape) if self._varying is not None else []
        spots = _spots(kept, [line[2:-2] for line in pieces[1::3]], pieces[2::3])
        if spots:
            del pieces[2::3]
            self._templates[tuple(pieces)] = _Template(_marked(kept, spots), where, kind, credential.place, spots)
        else:
            self._known[found.shape] = KnownHead(kept, where, kind, credential.place)

    def _notice(self, headers: list[Header]) -> None:
        """See what varies: of two heads with the same names in the same order, the values that differ and mean nothing here."""
        names = tuple([name for name, _ in headers])
        before = self._seen.get(names)
        if before is None:
            if len(self._seen) >= MAX_HEADS:
                self._seen.clear()
            self._seen[names] = headers
            return
        new = {
            name
            for (name, value), (_, other) in zip(headers, before, strict=True)
            if value != other and kind_of(name) in (0, LABEL) and name not in self._varying_names
        }
        if new:
            if len(self._varying_names) + len(new) > MAX_VARYING:
                self._varying_names.clear()
                self._templates.clear()
            self._varying_names |= set(sorted(new)[:MAX_VARYING])
            lines = b"|".join(map(re.escape, sorted(self._varying_names)))
            self._varying = re.compile(rb"(\r\n(?:" + lines + rb"): )" + _VALUE)


def _spots(head: RequestHead, names: Sequence[bytes], values: Sequence[bytes]) -> list[_Spot]:
    """Where the parser found these values; nothing where it did not find each of them whole, in the one line of its name."""
    spots: list[_Spot] = []
    lower = [name.lower() for name, _ in head.headers]
    for name, value in zip(names, values, strict=True):
        if lower.count(name.lower()) != 1:
            return []
        at = lower.index(name.lower())
        header = head.headers[at]
        is_label = kind_of(name) == LABEL
        if header != (name, value) or (not is_label and header not in head.forwarded):  # `Connection` may name it
            return []
        spots.append(_Spot(name, at, -1 if is_label else head.forwarded.index(header)))
    return spots


def _marked(head: RequestHead, spots: Sequence[_Spot]) -> RequestHead:
    """The head with marks in place of its values, so that none of them can go out with another request."""
    headers, forwarded = head.headers.copy(), head.forwarded.copy()
    for number, (name, at, forwarded_at) in enumerate(spots):
        headers[at] = name, _VALUE_MARK % number
        if forwarded_at >= 0:
            forwarded[forwarded_at] = headers[at]
    return head.with_headers(headers, forwarded, head.labels)


def _name_at(data: bytes, at: int) -> bytes:
    """The name of the header line in which this place lies, lower case."""
    start = data.rfind(b"\r\n", 0, at) + 2
    return data[start : data.index(b":", start)].lower()
