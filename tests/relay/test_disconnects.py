"""Who hangs up when: each call leaves exactly one record, its holds go back, and what the provider reports still counts."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import pytest

from tests.relay.chat import DONE, FINISH, SHORT_STREAM, STREAMING_WITH_USAGE, USAGE_EVENT, completion, streamed, words
from tests.relay.conftest import House
from tests.relay.relay_house import RawClient, RelayHouse, request_bytes
from tests.relay.scripted_upstream import (
    HalfClose,
    ReadHead,
    ReadRequest,
    ReadToEnd,
    Reset,
    ScriptedUpstream,
    Send,
    Wait,
    WaitFor,
    answer,
    chunk,
    chunked_head,
)

LIMITS = "defaults:\n  tokens: {per_day: 1_000_000}\n  concurrent_requests: 5\n"


async def until(is_so: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.005)


async def settled(relay: RelayHouse) -> dict[str, tuple[int, int]]:
    """Used and held of every limit of the caller's own key, once nothing runs any more."""
    await until(lambda: not relay.state.exchanges and not relay.state.tunnels)
    caller = relay.state.rules.caller_for_own_key("sk-callers-own")
    statuses = await relay.state.quota.status(relay.state.rules.resolve_limits(caller, "gpt-4o-mini"), time.time())
    assert not relay.state.live
    assert relay.state.stats.drains == 0
    return {status.limit.name: (status.used, status.reserved) for status in statuses}


def hang_up(client: RawClient, way: str) -> None:
    """A reset, as a killed program leaves it, or the FIN of one that closed."""
    if way == "reset":
        opened = client.writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
    else:
        client.writer.close()


both_ways = pytest.mark.parametrize("way", ["reset", "fin"])


@both_ways
async def test_gone_before_the_first_byte_of_a_whole_answer(house: House, way: str) -> None:
    gate = asyncio.Event()
    async with house([[ReadRequest(), WaitFor(gate), Send(answer(completion()))]], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes())
        await until(lambda: upstream.connections == 1)
        hang_up(client, way)
        await until(lambda: relay.state.stats.drains == 1)
        assert relay.records() == []  # the answer is still worth its usage
        gate.set()
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("client_aborted", 0, "reported")
        assert (record.input_tokens, record.output_tokens) == (9, 3)
        assert await settled(relay) == {"defaults.tokens.per_day": (12, 0), "defaults.concurrent_requests": (0, 0)}


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_gone_just_before_the_end(house: House, is_stream: bool) -> None:
    """What follows the FIN comes sooner than the tick that looks for the reset."""
    seen, gate = asyncio.Event(), asyncio.Event()
    whole = [ReadRequest(), WaitFor(seen), WaitFor(gate), Send(answer(completion()))]
    stream = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), WaitFor(seen), Send(chunk(words("lo")[0]))]
    stream += [WaitFor(gate), Send(chunk(FINISH + USAGE_EVENT + DONE) + chunk(b""))]
    async with house([stream if is_stream else whole], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE) if is_stream else request_bytes())
        await until(lambda: (upstream.connections == 1 and b"stream" in upstream.received[0]) or not is_stream)
        if is_stream:
            await client.reader.readuntil(b"Hel")
        client.writer.close()
        (connection,) = relay.state.clients
        await until(lambda: connection.has_half_closed)
        connection.deadline = float("inf")  # no tick
        seen.set()
        await asyncio.sleep(0.02)
        gate.set()
        record = await relay.record()
        assert (record.outcome, record.usage_source, record.input_tokens) == ("client_aborted", "reported", 9)


@both_ways
async def test_gone_in_the_middle_of_the_text(house: House, way: str) -> None:
    gate = asyncio.Event()
    script = [
        ReadRequest(),
        Send(chunked_head() + chunk(words("Hel")[0])),
        WaitFor(gate),
        Send(chunk(words("lo")[0])),
        Wait(0.05),
        Send(chunk(FINISH)),
        Wait(0.05),
        Send(chunk(USAGE_EVENT) + chunk(DONE) + chunk(b"")),
    ]
    async with house([script], LIMITS) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(b"Hel")
        hang_up(client, way)
        await asyncio.sleep(0.02)
        gate.set()
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("client_aborted", 200, "reported")
        assert (record.input_tokens, record.output_tokens) == (9, 3)
        assert await settled(relay) == {"defaults.tokens.per_day": (12, 0), "defaults.concurrent_requests": (0, 0)}


