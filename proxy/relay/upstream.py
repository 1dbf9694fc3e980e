"""The provider's side of the wire: pooled keep-alive connections, one request at a time on each.

Rules of this file: bytes in, callbacks out; no metering, no limits, no records. A connection has one `Answer` while it
serves and none while it waits. Timeouts are deadlines that the worker's tick compares (one loop over all connections
every 0.1 s instead of a timer per request). A retry is the business of exchange.py; this file only says whether a
connection had served before and whether a byte of an answer had come.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections import deque
from typing import Protocol
from urllib.parse import unquote, urlsplit

import httptools

from proxy.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from proxy.relay.clock import NEVER, Clock, Watched
from proxy.routing.headers import Header, MalformedHead, ResponseHead, read_response_head
from proxy.routing.provider import Provider

MAX_RESPONSE_HEAD_BYTES = 256 * 1024
"""Anthropic's largest recorded head is 3 KB; 256 KB is what Envoy allows at most."""


class AnswerSink(Protocol):
    """Who takes an answer as it arrives. Calls come in this order; nothing comes after ended or failed."""

    def answer_informational(self, status: int, headers: list[Header]) -> None: ...
    def answer_head(self, head: ResponseHead) -> None: ...
    def answer_body(self, data: bytes) -> None: ...
    def answer_ended(self, trailers: list[Header]) -> None: ...
    def answer_failed(self, error: UpstreamError) -> None: ...
    def answer_broke(self, fault: Exception) -> None:
        """Taking the answer failed through a fault of ours."""

    def answer_flush(self) -> None:
        """All that one read brought has been handed over: write it out now."""

    def upload_paused(self, is_paused: bool) -> None:
        """The provider reads slower than the client sends."""


class UpstreamConnection(asyncio.Protocol, Watched):
    """One connection to a provider."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.sink: AnswerSink | None = None
        self.served = 0
        self.opened_at = pool.clock.now
        self.idle_since = 0.0
        self.deadline = NEVER
        self.is_closed = False
        self.has_answer_byte = False
        self._parser: httptools.HttpResponseParser | None = None
        self._is_head_request = False
        self.early_tunnel_bytes = b""
        """What came behind a 101 in the same read."""
        self._reset()

    def _reset(self) -> None:
        self._reason = b""
        self._headers: list[Header] = []
        self._trailers: list[Header] = []
        self._body: list[bytes] = []
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._is_head_given = False
        self._is_complete = False
        self._until_close = False
        self._is_reading_paused = False
        self._is_waiting_for_upload = False

    # ── what exchange.py calls ──

    def send(self, sink: AnswerSink, head: bytes, body: bytes | None, is_head_request: bool) -> None:
        """Write a request; body None means that it follows through `send_body`."""
        assert self.transport is not None
        self._reset()
        self.sink = sink
        self.has_answer_byte = False
        self._is_head_request = is_head_request
        self._is_waiting_for_upload = body is None
        self._parser = httptools.HttpResponseParser(self)
        self.served += 1
        self.deadline = self.pool.clock.now + self.pool.provider.first_byte_timeout_seconds
        self.transport.write(head + body if body else head)

    def send_body(self, data: bytes) -> None:
        """A piece of a request body that is passed on as it arrives, framing included."""
        if self.transport is not None and not self.is_closed:
            self.deadline = self.pool.clock.now + self.pool.provider.first_byte_timeout_seconds
            self.transport.write(data)

    def end_body(self) -> None:
        """The request body is complete."""
        self._is_waiting_for_upload = False

    def pause(self) -> None:
        """Stop reading: the client is slower than the provider."""
        if not self._is_reading_paused and self.transport is not None and not self.is_closed:
            self._is_reading_paused = True
            self.deadline = NEVER
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._is_reading_paused and self.transport is not None and not self.is_closed:
            self._is_reading_paused = False
            self.deadline = self.pool.clock.now + self.pool.provider.between_bytes_timeout_seconds
            self.transport.resume_reading()

    def cut(self) -> None:
        """Give the answer up: nobody wants it any more. Idempotent."""
        self.sink = None
        self._close()

    def detach(self) -> asyncio.Transport:
        """Hand the transport over (a tunnel); the pool forgets it."""
        assert self.transport is not None
        self.sink = None
        self.is_closed = True
        self.deadline = NEVER
        self.pool.forget(self)
        return self.transport

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit from asyncio's
        self.pool.clock.watched.add(self)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None or self._parser is None:
            self._close()  # bytes that nobody asked for: this connection can't be trusted with another request
            return
        self.has_answer_byte = True
        self.deadline = self.pool.clock.now + self.pool.provider.between_bytes_timeout_seconds
        if self._head is None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_RESPONSE_HEAD_BYTES:
                self._fail(UpstreamBroken("the provider's response head is larger than 256 KiB"))
                return
        try:
            rest, error = self._parse(data)
            self._hand_over(sink)
            if error is not None and not self._is_complete:
                self._fail(error)
            elif self._is_complete and self.sink is sink:
                self._finish(sink, rest, is_clean=error is None)
            sink.answer_flush()
        except Exception as fault:  # noqa: BLE001 told to the exchange, which logs it
            # A fault of ours while an answer passed: the exchange must hear of it, or its client waits for ever.
            self._close()
            sink.answer_broke(fault)

    def _parse(self, data: bytes) -> tuple[bytes, UpstreamBroken | None]:
        """Run the parser; what follows an upgrade, and what is wrong with the bytes."""
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :], None
        except httptools.HttpParserError as error:
            cause = error.__context__ if isinstance(error.__context__, MalformedHead) else error
            return b"", UpstreamBroken(f"the provider's answer is not HTTP/1.1: {cause}")
        return b"", None

    def _hand_over(self, sink: AnswerSink) -> None:
        """Pass on what this read brought, outside the parser's callbacks, where an error would be taken for a bad answer."""
        if self._head is not None and not self._is_head_given:
            self._is_head_given = True
            sink.answer_head(self._head)
        if self._body and self.sink is sink:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
            sink.answer_body(body)

    def eof_received(self) -> bool:
        self._end_of_stream(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_stream(exc)
        self.is_closed = True
        self.pool.clock.watched.discard(self)
        self.pool.forget(self)

    def pause_writing(self) -> None:
        if self.sink is not None:
            self.sink.upload_paused(True)

    def resume_writing(self) -> None:
        if self.sink is not None:
            self.sink.upload_paused(False)

    def _end_of_stream(self, exc: Exception | None) -> None:
        sink = self.sink
        if sink is None:
            return
        if self._until_close and self._head is not None and exc is None:
            self._finish(sink, b"", is_clean=False)
            sink.answer_flush()
            return
        what = "in the middle of its answer" if self._head is not None else "before it answered"
        self._fail(UpstreamBroken(f"the provider closed the connection {what}"))

    # ── httptools callbacks ──

    def on_message_begin(self) -> None:
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        (self._headers if self._head is None else self._trailers).append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        head = read_response_head(status, self._reason, self._headers)
        if not head.is_chunked and head.content_length is None and status not in (101, 204, 304):
            self._until_close = not self._is_head_request
        if self._parser.get_http_version() == "1.0" and not self._parser.should_keep_alive():
            head.wants_close = True
        self._head = head
        if self._is_head_request:
            self._is_complete = True

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._head is None:  # 1xx: the real answer is still to come
            if self.sink is not None and self._parser is not None:
                self.sink.answer_informational(self._parser.get_status_code(), self._headers)
            return
        self._is_complete = True

    # ── endings ──

    def _finish(self, sink: AnswerSink, rest: bytes, is_clean: bool) -> None:
        head = self._head
        assert head is not None
        self.sink = None
        self._parser = None
        self.deadline = NEVER
        if head.status == 101:
            self.early_tunnel_bytes = rest
            sink.answer_ended([])
            return
        if not is_clean or head.wants_close or rest or self._is_waiting_for_upload or self.is_closed:
            self._close()
        else:
            if self._is_reading_paused:
                self.resume()
                self.deadline = NEVER
            self.pool.give_back(self)
        sink.answer_ended(self._trailers)

    def _fail(self, error: UpstreamError) -> None:
        sink, self.sink = self.sink, None
        self._close()
        if sink is not None:
            sink.answer_failed(error)
            sink.answer_flush()

    def _close(self) -> None:
        self.deadline = NEVER
        if not self.is_closed:
            self.is_closed = True
            self.pool.forget(self)
            if self.transport is not None:
                self.transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed (called by the worker's tick)."""
        provider = self.pool.provider
        if self._head is None:
            text = f"the provider did not begin to answer within {provider.first_byte_timeout_seconds:g} s"
        else:
            text = f"the provider was silent for {provider.between_bytes_timeout_seconds:g} s in the middle of its answer"
        self._fail(UpstreamTimeout(text))


class Pool:
    """Connections to one provider. Newest first: the others grow idle and go."""

    def __init__(self, provider: Provider, clock: Clock, unix_path: str | None = None) -> None:
        self.provider = provider
        self.clock = clock
        self.host_header = _host_header(provider)
        self.open_count = 0
        self._unix_path = unix_path
        self._idle: list[UpstreamConnection] = []
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._tls: ssl.SSLContext | None = _tls_context(provider) if provider.scheme == "https" else None

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        return len(self._waiters)

    def take_idle(self) -> UpstreamConnection | None:
        """A connection that waits, if one does."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed and connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    async def take(self) -> UpstreamConnection:
        """A waiting connection, or a new one.

        Raises:
            UpstreamUnreachable, UpstreamTimeout: no connection within the provider's connect time-out.
        """
        provider = self.provider
        try:
            async with asyncio.timeout(provider.connect_timeout_seconds):
                while True:
                    connection = self.take_idle()
                    if connection is not None:
                        return connection
                    if self.open_count < provider.max_connections:
                        return await self._open()
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    try:
                        await waiter
                    finally:
                        if waiter in self._waiters:
                            self._waiters.remove(waiter)
        except TimeoutError:
            raise UpstreamTimeout(f"no connection to {provider.name} within {provider.connect_timeout_seconds:g} s") from None

    async def _open(self) -> UpstreamConnection:
        self.open_count += 1
        is_open = False
        try:
            connection = await self._connect()
            is_open = True
            return connection
        except (OSError, ssl.SSLError, ssl.CertificateError) as error:
            raise UpstreamUnreachable(f"can't connect to {self.provider.name} ({self.provider.host}): {_why(error)}") from error
        finally:
            if not is_open:
                self.open_count -= 1
                self._wake()

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        provider = self.provider
        if self._unix_path is not None:
            return (await loop.create_unix_connection(lambda: UpstreamConnection(self), self._unix_path))[1]
        if provider.proxy_url:
            return await self._connect_through_proxy(provider.proxy_url)
        name = provider.host if self._tls else None
        return (
            await loop.create_connection(
                lambda: UpstreamConnection(self), provider.host, provider.port, ssl=self._tls, server_hostname=name
            )
        )[1]

    async def _connect_through_proxy(self, proxy_url: str) -> UpstreamConnection:
        """A CONNECT tunnel (RFC 9110 §9.3.6), then TLS inside it where the provider speaks TLS."""
        loop = asyncio.get_running_loop()
        proxy = urlsplit(proxy_url)
        target = f"{self.provider.host}:{self.provider.port}"
        lines = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            lines += f"Proxy-Authorization: Basic {b64encode(pair).decode()}\r\n"
        outer_tls = ssl.create_default_context() if proxy.scheme == "https" else None
        transport, opening = await loop.create_connection(
            lambda: _ProxyOpening(f"{lines}\r\n".encode(), loop),
            proxy.hostname or "",
            proxy.port or (443 if outer_tls else 8080),
            ssl=outer_tls,
        )
        try:
            await opening.opened
            connection = UpstreamConnection(self)
            if self._tls is None:
                transport.set_protocol(connection)
                connection.connection_made(transport)
                return connection
            inner = await loop.start_tls(transport, connection, self._tls, server_hostname=self.provider.host)
            if inner is None:
                raise OSError("the proxy's tunnel closed during the TLS handshake")
            if connection.transport is None:
                connection.connection_made(inner)
            return connection
        except BaseException:
            transport.abort()
            raise

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection has served and may serve again."""
        clock = self.clock
        if clock.now - connection.opened_at > self.provider.lifetime_seconds:
            connection.cut()
            return
        connection.idle_since = clock.now
        self._idle.append(connection)
        self._wake()

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone. Counted once however often it is said."""
        if not connection.is_counted:
            return
        connection.is_counted = False
        self.open_count -= 1
        self.clock.watched.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long or is too old."""
        provider = self.provider
        for connection in [
            c for c in self._idle if now - c.idle_since > provider.idle_seconds or now - c.opened_at > provider.lifetime_seconds
        ]:
            connection.cut()

    def close(self) -> None:
        """Close what waits; what serves ends by itself."""
        for connection in list(self._idle):
            connection.cut()


class _ProxyOpening(asyncio.Protocol):
    """Speaks to an HTTP proxy until the tunnel stands."""

    def __init__(self, request: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if b"\r\n\r\n" in self._answer and not self.opened.done():
            status = self._answer.split(b"\r\n", 1)[0]
            if status.split(b" ")[1:2] == [b"200"]:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(OSError(f"the proxy refused the tunnel: {status.decode('latin-1')[:100]}"))
        elif len(self._answer) > 16384 and not self.opened.done():
            self.opened.set_exception(OSError("the proxy's answer to CONNECT has no end"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(OSError("the proxy closed the connection"))


def _host_header(provider: Provider) -> bytes:
    host = f"[{provider.host}]" if ":" in provider.host else provider.host
    default = {"http": 80, "https": 443}[provider.scheme]
    return (host if provider.port == default else f"{host}:{provider.port}").encode()


def _tls_context(provider: Provider) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=provider.ca_file)
    if not provider.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why(error: BaseException) -> str:
    """A connection error without the numbers and addresses that mean nothing to the reader."""
    text = str(error) or type(error).__name__
    return text[:300]
