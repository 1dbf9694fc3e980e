"""A graceful end: running answers finish, what does not is settled and recorded, new connections find a closed door."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from tests.relay.chat import DONE, SHORT_STREAM, STREAMING_WITH_USAGE, USAGE_EVENT, completion
from tests.relay.conftest import House
from tests.relay.relay_house import RelayHouse, request_bytes
from tests.relay.scripted_upstream import ReadRequest, ReadToEnd, Send, WaitFor, answer, chunk, chunked_head
from tests.waiting import within

LIMITS = "defaults:\n  tokens: {per_day: 1_000_000}\n  concurrent_requests: 9\n"


def stopping_within(relay: RelayHouse, seconds: float) -> asyncio.Task[None]:
    relay.state.rules = replace(relay.state.rules, settings=replace(relay.state.rules.settings, stop_seconds=seconds))
    return asyncio.create_task(relay.worker.stop())


async def test_running_streams_finish(house: House) -> None:
    gate = asyncio.Event()
    script = [
        ReadRequest(),
        Send(chunked_head() + chunk(SHORT_STREAM)),
        WaitFor(gate),
        Send(chunk(USAGE_EVENT + DONE) + chunk(b"")),
    ]
    async with house([script], LIMITS) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(SHORT_STREAM)
        idle = await relay.client()
        await asyncio.sleep(0.05)
        stopping = stopping_within(relay, 10)
        assert await idle.rest() == b""  # serves nothing: goes at once
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", relay.port)
        assert not stopping.done()
        gate.set()
        assert (await client.rest()).endswith(chunk(USAGE_EVENT + DONE) + chunk(b""))
        began = time.monotonic()
        await stopping
        assert within(1, time.monotonic() - began)
        record = await relay.record()
        assert (record.outcome, record.input_tokens) == ("ok", 9)


async def test_an_answer_that_begins_while_stopping_says_that_the_connection_ends(house: House) -> None:
    gate = asyncio.Event()
    async with house([[ReadRequest(), WaitFor(gate), Send(answer(completion()))]], LIMITS) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes())
        async with asyncio.timeout(30):
            while not upstream.connections:
                await asyncio.sleep(0.005)
        stopping = stopping_within(relay, 10)
        await asyncio.sleep(0.05)
        gate.set()
        got = await client.answer()
        assert (got.status, got.header("connection")) == (200, "close")
        await stopping


async def test_what_does_not_finish_is_cut_settled_and_recorded(house: House) -> None:
    streaming = [ReadRequest(), Send(chunked_head() + chunk(SHORT_STREAM)), ReadToEnd()]
    async with house([streaming, [ReadRequest(), ReadToEnd()]], LIMITS) as (relay, upstream):
        one, two = await relay.client(), await relay.client()
        one.send(request_bytes(body=STREAMING_WITH_USAGE))
        await one.reader.readuntil(SHORT_STREAM)
        two.send(request_bytes())
        async with asyncio.timeout(30):
            while upstream.connections < 2:
                await asyncio.sleep(0.005)
        began = time.monotonic()
        stopping = stopping_within(relay, 0.3)
        assert (await two.answer()).status == 500  # nothing had been answered yet: SDKs try again
        with pytest.raises(ConnectionResetError):
            await one.rest()
        await stopping
        took = time.monotonic() - began
        assert took >= 0.3
        assert within(1.5, took)
        records = await relay.wait_for_records(2)
        assert sorted((record.outcome, record.status) for record in records) == [("proxy_error", 200), ("proxy_error", 500)]
        assert [record.usage_source for record in records] == ["estimated", "estimated"]
        assert not relay.state.live
        assert not relay.state.exchanges
        assert not relay.state.tasks


async def test_a_call_that_waits_for_a_connection_is_recorded_too(house: House) -> None:
    async with house([[ReadRequest(), ReadToEnd()]], LIMITS, provider="    max_connections: 1\n") as (relay, upstream):
        one, two = await relay.client(), await relay.client()
        one.send(request_bytes())
        async with asyncio.timeout(30):
            while not upstream.connections:
                await asyncio.sleep(0.005)
        two.send(request_bytes())
        await asyncio.sleep(0.05)
        await stopping_within(relay, 0.2)
        records = await relay.wait_for_records(2)
        assert [record.outcome for record in records] == ["proxy_error"] * 2
        assert {record.usage_source for record in records} == {"estimated", "none"}  # one was asked, one was not
        caller = relay.state.rules.caller_for_own_key("sk-callers-own")
        found = await relay.state.quota.status(relay.state.rules.resolve_limits(caller, "gpt-4o-mini"), time.time())
        assert [one.reserved for one in found] == [0, 0]


async def test_readiness_ends_before_service_does(house: House) -> None:
    async with house([[ReadRequest(), ReadToEnd()]], LIMITS) as (relay, _):
        ready = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
        got = await relay.ask(ready)
        assert got.status == 200
        spool = json.loads(got.body)["spool"]
        assert (spool["segments"], spool["lost"], spool["is_full"]) == (1, 0, False)
        assert spool["bytes"] > 0
        assert 0 <= spool["oldest_segment_age_seconds"] < 60
        assert (await relay.ask(ready.replace(b"readyz", b"healthz"))).status == 200
        busy = await relay.client()
        busy.send(request_bytes() + ready)
        await asyncio.sleep(0.05)
        relay.state.is_stopping = True
        assert (await relay.ask(ready)).status == 503


async def test_what_is_written_is_sent_before_the_end(house: House) -> None:
    large = completion(padding="x" * 6_000_000)
    async with house([[ReadRequest(), Send(answer(large))]], LIMITS) as (relay, _):
        client = await relay.client()
        client.writer.transport.pause_reading()
        client.send(request_bytes())
        await relay.wait_for_records(1)
        stopping = stopping_within(relay, 10)
        await asyncio.sleep(0.1)
        assert not stopping.done()
        client.writer.transport.resume_reading()
        assert (await client.rest()).endswith(large)
        await stopping