@both_ways
async def test_gone_right_after_the_end_is_a_good_call(house: House, way: str) -> None:
    gate = asyncio.Event()
    script = [ReadRequest(), Send(chunked_head() + chunk(SHORT_STREAM + USAGE_EVENT + DONE)), WaitFor(gate), Send(chunk(b""))]
    script += [ReadRequest(), Send(answer(completion()))]
    async with house([script], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(b"[DONE]\n\n")
        assert (await relay.record()).outcome == "ok"  # before the provider has ended its body
        hang_up(client, way)
        await asyncio.sleep(0.05)
        gate.set()
        assert await settled(relay) == {"defaults.tokens.per_day": (12, 0), "defaults.concurrent_requests": (0, 0)}
        assert len(relay.records()) == 1
        assert (await relay.ask(request_bytes())).status == 200
        assert upstream.connections == 1  # the end was waited for: the connection served again


async def test_gone_after_the_usage_is_reported_and_cut_within_a_second(house: House) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(SHORT_STREAM + USAGE_EVENT)), ReadToEnd()]
    async with house([script], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(b"usage")
        await asyncio.sleep(0.02)
        hang_up(client, "reset")
        record = await relay.record()
        assert (record.outcome, record.usage_source, record.output_tokens) == ("client_aborted", "reported", 3)
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)
        assert len(relay.records()) == 1


async def test_gone_during_the_upload(house: House) -> None:
    async with house([[ReadHead(), ReadToEnd()]], LIMITS) as (relay, upstream):
        client = await relay.client()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": "1000"}
        client.send(request_bytes("/openai/v1/files", b"", headers) + b"abc")
        await until(lambda: upstream.connections == 1)
        hang_up(client, "reset")
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)
        record = await relay.record()
        assert (record.outcome, record.status) == ("client_aborted", 0)
        await settled(relay)


async def test_gone_in_the_middle_of_a_body_that_is_held_was_no_request(house: House) -> None:
    async with house([[ReadRequest()]], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes()[:-10])
        await asyncio.sleep(0.05)
        hang_up(client, "reset")
        await until(lambda: not relay.state.clients)
        assert (relay.records(), upstream.connections) == ([], 0)
        await settled(relay)


async def test_gone_while_a_form_is_looked_into(house: House) -> None:
    async with house([[ReadRequest()]], LIMITS) as (relay, upstream):
        client = await relay.client()
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "1000"}
        client.send(request_bytes("/openai/v1/audio/transcriptions", b"", headers) + b"--x\r\n")
        await until(lambda: len(relay.state.exchanges) == 1)
        hang_up(client, "reset")
        await settled(relay)
        assert upstream.connections == 0


async def test_gone_while_waiting_for_a_connection(house: House) -> None:
    gate = asyncio.Event()
    script = [ReadRequest(), WaitFor(gate), Send(answer(completion())), ReadRequest(), Send(answer(completion()))]
    async with house([script], LIMITS, provider="    max_connections: 1\n") as (relay, upstream):
        first, second = await relay.client(), await relay.client()
        first.send(request_bytes())
        await until(lambda: upstream.connections == 1)
        second.send(request_bytes())
        await until(lambda: len(relay.state.exchanges) == 2)
        hang_up(second, "reset")
        await asyncio.sleep(0.02)
        gate.set()
        assert (await first.answer()).status == 200
        records = await relay.wait_for_records(2)
        assert sorted((record.outcome, record.status) for record in records) == [("client_aborted", 0), ("ok", 200)]
        assert upstream.received[0].count(b"POST ") == 1
        assert await settled(relay) == {"defaults.tokens.per_day": (12, 0), "defaults.concurrent_requests": (0, 0)}


