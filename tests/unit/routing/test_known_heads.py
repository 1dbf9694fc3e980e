"""A head that is known says what the parser says of it; whatever is not exactly one plain request is left to the parser."""

from __future__ import annotations

from typing import Any

import httptools
import pytest

from proxy.routing.headers import Header, RequestHead, read_head, request_lines
from proxy.routing.known_heads import MAX_HEADS, Found, KnownHead, KnownHeads, cut
from proxy.routing.provider import Provider
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
    "one byte short": request()[:-1],
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


def test_made_up_heads_take_no_memory() -> None:
    heads = KnownHeads(object())
    for number in range(MAX_HEADS + 5):
        data = request(more=b"X-Trace: %d\r\n" % number)
        found = cut(data)
        assert found is not None
        heads.learn(found, data, parsed(data), ROUTE, "json")
    assert len(heads._known) <= MAX_HEADS
