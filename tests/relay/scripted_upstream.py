"""A provider that does exactly what a test wrote down, byte by byte: for what HTTP libraries are too polite to do.

A script is a list of steps, one list per connection (the last one serves all further connections):

    upstream = await ScriptedUpstream.start([[ReadRequest(), Send(b"HTTP/1.1 200 OK\\r\\n…"), Wait(0.1), Reset()]])

What came in is kept as bytes in `received`, one entry per connection, and parsed on demand by `request(n)`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Read one whole request: head, and the body that its framing announces."""


@dataclass(frozen=True, slots=True)
class ReadHead:
    """Read the head only; the body stays unread (back-pressure, early answers)."""


@dataclass(frozen=True, slots=True)
class ReadBytes:
    """Read so many bytes more."""

    count: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes; `piece` > 0 in pieces of so many, each a segment of its own."""

    data: bytes
    piece: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay silent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Stay silent until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class HalfClose:
    """FIN: nothing more comes from here, the other direction stays open."""


@dataclass(frozen=True, slots=True)
class Reset:
    """RST: the connection is torn down, unsent bytes with it."""


@dataclass(frozen=True, slots=True)
class ReadToEnd:
    """Read until the peer closes; how a test sees that it did."""


Step = ReadRequest | ReadHead | ReadBytes | Send | Wait | WaitFor | HalfClose | Reset | ReadToEnd
Script = Sequence[Step]


@dataclass(slots=True)
class Request:
    """One request as it came in."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    """Names in lower case, order and repeats kept."""
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of a header; None where it is absent. Raises AssertionError where it comes twice."""
        values = [value for found, value in self.headers if found == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


@dataclass(slots=True)
class ScriptedUpstream:
    """Listening on a free port of 127.0.0.1 until `close`."""

    scripts: list[Script]
    port: int = 0
    received: list[bytearray] = field(default_factory=list)
    closed_by_peer: list[asyncio.Event] = field(default_factory=list)
    """Per connection: set when the other side closed or reset it."""
    failures: list[BaseException] = field(default_factory=list)
    """What went wrong in a script; `close` raises the first."""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    async def start(cls, scripts: Sequence[Script]) -> ScriptedUpstream:
        made = cls(list(scripts))
        made._server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
        made.port = made._server.sockets[0].getsockname()[1]
        return made

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self.received)

    def request(self, connection: int = 0) -> Request:
        """The first request of a connection, parsed; a chunked body is put together."""
        head, _, rest = bytes(self.received[connection]).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        is_chunked = ("transfer-encoding", "chunked") in headers
        return Request(method, target, headers, unchunked(rest) if is_chunked else rest)

    async def close(self) -> None:
        """Stop listening, end the scripts. Raises what went wrong in one of them."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self.failures:
            raise self.failures[0]

    async def __aenter__(self) -> ScriptedUpstream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = len(self.received)
        self.received.append(bytearray())
        self.closed_by_peer.append(asyncio.Event())
        try:
            for step in self.scripts[min(number, len(self.scripts) - 1)]:
                await self._step(step, number, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed_by_peer[number].set()
        except (TimeoutError, AssertionError, ValueError) as error:
            self.failures.append(error)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _step(self, step: Step, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match step:
            case ReadRequest():
                await self._read_request(number, reader)
            case ReadHead():
                await self._until(number, reader, b"\r\n\r\n")
            case ReadBytes(count):
                self.received[number] += await asyncio.wait_for(reader.readexactly(count), READ_SECONDS)
            case Send(data, piece):
                for at in range(0, len(data), piece or max(1, len(data))):
                    writer.write(data[at : at + (piece or len(data))])
                    await writer.drain()
                    if piece:
                        await asyncio.sleep(0)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case WaitFor(event):
                await asyncio.wait_for(event.wait(), READ_SECONDS)
            case HalfClose():
                writer.write_eof()
            case Reset():
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            case ReadToEnd():
                while data := await reader.read(65536):
                    self.received[number] += data
                self.closed_by_peer[number].set()

    async def _read_request(self, number: int, reader: asyncio.StreamReader) -> None:
        head = (await self._until(number, reader, b"\r\n\r\n")).lower()
        if b"\r\ntransfer-encoding: chunked" in head:
            await self._until(number, reader, b"0\r\n\r\n")
            return
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self.received[number] += await asyncio.wait_for(reader.readexactly(int(line[15:])), READ_SECONDS)

    async def _until(self, number: int, reader: asyncio.StreamReader, mark: bytes) -> bytes:
        found = await asyncio.wait_for(reader.readuntil(mark), READ_SECONDS)
        self.received[number] += found
        return found


def unchunked(data: bytes) -> bytes:
    body = bytearray()
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            break
        body += rest[:length]
        data = rest[length + 2 :]
    return bytes(body)


def answer(body: bytes, status: str = "200 OK", content_type: str = "application/json", *more: str) -> bytes:
    """A whole HTTP/1.1 answer with a content-length."""
    head = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked_head(content_type: str = "text/event-stream", *more: str) -> bytes:
    """The head of a streamed answer."""
    return (
        "\r\n".join(["HTTP/1.1 200 OK", f"content-type: {content_type}", "transfer-encoding: chunked", *more]).encode()
        + b"\r\n\r\n"
    )


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `chunk(b"")` is its end."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
