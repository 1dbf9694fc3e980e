"""The tunnel between two real sockets: bytes, back-pressure, endings. Under asyncio's own loop and under uvloop."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop
from websockets.frames import Frame, Opcode

from proxy.relay.clock import NEVER, Clock
from proxy.relay.websocket import LINGER_SECONDS, Tunnel
from proxy.usage.request_facts import read_request
from proxy.usage.tokens import Reading
from proxy.usage.websocket_meter import WebSocketMeter

REALTIME = read_request("GET", "/v1/realtime", "model=gpt-realtime", "", None)


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test: Callable[..., Coroutine[object, object, None]]) -> Callable[..., None]:
    """Run a test on asyncio's own loop and on uvloop: their transports differ in what they do at an end."""

    def run(loop_kind: str, **arguments: object) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop_kind]) as runner:
            runner.run(test(**arguments))

    wanted = inspect.signature(test).parameters.values()
    own = inspect.Parameter("loop_kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([own, *wanted])  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return pytest.mark.parametrize("loop_kind", list(LOOPS))(run)


@dataclass
class Ends:
    """A tunnel and the far ends of its two connections."""

    tunnel: Tunnel
    clock: Clock
    client_reader: asyncio.StreamReader
    client: asyncio.StreamWriter
    upstream_reader: asyncio.StreamReader
    upstream: asyncio.StreamWriter
    closed: list[tuple[Reading | None, str]]
    readings: list[Reading]
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def ended(self) -> tuple[Reading | None, str]:
        async with asyncio.timeout(30):
            await self.done.wait()
        assert len(self.closed) == 1
        assert self.tunnel not in self.clock.watched
        return self.closed[0]


@asynccontextmanager
async def tunnel(
    meter: WebSocketMeter | None, *, early: tuple[bytes, bytes] = (b"", b""), idle: float = 60.0
) -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    near: list[asyncio.Transport] = []
    far: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        near.append(transport)
        far.append(await asyncio.open_connection(sock=theirs, limit=1 << 24))
    closed: list[tuple[Reading | None, str]] = []
    readings: list[Reading] = []
    done = asyncio.Event()

    def on_closed(reading: Reading | None, why: str) -> None:
        closed.append((reading, why))
        done.set()

    clock = Clock()
    made = Tunnel(near[0], near[1], meter, clock, idle_timeout_seconds=idle, on_closed=on_closed, on_usage=readings.append)
    made.start(*early)
    try:
        yield Ends(made, clock, *far[0], *far[1], closed, readings, done)
    finally:
        for _, writer in far:
            writer.close()
        for transport in near:
            transport.abort()
        await asyncio.sleep(0)


async def read(reader: asyncio.StreamReader, size: int) -> bytes:
    async with asyncio.timeout(30):
        return await reader.readexactly(size)


@on_both_loops
async def test_bytes_go_both_ways_unchanged() -> None:
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        rng = random.Random(1)
        to_upstream, to_client = rng.randbytes(300_000), rng.randbytes(500_000)
        for writer, data in ((ends.client, to_upstream), (ends.upstream, to_client)):
            writer.write(data)
        got_up, got_down = await asyncio.gather(read(ends.upstream_reader, 300_000), read(ends.client_reader, 500_000))
        assert (got_up, got_down) == (to_upstream, to_client)
        assert (ends.tunnel.client_bytes, ends.tunnel.upstream_bytes) == (300_000, 500_000)


@on_both_loops
async def test_what_came_behind_the_heads_goes_first() -> None:
    async with tunnel(None, early=(b"client early;", b"server early;")) as ends:
        ends.client.write(b"later")
        ends.upstream.write(b"later")
        assert await read(ends.upstream_reader, 18) == b"client early;later"
        assert await read(ends.client_reader, 18) == b"server early;later"


@on_both_loops
async def test_byte_by_byte() -> None:
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        for number in range(200):
            ends.client.write(bytes([number]))
            assert await read(ends.upstream_reader, 1) == bytes([number])


@pytest.mark.parametrize("from_client", [True, False])
@on_both_loops
async def test_a_slow_side_holds_the_other_back(from_client: bool) -> None:
    async with tunnel(None) as ends:
        fast, slow = (ends.client, ends.upstream_reader) if from_client else (ends.upstream, ends.client_reader)
        slow_transport = slow._transport  # type: ignore[attr-defined]
        slow_transport.pause_reading()
        total = 8_000_000
        fast.transport.set_write_buffer_limits(0)
        fast.write(b"x" * total)
        passed = -1
        while (now := ends.tunnel.client_bytes + ends.tunnel.upstream_bytes) != passed:
            passed = now
            await asyncio.sleep(0.1)
        assert passed < 2_000_000  # stuck: far less than what was sent waits in the tunnel
        slow_transport.resume_reading()
        received = 0
        async with asyncio.timeout(30):
            while received < total:
                received += len(await slow.read(1 << 20))
        assert received == total


@pytest.mark.parametrize("from_client", [True, False])
@on_both_loops
async def test_one_sides_end_is_the_others(from_client: bool) -> None:
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        writer, reader = (ends.client, ends.upstream_reader) if from_client else (ends.upstream, ends.client_reader)
        writer.write(b"last words")
        writer.close()
        async with asyncio.timeout(30):
            assert await reader.read() == b"last words"
        (ends.upstream if from_client else ends.client).close()
        assert (await ends.ended())[1] == "closed"


@on_both_loops
async def test_a_half_closed_client_still_gets_the_answer() -> None:
    async with tunnel(None) as ends:
        ends.client.write_eof()
        async with asyncio.timeout(30):
            assert await ends.upstream_reader.read() == b""
        ends.upstream.write(b"answer")
        ends.upstream.write_eof()
        async with asyncio.timeout(30):
            assert await ends.client_reader.read() == b"answer"
        assert (await ends.ended())[1] == "closed"


@on_both_loops
async def test_a_lost_client_ends_the_provider() -> None:
    async with tunnel(None) as ends:
        ends.client.transport.abort()
        async with asyncio.timeout(30):
            assert await ends.upstream_reader.read() == b""
        ends.upstream.close()
        await ends.ended()


@on_both_loops
async def test_what_waits_for_a_side_still_goes_out_when_the_other_is_lost() -> None:
    async with tunnel(None) as ends:
        ends.client_reader._transport.pause_reading()  # type: ignore[attr-defined]
        ends.upstream.write(b"y" * 200_000)
        await ends.upstream.drain()
        while ends.tunnel.upstream_bytes < 200_000:
            await asyncio.sleep(0.01)
        ends.upstream.close()
        await asyncio.sleep(0.05)
        ends.client_reader._transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(30):
            assert len(await ends.client_reader.read()) == 200_000
        ends.client.close()
        await ends.ended()


@on_both_loops
async def test_a_side_that_does_not_end_is_cut_after_a_while() -> None:
    async with tunnel(None) as ends:
        assert ends.tunnel.deadline == pytest.approx(ends.clock.now + 60.0)
        ends.client.write_eof()
        async with asyncio.timeout(30):
            assert await ends.upstream_reader.read() == b""
        assert ends.tunnel.deadline == pytest.approx(ends.clock.now + LINGER_SECONDS)
        ends.upstream.write(b"still talking")
        assert await read(ends.client_reader, 13) == b"still talking"
        assert ends.tunnel.deadline == pytest.approx(ends.clock.now + LINGER_SECONDS)  # talking does not buy time
        ends.tunnel.expire(ends.clock.now + LINGER_SECONDS)
        assert (await ends.ended())[1] == "closed"


@on_both_loops
async def test_an_idle_tunnel_ends() -> None:
    async with tunnel(None, idle=0.05) as ends:
        deadline = ends.tunnel.deadline
        await asyncio.sleep(0.06)
        ends.clock.now = time.monotonic()
        ends.client.write(b"x")
        await read(ends.upstream_reader, 1)
        assert ends.tunnel.deadline > deadline
        await asyncio.sleep(0.06)
        ends.clock.tick()
        assert (await ends.ended())[1] == "idle"
        assert ends.tunnel.deadline == NEVER


def usage_frame(tokens: int) -> bytes:
    usage = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
    event = {"type": "response.done", "response": {"id": f"r{tokens}", "status": "completed", "usage": usage}}
    return Frame(Opcode.TEXT, json.dumps(event).encode()).serialize(mask=False)


@on_both_loops
async def test_usage_is_told_as_it_becomes_final_and_at_the_end() -> None:
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        for tokens in (10, 20):
            wire = usage_frame(tokens)
            for i in range(0, len(wire), 7):
                ends.upstream.write(wire[i : i + 7])
                await ends.upstream.drain()
            assert await read(ends.client_reader, len(wire)) == wire
        assert [reading.usage.input_tokens for reading in ends.readings if reading.usage] == [10, 30]
        ends.client.transport.abort()
        ends.upstream.close()
        reading, _ = await ends.ended()
        assert reading is not None
        assert reading.usage is not None
        assert reading.usage.input_tokens == 30


@pytest.mark.parametrize(
    ("sent", "is_told"),
    [
        (usage_frame(1), True),
        (b"", True),
        (usage_frame(1)[:20], False),
        (usage_frame(1) + b"\x81", False),
        (b"HTTP is not frames\r\n", False),
    ],
)
@on_both_loops
async def test_a_close_of_ours_says_why_between_frames_only(sent: bytes, is_told: bool) -> None:
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        ends.upstream.write(sent)
        assert await read(ends.client_reader, len(sent)) == sent
        ends.tunnel.close("the monthly budget is spent")
        ends.tunnel.close("again")
        async with asyncio.timeout(30):
            rest = await ends.client_reader.read()
            assert await ends.upstream_reader.read() == b""
        assert rest == (b"\x88\x1d\x03\xf0the monthly budget is spent" if is_told else b"")
        ends.client.close()
        assert (await ends.ended())[1] == "stopped: the monthly budget is spent"


@on_both_loops
async def test_after_a_close_of_ours_nothing_more_reaches_the_provider() -> None:
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        ends.client.write(b"before")
        assert await read(ends.upstream_reader, 6) == b"before"
        ends.tunnel.close("stop")
        ends.client.write(b"after")
        async with asyncio.timeout(30):
            assert await ends.upstream_reader.read() == b""
        assert ends.tunnel.client_bytes == 6


@on_both_loops
async def test_a_transport_that_is_gone_already() -> None:
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(2)]
    transports = [(await loop.create_connection(asyncio.Protocol, sock=ours))[0] for ours, _ in pairs]
    closed: list[str] = []
    done = asyncio.Event()

    def on_closed(_: Reading | None, why: str) -> None:
        closed.append(why)
        done.set()

    transports[0].abort()
    one = Tunnel(transports[0], transports[1], None, Clock(), idle_timeout_seconds=5.0, on_closed=on_closed)
    one.start(b"", b"from upstream")
    async with asyncio.timeout(30):
        await done.wait()
    await asyncio.sleep(0.01)
    assert closed == ["closed"]
    for _, theirs in pairs:
        theirs.close()


