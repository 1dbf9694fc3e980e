"""The ceiling: what any relay on uvloop and httptools costs that forwards and does nothing else. Not a product.

    python raw_relay.py PORT UPSTREAM_PORT

The request's head is rebuilt (Host and Authorization replaced, hop-by-hop headers left out), its body forwarded as it came; the
answer is forwarded as the bytes that came, the parser only finds its end. No time-outs, no checks, no refusals, no records.
"""

from __future__ import annotations

import asyncio
import gc
import sys

import httptools
import uvloop

DROPPED = {
    b"host",
    b"connection",
    b"keep-alive",
    b"transfer-encoding",
    b"te",
    b"upgrade",
    b"trailer",
    b"authorization",
    b"content-length",
}


class Upstream(asyncio.Protocol):
    """One connection to the provider; serves one request at a time, then goes back to the pool."""

    def __init__(self, pool: list[Upstream]) -> None:
        self.pool = pool
        self.client: Client | None = None
        self.is_complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, client: Client, head: bytes, body: bytes) -> None:
        self.client = client
        self.parser = httptools.HttpResponseParser(self)
        self.is_complete = False
        self.transport.writelines((head, body))  # type: ignore[attr-defined]

    def on_message_complete(self) -> None:
        self.is_complete = True

    def data_received(self, data: bytes) -> None:
        client = self.client
        if client is None:
            self.transport.close()
            return
        self.parser.feed_data(data)
        client.transport.write(data)  # type: ignore[attr-defined]
        if self.is_complete:
            self.client = None
            self.pool.append(self)
            client.upstream = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.client.transport.close()
            self.client = None
        elif self in self.pool:
            self.pool.remove(self)


class Client(asyncio.Protocol):
    """One connection from a client."""

    def __init__(self, pool: list[Upstream], port: int) -> None:
        self.pool = pool
        self.port = port
        self.upstream: Upstream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        parts = [b"POST ", self.url, b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer upstream-key\r\n"]
        for name, value in self.headers:
            if name.lower() not in DROPPED:
                parts += (name, b": ", value, b"\r\n")
        parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
        head = b"".join(parts)
        if self.pool:
            self.upstream = self.pool.pop()
            self.upstream.send(self, head, body)
        else:
            self.connecting = asyncio.ensure_future(self.connect(head, body))

    async def connect(self, head: bytes, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, self.upstream = await loop.create_connection(lambda: Upstream(self.pool), "127.0.0.1", self.port)
        self.upstream.send(self, head, body)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def pause_writing(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_writing(self) -> None:
        if self.upstream is not None:
            self.upstream.transport.resume_reading()  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.upstream is not None:
            self.upstream.client = None
            self.upstream.transport.close()


async def run(port: int, upstream_port: int) -> None:
    pool: list[Upstream] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(pool, upstream_port), "127.0.0.1", port, backlog=4096)
    gc.collect()
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))
