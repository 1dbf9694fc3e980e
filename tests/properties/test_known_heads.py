"""Whatever heads come, in whatever order and pieces: what is known of one is what the parser says of it."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import httptools
from hypothesis import event, given, settings
from hypothesis import strategies as some

from proxy.errors import ClientError
from proxy.relay.request import Request
from proxy.relay.request_reader import RequestReader
from proxy.routing.headers import Header, MalformedHead, RequestHead, read_head
from proxy.routing.known_heads import KnownHeads, cut
from proxy.routing.provider import Provider
from proxy.routing.request_lines import request_lines
from proxy.routing.route import Route
from tests.relay.relay_house import rules_of

PROVIDER = Provider(
    "openai", "https", "api.openai.com", 443, b"", "openai", "openai", api_key="sk-real", headers=((b"X-B", b"own"),)
)
ROUTE = Route("provider", b"/v1/chat/completions", b"", PROVIDER)
NAMES = [b"X-A", b"X-B", b"X-C", b"x-a", b"traceparent", b"X-Weighbridge-User", b"x-weighbridge-tag-x", b"X-Content-Length"]
CONSTANT = [b"Connection: keep-alive", b"Connection: x-a", b"Host: h", b"Accept-Encoding: gzip", b"X-Stainless-Retry-Count: 1"]
ODD = [b"x\t1", b"", b" ", b"1 ", b"\xc3\xa9", b"\0", b"\0key\0", b"\0000\0", b"\r\n 1", b"\r", b"api-key: 1", b"Content-Length: 2"]
BETWEEN = [b":", b":  ", b" : "]
usual = some.one_of(
    some.sampled_from([b"1", b"2"]), some.text(some.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(str.encode)
)
values = some.integers(0, 9).flatmap(lambda chance: usual if chance < 9 else some.sampled_from(ODD))
beginnings = some.builds(bytes.__add__, some.sampled_from(NAMES), some.sampled_from([b": "] * 9 + BETWEEN))
bodies = some.sampled_from([b"{}", b"{} ", b"", b'{"n": "' + b"x" * 300 + b'"}'])
RULES = rules_of("providers:\n  openai: {base_url: http://provider.test, api: openai, api_key: sk-real}\n")


def request(before: list[bytes], after: list[bytes], key: bytes, body: bytes) -> bytes:
    own = [b"Authorization: Bearer " + key, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", *before, *own, *after, b"", body])


@some.composite
def conversations(draw: some.DrawFn) -> list[bytes]:
    """Requests with the names of a few heads and values that change, some of them, from one to the next."""
    heads = draw(
        some.lists(some.lists(some.one_of(beginnings, some.sampled_from(CONSTANT)), min_size=1, max_size=4), min_size=1, max_size=2)
    )
    sent = []
    for number in range(draw(some.integers(5, 12))):
        chosen = [line if line in CONSTANT else line + draw(values) for line in heads[number % len(heads)]]
        sent.append(request(chosen[:2], chosen[2:], draw(some.sampled_from([b"wb-alice", b"wb-b"])), draw(bodies)))
    return sent


class Parsed:
    """One request by the parser."""

    def __init__(self, data: bytes) -> None:
        self.target, self.lines, self.is_whole = b"", list[Header](), False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.head: RequestHead = read_head(parser.get_method().decode(), self.target, parser.get_http_version(), self.lines)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name, value))

    def on_message_complete(self) -> None:
        self.is_whole = True


@settings(max_examples=300)
@given(conversations())
def test_what_is_known_is_what_the_parser_says(sent: list[bytes]) -> None:
    heads = KnownHeads(object())
    for data in sent:
        found = cut(data)
        known = None if found is None else heads.find(found.shape)
        try:
            parsed = Parsed(data)
        except (httptools.HttpParserError, MalformedHead):
            assert known is None
            continue
        if known is None:
            if found is not None:
                heads.learn(found, data, parsed.head, ROUTE, "json")
            continue
        assert found is not None
        event(type(known).__name__)
        key, head = found.key.decode(), parsed.head
        assert (parsed.is_whole, head.content_length, head.credentials) == (True, found.size, (known.credential(found.key),))
        assert known.head.labels == head.labels
        assert (known.head.retry_count, known.head.content_type) == (head.retry_count, head.content_type)
        for is_swapped in (True, False):
            ours = known.lines(key, b"/v1", b"host", is_swapped=is_swapped, wants_identity=True) + b"\r\n"
            assert ours == request_lines(head, b"/v1", b"host", b"", PROVIDER, is_swapped=is_swapped, wants_identity=True)
        kept = [name for name, _ in head.headers if name not in (b"Authorization", b"Content-Length")]
        for name, value in known.head.headers:
            if name in kept:
                assert (name, value) in head.headers


class Client:
    """What a reader needs of its connection."""

    exchange = None

    def __init__(self, heads: KnownHeads) -> None:
        self.state = SimpleNamespace(rules=RULES, heads=heads)
        self.requests: list[Request] = []

    def enqueue(self, request: Request) -> None:
        self.requests.append(request)

    def write(self, data: bytes) -> None: ...

    def keep_for_tunnel(self, data: bytes) -> None: ...


class NothingKnown(KnownHeads):
    """The judge's: every head takes the parser's way."""

    def find(self, shape: bytes) -> None:
        return None


def read(heads: KnownHeads, pieces: list[bytes]) -> tuple[list[tuple[Any, ...]], str | None]:
    """What a connection makes of these pieces: each request as it goes on, and why the rest is refused."""
    client: Any = Client(heads)
    reader, refusal = RequestReader(client), None
    try:
        for piece in pieces:
            reader.feed(piece)
    except ClientError as error:
        refusal = error.code
    found = []
    for request in client.requests:
        args, how = (b"/v1/chat/completions", b"provider.test"), {"is_swapped": False, "wants_identity": True}
        if request.known is not None:
            lines = request.known.lines(request.credentials[0].key, *args, **how) + b"\r\n"
        else:
            lines = request_lines(request.head, *args, b"", RULES.providers["openai"], **how)
        found.append((lines, request.body(), request.is_complete, request.credentials, request.head.labels, request.route))
    if reader.request is not None:
        found.append((reader.request.body(), reader.request.is_complete, reader.request.credentials))
    return found, refusal


@settings(max_examples=300)
@given(conversations(), some.lists(some.integers(0, 4_000), max_size=25), some.integers(-2, 2) | some.just(0))
def test_a_connection_makes_the_same_of_known_heads_however_they_are_cut(sent: list[bytes], cuts: list[int], lie: int) -> None:
    whole = b"".join(sent)
    if lie:  # one request announces more or less than it brings
        whole = whole.replace(b"Content-Length: 2\r\n", b"Content-Length: %d\r\n" % (2 + lie), 1)
    at = {0, len(whole), *(place for place in cuts if place < len(whole))}
    for match in re.finditer(rb"(?<=\r\n\r\n)|(?=POST /)", whole):  # most clients write head and body apart, or wait for the answer
        at.add(match.start())
    pieces = [whole[start:end] for start, end in pairwise(sorted(at))]
    for cut_as in (pieces, sent, [whole]):
        known = KnownHeads(RULES)
        ours = read(known, cut_as)
        assert ours == read(NothingKnown(RULES), cut_as)
        event(f"{len(known._templates) > 0} templates")
