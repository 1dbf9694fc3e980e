"""A TCP proxy for tests that can be told to misbehave, with TLS if wanted: in front of a store, or of a provider.

Faults, by the name that operators have for them: `cut`, `reset` (RST), refusing, swallowed replies, `stall` (nothing is read any
more, so that both sides fill up), half-open (the cable is out: whatever is said is gone, and nobody is told of an end), delay,
trickle (byte by byte). `FAULTS` does each by name.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""What a PostgreSQL client says first where it wants TLS."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket whose close is a reset."""


class FaultProxy:
    """Forwards to one server. All switches take effect at once, on every connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._postgres_tls: ssl.SSLContext | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.is_swallowing_replies = False
        """Requests still reach the server; what it says is thrown away."""
        self.is_refusing = False
        """New connections are closed at once."""
        self.is_half_open = False
        """What either side says is thrown away, its end too; new connections stand, and nobody is there."""
        self.delay_seconds = 0.0
        """Each piece of a reply waits this long."""
        self.trickle_seconds = 0.0
        """Replies go byte by byte, with this pause before each."""
        self.accepted = 0
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None, *, is_postgres: bool = False) -> None:
        """Listen. With `tls`, clients speak it and the server need not; PostgreSQL's ask for it in a word of their own first."""
        self._postgres_tls = tls if is_postgres else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=None if is_postgres else tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.is_refusing:
            writer.close()
            return
        try:
            if self._postgres_tls is not None:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
                await writer.start_tls(self._postgres_tls)
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
            writer.close()  # a client that distrusts us, or a server that is gone
            return
        self._writers |= {writer, server_writer}
        for work in (self._pump(reader, server_writer, False), self._pump(server_reader, writer, True)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_reply: bool) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flowing.wait()
                if is_reply and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if self.is_half_open or (is_reply and self.is_swallowing_replies):
                    continue
                if is_reply and self.trickle_seconds:
                    await self._trickle(data, writer)
                    continue
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass  # cut on purpose
        finally:
            if not self.is_half_open:
                writer.close()

    async def _trickle(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for at in range(len(data)):
            await asyncio.sleep(self.trickle_seconds)
            if self.is_half_open or not self.trickle_seconds:
                writer.write(data[at:])
                return
            writer.write(data[at : at + 1])
            await writer.drain()

    def stall(self) -> None:
        """Read nothing more, on either side, until `mend`."""
        self._flowing.clear()

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def reset(self) -> None:
        """The same by a reset, which takes along what was on its way."""
        for writer in self._writers:
            if not writer.transport.is_closing():
                with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as same:
                    same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.cut()

    def mend(self) -> None:
        """All is well again. What was begun in the fault is cut: its replies are gone, as after a real one."""
        self.is_refusing = self.is_swallowing_replies = self.is_half_open = False
        self.delay_seconds = self.trickle_seconds = 0.0
        self._flowing.set()
        self.cut()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._flowing.set()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)


def _away(proxy: FaultProxy) -> None:
    proxy.is_refusing = True
    proxy.cut()


def _silent(proxy: FaultProxy) -> None:
    proxy.is_swallowing_replies = True


def _half_open(proxy: FaultProxy) -> None:
    proxy.is_half_open = True


def _slow(proxy: FaultProxy) -> None:
    proxy.delay_seconds = 0.3


def _trickling(proxy: FaultProxy) -> None:
    proxy.trickle_seconds = 0.05


FAULTS: dict[str, Callable[[FaultProxy], None]] = {
    "away": _away,
    "silent": _silent,
    "stalled": FaultProxy.stall,
    "half-open": _half_open,
    "slow": _slow,
    "byte by byte": _trickling,
    "reset": FaultProxy.reset,
}
"""By name; `mend` ends each. A reset is over at once: who wants a bad line repeats it."""


@asynccontextmanager
async def fault_proxy(port: int, tls: ssl.SSLContext | None = None, *, is_postgres: bool = False) -> AsyncIterator[FaultProxy]:
    """A proxy in front of a port of 127.0.0.1."""
    proxy = FaultProxy("127.0.0.1", port)
    await proxy.start(tls, is_postgres=is_postgres)
    try:
        yield proxy
    finally:
        await proxy.close()
