"""Streams: passed on as they come, metered on the way, with one edit that is taken out again."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.relay.chat import (
    COST_USD,
    DONE,
    FINISH,
    SHORT_STREAM,
    STREAMING,
    STREAMING_WITH_USAGE,
    USAGE_EVENT,
    completion,
    event,
    streamed,
    words,
)
from tests.relay.conftest import House
from tests.relay.relay_house import RawClient, RelayHouse, relay_house, request_bytes, rules_of
from tests.relay.scripted_upstream import ReadRequest, ScriptedUpstream, Send, WaitFor, answer, chunk, chunked_head
from tests.weighing import frame, lines

WHOLE = [ReadRequest(), Send(streamed(SHORT_STREAM, USAGE_EVENT, DONE))]


async def next_chunk(client: RawClient) -> bytes:
    """One chunk as the proxy wrote it."""
    async with asyncio.timeout(30):
        size = int(await client.reader.readline(), 16)
        data = await client.reader.readexactly(size)
        assert await client.reader.readexactly(2) == b"\r\n"
        return data


async def test_each_piece_goes_out_in_the_turn_it_came(house: House) -> None:
    events = [asyncio.Event() for _ in range(3)]
    pieces = [*words("a", "b", "c"), FINISH + USAGE_EVENT + DONE]
    script = [ReadRequest(), Send(chunked_head()), Send(chunk(pieces[0]))]
    for gate, piece in zip(events, pieces[1:], strict=True):
        script += [WaitFor(gate), Send(chunk(piece))]
    script.append(Send(chunk(b"")))
    async with house([script]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
        assert b"transfer-encoding: chunked" in head.lower()
        assert await next_chunk(client) == pieces[0]
        for gate, piece in zip(events, pieces[1:], strict=True):
            assert client.reader._buffer == b""  # type: ignore[attr-defined]  # nothing of the next one has come yet
            gate.set()
            assert await next_chunk(client) == piece


@pytest.mark.parametrize("body", [STREAMING, STREAMING_WITH_USAGE], ids=["usage event taken out", "usage event asked for"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_chunks_that_come_one_by_one_go_out_in_the_clients_framing(house: House, body: bytes, version: str) -> None:
    pieces = [*words(*"abcdef"), FINISH, USAGE_EVENT, DONE]
    gates = [asyncio.Event() for _ in pieces]
    script = [ReadRequest(), Send(chunked_head())]
    for gate, piece in zip(gates, pieces, strict=True):
        script += [WaitFor(gate), Send(chunk(piece))]
    async with house([[*script, Send(chunk(b""))]]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=body).replace(b"HTTP/1.1", b"HTTP/" + version.encode()))
        await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
        for gate, piece in zip(gates, pieces, strict=True):
            gate.set()
            if piece == USAGE_EVENT and body == STREAMING:
                await asyncio.sleep(0.05)
            elif version == "1.1":
                assert await next_chunk(client) == piece
            else:
                assert await asyncio.wait_for(client.reader.readexactly(len(piece)), 30) == piece
        assert await asyncio.wait_for(client.reader.read(100), 30) == (b"0\r\n\r\n" if version == "1.1" else b"")
        record = await relay.record()
        assert (record.input_tokens, record.output_tokens, record.usage_source, record.outcome) == (9, 3, "reported", "ok")


@pytest.mark.parametrize("size", [1, 7, 0], ids=["byte by byte", "by sevens", "at once"])
async def test_however_it_is_cut_it_arrives_as_it_was_sent(house: House, size: int) -> None:
    body = SHORT_STREAM + USAGE_EVENT + DONE
    async with house([[ReadRequest(), Send(streamed(body), piece=size)]]) as (relay, upstream):
        got = await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))
        assert got.body == body
        assert upstream.request().body == STREAMING_WITH_USAGE
        record = await relay.record()
        assert (record.input_tokens, record.output_tokens, record.cost_usd) == (9, 3, COST_USD)
        assert (record.usage_source, record.outcome, record.streamed, record.status) == ("reported", "ok", True, 200)


@pytest.mark.parametrize("size", [1, 11, 0], ids=["byte by byte", "by elevens", "at once"])
async def test_usage_is_asked_for_and_its_event_taken_out_again(house: House, size: int) -> None:
    async with house([[ReadRequest(), Send(streamed(SHORT_STREAM, USAGE_EVENT, DONE), piece=size)]]) as (relay, upstream):
        got = await relay.ask(request_bytes(body=STREAMING))
        assert got.body == SHORT_STREAM + DONE
        sent = json.loads(upstream.request().body)
        assert sent.pop("stream_options") == {"include_usage": True}
        assert sent == json.loads(STREAMING)
        assert (await relay.record()).input_tokens == 9


async def test_a_stream_with_a_length_is_chunked_once_something_is_taken_out(house: House) -> None:
    body = SHORT_STREAM + USAGE_EVENT + DONE
    async with house([[ReadRequest(), Send(answer(body, content_type="text/event-stream"))] * 2]) as (relay, _):
        got = await relay.ask(request_bytes(body=STREAMING))
        assert (got.header("content-length"), got.body) == (None, SHORT_STREAM + DONE)
        got = await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))
        assert (got.header("content-length"), got.body) == (str(len(body)), body)


@pytest.mark.parametrize(("setting", "is_asked"), [("auto", True), ("always", True), ("never", False)])
async def test_inject_usage_decides_whether_it_is_asked(house: House, setting: str, is_asked: bool) -> None:
    async with house([WHOLE], provider=f"    inject_usage: {setting}\n") as (relay, upstream):
        got = await relay.ask(request_bytes(body=STREAMING))
        assert (b"stream_options" in upstream.request().body) == is_asked
        assert (USAGE_EVENT in got.body) != is_asked  # what came unasked of us stays


REFUSED = answer(b'{"error":{"message":"Unrecognized request argument: stream_options"}}', "400 Bad Request")


@pytest.mark.parametrize(("setting", "asked_again"), [("auto", False), ("always", True)])
async def test_a_provider_that_refuses_the_question_is_asked_plainly(house: House, setting: str, asked_again: bool) -> None:
    plain = Send(streamed(SHORT_STREAM, DONE))
    script = [ReadRequest(), Send(REFUSED), ReadRequest(), plain]
    script += [ReadRequest(), Send(REFUSED), ReadRequest(), plain] if asked_again else [ReadRequest(), plain]
    async with house([script], provider=f"    inject_usage: {setting}\n") as (relay, upstream):
        assert (await relay.ask(request_bytes(body=STREAMING))).body == SHORT_STREAM + DONE
        assert upstream.received[0].count(b"stream_options") == 1
        assert upstream.received[0].count(STREAMING) == 1
        assert (await relay.ask(request_bytes(body=STREAMING))).body == SHORT_STREAM + DONE
        assert upstream.received[0].count(b"stream_options") == 1 + asked_again  # `auto` remembers
        records = await relay.wait_for_records(2)
        assert [(record.outcome, record.status, record.usage_source) for record in records] == [("ok", 200, "estimated")] * 2
        assert relay.state.stats.usage_retreats == 1 + asked_again


async def test_a_compressed_refusal_of_the_question_is_understood(house: House) -> None:
    refused = answer(
        gzip.compress(b'{"detail":"stream_options: extra fields"}'), "422 X", "application/json", "content-encoding: gzip"
    )
    async with house([[ReadRequest(), Send(refused), ReadRequest(), Send(streamed(SHORT_STREAM, DONE))]]) as (relay, _):
        assert (await relay.ask(request_bytes(body=STREAMING))).status == 200


async def test_any_other_400_is_passed_on_as_it_came(house: House) -> None:
    body = b'{"error":{"message":"max_tokens is too large","type":"invalid_request_error"}}'
    async with house([[ReadRequest(), Send(answer(body, "400 Bad Request"))]]) as (relay, upstream):
        got = await relay.ask(request_bytes(body=STREAMING))
        assert (got.status, got.body) == (400, body)
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("upstream_error", 400, "none")
        assert "max_tokens is too large" in str(record.error)
        assert upstream.connections == 1


async def test_a_large_400_is_not_held_for_ever(house: House) -> None:
    body = b"x" * 200_000
    async with house([[ReadRequest(), Send(answer(body, "400 Bad Request"))]]) as (relay, _):
        assert (await relay.ask(request_bytes(body=STREAMING))).body == body


async def test_a_compressed_stream_is_passed_on_untouched_and_read_all_the_same(house: House) -> None:
    body = gzip.compress(SHORT_STREAM + USAGE_EVENT + DONE)
    head = chunked_head("text/event-stream", "content-encoding: gzip")
    async with house([[ReadRequest(), Send(head + chunk(body[:30]) + chunk(body[30:]) + chunk(b""))]]) as (relay, upstream):
        got = await relay.ask(request_bytes(body=STREAMING_WITH_USAGE, headers={"Accept-Encoding": "gzip"}))
        assert (got.body, got.header("content-encoding")) == (body, "gzip")
        assert upstream.request().header("accept-encoding") == "identity"
        assert (await relay.record()).output_tokens == 3


async def test_who_asks_gets_a_last_event_with_tokens_and_cost(house: House) -> None:
    async with house([WHOLE]) as (relay, upstream):
        got = await relay.ask(request_bytes(body=STREAMING, headers={"X-Weighbridge-Usage": "sse"}))
        shown, _, last = got.body.partition(b"event: weighbridge.usage\ndata: ")
        assert shown == SHORT_STREAM + DONE
        usage = json.loads(last)
        assert last.endswith(b"}\n\n")
        assert (usage["input_tokens"], usage["output_tokens"], usage["cost_usd"]) == (9, 3, COST_USD)
        assert usage["request_id"] == got.header("x-weighbridge-request-id") == (await relay.record()).id
        assert upstream.request().header("x-weighbridge-usage") is None


async def test_usage_on_a_chunk_with_choices_counts_and_stays(house: House) -> None:
    last = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage={"prompt_tokens": 5, "completion_tokens": 2})
    async with house([[ReadRequest(), Send(streamed(*words("x"), last, DONE))]]) as (relay, _):
        assert (await relay.ask(request_bytes(body=STREAMING))).body == words("x")[0] + last + DONE
        assert (await relay.record()).input_tokens == 5


async def test_a_stream_without_usage_is_estimated_and_says_so(house: House) -> None:
    async with house([[ReadRequest(), Send(streamed(*words("word " * 40), FINISH, DONE))]]) as (relay, _):
        await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))
        record = await relay.record()
        assert (record.usage_source, record.exactness, record.outcome) == ("estimated", "estimated", "ok")
        assert record.usage_details == {"usage_missing": True}
        assert record.output_tokens is not None
        assert 20 <= record.output_tokens <= 120  # 40 words


async def test_an_error_inside_a_stream_is_recorded_as_the_providers(house: House) -> None:
    failed = b'data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n'
    async with house([[ReadRequest(), Send(streamed(*words("x"), failed))]]) as (relay, _):
        assert (await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))).body == words("x")[0] + failed
        record = await relay.record()
        assert (record.outcome, record.status) == ("upstream_error", 200)
        assert "The server had an error" in str(record.error)


OLLAMA = lines(
    {"model": "llama3", "message": {"content": "Hi"}, "done": False},
    {"model": "llama3", "message": {"content": ""}, "done": True, "prompt_eval_count": 11, "eval_count": 4},
)
GEMINI = (
    b'[{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"modelVersion":"gemini-2.5-flash"}\n,\r\n'
    b'{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":4,"totalTokenCount":15}}\n]'
)
BEDROCK = frame("contentBlockDelta", {"delta": {"text": "Hi"}}) + frame(
    "metadata", {"usage": {"inputTokens": 11, "outputTokens": 4, "totalTokens": 15}}
)
OTHER_FORMATS = {
    "NDJSON": ("/local/api/chat", b'{"model":"llama3","messages":[]}', "application/x-ndjson", OLLAMA),
    "JSON array": (
        "/local/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        b'{"contents":[{"parts":[{"text":"hi"}]}]}',
        "application/json",
        GEMINI,
    ),
    "event stream": (
        "/local/model/amazon.nova-lite-v1:0/converse-stream",
        b'{"messages":[]}',
        "application/vnd.amazon.eventstream",
        BEDROCK,
    ),
}


async def ask_other(relay: RelayHouse, path: str, body: bytes) -> bytes:
    return (await relay.ask(request_bytes(path, body))).body


@pytest.mark.parametrize("size", [1, 0], ids=["byte by byte", "at once"])
@pytest.mark.parametrize(("path", "body", "content_type", "sent"), OTHER_FORMATS.values(), ids=OTHER_FORMATS.keys())
async def test_other_framings_pass_and_are_read(
    tmp_path, path: str, body: bytes, content_type: str, sent: bytes, size: int
) -> None:  # type: ignore[no-untyped-def]
    script = [ReadRequest(), Send(streamed(sent, content_type=content_type), piece=size)]
    async with await ScriptedUpstream.start([script]) as upstream:
        rules = rules_of(f"providers:\n  local:\n    base_url: {upstream.url}\n    api: ollama\n    auth: none\n")
        async with relay_house(rules, tmp_path) as relay:
            assert await ask_other(relay, path, body) == sent
            record = await relay.record()
            assert (record.input_tokens, record.output_tokens, record.usage_source) == (11, 4, "reported")
            assert record.streamed


async def test_an_answer_too_large_to_hold_goes_on_without_tokens_in_its_head(house: House) -> None:
    body = completion(padding="x" * 5000)
    async with house([[ReadRequest(), Send(answer(body))] * 2], max_held_answer_bytes=4000) as (relay, _):
        got = await relay.ask(request_bytes())
        assert (got.body, got.header("x-weighbridge-input-tokens")) == (body, None)
        assert got.header("x-weighbridge-request-id") == (await relay.record()).id
        assert (await relay.record()).input_tokens == 9


async def test_an_answer_that_outgrows_what_is_held_goes_on_chunked(house: House) -> None:
    body = completion(padding="x" * 5000)
    sent = streamed(body[:3000], body[3000:], content_type="application/json")
    async with house([[ReadRequest(), Send(sent)]], max_held_answer_bytes=4000) as (relay, _):
        got = await relay.ask(request_bytes())
        assert (got.body, got.header("transfer-encoding")) == (body, "chunked")
        assert (await relay.record()).input_tokens == 9


async def test_an_answer_that_outgrows_what_is_held_may_come_chunk_by_chunk(house: House) -> None:
    body = completion(padding="x" * 5000)
    pieces = [body[:3000], body[3000:4500], body[4500:4700], body[4700:]]
    gates = [asyncio.Event() for _ in pieces]
    script = [ReadRequest(), Send(chunked_head("application/json"))]
    for gate, piece in zip(gates, pieces, strict=True):
        script += [WaitFor(gate), Send(chunk(piece))]
    async with house([[*script, Send(chunk(b""))]], max_held_answer_bytes=4000) as (relay, _):
        client = await relay.client()
        client.send(request_bytes())
        for gate in gates[:2]:
            gate.set()
            await asyncio.sleep(0.05)  # each a read of its own
        await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
        got = b""
        for gate in gates[2:]:
            while len(got) < len(body) - sum(map(len, pieces[gates.index(gate) :])):
                got += await next_chunk(client)
            gate.set()
        while len(got) < len(body):
            got += await next_chunk(client)
        assert got == body
        assert (await relay.record()).input_tokens == 9
