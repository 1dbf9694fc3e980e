"""A head that is known says what the parser says of it; whatever is not exactly one plain request is left to the parser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httptools
import pytest

from proxy.routing.headers import Header, RequestHead, read_head
from proxy.routing.known_heads import MAX_HEADS, MAX_VARYING, Found, KnownHead, KnownHeads, cut
from proxy.routing.provider import Provider
from proxy.routing.request_lines import request_lines
from proxy.routing.route import Route

PROVIDER = Provider("openai", "https", "api.openai.com", 443, b"", "openai", "openai", api_key="sk-real")
ROUTE = Route("provider", b"/v1/chat/completions", b"", PROVIDER)


def request(
    key: bytes = b"wb-alice", body: bytes = b'{"model":"m"}', line: bytes = b"Authorization: Bearer %b", more: bytes = b""
) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n" + line % key + b"\r\n" + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def parsed(data: bytes) -> RequestHead:
    """By the parser."""

    class Headers:
        def __init__(self) -> None:
            self.target, self.lines = b"", list[Header]()

        def on_url(self, url: bytes) -> None:
            self.target = url

        def on_header(self, name: bytes, value: bytes) -> None:
            self.lines.append((name, value))

    seen = Headers()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(data)
    return read_head(parser.get_method().decode(), seen.target, parser.get_http_version(), seen.lines)


def learnt(data: bytes, kind: str = "json", **changes: Any) -> KnownHead | None:
    heads, found = KnownHeads(object()), cut(data)
    assert found is not None
    head = parsed(data)
    for name, value in changes.items():
        setattr(head, name, value)
    heads.learn(found, data, head, ROUTE, kind)
    return heads.find(found.shape)


LINES = [
    b"Authorization: Bearer %b",
    b"authorization: Bearer %b",
    b"x-api-key: %b",
    b"X-Api-Key: %b",
    b"api-key: %b",
    b"x-goog-api-key: %b",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("is_swapped", [True, False])
@pytest.mark.parametrize("wants_identity", [True, False])
def test_what_is_known_is_what_the_parser_says(line: bytes, is_swapped: bool, wants_identity: bool) -> None:
    known = learnt(request(line=line))
    assert known is not None
    for key, body in ((b"wb-alice", b"{}"), (b"sk-" + b"o" * 160, b"x" * 70_000), (b"a", b"")):
        other = request(key, body, line)
        found, head = cut(other), parsed(other)
        assert found is not None
        assert (found.key, found.size, other[found.body_at :]) == (key, len(body), body)
        assert found.shape == cut(request(line=line)).shape  # type: ignore[union-attr]
        assert (known.credential(found.key),) == head.credentials
        target, host, framing = b"/v1/chat/completions", b"api.openai.com", b"Content-Length: %d\r\n" % len(body)
        lines = known.lines(key.decode(), target, host, is_swapped=is_swapped, wants_identity=wants_identity)
        wanted = request_lines(head, target, host, framing, PROVIDER, is_swapped=is_swapped, wants_identity=wants_identity)
        assert lines + framing + b"\r\n" == wanted


def test_no_key_is_kept() -> None:
    known = learnt(request(b"wb-secret"))
    assert known is not None
    known.lines("wb-secret", b"/", b"h", is_swapped=False, wants_identity=False)
    found = cut(request(b"wb-secret"))
    assert found is not None
    kept = [known.head, known._lines, found.shape]
    assert "wb-secret" not in repr(kept)


OTHERS = {
    "a second request behind it": request() * 2,
    "no length": b"GET /v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer wb-a\r\n\r\n",
    "no key": request(line=b"X-None: %b"),
    "a length that is no number": request().replace(b"Content-Length: 13", b"Content-Length: +13"),
    "a key with a space": request(b"wb-a b"),
    "an empty key": request(b""),
    "a key with a byte that no header may hold": request(b"wb-\x01"),
    "a head that goes on": request().replace(b"\r\n\r\n", b"\r\n"),
    "a head of 9 KB": request(more=b"X-Long: " + b"x" * 9_000 + b"\r\n"),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_whatever_else_is_the_parsers(data: bytes) -> None:
    assert cut(data) is None


def test_the_body_may_still_be_on_its_way() -> None:
    whole = request()
    found = cut(whole)
    assert found is not None
    for size in range(found.body_at, len(whole) + 1):
        assert cut(whole[:size]) == found
    assert cut(whole[: found.body_at - 1]) is None


NEVER_LEARNT = {
    "two keys": request(more=b"x-api-key: other\r\n"),
    "the key in another line": request(line=b"X-Note: api-key: %b", more=b"api-key: wb-alice\r\n"),
    "the length in another line": request(more=b"X-Note: Content-Length: 13\r\n"),
    "a transfer coding": request(body=b"0\r\n\r\n").replace(
        b"Content-Length: 5", b"X-Content-Length: 5\r\nTransfer-Encoding: chunked"
    ),
    "closing": request(more=b"Connection: close\r\n"),
    "100-continue": request(more=b"Expect: 100-continue\r\n"),
    "HTTP/1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a key in the query": request().replace(b"completions ", b"completions?key=wb-alice "),
}


@pytest.mark.parametrize("data", NEVER_LEARNT.values(), ids=NEVER_LEARNT)
def test_what_is_not_plain_is_never_learnt(data: bytes) -> None:
    assert learnt(data) is None


def test_a_body_that_streams_through_is_never_learnt() -> None:
    assert learnt(request(), kind="none") is None
    assert learnt(request(), content_length=12) is None


def test_shapes_differ_in_every_other_byte() -> None:
    shape = cut(request()).shape  # type: ignore[union-attr]
    others = [
        request(more=b"X: 1\r\n"),
        request().replace(b"completions", b"Completions"),
        request().replace(b"Host: h", b"Host:  h"),
    ]
    for other in others:
        found = cut(other)
        assert isinstance(found, Found)
        assert found.shape != shape


def varied(number: int, key: bytes = b"wb-alice", more: bytes = b"") -> bytes:
    """A request with a trace, an end user and a session of its own."""
    lines = b"traceparent: 00-%032x-%016x-01\r\nX-Weighbridge-User: u%d\r\n" % (number, number, number)
    return request(key, more=b"User-Agent: sdk\r\n" + lines + b"X-Session: a b %d\r\n" % number + more)


def taught(heads: KnownHeads, *many: bytes) -> None:
    for data in many:
        found = cut(data)
        assert found is not None
        if heads.find(found.shape) is None:
            heads.learn(found, data, parsed(data), ROUTE, "json")


def found_in(heads: KnownHeads, data: bytes) -> KnownHead | None:
    found = cut(data)
    assert found is not None
    return heads.find(found.shape)


@pytest.mark.parametrize("is_swapped", [True, False])
@pytest.mark.parametrize("wants_identity", [True, False])
def test_lines_that_vary_are_known_with_the_values_of_the_request(is_swapped: bool, wants_identity: bool) -> None:
    heads = KnownHeads(object())
    taught(heads, varied(1), varied(2), varied(3))
    for number in (4, 5, 4):
        data = varied(number, b"wb-key%d" % number)
        known, head = found_in(heads, data), parsed(data)
        assert known is not None
        same = replace(known.head, credentials=head.credentials)
        key = b"Bearer wb-key%d" % number
        unmarked = {name: [(one, key if b"\0key\0" in value else value) for one, value in getattr(same, name)] for name in LISTS}
        assert replace(same, **unmarked) == head  # every field
        args, how = (b"/v1", b"host"), {"is_swapped": is_swapped, "wants_identity": wants_identity}
        assert known.lines(f"wb-key{number}", *args, **how) + b"\r\n" == request_lines(head, *args, b"", PROVIDER, **how)


LISTS = ("headers", "forwarded")


def test_what_varies_is_seen_by_the_second_head_and_known_from_the_third() -> None:
    heads = KnownHeads(object())
    for number, is_known in ((1, False), (2, False), (3, True), (4, True)):
        assert (found_in(heads, varied(number)) is not None) == is_known
        taught(heads, varied(number))
    assert (len(heads._known), len(heads._templates)) == (1, 1)
    assert found_in(heads, request()) is None  # a head without these lines is another one
    taught(heads, request())
    assert isinstance(found_in(heads, request()), KnownHead)


NEVER_FILLED = {
    "a value the parser shortens": b"X-Session: a \t%d\r\n",
    "a value beyond ASCII": b"X-Session: \xc3\xa9%d\r\n",
    "the same name twice": b"X-Session: %d\r\nx-session: 1\r\n",
    "a name that ends here": b"Connection: keep-alive, x-session\r\nX-Session: %d\r\n",
    "a value without a space before it": b"X-Session:%d\r\n",
    "a value that means something": b"X-Stainless-Retry-Count: %d\r\n",
}


@pytest.mark.parametrize("line", NEVER_FILLED.values(), ids=NEVER_FILLED)
def test_lines_that_the_parser_may_read_otherwise_are_left_to_it(line: bytes) -> None:
    heads = KnownHeads(object())
    taught(heads, *[request(more=line % number) for number in range(5)])
    assert found_in(heads, request(more=line % 9)) is None
    assert not heads._templates
    assert found_in(heads, request(more=line % 4)) is not None  # the very same head again is known as a whole


def test_a_zero_byte_in_a_head_is_no_hole() -> None:
    heads = KnownHeads(object())
    plain = request(more=b"X-Trace: %d\r\n")
    taught(heads, *[plain.replace(b"%d", b"%d" % number) for number in range(3)])
    assert found_in(heads, plain.replace(b"%d", b"7")) is not None
    for text in (b"\0", b"\x000\0", b"", b"7\0", b" "):
        assert found_in(heads, plain.replace(b"%d", text)) is None


def test_values_of_one_request_do_not_reach_another() -> None:
    heads = KnownHeads(object())
    taught(heads, *[varied(number) for number in (1, 2)])
    first = found_in(heads, varied(11))
    second = found_in(heads, varied(12))
    assert first is not None
    assert second is not None
    assert (first.head.labels, second.head.labels) == ({b"user": b"u11"}, {b"user": b"u12"})
    assert first.head.headers is not second.head.headers
    lines = second.lines("k", b"/", b"h", is_swapped=True, wants_identity=False)
    assert b"%016x" % 12 in lines
    assert b"%016x" % 11 not in lines


def test_names_that_vary_are_not_kept_without_end() -> None:
    heads = KnownHeads(object())
    for number in range(3 * MAX_VARYING):
        taught(heads, *[request(more=b"X-%d: %d\r\n" % (number, value)) for value in range(3)])
        assert found_in(heads, request(more=b"X-%d: 9\r\n" % number)) is not None
        assert len(heads._varying_names) <= MAX_VARYING
    many = b"".join(b"Y-%d: %%(n)d\r\n" % number for number in range(2 * MAX_VARYING))
    taught(heads, *[request(more=many % {b"n": value}) for value in range(3)])
    assert len(heads._varying_names) <= MAX_VARYING


def test_made_up_heads_take_no_memory() -> None:
    heads = KnownHeads(object())
    for number in range(MAX_HEADS + 5):
        data = request(more=b"X-Trace-%d: %d\r\n" % (number, number))
        found = cut(data)
        assert found is not None
        heads.learn(found, data, parsed(data), ROUTE, "json")
        assert len(heads._known) + len(heads._templates) <= MAX_HEADS
