"""Framings: every cut gives the same events; odd line ends, giants and garbage are stood; nothing raises."""

from __future__ import annotations

import json
import random
import struct
import zlib

import pytest

from proxy.usage.framing import MAX_EVENT_BYTES, feed
from proxy.usage.framing.aws_eventstream import AwsEventStreamFraming
from proxy.usage.framing.json_array import JsonArrayFraming
from proxy.usage.framing.json_document import JsonDocumentFraming
from proxy.usage.framing.json_lines import JsonLinesFraming
from proxy.usage.framing.sniffing import sniff
from proxy.usage.framing.sse import SseFraming
from tests.weighing import frame


def cut(framing, body, step):
    """(name, payload) of all events, fed in steps and flushed."""
    found = [event for at in range(0, len(body), step) for event in feed(framing, body[at : at + step])]
    rest = framing.flush()
    found += framing.split(rest) if rest else []
    return [(event.name, event.payload) for event in found]


def every_cut(make, body):
    results = [cut(make(), body, step) for step in (len(body) + 1, 1, 2, 3, 5, 17)]
    assert all(result == results[0] for result in results), results
    return results[0]


SSE_BODIES = {
    "lf": b"data: a\n\ndata: b\n\n",
    "crlf": b"data: a\r\n\r\ndata: b\r\n\r\n",
    "cr": b"data: a\r\rdata: b\r\r",
    "mixed": b"data: a\n\r\ndata: b\r\n\n",
    "no space": b"data:a\n\ndata:b\n\n",
    "space before": b" data: a\n\n data: b\n\n",
    "comments": b": keepalive\n\n:\n\ndata: a\n: in between\n\n: x\n\ndata: b\n\n",
    "leading blanks": b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n",
    "bom": b"\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    "other fields": b"id: 1\nretry: 5\ndata: a\n\nfoo\nfoo: bar\ndata: b\n\n",
    "last without blank line": b"data: a\n\ndata: b",
    "last with one line end": b"data: a\r\n\r\ndata: b\r\n",
}


@pytest.mark.parametrize("name", SSE_BODIES)
def test_sse_shapes(name):
    assert every_cut(SseFraming, SSE_BODIES[name]) == [(b"", b"a"), (b"", b"b")]


def test_sse_names_and_several_data_lines():
    assert every_cut(SseFraming, b"event: x\ndata: 1\ndata: 2\n\ndata:\ndata: 3\n\n") == [(b"x", b"1\n2"), (b"", b"\n3")]


def test_sse_keeps_utf8_whole():
    text = "data: žluťoučký kůň 🐎\n\n".encode()
    assert every_cut(SseFraming, text) == [(b"", text[6:-2])]


def test_sse_json_block_in_the_middle():
    body = b'data: {"a":1}\r\n\r\n{\n  "error": {\n    "code": 499\n  }\n}\n'
    first, second = every_cut(SseFraming, body)
    assert first == (b"", b'{"a":1}')
    assert json.loads(second[1]) == {"error": {"code": 499}}


@pytest.mark.parametrize("size", [2 << 20, 9 << 20])
def test_a_giant_event_comes_whole(size):
    framing = SseFraming()
    body = b"data: " + b"x" * size + b"\n\ndata: end\n\n"
    events = [event for at in range(0, len(body), 65536) for event in feed(framing, body[at : at + 65536])]
    assert [len(event.payload) for event in events] == [size, 3]
    assert framing.skipped_count == 0


@pytest.mark.parametrize(
    ("make", "begin", "end", "small"),
    [(SseFraming, b"data: ", b"\n\n", b"data: end\n\n"), (JsonLinesFraming, b"", b"\n", b"end\n")],
)
def test_an_event_beyond_the_bound_is_skipped_counted_and_not_held(make, begin, end, small):
    framing, filler, events = make(), b"x" * (1 << 20), []
    for piece in [small, begin, *[filler] * 40, end, small]:
        events += feed(framing, piece)
        assert len(framing._buffer) <= MAX_EVENT_BYTES + len(filler)
    assert [event.payload for event in events] == [b"end", b"end"]
    assert framing.skipped_count == 1


def test_json_lines():
    assert every_cut(JsonLinesFraming, b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}') == [
        (b"", b'{"a":1}'),
        (b"", b'{"b":2}'),
        (b"", b'{"c":3}'),
    ]


def test_json_array_elements_come_as_soon_as_they_end():
    elements = [{"t": 'a"b\\', "u": "]}[{"}, {"n": [1, [2, {"x": {}}]]}, {}, {"e": '\u00e9\\"'}]
    for text in (json.dumps(elements), json.dumps(elements, indent=2), "[" + "\n,\r\n".join(map(json.dumps, elements)) + "\n]\n"):
        assert [json.loads(payload) for _, payload in every_cut(JsonArrayFraming, text.encode())] == elements
    framing = JsonArrayFraming()
    assert feed(framing, b'[{"a":') == []
    assert [event.payload for event in feed(framing, b"1}")] == [b'{"a":1}']
    assert not framing.has_pending


def test_a_json_array_element_beyond_the_bound_is_not_held():
    framing, filler = JsonArrayFraming(), b"x" * (1 << 20)
    for piece in [b'[{"n":1},{"a":"', *[filler] * 40]:
        feed(framing, piece)
        assert len(framing._buffer) <= MAX_EVENT_BYTES + len(filler)
    assert framing.skipped_count >= 1
    assert "larger than the meter's buffer" in framing.broken_reason


