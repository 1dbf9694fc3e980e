"""The tunnel behind a 101: bytes both ways, untouched, while the meter reads copies.

Rules of this file: bytes go on in the read they came in; a slow side pauses the other; one side's end becomes the other's; one
owner, one ending: `on_closed` is called exactly once, whatever happens, with what was used. Only the meter looks at frames; the
one frame ever put in is a close with a reason, and only between two frames.

What is not here: what happens with the reading (settling, records), opening the tunnel (exchange).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.relay.clock import NEVER, Clock, Watched
from proxy.usage.tokens import Reading
from proxy.usage.websocket_frames import CLOSE_POLICY_VIOLATION, close_frame
from proxy.usage.websocket_meter import WebSocketMeter

LINGER_SECONDS = 10.0
"""How long one side may live on after the other has ended: time to flush and to answer a close frame."""
CLOSE_WAIT_SECONDS = 2.0
"""How long a client may take to read a close of our own."""
WRITE_HIGH_BYTES = 256 * 1024
"""What may wait for a slow side before the other is paused."""


class Tunnel(Watched):
    """Two connections joined. Call `start` once; the transports belong to the tunnel from then on.

    Args:
        client, upstream: open transports whose HTTP part is over.
        meter: reads copies; None for a tunnel that is not metered.
        clock: whose tick calls `expire`.
        idle_timeout_seconds: without a byte either way for so long, the tunnel ends (pings count as bytes).
        on_closed: called once, with the final reading (None without a meter) and why it ended: `closed` (either side, after
            its close frame or not), `idle`, `stopped: …`, `lost: …`.
        on_usage: called whenever usage has become final (a response, a turn): the moment to settle it.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        meter: WebSocketMeter | None,
        clock: Clock,
        *,
        idle_timeout_seconds: float,
        on_closed: Callable[[Reading | None, str], None],
        on_usage: Callable[[Reading], None] | None = None,
    ) -> None:
        self.meter = meter
        self.client_bytes = 0
        self.upstream_bytes = 0
        self.ending: str | None = None
        """Why it ends; None while it stands."""
        self._clock = clock
        self._idle_timeout_seconds = idle_timeout_seconds
        self._on_closed = on_closed
        self._on_usage = on_usage
        self._version = 0
        self._client = _Side(self, client)
        self._upstream = _Side(self, upstream)

    def start(self, from_client: bytes = b"", from_upstream: bytes = b"") -> None:
        """Take the transports over. The bytes are what came right behind the two heads."""
        self._clock.watched.add(self)
        for side in (self._client, self._upstream):
            side.transport.set_protocol(side)
            side.transport.set_write_buffer_limits(WRITE_HIGH_BYTES)
        self._touch()
        if from_upstream:
            self._upstream.data_received(from_upstream)
        if from_client:
            self._client.data_received(from_client)
        for side in (self._client, self._upstream):
            if side.transport.is_closing():
                self.side_lost(side, None)
            else:
                side.resume()

    def close(self, reason: str = "the proxy is stopping", code: int = CLOSE_POLICY_VIOLATION) -> None:
        """End the tunnel from our side: the provider is cut at once (nothing more is billed), the client is told why. Idempotent.

        In the middle of a frame, or without a meter that knows where frames end, nothing can be put in: the client sees the
        connection close (1006).
        """
        if self.ending is not None:
            return
        self.ending = f"stopped: {reason}"
        self._upstream.abort()
        frames = self.meter.server_frames if self.meter is not None else None
        if frames is not None and frames.error is None and frames.is_at_boundary and self._client.is_open:
            self._client.transport.write(close_frame(code, reason))
        if not self._client.is_lost:
            self._client.transport.close()
        self.deadline = self._clock.now + CLOSE_WAIT_SECONDS

    def expire(self, now: float) -> None:
        """The deadline has passed (called by the worker's tick)."""
        if self.ending is None:
            self.ending = "idle"
        self.deadline = NEVER
        self._client.abort()
        self._upstream.abort()

    # ── from the two sides ──

    def passed(self, side: _Side, data: bytes) -> None:
        """Bytes of one side: on to the other first, then to the meter."""
        is_client = side is self._client
        other = self._upstream if is_client else self._client
        if self.ending is not None and self.ending.startswith("stopped"):
            return
        if other.is_open:
            other.transport.write(data)
        self._touch()
        if is_client:
            self.client_bytes += len(data)
        else:
            self.upstream_bytes += len(data)
        meter = self.meter
        if meter is None:
            return
        if is_client:
            meter.feed_client(data)
            return
        meter.feed_server(data)
        if meter.version != self._version:
            self._version = meter.version
            if self._on_usage is not None:
                self._on_usage(meter.reading())

    def paused(self, side: _Side, is_paused: bool) -> None:
        """A side takes no more (or takes again): hold the other back."""
        other = self._upstream if side is self._client else self._client
        if is_paused:
            other.pause()
        else:
            other.resume()

    def ended(self, side: _Side) -> None:
        """A side will send nothing more: say so to the other."""
        other = self._upstream if side is self._client else self._client
        if self.ending is None:
            self.ending = "closed"
        if side.has_written_eof:  # both halves are over
            side.transport.close()
            other.transport.close()
        elif other.is_open:
            other.has_written_eof = True
            if other.transport.can_write_eof():
                other.transport.write_eof()
            else:  # TLS has no half-close
                other.transport.close()
        self.deadline = min(self.deadline, self._clock.now + LINGER_SECONDS)

    def side_lost(self, side: _Side, error: Exception | None) -> None:
        """A connection is gone: what waits for the other still goes out, then it ends, too."""
        if side.is_lost:
            return
        side.is_lost = True
        other = self._upstream if side is self._client else self._client
        if self.ending is None:
            self.ending = "closed" if error is None else f"lost: {type(error).__name__}: {error}"
        if not other.is_lost:
            other.transport.close()
            self.deadline = min(self.deadline, self._clock.now + LINGER_SECONDS)
            return
        self.deadline = NEVER
        self._clock.watched.discard(self)
        self._on_closed(self.meter.reading() if self.meter is not None else None, self.ending)

    def _touch(self) -> None:
        if self.ending is None:
            self.deadline = self._clock.now + self._idle_timeout_seconds


class _Side(asyncio.Protocol):
    """One of the two connections."""

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self.tunnel = tunnel
        self.transport = transport
        self.is_lost = False
        self.has_written_eof = False
        self._is_paused = False

    @property
    def is_open(self) -> bool:
        """May be written to (uvloop raises on a closed transport, asyncio only warns)."""
        return not self.is_lost and not self.has_written_eof and not self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self.tunnel.passed(self, data)

    def eof_received(self) -> bool:
        self.tunnel.ended(self)
        return self.transport.can_write_eof()  # keep our half open, where there are halves

    def connection_lost(self, exc: Exception | None) -> None:
        self.tunnel.side_lost(self, exc)

    def pause_writing(self) -> None:
        self.tunnel.paused(self, True)

    def resume_writing(self) -> None:
        self.tunnel.paused(self, False)

    def abort(self) -> None:
        """Cut it; asyncio's transports cannot be aborted once they are lost."""
        if not self.is_lost:
            self.transport.abort()

    def pause(self) -> None:
        """Read no more from this side."""
        if not self._is_paused and not self.is_lost and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if not self.is_lost and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()
