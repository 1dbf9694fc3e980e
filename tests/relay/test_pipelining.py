"""Several requests on one connection, one behind the other: answered in turn, the bad ones too."""

from __future__ import annotations

import asyncio

from tests.relay.chat import completion
from tests.relay.conftest import House
from tests.relay.relay_house import request_bytes
from tests.relay.scripted_upstream import ReadRequest, Send, Wait, WaitFor, answer

ONE = [ReadRequest(), Wait(0.02), Send(answer(completion()))]
BAD = b"POST /openai/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


async def test_a_bad_request_is_refused_after_those_before_it(house: House) -> None:
    async with house([[*ONE] * 3]) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes() + request_bytes() + BAD + request_bytes())
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
        client.writer.write_eof()
        assert await client.rest() == b""
        assert upstream.received[0].count(b"POST ") == 2
        assert len(relay.records()) == 2


async def test_half_a_request_behind_a_running_one_is_waited_for(house: House) -> None:
    gate = asyncio.Event()
    script = [ReadRequest(), WaitFor(gate), Send(answer(completion())), *ONE]
    async with house([script]) as (relay, _):
        client = await relay.client()
        second = request_bytes()
        client.send(request_bytes() + second[:-20])
        await asyncio.sleep(0.05)
        gate.set()
        assert (await client.answer()).status == 200
        client.send(second[-20:])
        assert (await client.answer()).status == 200


async def test_heads_that_are_known_wait_for_their_bodies_and_leave_what_is_behind(house: House) -> None:
    """Head and body in two writes, as httpx sends them; in pieces; with the next head in the same write as a body's end."""
    bodies = [b'{"model":"m-%d","messages":[]}' % number for number in range(4)]
    heads, whole = [], [request_bytes(body=body) for body in bodies]
    for request, body in zip(whole, bodies, strict=True):
        heads.append(request[: -len(body)])
    async with house([[*ONE] * 5]) as (relay, upstream):
        client = await relay.client()
        client.send(whole[0])
        assert (await client.answer()).status == 200
        for piece in (heads[1], bodies[1], heads[2] + bodies[2][:3], bodies[2][3:7], bodies[2][7:] + heads[3], bodies[3]):
            client.send(piece)
            await asyncio.sleep(0.03)
        assert [(await client.answer()).status for _ in range(3)] == [200] * 3
        sent = [bytes(each).partition(b"\r\n\r\n")[2] for each in bytes(upstream.received[0]).split(b"POST ")[1:]]
        assert sent == bodies
        assert len(relay.state.heads._known) == 1
        client.send(bodies[0] + whole[0])  # a body that nobody announced is no request
        assert (await client.answer()).status == 400
    assert [record.request_model for record in relay.records()] == ["m-0", "m-1", "m-2", "m-3"]


async def test_a_refused_upload_takes_what_was_behind_it_along(house: House) -> None:
    async with house([[*ONE] * 3], "auth: keys\n") as (relay, upstream):
        client = await relay.client()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": "100"}
        client.send(request_bytes("/openai/v1/files", b"", headers) + b"only the start")
        got = await client.answer()
        assert (got.status, got.header("connection")) == (401, "close")
        client.send(b"x" * 86 + request_bytes())
        assert await client.rest() == b""
        assert upstream.connections == 0
        assert len(relay.records()) == 1


async def test_a_connection_that_is_to_close_serves_nothing_behind(house: House) -> None:
    async with house([[*ONE] * 3]) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes(headers={"Connection": "close"}) + request_bytes())
        assert (await client.answer()).header("connection") == "close"
        assert await client.rest() == b""
        assert upstream.received[0].count(b"POST ") == 1


async def test_broken_chunks_of_a_streaming_upload_are_answered_and_recorded(house: House) -> None:
    async with house([[ReadRequest()]]) as (relay, _):
        client = await relay.client()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": "", "Transfer-Encoding": "chunked"}
        client.send(request_bytes("/openai/v1/files", b"", headers) + b"3\r\nabc\r\n")
        await asyncio.sleep(0.05)
        client.send(b"zz\r\n")
        got = await client.answer()
        assert (got.status, got.header("connection")) == (400, "close")
        record = await relay.record()
        assert (record.outcome, record.status) == ("client_aborted", 400)


async def test_a_form_that_breaks_while_it_is_looked_into_is_answered(house: House) -> None:
    async with house([[ReadRequest()]]) as (relay, upstream):
        client = await relay.client()
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "", "Transfer-Encoding": "chunked"}
        client.send(request_bytes("/openai/v1/audio/transcriptions", b"", headers) + b"3\r\n--x\r\n")
        await asyncio.sleep(0.05)
        client.send(b"zz\r\n")
        assert (await client.answer()).status == 400
        assert upstream.connections == 0
        assert not relay.state.exchanges
