"""Connections to one provider: taken, opened, given back, aged out.

Rules of this file: every open connection is counted once, from when it stands until it is forgotten; whoever waits for one
is served in the order of coming, and nobody passes by the queue. The wire itself is upstream.py's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import lru_cache

from proxy.errors import UpstreamTimeout, UpstreamUnreachable
from proxy.relay.clock import Clock
from proxy.relay.forward_proxy import ForwardProxy
from proxy.relay.upstream import UpstreamConnection
from proxy.routing.provider import Provider


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
        self._woken = 0
        """Waiters that were woken and have not run yet: what they were woken for is theirs."""
        self._tls: ssl.SSLContext | None = None
        if provider.scheme == "https":
            self._tls = _tls_context(provider.ca_file, provider.verify_tls)

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        return len(self._waiters)

    def take_idle(self) -> UpstreamConnection | None:
        """A connection that waits, if one does and nobody waits for it."""
        return None if self._waiters or self._woken else self._pop_idle()

    def _pop_idle(self) -> UpstreamConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed and connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    async def take(self) -> UpstreamConnection:
        """A waiting connection, or a new one; first come, first served.

        Raises:
            UpstreamUnreachable, UpstreamTimeout: no connection within the provider's connect time-out.
        """
        seconds = self.provider.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                is_first = not self._waiters and not self._woken
                while True:
                    if is_first:
                        connection = self._pop_idle()
                        if connection is not None:
                            return connection
                        if self.open_count < self.provider.max_connections:
                            return await self._open()
                    await self._wait_in_line(is_first)
                    is_first = True
        except TimeoutError:
            raise UpstreamTimeout(f"no connection to {self.provider.name} within {seconds:g} s") from None

    async def _wait_in_line(self, is_first: bool) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if is_first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # woken and timed out at once: the next one's turn
                self._woken -= 1
                self._wake()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
        self._woken -= 1

    async def _open(self) -> UpstreamConnection:
        self.open_count += 1
        connection = UpstreamConnection(self)
        try:
            await self._connect(connection)
            connection.is_counted = True
        except (OSError, ssl.SSLError, ssl.CertificateError) as error:
            raise UpstreamUnreachable(f"can't connect to {self.provider.name} ({self.provider.host}): {_why(error)}") from error
        finally:
            if not connection.is_counted:
                self.open_count -= 1
                self._wake()
        if connection.is_closed:  # closed by the peer before we came to use it
            self.forget(connection)
        return connection

    async def _connect(self, connection: UpstreamConnection) -> None:
        loop = asyncio.get_running_loop()
        provider = self.provider
        if self._unix_path is not None:
            await loop.create_unix_connection(lambda: connection, self._unix_path)
        elif not provider.proxy_url:
            name = provider.host if self._tls else None
            await loop.create_connection(lambda: connection, provider.host, provider.port, ssl=self._tls, server_hostname=name)
        elif self._tls is None:
            proxy = ForwardProxy(provider.proxy_url)  # plain HTTP is asked of the proxy itself, in absolute-form
            await loop.create_connection(lambda: connection, proxy.host, proxy.port, ssl=proxy.tls)
        else:
            await ForwardProxy(provider.proxy_url).tunnel(connection, provider.host, provider.port, self._tls)

    @property
    def proxy_lines(self) -> bytes:
        """Header lines for a proxy that is asked in absolute-form; the tunnel's own request carries them otherwise."""
        url = self.provider.proxy_url
        return ForwardProxy(url).credential_lines if url and self._tls is None else b""

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection has served and may serve again."""
        clock = self.clock
        if clock.now - connection.opened_at > self.provider.lifetime_seconds:
            connection.cut()
            return
        if connection.is_closed:
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
                self._woken += 1
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


def _host_header(provider: Provider) -> bytes:
    host = f"[{provider.host}]" if ":" in provider.host else provider.host
    default = {"http": 80, "https": 443}[provider.scheme]
    return (host if provider.port == default else f"{host}:{provider.port}").encode()


@lru_cache(64)
def _tls_context(ca_file: str | None, is_verified: bool) -> ssl.SSLContext:
    """One for all providers with the same authorities: reading them takes 30 ms."""
    context = ssl.create_default_context(cafile=ca_file)
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why(error: BaseException) -> str:
    """A connection error without the numbers and addresses that mean nothing to the reader."""
    text = str(error) or type(error).__name__
    return text[:300]
