"""The short way of a streamed answer changes nothing: chunks that pass the parser by are whole, and are read the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.relay.chunks import whole_chunk
from proxy.relay.clock import Clock
from proxy.relay.upstream import MOST_WALKED_CHUNKS, UpstreamConnection
from proxy.usage.edits import UsageEventRemover
from tests.properties.test_meter_cuts import ANSWERS, TEXTS, chat_body, cut
from tests.weighing import meter

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZES = {
    "lower": lambda size: b"%x" % size,
    "upper": lambda size: b"%X" % size,
    "zeros": lambda size: b"00%x" % size,
    "extension": lambda size: b"%x;a=b" % size,
}
PAYLOADS = st.binary(min_size=1, max_size=300) | st.sampled_from(
    [b"5\r\nhello\r\n", b"\r\n", b"5\r\n", b"hello\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"data: {}\n\n", b"1", b"x" * 0x105 + b"\r\n"]
)
"""Some look like chunks, or like parts of them."""


class Sink:
    """Takes every chunk it is offered; what it was given, and by which way."""

    def __init__(self) -> None:
        self.body = b""
        self.shortened = 0
        self.end: str | None = None

    def answer_chunk(self, data: bytes, size: int) -> bool:
        digits, _, rest = data.partition(b"\r\n")
        assert int(digits, 16) == size == len(rest) - 2
        self.body += rest[:-2]
        self.shortened += 1
        return True

    def answer_body(self, data: bytes) -> None:
        self.body += data

    def answer_ended(self, trailers: list[Any]) -> None:
        self.end = "whole"

    def answer_failed(self, error: Exception) -> None:
        self.end = str(error)

    def answer_broke(self, fault: Exception) -> None:
        raise fault

    def answer_head(self, head: object) -> None:
        """Of no interest."""

    def answer_informational(self, status: int, headers: list[Any]) -> None:
        """Of no interest."""

    def answer_flush(self) -> None:
        """Nothing is kept back."""


def received(reads: list[bytes]) -> Sink:
    """What a sink hears of an answer that comes in these reads."""
    provider = SimpleNamespace(between_bytes_timeout_seconds=9.0, first_byte_timeout_seconds=9.0)
    quiet = lambda *_: None  # noqa: E731
    pool = SimpleNamespace(clock=Clock(), provider=provider, forget=quiet, give_back=quiet)
    connection, sink = UpstreamConnection(pool), Sink()  # type: ignore[arg-type]
    connection.connection_made(SimpleNamespace(write=quiet, abort=quiet))  # type: ignore[arg-type]
    connection.send(sink, b"POST / HTTP/1.1\r\n\r\n", b"", False)  # type: ignore[arg-type]
    for read in reads:
        connection.data_received(read)
    return sink


def framed(payloads: list[bytes], style: str) -> list[bytes]:
    return [SIZES[style](len(payload)) + b"\r\n" + payload + b"\r\n" for payload in payloads]


@settings(max_examples=600, deadline=None)
@given(
    st.lists(PAYLOADS, min_size=1, max_size=8),
    st.sampled_from(sorted(SIZES)),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.booleans(),
    st.booleans(),
)
# Reads within a chunk that look like chunks: behind the head, behind a read with a size line, behind a head that came in two reads.
# A read that ends within a size line.
@example([b"5\r\nhello\r\n" * 3], "lower", [len(HEAD) + 4, len(HEAD) + 14, len(HEAD) + 24], False, False)
@example([b"5\r\nhello\r\n" * 3], "lower", [len(HEAD), len(HEAD) + 4, len(HEAD) + 14, len(HEAD) + 24], False, False)
@example([b"\r\n" + b"5\r\nhello\r\n" * 2], "lower", [len(HEAD) - 2, len(HEAD) + 16, len(HEAD) + 26], False, False)
@example([b"x" * 0x15, b"5\r\nhello\r\n"], "lower", [len(HEAD), len(HEAD) + 1], False, False)
def test_any_cut_of_a_chunked_answer_gives_its_body(payloads, style, cuts, is_by_chunk, has_hint):
    chunks = framed(payloads, style)
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" if has_hint else b""
    whole = hint + HEAD + b"".join(chunks) + b"0\r\n\r\n"
    places = [len(hint + HEAD + b"".join(chunks[:count])) for count in range(len(chunks) + 1)] if is_by_chunk else []
    sink = received(cut(whole, places + cuts) if is_by_chunk or cuts else [whole])
    assert (sink.body, sink.end) == (b"".join(payloads), "whole")
    if is_by_chunk and not cuts and not has_hint:
        assert sink.shortened == (len(chunks) if style in ("lower", "upper") else 0)


def test_a_read_with_several_chunks_or_a_part_of_one_does_not_end_the_short_way():
    one, two, three = framed([b"data: 1\n\n", b"data: 22\n\n", b"y" * 400], "lower")
    sink = received([HEAD + one, two, one + two, three[:100], three[100:], two, one + three[:7], three[7:] + two, one])
    assert sink.shortened == 3
    assert sink.body.endswith(b"data: 22\n\ndata: 1\n\n")


def test_a_flood_of_chunks_is_left_to_the_parser():
    chunk = framed([b"data: 1\n\n"], "lower")[0]
    assert received([HEAD, chunk * MOST_WALKED_CHUNKS, chunk]).shortened == 1
    flooded = received([HEAD, chunk * (MOST_WALKED_CHUNKS + 1), chunk])
    assert (flooded.shortened, flooded.body) == (0, b"data: 1\n\n" * (MOST_WALKED_CHUNKS + 2))


def test_what_the_parser_would_refuse_does_not_pass_it_by():
    for line in (b"+9", b"0x9", b" 9", b"9 ", b"-9", b"1_0", b"a", b"8", b"", b"09"):
        assert whole_chunk(line + b"\r\ndata: 1\n\n\r\n") == 0, line
    assert whole_chunk(b"9\r\ndata: 1\n\nXX") == 0
    assert whole_chunk(b"0\r\n\r\n") == 0
    assert whole_chunk(b"9\r\ndata: 1\n\n\r\n") == 9


@settings(max_examples=200, deadline=None)
@given(ANSWERS, st.lists(st.integers(0, 10**6), max_size=30), st.booleans())
def test_the_meter_reads_the_same_of_what_it_skips(answer, cuts, is_complete):
    asked, content_type, body = answer
    fed, skipping = meter(asked, 200, content_type), meter(asked, 200, content_type)
    for payload in filter(None, cut(body, cuts) if cuts else body.splitlines(keepends=True)):
        fed.feed(payload)
        (chunk,) = framed([payload], "lower")
        if not skipping.skips(chunk, len(payload), skipping.framed_ends):
            skipping.feed(payload)
        assert (skipping.has_usage, skipping.has_ended) == (fed.has_usage, fed.has_ended)
    assert skipping.finish(is_complete, 123) == fed.finish(is_complete, 123)


@pytest.mark.parametrize("word", ["longer words", "日本語の文章"])
def test_the_meter_estimates_the_same_of_what_it_skips(word):
    asked, content_type, body = chat_body([f"{word} {number}" for number in range(3_000)], 1, 2, False)
    events = [event + b"\n\n" for event in body.split(b"\n\n")[:-3]]  # no usage
    fed, skipping = meter(asked, 200, content_type), meter(asked, 200, content_type)
    skipped = 0
    for event in events:
        fed.feed(event)
        (chunk,) = framed([event], "lower")
        if skipping.skips(chunk, len(event), skipping.framed_ends):
            skipped += 1
        else:
            skipping.feed(event)
    assert skipped > 2_900
    reading = skipping.finish(False, 123)
    assert reading == fed.finish(False, 123)
    assert reading.usage.output_tokens > 6_000


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXTS, max_size=20), st.booleans(), st.booleans(), st.lists(st.integers(0, 10**6), max_size=30))
def test_what_passes_the_remover_would_come_out_of_it_as_it_is(texts, is_null, is_crlf, cuts):
    body = chat_body(texts, 1, 2, is_null)[2]
    if is_crlf:
        body = body.replace(b"\n\n", b"\r\n\r\n")
    feeding, passing = UsageEventRemover(), UsageEventRemover()
    events = [event + body[-4 if is_crlf else -2 :] for event in body.split(b"\r\n\r\n" if is_crlf else b"\n\n")[:-1]]
    passed = 0
    for payload in filter(None, cut(body, cuts) if cuts else events):
        (chunk,) = framed([payload], "lower")
        if passing.passes(chunk):
            passed += 1
            assert feeding.feed(payload) == payload
        else:
            assert feeding.feed(payload) == passing.feed(payload)
    assert feeding.flush() == passing.flush()
    if not cuts:
        assert passed == len(events) - 1  # all but the usage event
