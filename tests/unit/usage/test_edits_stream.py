"""Taking our usage event out of a stream: at every cut, nothing else is touched and nothing waits without need."""

from __future__ import annotations

import itertools
import random

import pytest

from proxy.usage.edits import UsageEventRemover

FIRST = b'data: {"id":"c1","object":"chunk","model":"gpt-4","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}\n\n'
TOOLS = b'data: {"id":"c1","choices":[{"delta":{"tool_calls":[],"content":"{\\"choices\\":[],\\"usage\\":{}}"}}],"usage":null}\n\n'
AZURE = b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
NULL_USAGE = b'data: {"choices":[],"usage":null}\n\n'
IN_CHOICES = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
)
USAGE = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
DONE = b"data: [DONE]\n\n"
COMMENT = b": OPENROUTER PROCESSING\n\n"

STREAMS = {
    "openai": [FIRST, TOOLS, (USAGE,), DONE],
    "azure": [AZURE, FIRST, (USAGE,), DONE],
    "usage with a choice stays": [FIRST, IN_CHOICES, DONE],
    "null usage stays": [FIRST, NULL_USAGE, (USAGE,), DONE],
    "comments and blank lines": [COMMENT, b"\n\n", FIRST, b": ping\n", b"\n", FIRST, (USAGE,), b"\n", DONE],
    "citations in the usage event": [
        FIRST,
        b'data: {"id":"c1","choices":[],"citations":["https://example.com"],"usage":{"total_tokens":1}}\n\n',
        DONE,
    ],
    "an error in the usage event": [FIRST, b'data: {"choices":[],"usage":{"total_tokens":1},"error":{"code":502}}\n\n', DONE],
    "timings and nothing new in it": [
        FIRST,
        (b'data: {"choices":[],"usage":{"total_tokens":1},"citations":[],"error":null,"timings":{"cache_n":0}}\n\n',),
        DONE,
    ],
    "usage first": [(USAGE,), FIRST, DONE],
    "usage twice": [FIRST, (USAGE,), (USAGE,), DONE],
    "other fields": [b"event: message\nid: 7\n" + FIRST, b"retry: 10\n\n", (USAGE,), b"event: x\n" + DONE],
    "no space": [b"data:{}\n\n", (b'data:{"usage":{"total_tokens":1},"choices" : [ ]}\n\n',), DONE],
    "two lines": [(b'data: {"choices":[],\ndata: "usage":{"total_tokens":1}}\n\n',), DONE],
    "an error": [FIRST, b'data: {"error":{"message":"\\"choices\\":[]"}}\n\n', DONE],
    "not json": [b'data: {"choices":[],"usage":{broken}\n\n', b"\x00\xff\n\n", DONE],
    "anthropic": [
        b'event: message_start\ndata: {"type":"message_start","usage":{"input_tokens":1}}\n\n',
        b"event: ping\ndata: {}\n\n",
    ],
}


def crlf(piece: bytes) -> bytes:
    return piece.replace(b"\n", b"\r\n")


def build(pieces: list[bytes | tuple[bytes]], change=lambda piece: piece) -> tuple[bytes, bytes]:
    """(what comes, what may be seen): tuples are what must go."""
    whole = b"".join(change(piece[0] if isinstance(piece, tuple) else piece) for piece in pieces)
    seen = b"".join(change(piece) for piece in pieces if isinstance(piece, bytes))
    return whole, seen


def run(chunks: list[bytes]) -> bytes:
    remover = UsageEventRemover()
    return b"".join([remover.feed(chunk) for chunk in chunks]) + remover.flush()


CASES = [
    pytest.param(pieces, change, id=f"{name} {change.__name__}") for name, pieces in STREAMS.items() for change in (bytes, crlf)
]


@pytest.mark.parametrize(("pieces", "change"), CASES)
def test_whole_and_byte_by_byte(pieces: list, change) -> None:
    whole, seen = build(pieces, change)
    assert run([whole]) == seen
    assert run([whole[i : i + 1] for i in range(len(whole))]) == seen


@pytest.mark.parametrize(("pieces", "change"), CASES)
def test_cut_once_anywhere(pieces: list, change) -> None:
    whole, seen = build(pieces, change)
    for cut in range(len(whole)):
        assert run([whole[:cut], whole[cut:]]) == seen, cut


@pytest.mark.parametrize(("pieces", "change"), CASES)
def test_cut_at_random(pieces: list, change) -> None:
    whole, seen = build(pieces, change)
    for seed in range(60):
        rng = random.Random(seed)
        cuts = sorted(rng.sample(range(len(whole)), min(len(whole) - 1, rng.randint(1, 9))))
        assert run([whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]) == seen, seed


@pytest.mark.parametrize("change", [bytes, crlf])
@pytest.mark.parametrize("event", [FIRST, TOOLS, IN_CHOICES, AZURE, NULL_USAGE, DONE, COMMENT])
def test_an_event_that_stays_is_out_with_its_last_byte(event: bytes, change) -> None:
    event = change(event)
    for cut in range(len(event)):
        remover = UsageEventRemover()
        assert remover.feed(event[:cut]) + remover.feed(event[cut:]) == event


def test_an_event_goes_on_as_soon_as_it_shows_a_choice() -> None:
    remover = UsageEventRemover()
    shown = FIRST.index(b'"choices":[{') + len(b'"choices":[{')
    out = [remover.feed(FIRST[i : i + 1]) for i in range(len(FIRST))]
    assert b"".join(out[: shown - 1]) == b""
    assert out[shown - 1] == FIRST[:shown]
    assert all(len(piece) == 1 for piece in out[shown:])


@pytest.mark.parametrize("event", [DONE, COMMENT, b"event: x\n\n", b"id: 1\n\n", b"dato: x\n\n", b"x"])
def test_what_cannot_be_the_usage_event_is_not_held(event: bytes) -> None:
    remover = UsageEventRemover()
    waited = most = 0
    for i in range(len(event)):
        out = remover.feed(event[i : i + 1])
        waited = waited + 1 - len(out)
        most = max(most, waited)
    assert waited == 0
    assert most <= len(b"data: ")  # no longer than it looks like any event with data


def test_the_usage_event_is_never_seen_in_part() -> None:
    remover = UsageEventRemover()
    assert [remover.feed(USAGE[i : i + 1]) for i in range(len(USAGE))] == [b""] * len(USAGE)
    assert remover.feed(DONE) == DONE


def test_a_stream_that_ends_inside_an_event() -> None:
    for cut in range(len(USAGE) - 2):
        expected = USAGE[:cut] if cut < USAGE.rindex(b"}") + 1 else b""
        assert run([USAGE[:cut]]) == expected, cut
    assert run([USAGE[:-1]]) == b""
    assert run([FIRST[:-2]]) == FIRST[:-2]


def test_an_endless_event_is_let_go() -> None:
    remover = UsageEventRemover()
    sent = b'data: {"x":"' + b"y" * 70_000
    out = b"".join(remover.feed(sent[i : i + 1000]) for i in range(0, len(sent), 1000))
    assert out == sent
    assert remover.feed(b'"}\n\n') == b'"}\n\n'
    assert remover.feed(USAGE + DONE) == DONE


def test_a_large_chunk_of_whole_events() -> None:
    whole = FIRST * 500 + USAGE + DONE
    assert run([whole]) == FIRST * 500 + DONE
