"""From an exchange to a tunnel: the provider said 101, so both connections stop being HTTP.

The tunnel's bytes are forwarded and metered by websocket.py; this file hands the connections over and closes the
weighing at the end. A worker that stops ends its tunnels with close code 1001 (going away).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.relay.websocket import Tunnel
from proxy.routing.headers import ResponseHead, response_lines
from proxy.usage.tokens import Reading
from proxy.usage.websocket_meter import WebSocketMeter

if TYPE_CHECKING:
    from proxy.relay.downstream import ClientConnection
    from proxy.relay.state import RelayState
    from proxy.relay.upstream import UpstreamConnection
    from proxy.relay.weighing import Weighing

GOING_AWAY = 1001
"""RFC 6455 §7.4.1."""
IDLE_SECONDS = 3600.0
"""A WebSocket may be silent for long (a person thinks); OpenAI ends a Realtime session after 60 minutes by itself."""


class OpenTunnel:
    """A running tunnel, as the worker knows it."""

    def __init__(self, state: RelayState, weighing: Weighing) -> None:
        self._state = state
        self._weighing = weighing
        self.tunnel: Tunnel | None = None

    def closed(self, reading: Reading | None, why: str) -> None:
        """Settle and record what went through."""
        self._state.tunnels.discard(self)
        outcome = (
            "ok"
            if why == "closed"
            else "client_aborted"
            if why.startswith("lost")
            else "proxy_error"
            if why.startswith("stopped")
            else "ok"
        )
        self._weighing.close(outcome, 101, reading, None if why == "closed" else why)

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
    lines = b"x-weighbridge-request-id: " + weighing.request_id.encode() + b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    client.write(response_lines(101, head.reason or b"Switching Protocols", head.forwarded, lines, b""))
    opened = OpenTunnel(state, weighing)
    extensions = next((value.decode("latin-1") for name, value in head.headers if name.lower() == b"sec-websocket-extensions"), "")
    meter = WebSocketMeter(weighing.facts, extensions)
    weighing.streamed = True
    early, late = client.early_tunnel_bytes, connection.early_tunnel_bytes
    opened.tunnel = Tunnel(
        client.detach(), connection.detach(), meter, state.clock, idle_timeout_seconds=IDLE_SECONDS, on_closed=opened.closed
    )
    state.tunnels.add(opened)
    opened.tunnel.start(early, late)