async def test_gone_while_waiting_for_admission(house: House) -> None:
    async with house([[ReadRequest(), Send(answer(completion()))]], LIMITS) as (relay, upstream):
        gate, reserve = asyncio.Event(), relay.state.quota.reserve

        async def slow(*arguments: object) -> object:
            await gate.wait()
            return await reserve(*arguments)  # type: ignore[arg-type]

        relay.state.quota.reserve = slow  # type: ignore[method-assign, assignment]
        client = await relay.client()
        client.send(request_bytes())
        await until(lambda: len(relay.state.exchanges) == 1)
        hang_up(client, "reset")
        await until(lambda: not relay.state.clients)
        gate.set()
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("client_aborted", 0, "none")
        assert upstream.connections == 0
        assert await settled(relay) == {"defaults.tokens.per_day": (0, 0), "defaults.concurrent_requests": (0, 0)}


# ── the caps of reading on ──


async def drained(relay: RelayHouse, upstream: ScriptedUpstream, after: bytes = b"Hel") -> None:
    client = await relay.client()
    client.send(request_bytes(body=STREAMING_WITH_USAGE))
    await client.reader.readuntil(after)
    hang_up(client, "reset")
    await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)


async def test_reading_on_ends_after_its_time(house: House) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), ReadToEnd()]
    async with house([script], LIMITS, drain_seconds=0.2) as (relay, upstream):
        await drained(relay, upstream)
        record = await relay.record()
        assert (record.outcome, record.usage_source, record.exactness) == ("client_aborted", "estimated", "estimated")
        assert relay.state.stats.drains_cut == 1
        used, held = (await settled(relay))["defaults.tokens.per_day"]
        assert (used, held) == (record.total_tokens, 0)


async def test_reading_on_ends_after_its_bytes(house: House) -> None:
    text = b"".join(words("x" * 1000))
    script = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), *[Wait(0.01), Send(chunk(text))] * 20, ReadToEnd()]
    async with house([script], LIMITS, drain_bytes=5000) as (relay, upstream):
        await drained(relay, upstream)
        assert ((await relay.record()).usage_source, relay.state.stats.drains_cut) == ("estimated", 1)


async def test_no_more_than_so_many_are_read_on(house: House) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), ReadToEnd()]
    async with house([script], LIMITS, drain_seconds=0.5, max_drains=2) as (relay, _):
        clients = [await relay.client() for _ in range(5)]
        for client in clients:
            client.send(request_bytes(body=STREAMING_WITH_USAGE))
            await client.reader.readuntil(b"Hel")
        for client in clients:
            hang_up(client, "reset")
        await until(lambda: len(relay.records()) == 3)
        assert relay.state.stats.drains == 2
        records = await relay.wait_for_records(5)
        assert [record.outcome for record in records] == ["client_aborted"] * 5
        assert relay.state.stats.drains_cut == 5
        assert (await settled(relay))["defaults.concurrent_requests"] == (0, 0)


async def test_what_is_cut_before_it_answered_counts_its_input_by_estimate(house: House) -> None:
    async with house([[ReadRequest(), ReadToEnd()]], LIMITS, max_drains=0) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes())
        await until(lambda: upstream.connections == 1 and b"hi" in upstream.received[0])
        hang_up(client, "reset")
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("client_aborted", 0, "estimated")
        assert record.input_tokens is not None
        assert record.input_tokens > 0
        assert (await settled(relay))["defaults.tokens.per_day"] == (record.total_tokens, 0)


# ── the provider hangs up ──


@pytest.mark.parametrize("end", [Reset(), HalfClose()], ids=["reset", "fin"])
async def test_a_stream_cut_by_the_provider_is_cut_for_the_client(house: House, end: Reset | HalfClose) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), Wait(0.05), end]
    async with house([script], LIMITS) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        raw = await client.rest()
        assert raw.endswith(chunk(words("Hel")[0]))  # and no last chunk
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("upstream_aborted", 200, "estimated")
        assert "in the middle of its answer" in str(record.error)
        await settled(relay)


