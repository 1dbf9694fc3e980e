"""From an exchange to a tunnel: the provider said 101, so both connections stop being HTTP.

The tunnel's bytes are forwarded and metered by websocket.py; this file hands the connections over, settles what each
response used while the session goes on, and closes the weighing at its end. A session whose limits have no room left for
another response ends with close code 1008 (policy violation), a worker that stops ends its tunnels with 1001 (going away).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from proxy.relay.admission import settle_part
from proxy.relay.identity import Denied
from proxy.relay.websocket import Tunnel
from proxy.routing.response_head import ResponseHead, response_lines
from proxy.usage.tokens import Reading
from proxy.usage.websocket_meter import WebSocketMeter

if TYPE_CHECKING:
    from proxy.relay.downstream import ClientConnection
    from proxy.relay.state import RelayState
    from proxy.relay.upstream import UpstreamConnection
    from proxy.relay.weighing import Weighing

log = structlog.get_logger(__name__)
GOING_AWAY = 1001
"""RFC 6455 §7.4.1."""
IDLE_SECONDS = 3600.0
"""A WebSocket may be silent for long (a person thinks); OpenAI ends a Realtime session after 60 minutes by itself."""
MAX_REASON_BYTES = 123
"""RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code."""


class OpenTunnel:
    """A running tunnel, as the worker knows it."""

    def __init__(self, state: RelayState, weighing: Weighing) -> None:
        self._state = state
        self.weighing = weighing
        self._part = 0
        self._is_asking = False
        self._denied: Denied | None = None
        self.tunnel: Tunnel | None = None

    def used(self, reading: Reading) -> None:
        """A response is over and its usage final: settle it, and ask whether there is room for another."""
        weighing = self.weighing
        if weighing.admitted is None or weighing.admitted.reservation is None or self._is_asking or weighing.is_closed:
            return  # while it is being asked, what comes is settled with the next response, or at the end
        self._is_asking = True
        self._state.keep(asyncio.get_running_loop().create_task(self._settle(weighing.used_since(reading))))

    async def _settle(self, used: dict[str, int]) -> None:
        state, weighing = self._state, self.weighing
        self._part += 1
        try:
            self._denied = await settle_part(weighing, self._part, used, state.rules, state.quota, time.time())
        except Exception as fault:  # logged; the session goes on, and is settled at its end
            log.error("session_not_settled", request_id=weighing.request_id, exc_info=fault)
            return
        finally:
            self._is_asking = False
        if self._denied is not None:
            self.cut(self._denied.message)

    def closed(self, reading: Reading | None, why: str) -> None:
        """Settle and record what went through."""
        self._state.tunnels.discard(self)
        if self._denied is not None:
            outcome = "denied"
        elif why.startswith("lost"):
            outcome = "client_aborted"
        else:
            outcome = "proxy_error" if why.startswith("stopped") else "ok"
        self.weighing.close(outcome, 101, reading, None if why == "closed" else why, self._denied)

    def cut(self, reason: str) -> None:
        """End the session from our side, and say why."""
        if self.tunnel is not None:
            self.tunnel.close(reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))

    def abort(self) -> None:
        """The worker has stopped, and the client does not take its close."""
        if self.tunnel is not None:
            self.tunnel.expire(self._state.clock.now)

    def close(self) -> None:
        """The worker stops."""
        if self.tunnel is not None:
            self.tunnel.close("the proxy is stopping", GOING_AWAY)


def open_tunnel(
    state: RelayState,
    client: ClientConnection,
    connection: UpstreamConnection,
    head: ResponseHead,
    weighing: Weighing,
) -> None:
    """Join a client's and a provider's connection; from here on neither is this program's to parse."""
    lines = b"x-weighbridge-request-id: " + weighing.request_id.encode() + b"\r\n" + weighing.policy_line()
    lines += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    client.write(response_lines(101, head.reason or b"Switching Protocols", head.lines, lines))
    opened = OpenTunnel(state, weighing)
    extensions = next((value.decode("latin-1") for name, value in head.headers if name.lower() == b"sec-websocket-extensions"), "")
    meter = WebSocketMeter(weighing.facts, extensions)
    weighing.streamed = True
    early, late = client.early_tunnel_bytes, connection.early_tunnel_bytes
    opened.tunnel = Tunnel(
        client.detach(),
        connection.detach(),
        meter,
        state.clock,
        idle_timeout_seconds=IDLE_SECONDS,
        on_closed=opened.closed,
        on_usage=opened.used,
    )
    state.tunnels.add(opened)
    opened.tunnel.start(early, late)