def test_document_is_given_out_at_its_end_and_lines_at_once():
    pretty = json.dumps({"a": {"b": 1}}, indent=2).encode() + b"\n"
    assert [json.loads(payload) for _, payload in every_cut(JsonDocumentFraming, pretty)] == [{"a": {"b": 1}}]
    framing = JsonDocumentFraming()
    assert [event.payload for event in feed(framing, b'{"a":1}\n{"b":2}\n{"c"')] == [b'{"a":1}', b'{"b":2}']
    assert framing.is_lines


def test_document_beyond_the_bound_is_read_from_head_and_tail():
    framing = JsonDocumentFraming()
    framing.take(b'{"id":"x","object":"list","model":"m-1","data":["')
    for _ in range(20):
        framing.take(b"A" * (1 << 20))
    framing.take(b'"],"usage":{"prompt_tokens":5,"details":{"a":"}"}}}')
    assert sum(map(len, framing._parts)) + len(framing._tail) < 1 << 20
    found = json.loads(framing.flush())
    assert (found["usage"], found["model"], found["data"]) == ({"prompt_tokens": 5, "details": {"a": "}"}}, "m-1", [])


def test_aws_frames_names_and_exceptions():
    body = frame("metadata", {"a": 1}) + frame("throttlingException", {"message": "slow"}, kind="exception") + frame("x", b"")
    assert every_cut(AwsEventStreamFraming, body) == [
        (b"metadata", b'{"a": 1}'),
        (b"throttlingException", b'{"message": "slow"}'),
        (b"x", b""),
    ]
    assert [event.is_exception for event in feed(AwsEventStreamFraming(), body)] == [False, True, False]


def test_aws_frame_with_a_damaged_payload_is_left_out():
    bad = bytearray(frame("a", {"n": 1}))
    bad[-6] ^= 1
    framing = AwsEventStreamFraming()
    assert [event.name for event in feed(framing, bytes(bad) + frame("b", {}))] == [b"b"]
    assert (framing.skipped_count, framing.broken_reason) == (1, None)


@pytest.mark.parametrize("too_long", [1, 3, 8, 1000])
def test_aws_frame_whose_headers_reach_into_its_end_is_left_out(too_long):
    good = frame("a", {"n": 1})
    total, _ = struct.unpack_from(">II", good)
    prelude = struct.pack(">II", total, total - 12 - 4 + too_long)
    bad = prelude + struct.pack(">I", zlib.crc32(prelude)) + good[12:-4]
    bad += struct.pack(">I", zlib.crc32(bad))  # both checksums are right
    framing = AwsEventStreamFraming()
    assert [event.name for event in feed(framing, bad + frame("b", {}))] == [b"b"]
    assert (framing.skipped_count, framing.broken_reason) == (1, None)


@pytest.mark.parametrize("make", [SseFraming, JsonLinesFraming, JsonArrayFraming, JsonDocumentFraming, AwsEventStreamFraming])
@pytest.mark.parametrize("seed", range(30))
def test_garbage_never_raises(make, seed):
    chance = random.Random(seed)
    seeds = [
        b"data: ",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b":",
        b"\0\0\0\x20",
        frame("a", {}),
        chance.randbytes(9),
    ]
    framing = make()
    for _ in range(300):
        feed(framing, b"".join(chance.choices(seeds, k=chance.randint(0, 5))))
    framing.split(framing.flush())


@pytest.mark.parametrize(
    ("head", "content_type", "expected"),
    [
        (b"data: {}", "text/event-stream", SseFraming),
        (b": ping", "text/event-stream;charset=utf-8", SseFraming),
        (b"data: {}", "application/json", SseFraming),
        (b"\xef\xbb\xbf\n\nevent: x", "text/event-stream", SseFraming),
        (b'{"error":1}', "text/event-stream", JsonDocumentFraming),
        (b"\n   \n {", "application/json", JsonDocumentFraming),
        (b"{", "application/x-ndjson", JsonLinesFraming),
        (b"{", "application/stream+json", JsonLinesFraming),
        (b"[{", "application/json", JsonArrayFraming),
        (frame("a", {}), "", AwsEventStreamFraming),
        (b"\x00", "application/vnd.amazon.eventstream", AwsEventStreamFraming),
        (b"\x89PNG", "application/octet-stream", JsonDocumentFraming),
    ],
)
def test_framing_is_told_by_the_first_bytes(head, content_type, expected):
    assert type(sniff(head, content_type, is_failure=False, is_stream=True)[0]) is expected


@pytest.mark.parametrize("head", [b"", b"\n \r\n", b"\xef", b"\xef\xbb", b"\0\0\0"])
def test_framing_waits_until_the_first_bytes_tell(head):
    assert sniff(head, "", is_failure=False, is_stream=True)[0] is None


def test_plain_text_of_a_failure_is_no_stream():
    assert type(sniff(b"error: bad gateway", "text/plain", is_failure=True, is_stream=True)[0]) is JsonDocumentFraming
    assert type(sniff(b"[]", "application/json", is_failure=False, is_stream=False)[0]) is JsonDocumentFraming
