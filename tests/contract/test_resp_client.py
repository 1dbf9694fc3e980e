"""The RESP client against a scripted server: order, deadlines, one write per loop turn, coming back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest

from proxy.errors import QuotaStoreError
from proxy.quota.resp_client import Address, RedisRefused, RespClient, encode
from proxy.telemetry.tasks import Tasks
from tests.waiting import until


class ScriptedServer:
    """Answers PING and AUTH by itself; everything else as the test says."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.seen: list[list[bytes]] = []
        self.writer: asyncio.StreamWriter | None = None
        self.password: bytes | None = None
        self.answers = True
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writer = writer
        parser = hiredis.Reader()
        while data := await reader.read(65_536):
            self.reads.append(data)
            parser.feed(data)
            while (words := parser.gets()) is not False:
                if words[0] == b"PING":
                    writer.write(b"+PONG\r\n")
                elif words[0] == b"AUTH":
                    writer.write(b"+OK\r\n" if words[-1] == self.password else b"-WRONGPASS invalid\r\n")
                else:
                    self.seen.append(words)
                    if self.answers:
                        writer.write(b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1]))
        writer.close()


@asynccontextmanager
async def house(password: str | None = None, patience: float = 1.0) -> AsyncIterator[tuple[ScriptedServer, RespClient]]:
    scripted, tasks = ScriptedServer(), Tasks()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]

    async def resolve() -> Address:
        return Address(port=scripted.port, password=password)

    client = RespClient(resolve, tasks, patience_seconds=patience)
    try:
        yield scripted, client
    finally:
        client.close()
        await tasks.close()
        server.close()
        if scripted.writer is not None:
            scripted.writer.close()


def test_commands_are_arrays_of_bulk_strings() -> None:
    assert encode("SET", b"k\r\n", 7, "ö") == b"*4\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$1\r\n7\r\n$2\r\n\xc3\xb6\r\n"


async def test_replies_come_in_order_and_a_loop_turn_is_one_write() -> None:
    async with house() as (server, client):
        await client.connect()
        before = len(server.reads)
        replies = await asyncio.gather(*(client.call(encode("ECHO", number)) for number in range(100)))
        assert replies == [b"%d" % number for number in range(100)]
        assert len(server.reads) == before + 1


async def test_error_replies_are_values() -> None:
    async with house() as (server, client):
        await client.connect()
        server.answers = False
        waiting = client.call(encode("BOOM"))
        await until(lambda: server.seen)
        assert server.writer is not None
        server.writer.write(b"-NOSCRIPT none\r\n")
        assert isinstance(await waiting, hiredis.ReplyError)


async def test_a_late_reply_is_thrown_away_and_the_next_one_is_the_right_one() -> None:
    async with house(patience=0.05) as (server, client):
        await client.connect()
        server.answers = False
        with pytest.raises(QuotaStoreError, match="in time"):
            await client.call(encode("ECHO", "late"))
        assert server.writer is not None
        server.writer.write(b"$4\r\nlate\r\n")
        server.answers = True
        assert await client.call(encode("ECHO", "next")) == b"next"


async def test_each_call_has_its_own_deadline() -> None:
    async with house(patience=0.05) as (server, client):
        await client.connect()
        server.answers = False
        patient: asyncio.Future[Any] = client.call(encode("ECHO", "patient"), 30.0)
        with pytest.raises(QuotaStoreError):
            await client.call(encode("ECHO", "lost"))
        assert not patient.done()
        assert server.writer is not None
        server.writer.write(b"$7\r\npatient\r\n$4\r\nlost\r\n")
        assert await patient == b"patient"


async def test_a_connection_on_which_nothing_comes_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.quota.resp_connection.STALL_SECONDS", 0.1)
    async with house(patience=0.02) as (server, client):
        await client.connect()
        server.answers = False
        with pytest.raises(QuotaStoreError, match="in time"):
            await client.call(encode("ECHO", "lost"))
        await until(lambda: client.connects >= 2)
        server.answers = True
        assert await client.call(encode("ECHO", "again")) == b"again"
        assert server.connections == 2


async def test_what_was_due_hears_of_a_lost_connection_once() -> None:
    async with house() as (server, client):
        await client.connect()
        server.answers = False
        heard: list[object] = []
        client.send(encode("ECHO", "x"), heard.append)
        await until(lambda: server.seen)
        assert server.writer is not None
        server.writer.transport.abort()
        await until(lambda: heard)
        client.send(encode("ECHO", "y"), heard.append)
        assert [type(one) for one in heard] == [QuotaStoreError, QuotaStoreError]
        await until(lambda: client.is_up)


async def test_nobody_there() -> None:
    async with house() as (server, client):
        server.port = 1
        with pytest.raises(QuotaStoreError, match="cannot connect"):
            await client.connect()
        assert not client.is_up


async def test_the_greeting() -> None:
    async with house(password="word") as (server, client):
        with pytest.raises(RedisRefused, match="WRONGPASS"):
            await client.connect()
        server.password = b"word"
        await client.connect()
        assert client.is_up


async def test_garbage_ends_the_connection() -> None:
    async with house() as (server, client):
        await client.connect()
        assert server.writer is not None
        server.writer.write(b"+nobody asked\r\n")
        await until(lambda: client.connects >= 2)
