"""An HTTP proxy between this program and a provider (HTTPS_PROXY, `proxy:` in providers.yaml).

TLS providers are reached through a CONNECT tunnel (RFC 9110 §9.3.6) with the provider's TLS inside it; plain HTTP ones are
asked of the proxy itself, in absolute-form (RFC 9112 §3.2.2). Its credentials go to the proxy only.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from proxy.relay.upstream import UpstreamConnection

MAX_ANSWER_BYTES = 16384


class ForwardProxy:
    """One proxy, by its URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self.credential_lines = b""
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self.credential_lines = b"Proxy-Authorization: Basic " + b64encode(pair) + b"\r\n"

    async def tunnel(self, connection: UpstreamConnection, host: str, port: int, tls: ssl.SSLContext) -> None:
        """Join `connection` to the provider's TLS inside a tunnel.

        Raises:
            OSError: the proxy cannot be reached or refuses, or TLS fails inside.
        """
        loop = asyncio.get_running_loop()
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode() + self.credential_lines + b"\r\n"
        transport, opening = await loop.create_connection(lambda: _Opening(request, loop), self.host, self.port, ssl=self.tls)
        try:
            await opening.opened
            inner = await loop.start_tls(transport, connection, tls, server_hostname=host)
            if inner is None:
                raise OSError("the proxy's tunnel closed during the TLS handshake")
            connection.connection_made(inner)
        except BaseException:
            transport.abort()
            raise


class _Opening(asyncio.Protocol):
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
            if status.partition(b" ")[2].startswith(b"2"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(OSError(f"the proxy refused the tunnel: {status.decode('latin-1')[:100]}"))
        elif len(self._answer) > MAX_ANSWER_BYTES and not self.opened.done():
            self.opened.set_exception(OSError("the proxy's answer to CONNECT has no end"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(OSError("the proxy closed the connection"))
