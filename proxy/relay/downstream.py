"""The client's side of the wire: HTTP/1.1 requests in, in order; answers out, in the same order.

Rules of this file: nothing is read that there is no room for; one exchange is served at a time per connection, the next ones
wait in line (pipelining, RFC 9112 §9.3.2); every silence has a deadline.
What is not here: bytes to requests (request_reader.py), what a request means (exchange.py), how an answer is framed (outgoing.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from proxy.errors import ClientError
from proxy.relay import kernel
from proxy.relay.clock import NEVER, Watched
from proxy.relay.refusals import plain_refusal
from proxy.relay.request import Request
from proxy.relay.request_reader import RequestReader

if TYPE_CHECKING:
    from proxy.relay.exchange import Exchange
    from proxy.relay.state import RelayState

MAX_WAITING = 16
"""Pipelined requests that may wait on one connection before it is no longer read."""
UPLOAD_WINDOW_BYTES = 256 * 1024
"""How much of a body that streams through may wait for its exchange to take it; also of what follows a request to upgrade."""
LINGER_SECONDS = 2.0
"""After an answer to a request that was not read to its end: how long the rest is thrown away before the connection is
closed, so that the client reads the answer instead of a reset (RFC 9112 §9.6)."""
PROBE_SECONDS = 0.1
"""How often it is looked up whether a half-closed client has answered what was written to it with a reset."""


class ClientConnection(asyncio.Protocol, Watched):
    """One connection from a client."""

    def __init__(self, state: RelayState) -> None:
        self.state = state
        self.transport: asyncio.Transport | None = None
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.has_half_closed = False
        self.is_gone = False
        self.early_tunnel_bytes = b""
        """What the client sent behind a request to upgrade, before the tunnel stood."""
        self._reader = RequestReader(self)
        self._waiting: deque[Request] = deque()
        self._unsent_bytes = 0
        self._refusal: bytes | None = None
        """The answer to bytes that were no request, behind requests that are still being served."""
        self._waits_for = "idle"
        """What the deadline is about: idle, head, body, serving (none), writing, probe."""
        self._is_closing = False
        self._is_reading_paused = False
        self._is_upload_paused = False
        self._is_writing_paused = False

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
        try:
            self._reader.feed(data)
        except ClientError as error:
            self._refuse(error)
            return
        if self._is_room_used_up():
            self.stop_reading()
        self._set_deadline()

    def keep_for_tunnel(self, data: bytes) -> None:
        """What comes behind a request to upgrade."""
        self.early_tunnel_bytes += data
        if len(self.early_tunnel_bytes) > UPLOAD_WINDOW_BYTES:
            self.stop_reading()

    def eof_received(self) -> bool:
        """The client will send nothing more. It may still read (RFC 9112 §9.6), so a running exchange goes on."""
        self.has_half_closed = True
        if self.transport is None or not self.transport.can_write_eof():
            return False  # TLS has no half-close here: its end is the end
        if self.exchange is None or (self._reader.request is not None and not self._reader.request.is_complete):
            return False
        if not self.exchange.has_begun_answer and not self.exchange.request.head.is_http10:
            # Has it closed one half, or is it gone (a time-out, a stopped program)? The FIN looks the same. A 100 Continue means
            # nothing to whoever still reads (RFC 9110 §15.2) and is answered by a reset from whoever does not.
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._waits_for = "probe"
        self.deadline = self.state.clock.now + PROBE_SECONDS
        return True

    @property
    def address(self) -> str:
        """The client's IP address; empty where it has none (a unix socket) or is gone."""
        peer = None if self.transport is None else self.transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) and peer else ""

    @property
    def is_reset(self) -> bool:
        """Whether a client that has half-closed is known to be gone; the kernel tells, for nobody reads that socket any more."""
        return self.is_gone or (self.has_half_closed and self.transport is not None and kernel.is_reset(self.transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self.deadline = NEVER
        self.state.clients.discard(self)
        self.state.clock.watched.discard(self)
        if self._reader.request is not None:
            self._reader.request.abandon(ClientError(400, "bad_request", "the client left in the middle of its request"))
        self._waiting.clear()
        if self.exchange is not None:
            self.exchange.client_lost()

    def pause_writing(self) -> None:
        self._is_writing_paused = True
        self._waits_for = "writing"
        self._unsent_bytes = 0
        self.deadline = self.state.clock.now + self.state.rules.settings.write_timeout_seconds
        if self.exchange is not None:
            self.exchange.client_paused(True)

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        if not self._is_closing:
            self._set_deadline()
        if self.exchange is not None:
            self.exchange.client_paused(False)

    # ── one exchange after the other ──

    def enqueue(self, request: Request) -> None:
        """A request that can be served: its body is complete, or streams through."""
        if self.exchange is None and not self._waiting:
            self._start(request)
        else:
            self._waiting.append(request)

    def _start(self, request: Request) -> None:
        self.deadline = NEVER
        self.exchange = self.state.begin(request)

    def finish(self, keep_alive: bool) -> None:
        """The running exchange has written all of its answer."""
        ended, self.exchange = self.exchange, None
        self._is_upload_paused = False
        if self.is_gone or self.transport is None:
            return
        if ended is not None and not ended.request.is_complete:
            ended.request.is_refused = True
            self._linger()
        elif not keep_alive or self._reader.has_upgraded or self.state.is_stopping:
            self._close_when_written()
        elif self._waiting:
            self._start(self._waiting.popleft())
            self.read_on()
        elif self._refusal is not None:
            self.transport.write(self._refusal)
            self._linger()
        elif self.has_half_closed:
            self._close_when_written()
        else:
            self.read_on()
            self._set_deadline()

    def _close_when_written(self) -> None:
        assert self.transport is not None
        self._is_closing = True
        self._waits_for = "writing"
        self.deadline = self.state.clock.now + self.state.rules.settings.write_timeout_seconds
        self.transport.close()

    def _linger(self) -> None:
        """Answered before the request was read to its end: close our half and throw the rest away for a moment."""
        self._is_closing = True
        self._waiting.clear()
        assert self.transport is not None
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            self.deadline = self.state.clock.now + LINGER_SECONDS
            self.read_on(is_forced=True)
        else:
            self._close_when_written()

    def _refuse(self, error: ClientError) -> None:
        """The bytes on this connection can't be served; they are answered in turn and the connection is closed."""
        self.state.stats.refused_heads += 1
        unfinished, self._reader.request = self._reader.request, None
        if self.is_gone or self.transport is None:
            return
        answer = plain_refusal(error.status, error.code, error.message)
        if self.exchange is None:
            self.transport.write(answer)
            self._linger()
            return
        self._is_closing = True
        if unfinished is not None and unfinished is self.exchange.request:
            self.exchange.upload_broke(error)
            return
        if unfinished is not None and unfinished in self._waiting:
            self._waiting.remove(unfinished)
        self._refusal = answer

    # ── room and time ──

    def write(self, data: bytes) -> None:
        """Towards the client; lost where the client is gone."""
        if not self.is_gone and self.transport is not None:
            self.transport.write(data)

    def abort(self) -> None:
        """End the connection so that the client sees a cut answer, not a complete one."""
        if self.transport is not None and not self.is_gone:
            self._is_closing = True
            kernel.reset_on_close(self.transport)
            self.transport.abort()

    def abort_after_writing(self) -> None:
        """A cut answer: what was received goes out, then the connection ends without a proper end of body."""
        if self.transport is not None and not self.is_gone:
            self._close_when_written()

    def detach(self) -> asyncio.Transport:
        """Hand the transport over (a tunnel); this object forgets it."""
        assert self.transport is not None
        transport, self.transport = self.transport, None
        self.is_gone = True
        self.deadline = NEVER
        self.state.clients.discard(self)
        self.state.clock.watched.discard(self)
        return transport

    def pause_upload(self, is_paused: bool) -> None:
        """The provider takes the request body slower than the client sends it."""
        self._is_upload_paused = is_paused
        if is_paused:
            self.stop_reading()
            self._set_deadline()
        else:
            self.read_on()

    def stop_reading(self) -> None:
        if not self._is_reading_paused and not self.has_half_closed and self.transport is not None and not self.is_gone:
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
            if not self._is_closing:
                self._set_deadline()

    def _is_room_used_up(self) -> bool:
        if len(self._waiting) >= MAX_WAITING:
            return True
        reading = self._reader.request
        return (
            reading is not None
            and reading.body_kind != "json"
            and reading.sink is None
            and reading.body_size >= UPLOAD_WINDOW_BYTES
        )

    def _set_deadline(self) -> None:
        """How long the client may now be silent: it depends on whose turn it is."""
        if self._is_writing_paused:
            return
        settings, now = self.state.rules.settings, self.state.clock.now
        if self._reader.is_in_head:
            if self._waits_for != "head":
                self.deadline = now + settings.head_timeout_seconds
            self._waits_for = "head"
        elif self._reader.request is not None and not self._reader.request.is_complete:
            self._waits_for = "body"
            self.deadline = NEVER if self._is_reading_paused else now + settings.body_timeout_seconds
        elif self.exchange is not None:
            self._waits_for = "probe" if self.has_half_closed else "serving"
            self.deadline = now + PROBE_SECONDS if self.has_half_closed else NEVER
        else:
            self._waits_for = "idle"
            self.deadline = now + settings.idle_timeout_seconds

    def expire(self, now: float) -> None:
        """The deadline has passed (called by the worker's tick)."""
        waited_for = self._waits_for
        if waited_for == "probe" and not self._is_closing:
            self.deadline = now + PROBE_SECONDS
            if self.is_reset:
                self.abort()
            return
        if self.transport is None or self._takes_what_is_written(now):
            return
        self.deadline = NEVER
        if self._is_closing or waited_for == "idle":
            self._is_closing = True
            self.transport.abort()  # everything that was to be said has been said: no reset
        elif waited_for == "head":
            self._refuse(ClientError(408, "request_timeout", "The request head did not arrive in time."))
        elif waited_for == "body" and (self.exchange is None or self.exchange.request is not self._reader.request):
            self._refuse(ClientError(408, "request_timeout", "The request body did not arrive in time."))
        else:
            self.state.stats.slow_clients += 1
            self.abort()

    def _takes_what_is_written(self, now: float) -> bool:
        """Whether a slow client is still on its way through the answer: then it gets more time."""
        unsent = 0 if self.is_gone or self.transport is None else kernel.unsent_bytes(self.transport)
        has_moved = unsent > 0 and (unsent < self._unsent_bytes or not self._unsent_bytes)
        self._unsent_bytes = unsent
        if has_moved:
            self.deadline = now + self.state.rules.settings.write_timeout_seconds
        return has_moved

    def close_if_idle(self) -> None:
        """The worker is stopping: connections that serve nothing go at once, the others after their answer."""
        if self.exchange is None and self._reader.request is None and self.transport is not None and not self._is_closing:
            self._close_when_written()
