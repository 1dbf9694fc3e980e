"""The scripted upstream does what its scripts say, so that what the relay's tests find is the relay's."""

from __future__ import annotations

import asyncio

import pytest

from tests.relay.scripted_upstream import (
    HalfClose,
    ReadRequest,
    ReadToEnd,
    Reset,
    ScriptedUpstream,
    Send,
    Wait,
    answer,
    chunk,
    chunked_head,
)

ASK = b"POST /v1/x HTTP/1.1\r\nhost: a\r\nx-a: 1\r\ncontent-length: 4\r\n\r\nbody"


async def talk(upstream: ScriptedUpstream, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    try:
        writer.write(sent)
        return await reader.read()
    finally:
        writer.close()


async def test_a_whole_answer_and_the_request_as_received() -> None:
    async with await ScriptedUpstream.start([[ReadRequest(), Send(answer(b"{}"))]]) as upstream:
        assert (await talk(upstream, ASK)).endswith(b"content-length: 2\r\n\r\n{}")
        request = upstream.request()
    assert (request.method, request.target, request.header("x-a"), request.body) == ("POST", "/v1/x", "1", b"body")


async def test_a_chunked_request_is_put_together() -> None:
    sent = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"bo") + chunk(b"dy") + chunk(b"")
    async with await ScriptedUpstream.start(
        [[ReadRequest(), Send(chunked_head() + chunk(b"x") + chunk(b""), piece=1)]]
    ) as upstream:
        assert (await talk(upstream, sent)).endswith(b"1\r\nx\r\n0\r\n\r\n")
        assert upstream.request().body == b"body"


async def test_a_reset_is_a_reset() -> None:
    async with await ScriptedUpstream.start([[ReadRequest(), Reset()]]) as upstream:
        with pytest.raises(ConnectionResetError):
            await talk(upstream, ASK)


async def test_scripts_go_by_connection_and_the_last_one_stays() -> None:
    async with await ScriptedUpstream.start([[Send(b"first")], [Send(b"others")]]) as upstream:
        assert [await talk(upstream, b"") for _ in range(3)] == [b"first", b"others", b"others"]


async def test_a_half_close_leaves_the_other_way_open() -> None:
    async with await ScriptedUpstream.start([[ReadRequest(), Send(b"end"), HalfClose(), Wait(0.01), ReadToEnd()]]) as upstream:
        assert await talk(upstream, ASK) == b"end"
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)


async def test_a_script_that_fails_is_told() -> None:
    upstream = await ScriptedUpstream.start([[ReadRequest()]])
    await talk(upstream, b"POST / HTTP/1.1\r\ncontent-length: much\r\n\r\n")
    with pytest.raises(ValueError, match="much"):
        await upstream.close()
