"""A slow side holds the fast one back; what waits inside the proxy stays small, whatever passes through."""

from __future__ import annotations

import asyncio
import socket

from tests.relay.chat import DONE, STREAMING_WITH_USAGE, completion, words
from tests.relay.conftest import House
from tests.relay.relay_house import RawClient, RelayHouse, request_bytes
from tests.relay.scripted_upstream import ReadBytes, ReadHead, ReadRequest, Send, WaitFor, answer, chunk, chunked_head

MEGABYTE = 1 << 20


async def slow_client(relay: RelayHouse) -> RawClient:
    """A client with a small receive buffer that does not read until told."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    opened.connect(("127.0.0.1", relay.port))
    client = RawClient(*await asyncio.open_connection(sock=opened, limit=1 << 16))
    client.writer.transport.pause_reading()
    relay._clients.append(client)
    return client


def waiting_bytes(relay: RelayHouse) -> int:
    return sum(client.transport.get_write_buffer_size() for client in relay.state.clients if client.transport is not None)


async def test_a_client_that_does_not_read_stops_the_provider(house: House) -> None:
    text = chunk(words("x" * 65_000)[0])
    script = [ReadRequest(), Send(chunked_head()), *[Send(text)] * 400, Send(chunk(DONE) + chunk(b""))]
    async with house([script]) as (relay, _):
        client = await slow_client(relay)
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        most = 0
        for _ in range(40):
            await asyncio.sleep(0.01)
            most = max(most, waiting_bytes(relay))
        assert 0 < most < MEGABYTE  # of 26 MB
        assert relay.records() == []
        client.writer.transport.resume_reading()
        total = 0
        while b"0\r\n\r\n" not in (data := await asyncio.wait_for(client.reader.read(1 << 20), 30)):
            total += len(data)
            most = max(most, waiting_bytes(relay))
        assert total > 25_900_000
        assert most < MEGABYTE
        assert (await relay.record()).outcome == "ok"


async def test_a_provider_that_does_not_read_stops_the_client(house: House) -> None:
    gate = asyncio.Event()
    size = 40 * MEGABYTE
    script = [ReadHead(), WaitFor(gate), *[ReadBytes(MEGABYTE)] * 40, Send(answer(b"{}"))]
    async with house([script]) as (relay, _):
        client = await relay.client()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        client.send(request_bytes("/openai/v1/files", b"", headers))
        client.send(bytes(size))
        most = 0
        for _ in range(40):
            await asyncio.sleep(0.01)
            (connection,) = [one for one in relay.state.clock.watched if hasattr(one, "served")]
            most = max(most, connection.transport.get_write_buffer_size())
        assert 0 < most < 2 * MEGABYTE
        assert client.writer.transport.get_write_buffer_size() > 20 * MEGABYTE  # it waits where it came from
        gate.set()
        assert (await client.answer()).status == 200


async def test_a_slow_reader_of_a_held_answer_does_not_stop_the_next_call(house: House) -> None:
    """The answer is complete and its connection serves another: who reads slowly must not pause that one."""
    large = completion(padding="x" * (12 * MEGABYTE))
    async with house([[ReadRequest(), Send(answer(large)), ReadRequest(), Send(answer(completion()))]]) as (relay, upstream):
        slow = await slow_client(relay)
        slow.send(request_bytes())
        await relay.wait_for_records(1)
        await asyncio.sleep(0.02)
        assert waiting_bytes(relay) > MEGABYTE
        assert (await relay.ask(request_bytes())).body == completion()
        assert upstream.connections == 1
        slow.writer.transport.resume_reading()
        got = b""
        while not got.endswith(large[-100:]):
            got += await asyncio.wait_for(slow.reader.read(1 << 20), 30)
        assert got.endswith(large)


async def test_a_client_that_never_reads_is_cut_off_in_time(house: House) -> None:
    large = completion(padding="x" * (12 * MEGABYTE))
    async with house([[ReadRequest(), Send(answer(large))]], write_timeout_seconds=0.3, idle_timeout_seconds=60.0) as (relay, _):
        slow = await slow_client(relay)
        slow.send(request_bytes())
        await relay.wait_for_records(1)
        async with asyncio.timeout(30):
            while relay.state.clients:
                await asyncio.sleep(0.02)


async def test_a_client_that_reads_slowly_is_not_cut_off(house: House) -> None:
    large = completion(padding="x" * (8 * MEGABYTE))
    async with house([[ReadRequest(), Send(answer(large))]], write_timeout_seconds=0.4, idle_timeout_seconds=0.4) as (relay, _):
        slow = await slow_client(relay)
        slow.send(request_bytes(headers={"Connection": "close"}))
        await relay.wait_for_records(1)
        slow.writer.transport.resume_reading()
        got = 0
        for _ in range(16):  # 1.6 s, four times the time-out
            await asyncio.sleep(0.1)
            got += len(await asyncio.wait_for(slow.reader.read(300_000), 30))
        while data := await asyncio.wait_for(slow.reader.read(1 << 20), 30):
            got += len(data)
        assert got > len(large)


async def test_pipelining_beyond_its_bound_is_held_back(house: House) -> None:
    gate = asyncio.Event()
    script = [ReadRequest(), WaitFor(gate), Send(answer(completion()))]
    script += [step for _ in range(60) for step in (ReadRequest(), Send(answer(completion())))]
    async with house([script]) as (relay, _):
        client = await relay.client()
        for _ in range(60):
            client.send(request_bytes())
            await asyncio.sleep(0.001)
        (connection,) = relay.state.clients
        assert len(connection._waiting) < 60
        gate.set()
        for _ in range(60):
            assert (await client.answer()).status == 200