Change = Callable[[Ends], object]


@pytest.mark.parametrize("seed", range(12))
@on_both_loops
async def test_whatever_happens_it_ends_once(seed: int) -> None:
    """Random writes, closes, aborts, cuts on both sides."""
    rng = random.Random(seed)
    async with tunnel(WebSocketMeter(REALTIME)) as ends:
        changes: list[Change] = [
            lambda e: e.client.transport.is_closing() or e.client.write(rng.randbytes(50_000)),
            lambda e: e.upstream.transport.is_closing() or e.upstream.write(usage_frame(3)),
            lambda e: e.client.close(),
            lambda e: e.upstream.close(),
            lambda e: e.client.transport.is_closing() or e.client.transport.abort(),
            lambda e: e.upstream.transport.is_closing() or e.upstream.transport.abort(),
            lambda e: e.tunnel.close("stop"),
            lambda e: e.tunnel.expire(0.0),
        ]
        for _ in range(6):
            rng.choice(changes)(ends)
            if rng.random() < 0.7:
                await asyncio.sleep(rng.choice([0, 0.001, 0.01]))
        for change in changes[4:6]:
            change(ends)
        ends.tunnel.expire(0.0)
        await ends.ended()
        await asyncio.sleep(0.01)
        assert len(ends.closed) == 1
