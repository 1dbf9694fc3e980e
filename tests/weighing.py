"""Answers for the meter's tests, and a scale that weighs each of them in many cuts and demands one reading."""

from __future__ import annotations

import base64
import gzip
import json
import random
import struct
import zlib
from collections.abc import Iterable

from proxy.routing.response_head import read_response_head
from proxy.usage.meter import Meter
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import Exactness, Reading, TokenUsage

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"
NDJSON = "application/x-ndjson"
AWS = "application/vnd.amazon.eventstream"


def sse(*events: object, end: str = "\n\n", done: bool = False) -> bytes:
    """Data events; a pair (name, event) becomes a named one."""
    text = ""
    for event in events:
        if isinstance(event, tuple):
            text += f"event: {event[0]}" + end[: len(end) // 2]
            event = event[1]
        text += "data: " + json.dumps(event, separators=(",", ":")) + end
    return (text + ("data: [DONE]" + end if done else "")).encode()


def lines(*events: object) -> bytes:
    return b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in events)


def frame(name: str, payload: object, kind: str = "event") -> bytes:
    """One AWS event-stream frame with string headers."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = b""
    for key, value in ((f":{kind}-type", name), (":content-type", "application/json"), (":message-type", kind)):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + headers + body
    return whole + struct.pack(">I", zlib.crc32(whole))


def chunk_frame(inner: object) -> bytes:
    """A frame of InvokeModelWithResponseStream."""
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(inner).encode()).decode(), "p": "abcdefgh"})


def facts(api: str = "unknown", **changes: object) -> RequestFacts:
    return RequestFacts(api, **({"is_metered": True} | changes))  # type: ignore[arg-type]


def meter(asked: RequestFacts, status: int = 200, content_type: str = SSE, headers: Iterable[tuple[bytes, bytes]] = ()) -> Meter:
    sent = [(b"Content-Type", content_type.encode()), *headers]
    is_plain_json = read_response_head(status, b"OK", sent).is_plain_json
    return Meter(asked, status, sent, asked.is_stream, is_plain_json=is_plain_json)


def weigh(
    body: bytes,
    asked: RequestFacts | None = None,
    *,
    content_type: str = JSON,
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    is_complete: bool = True,
    expected_input_tokens: int = 1000,
    is_zipped_too: bool = True,
) -> Reading:
    """The reading of a body: the same whole, byte by byte, at random cuts, and gzipped; else the test fails."""
    asked = asked or facts()
    cuts = [[body], [body[at : at + 1] for at in range(len(body))]]
    for seed in range(6):
        chance = random.Random(seed)
        at, parts = 0, []
        while at < len(body):
            step = chance.randint(1, 1 + len(body) // (seed + 2))
            parts.append(body[at : at + step])
            at += step
        cuts.append(parts)
    readings = [_weigh(asked, status, content_type, headers, parts, is_complete, expected_input_tokens) for parts in cuts]
    if not is_zipped_too:
        assert all(reading == readings[0] for reading in readings), readings
        return readings[0]
    squeezed = gzip.compress(body)
    parts = [squeezed[at : at + 7] for at in range(0, len(squeezed), 7)]
    zipped = (*headers, (b"content-encoding", b"gzip"))
    readings.append(_weigh(asked, status, content_type, zipped, parts, is_complete, expected_input_tokens))
    assert all(reading == readings[0] for reading in readings), readings
    return readings[0]


def _weigh(
    asked: RequestFacts,
    status: int,
    content_type: str,
    headers: Iterable[tuple[bytes, bytes]],
    parts: list[bytes],
    is_complete: bool,
    expected_input_tokens: int,
) -> Reading:
    scale = meter(asked, status, content_type, headers)
    for part in parts:
        scale.feed(part)
        scale.reading()  # whoever asks before the end gets the general way, so that the short cut is judged by it
    reading = scale.finish(is_complete, expected_input_tokens)
    unasked = meter(asked, status, content_type, headers)
    for part in parts:
        unasked.feed(part)
    assert unasked.finish(is_complete, expected_input_tokens) == reading
    return reading


def exact(reading: Reading) -> TokenUsage:
    """The usage of a reading that must be exact."""
    assert reading.exactness is Exactness.EXACT, reading
    assert reading.usage is not None
    assert reading.blind_reason is None
    assert not reading.is_usage_missing
    return reading.usage


def counts(usage: TokenUsage) -> tuple[int | None, int | None, int | None, int | None, int | None]:
    """input, cache read, cache write, output, reasoning."""
    return usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens
