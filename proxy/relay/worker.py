"""One relay worker: the listening socket, the tick, and a graceful end.

The tick is the only timer there is: deadlines ten times a second, new rules four times, housekeeping once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import time
from collections.abc import Callable

import structlog

from proxy.config.watch import SnapshotReader
from proxy.errors import ConfigError
from proxy.relay.clock import TICK_SECONDS
from proxy.relay.downstream import ClientConnection
from proxy.relay.exchange import Exchange
from proxy.relay.request import Request
from proxy.relay.state import RelayState
from proxy.relay.weighing import Weighing
from proxy.rules import Rules

log = structlog.get_logger(__name__)
RULES_EVERY = 2
"""Ticks between two looks at the rules snapshot (one stat call): changes are in force within 0.3 s of being written."""
HOUSEKEEPING_EVERY = 10
STOP_PATIENCE_SECONDS = 1.0
"""How long exchanges and tunnels that were cut may take to settle, each time: they have nothing left to wait for."""


class Worker:
    """Serves one listening socket until told to stop."""

    def __init__(self, state: RelayState, listener: socket.socket, snapshots: SnapshotReader, build: Callable[[], Rules]) -> None:
        self.state = state
        self._listener = listener
        self._snapshots = snapshots
        self._build = build
        self._server: asyncio.Server | None = None
        self._tls = _ServerTls(state.rules.settings.tls_certificate, state.rules.settings.tls_key)
        self._ticking: asyncio.Task[None] | None = None
        self._renewed_for: float | None = None
        self._looking = asyncio.Lock()
        state.begin = self._begin
        state.renew_rules = self._renew

    def _begin(self, request: Request) -> Exchange:
        exchange = Exchange(request, self.state)
        self.state.keep(asyncio.get_running_loop().create_task(exchange.run()))
        return exchange

    async def start(self) -> None:
        """Listen. From here on calls are served."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientConnection(self.state), sock=self._listener, backlog=4096, ssl=self._tls.context
        )
        self._ticking = loop.create_task(self._tick())
        stop_looking_for_garbage()

    async def _tick(self) -> None:
        state, count = self.state, 0
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            count += 1
            try:
                state.clock.tick()
                state.stats.loop_lag_seconds = max(0.0, state.clock.now - before - TICK_SECONDS)
                if count % RULES_EVERY == 0:
                    await self._look()
                if count % HOUSEKEEPING_EVERY == 0:
                    self._keep_house()
            except Exception:
                log.exception("tick_failed")  # the tick must go on: without it no deadline is kept

    async def _look(self) -> None:
        async with self._looking:
            if self._snapshots.changed() or self._are_rules_stale():
                await self._reload()

    async def _renew(self, rules: Rules) -> bool:
        """Before a key that is not known is refused: it may just have been made."""
        try:
            await self._look()
        except ConfigError:
            log.exception("rules_unreadable", consequence="the last ones stay in force")
        return self.state.rules is not rules

    def _are_rules_stale(self) -> bool:
        """Whether an override set until now has ended. Rules that are stale when they are built are not built again at once."""
        stale_at = self.state.rules.stale_at
        if stale_at is None or stale_at == self._renewed_for or time.time() < stale_at:
            return False
        self._renewed_for = stale_at
        return True

    async def _reload(self) -> None:
        """Take the new rules. They are built in a thread, so that calls go on meanwhile; running calls keep the old ones."""
        rules = await asyncio.to_thread(self._build)
        self.state.rules = rules
        self.state.stats.rules_reloads += 1
        log.info("rules_in_force", version=rules.version)
        if rules.stops:
            for exchange in list(self.state.exchanges):
                if _is_cut(rules, exchange.weighing):
                    exchange.cut("cut by an emergency stop", "stopped")
            for tunnel in list(self.state.tunnels):
                if _is_cut(rules, tunnel.weighing):
                    tunnel.cut("cut by an emergency stop")

    def _keep_house(self) -> None:
        state = self.state
        now = time.time()
        state.spool.maintain(now)
        state.quota.sweep(now)
        state.renew_leases()
        state.sweep_pools()
        self._tls.renew()

    async def stop(self) -> None:
        """Refuse new connections, let answers finish up to `stop_seconds`, settle and spool the rest."""
        state = self.state
        state.is_stopping = True
        if self._server is not None:
            self._server.close()
        deadline = time.monotonic() + state.rules.settings.stop_seconds
        while time.monotonic() < deadline:
            for client in list(state.clients):
                client.close_if_idle()
            for exchange in list(state.exchanges):
                if exchange.is_endless:
                    exchange.cut("the proxy is stopping")
            if not state.exchanges and not state.tunnels and not state.clients:
                break  # the clients, too: what is written is not yet sent
            await asyncio.sleep(0.02)
        for exchange in list(state.exchanges):
            exchange.cut("the proxy stopped before the answer was complete")
        for tunnel in list(state.tunnels):
            tunnel.close()
        deadline = time.monotonic() + STOP_PATIENCE_SECONDS
        while (state.tunnels or state.tasks) and time.monotonic() < deadline:  # noqa: ASYNC110 two sets tell by being empty
            await asyncio.sleep(0.02)
        for tunnel in list(state.tunnels):
            tunnel.abort()
        for task in list(state.tasks):
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=STOP_PATIENCE_SECONDS)
        if self._ticking is not None:
            self._ticking.cancel()
        for client in list(state.clients):
            client.abort()
        await state.quota.close()
        state.spool.close()
        for pool in [*state.pools, *([state.control_pool] if state.control_pool is not None else [])]:
            pool.close()


def stop_looking_for_garbage() -> None:
    """What lives from the start is not looked at again, the rest seldom: calls leave no cycles, and looking for some after every
    700 objects took a fortieth of a worker's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _is_cut(rules: Rules, weighing: Weighing | None) -> bool:
    if weighing is None:
        return False
    stop = rules.stop_for(weighing.provider.name, weighing.facts.model, weighing.caller)
    return stop is not None and stop.get("cut_streams") == "true"


class _ServerTls:
    """The listening side's certificate, loaded again when its file changes: new handshakes use the new one."""

    def __init__(self, certificate: str | None, key: str | None) -> None:
        self.context: ssl.SSLContext | None = None
        self._files = (certificate, key)
        self._seen: tuple[tuple[int, int, int], ...] | None = None
        self._is_failing = False
        if certificate:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.minimum_version = ssl.TLSVersion.TLSv1_2
            self.context.set_alpn_protocols(["http/1.1"])
            self.context.load_cert_chain(certificate, key)
            self._seen = self._stamp()

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        found = [os.stat(name) for name in self._files if name]
        return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in found)

    def renew(self) -> None:
        if self.context is None:
            return
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp  # one attempt per change
            certificate, key = self._files
            assert certificate is not None
            # Tried elsewhere first: a new certificate beside the old key would leave the live context without a key.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
            self.context.load_cert_chain(certificate, key)
            self._is_failing = False
            log.info("tls_certificate_renewed", certificate=certificate)
        except (OSError, ssl.SSLError) as error:
            if not self._is_failing:
                log.error("tls_certificate_not_renewed", error=str(error), consequence="the old one stays in use")
            self._is_failing = True
