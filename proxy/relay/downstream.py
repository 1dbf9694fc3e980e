"""The client's side of the wire: HTTP/1.1 requests in, in order; answers out, in the same order.

Rules of this file: a request that two parsers could understand differently is refused with 400 and a closed connection,
before any byte of it goes anywhere (llhttp in strict mode, then `read_head`); nothing is read that there is no room
for; one exchange is served at a time per connection, the next ones wait in line (pipelining, RFC 9112 §9.3.2).
What is not here: what a request means (exchange.py) and how an answer is framed (answer.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import httptools

from proxy.errors import ClientError
from proxy.relay.clock import NEVER, Watched
from proxy.relay.refusals import plain_refusal
from proxy.routing.headers import Header, MalformedHead, RequestHead, read_head
from proxy.routing.route import Route, route
from proxy.usage.request_facts import body_kind

if TYPE_CHECKING:
    from proxy.relay.exchange import Exchange
    from proxy.relay.state import RelayState

MAX_WAITING = 16
"""Pipelined requests that may wait on one connection before it is no longer read."""
UPLOAD_WINDOW_BYTES = 256 * 1024
"""How much of a body that streams through may wait for its exchange to take it."""
LINGER_SECONDS = 2.0
"""After an answer to a request that was not read to its end: how long the rest is thrown away before the connection is
closed, so that the client reads the answer instead of a reset (RFC 9112 §9.6)."""
EARLY_TUNNEL_BYTES = 256 * 1024
"""What a client may send behind a request to upgrade before the tunnel stands."""


class ClientConnection(asyncio.Protocol, Watched):
    """One connection from a client."""

    def __init__(self, state: RelayState) -> None:
        self.state = state
        self.transport: asyncio.Transport | None = None
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.has_half_closed = False
        self.is_gone = False
        self._waiting: deque[Request] = deque()
        self._reading: Request | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._is_in_head = False
        self._is_closing = False
        self._is_reading_paused = False
        self._is_upload_paused = False
        self._has_upgraded = False
        self._probes_left = 0

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit from asyncio's
        state = self.state
        state.clients.add(self)
        state.clock.watched.add(self)
        self.deadline = state.clock.now + state.rules.settings.idle_timeout_seconds

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return  # the rest of a request that was refused: read and thrown away until the client closes
        if self._has_upgraded:
            if self.exchange is not None:
                self.exchange.early_client_bytes += data
            return
        settings = self.state.rules.settings
        if self._is_in_head or self._reading is None:
            self._head_bytes += len(data)
            if self._is_in_head and self._head_bytes > settings.max_head_bytes + 65536:
                self._refuse(431, "head_too_large", f"The request head is larger than {settings.max_head_bytes} bytes.")
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._has_upgraded = True
            if self.exchange is not None:
                self.exchange.early_client_bytes += data[upgrade.args[0] :]
        except ClientError as error:
            self._refuse(error.status, error.code, error.message)
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                self._refuse(cause.status, cause.code, cause.message)
            elif isinstance(cause, MalformedHead):
                self._refuse(400, "bad_request", f"The request is ambiguous: {cause}.")
            elif cause is not None and not isinstance(cause, httptools.HttpParserError):
                raise cause from None
            else:
                self._refuse(400, "bad_request", f"The request is not HTTP/1.1: {error}.")
            return
        self._set_deadline()
        if self._is_room_used_up():
            self.stop_reading()

    def eof_received(self) -> bool:
        """The client will send nothing more. It may still read (RFC 9112 §9.6), so a running exchange goes on."""
        self.has_half_closed = True
        if self._reading is not None and not self._reading.is_complete:
            return False
        if self.exchange is None:
            return False
        if not self.exchange.has_begun_answer and not self.exchange.request.head.is_http10:
            self._probe()
        return True

    def _probe(self) -> None:
        """Has the client closed one half, or is it gone (a time-out, a stopped program)? The FIN looks the same.

        A 100 Continue means nothing to whoever still reads (RFC 9110 §15.2) and is answered by a reset from whoever does
        not; the kernel then knows the connection as closed, which the next ticks look up.
        """
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._probes_left = PROBES
        self._deadline_kind = "probe"
        self.deadline = self.state.clock.now + PROBE_SECONDS

    def _look_for_reset(self) -> None:
        opened = self.transport.get_extra_info("socket") if self.transport is not None else None
        if opened is not None and opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
            self.abort()
        elif self._probes_left > 0 and self.exchange is not None:
            self._probes_left -= 1
            self.deadline = self.state.clock.now + PROBE_SECONDS

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self.deadline = NEVER
        self.state.clients.discard(self)
        self.state.clock.watched.discard(self)
        if self._reading is not None:
            self._reading.abandon()
        self._waiting.clear()
        if self.exchange is not None:
            self.exchange.client_lost()

    def pause_writing(self) -> None:
        self.deadline = self.state.clock.now + self.state.rules.settings.write_timeout_seconds
        if self.exchange is not None:
            self.exchange.client_paused(True)

    def resume_writing(self) -> None:
        self._set_deadline()
        if self.exchange is not None:
            self.exchange.client_paused(False)

    # ── httptools callbacks ──

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self.state.rules.settings.max_head_bytes:
            raise ClientError(431, "head_too_large", "The request target is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            if self._reading is not None:
                self._reading.trailers.append((name, value))
            return
        headers = self._headers
        headers.append((name, value))
        if len(headers) > self.state.rules.settings.max_headers:
            raise ClientError(431, "too_many_headers", f"More than {self.state.rules.settings.max_headers} header lines.")

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        settings = self.state.rules.settings
        size = len(self._url) + sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > settings.max_head_bytes:
            raise ClientError(431, "head_too_large", f"The request head is larger than {settings.max_head_bytes} bytes.")
        method = self._parser.get_method().decode()
        if method == "CONNECT":
            raise ClientError(405, "method_not_allowed", "CONNECT is not offered here: this is a reverse proxy.")
        head = read_head(method, self._url, self._parser.get_http_version(), self._headers)
        rules = self.state.rules
        where = route(head.target, rules.providers, rules.provider_for_default_path)
        kind = self._body_kind(head, where)
        request = self._reading = Request(self, head, where, kind)
        if kind == "json" and (head.content_length or 0) > settings.max_json_body_bytes:
            raise ClientError(
                413,
                "body_too_large",
                f"A JSON body may be {settings.max_json_body_bytes} bytes long (server.yaml: max_json_body_bytes).",
            )
        if head.expects_continue and kind == "json" and self.transport is not None and self.exchange is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if kind != "json":
            self._enqueue(request)

    def _body_kind(self, head: RequestHead, where: Route) -> str:
        if head.content_length in (None, 0) and not head.is_chunked:
            return "json"  # nothing to wait for: complete at once
        if where.kind != "provider":
            return "none"
        return body_kind(head.method, where.path.decode("latin-1"), head.content_type)

    def on_body(self, data: bytes) -> None:
        request = self._reading
        if request is None or request.is_refused:
            return
        request.take(data)
        if request.body_kind == "json" and request.body_size > self.state.rules.settings.max_json_body_bytes:
            raise ClientError(
                413,
                "body_too_large",
                "The JSON body is longer than server.yaml allows (max_json_body_bytes).",
            )

    def on_message_complete(self) -> None:
        request, self._reading = self._reading, None
        if request is None:
            return
        request.complete()
        if request.body_kind == "json":
            self._enqueue(request)

    # ── one exchange after the other ──

    def _enqueue(self, request: Request) -> None:
        if self.exchange is None and not self._waiting:
            self._start(request)
        else:
            self._waiting.append(request)

    def _start(self, request: Request) -> None:
        self.deadline = NEVER
        self.exchange = self.state.begin(request)

    def finish(self, keep_alive: bool) -> None:
        """The running exchange has written all of its answer."""
        self.exchange = None
        if self.is_gone or self.transport is None:
            return
        unread = self._reading
        if unread is not None and not unread.is_complete:
            unread.is_refused = True
            self._linger()
            return
        if not keep_alive or self._has_upgraded or (self.has_half_closed and not self._waiting) or self.state.is_stopping:
            self._is_closing = True
            self.transport.close()
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        self.read_on()
        self._set_deadline()

    def _linger(self) -> None:
        """Answered before the request was read to its end: close our half and throw the rest away for a moment."""
        self._is_closing = True
        self._waiting.clear()
        assert self.transport is not None
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.deadline = self.state.clock.now + LINGER_SECONDS
            self.read_on(is_forced=True)
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """The bytes on this connection can't be served; they are answered in turn and the connection is closed."""
        self.state.stats.refused_heads += 1
        unfinished, self._reading = self._reading, None
        if self.exchange is not None or self.is_gone or self.transport is None:
            # An answer is still being written: the bad request behind it gets none, its connection ends with that answer.
            self._is_closing = True
            if self.exchange is not None:
                self.exchange.keep_alive = False
                if unfinished is not None and unfinished is self.exchange.request:
                    self.exchange.upload_broke(ClientError(status, code, message))
            return
        self.transport.write(plain_refusal(status, code, message))
        self._linger()

    # ── room and time ──

    def write(self, data: bytes) -> None:
        """Towards the client; lost where the client is gone."""
        if not self.is_gone and self.transport is not None:
            self.transport.write(data)

    def abort(self) -> None:
        """End the connection so that the client sees a cut answer, not a complete one."""
        if self.transport is not None and not self.is_gone:
            self.transport.abort()

    def detach(self) -> asyncio.Transport:
        """Hand the transport over (a tunnel); this object forgets it."""
        assert self.transport is not None
        transport, self.transport = self.transport, None
        self.is_gone = True
        self.deadline = NEVER
        self.state.clients.discard(self)
        self.state.clock.watched.discard(self)
        return transport

    def abort_after_writing(self) -> None:
        """A cut answer: what was received goes out, then the connection ends without a proper end of body."""
        if self.transport is not None and not self.is_gone:
            self._is_closing = True
            self.transport.close()

    def pause_upload(self, is_paused: bool) -> None:
        """The provider takes the request body slower than the client sends it."""
        self._is_upload_paused = is_paused
        if is_paused:
            self.stop_reading()
        else:
            self.read_on()

    def stop_reading(self) -> None:
        if not self._is_reading_paused and self.transport is not None and not self.is_gone:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def read_on(self, is_forced: bool = False) -> None:
        """Read again if there is room."""
        if (
            self._is_reading_paused
            and self.transport is not None
            and not self.is_gone
            and (is_forced or not (self._is_room_used_up() or self._is_upload_paused))
        ):
            self._is_reading_paused = False
            self.transport.resume_reading()

    def _is_room_used_up(self) -> bool:
        if len(self._waiting) >= MAX_WAITING:
            return True
        reading = self._reading
        return (
            reading is not None
            and reading.body_kind != "json"
            and reading.sink is None
            and reading.body_size >= UPLOAD_WINDOW_BYTES
        )

    def _set_deadline(self) -> None:
        """How long the client may now be silent: it depends on whose turn it is."""
        settings, now = self.state.rules.settings, self.state.clock.now
        if self._is_in_head:
            if self.deadline == NEVER or self._deadline_kind != "head":
                self.deadline = now + settings.head_timeout_seconds
            self._deadline_kind = "head"
        elif self._reading is not None and not self._reading.is_complete:
            self._deadline_kind = "body"
            self.deadline = NEVER if self._is_reading_paused else now + settings.body_timeout_seconds
        elif self.exchange is not None:
            self._deadline_kind = "serving"
            self.deadline = NEVER
        else:
            self._deadline_kind = "idle"
            self.deadline = now + settings.idle_timeout_seconds

    _deadline_kind = "idle"

    def expire(self, now: float) -> None:
        """The deadline has passed (called by the worker's tick)."""
        self.deadline = NEVER
        kind = self._deadline_kind
        if kind == "probe":
            self._look_for_reset()
        elif self._is_closing or kind == "idle" or self.transport is None:
            self.abort()
        elif kind == "head":
            self._refuse(408, "request_timeout", "The request head did not arrive in time.")
        elif kind == "body" and self.exchange is None:
            self._refuse(408, "request_timeout", "The request body did not arrive in time.")
        else:
            self.state.stats.slow_clients += 1
            self.abort()

    def close_if_idle(self) -> None:
        """The worker is stopping: connections that serve nothing go at once, the others after their answer."""
        if self.exchange is None and self._reading is None and self.transport is not None:
            self._is_closing = True
            self.transport.close()
