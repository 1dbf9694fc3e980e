"""A TCP proxy for tests that can be told to misbehave: hold replies back, cut connections, refuse new ones; with TLS if wanted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FaultProxy:
    """Forwards to one server. All switches take effect at once, on every connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.is_swallowing_replies = False
        """Requests still reach the server; what it says is thrown away."""
        self.is_refusing = False
        """New connections are closed at once."""
        self.accepted = 0
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.is_refusing:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, server_writer}
        for work in (self._pump(reader, server_writer, False), self._pump(server_reader, writer, True)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_reply: bool) -> None:
        try:
            while data := await reader.read(65_536):
                if not (is_reply and self.is_swallowing_replies):
                    writer.write(data)
                    await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass  # cut on purpose
        finally:
            writer.close()

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)


@asynccontextmanager
async def fault_proxy(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultProxy]:
    """A proxy in front of a port of 127.0.0.1."""
    proxy = FaultProxy("127.0.0.1", port)
    await proxy.start(tls)
    try:
        yield proxy
    finally:
        await proxy.close()