async def test_usage_reported_before_the_cut_stays(house: House) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(SHORT_STREAM + USAGE_EVENT)), Wait(0.05), Reset()]
    async with house([script], LIMITS) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        record = await relay.record()
        assert (record.outcome, record.usage_source, record.input_tokens, record.output_tokens) == (
            "upstream_aborted",
            "reported",
            9,
            3,
        )
        assert (await settled(relay))["defaults.tokens.per_day"] == (12, 0)


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "with a length"])
async def test_a_whole_answer_cut_by_the_provider_has_no_clean_end(house: House, is_chunked: bool) -> None:
    body = completion()[:60]
    start = chunked_head("application/json") + chunk(body) if is_chunked else answer(completion())[: -len(completion())] + body
    async with house([[ReadRequest(), Send(start), Wait(0.05), Reset()]], LIMITS) as (relay, _):
        client = await relay.client()
        client.send(request_bytes())
        head, _, rest = (await client.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert rest == (chunk(body) if is_chunked else body)
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("upstream_aborted", 200, "estimated")
        await settled(relay)


async def test_a_cut_reaches_an_http_10_client_as_a_reset(house: House) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), Wait(0.05), HalfClose()]
    async with house([script]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        with pytest.raises(ConnectionResetError):  # a FIN would be a good end
            await client.rest()
        assert (await relay.record()).outcome == "upstream_aborted"


async def test_a_client_that_left_and_a_provider_that_fails_leave_one_record(house: House) -> None:
    gate = asyncio.Event()
    async with house([[ReadRequest(), WaitFor(gate), Reset()]], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes())
        await until(lambda: upstream.connections == 1)
        hang_up(client, "reset")
        await until(lambda: relay.state.stats.drains == 1)
        gate.set()
        record = await relay.record()
        assert (record.outcome, record.status) == ("client_aborted", 0)
        assert await settled(relay) == {"defaults.tokens.per_day": (0, 0), "defaults.concurrent_requests": (0, 0)}


async def test_gone_while_a_refused_question_is_judged_is_not_asked_for_again(house: House) -> None:
    gate = asyncio.Event()
    body = b'{"error":{"message":"unknown: stream_options"}}'
    start, end = answer(body, "400 Bad Request")[:-10], body[-10:]
    streaming = STREAMING_WITH_USAGE.partition(b',"stream_options"')[0] + b"}"
    async with house([[ReadRequest(), Send(start), WaitFor(gate), Send(end), ReadToEnd()]], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes(body=streaming))
        await until(lambda: upstream.connections == 1 and b"stream_options" in upstream.received[0])
        await asyncio.sleep(0.05)
        hang_up(client, "reset")
        await until(lambda: relay.state.stats.drains == 1)
        gate.set()
        assert (await relay.record()).outcome == "client_aborted"
        await settled(relay)
        assert upstream.received[0].count(b"POST ") == 1


async def test_a_stream_held_up_by_a_slow_client_is_read_on_when_it_leaves(house: House) -> None:
    text = words("x" * 60_000)[0]
    script = [
        ReadRequest(),
        Send(chunked_head()),
        *[Send(chunk(text))] * 200,
        Send(chunk(FINISH + USAGE_EVENT + DONE) + chunk(b"")),
    ]
    async with house([script], LIMITS, drain_bytes=1 << 30) as (relay, _):
        client = await relay.client()
        client.writer.transport.pause_reading()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await asyncio.sleep(0.4)
        assert relay.records() == []
        hang_up(client, "reset")
        record = await relay.record()
        assert (record.outcome, record.usage_source, record.output_tokens) == ("client_aborted", "reported", 3)


async def test_streamed_pieces_of_a_known_stream_are_whole(house: House) -> None:
    """The fixtures themselves: what the other tests cut is a good answer where nobody cuts it."""
    async with house([[ReadRequest(), Send(streamed(SHORT_STREAM, USAGE_EVENT, DONE))]], LIMITS) as (relay, _):
        assert (await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))).body == SHORT_STREAM + USAGE_EVENT + DONE
        assert await settled(relay) == {"defaults.tokens.per_day": (12, 0), "defaults.concurrent_requests": (0, 0)}
