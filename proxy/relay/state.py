"""What all exchanges of one worker share: rules in force, stores, pools, the clock and plain counters.

Nothing global: a worker makes one of these (assembly.py) and hands it on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from proxy.errors import SpoolError
from proxy.limits.estimate import Estimator
from proxy.quota.store import QuotaStore
from proxy.relay.clock import Clock
from proxy.relay.pool import Pool
from proxy.routing.known_heads import KnownHeads
from proxy.routing.provider import Provider
from proxy.rules import Rules
from proxy.spool.writer import SpoolWriter

if TYPE_CHECKING:
    from proxy.relay.downstream import ClientConnection
    from proxy.relay.exchange import Exchange
    from proxy.relay.request import Request
    from proxy.relay.tunnel import OpenTunnel
    from proxy.relay.weighing import Weighing

log = structlog.get_logger(__name__)
RETREAT_SECONDS = 3600.0
"""How long a provider that refused `stream_options` is not asked for usage again."""


class RelayStats:
    """Gauges and counters of one worker; calls themselves are counted from their records."""

    def __init__(self) -> None:
        self.drains = 0
        self.drains_cut = 0
        self.refused_heads = 0
        self.slow_clients = 0
        self.records_lost = 0
        self.upstream_retries = 0
        self.usage_retreats = 0
        self.rules_reloads = 0
        self.loop_lag_seconds = 0.0


class RelayState:
    """One worker's shared state."""

    def __init__(
        self, rules: Rules, quota: QuotaStore, spool: SpoolWriter, estimator: Estimator, clock: Clock, control_socket: str | None
    ) -> None:
        self.rules = rules
        self.quota = quota
        self.spool = spool
        self.estimator = estimator
        self.clock = clock
        self.stats = RelayStats()
        self.heads = KnownHeads(rules)
        self.loop = asyncio.get_running_loop()
        self.clients: set[ClientConnection] = set()
        self.exchanges: set[Exchange] = set()
        self.tunnels: set[OpenTunnel] = set()
        self.live: dict[str, Weighing] = {}
        """Calls that hold something: their leases are renewed."""
        self.is_stopping = False
        self.is_ready = True
        self.begin: Callable[[Request], Exchange]
        self.renew_rules: Callable[[Rules], Awaitable[bool]] = _no_newer
        """Looks for rules that are newer than these, now; whether there are. The worker puts its own look here."""
        self.control_pool = Pool(control_provider(), clock, control_socket) if control_socket else None
        self._pools: dict[str, Pool] = {}
        self._old_pools: list[Pool] = []
        """Of providers whose address or TLS setting has changed, until their last answer is through."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_usage_until: dict[str, float] = {}
        self.random = random.Random()  # noqa: S311 ids must be unique, not secret
        self._id_milliseconds = -1
        self._id_begin = ""
        """What all ids of one millisecond begin with."""

    def pool(self, provider: Provider) -> Pool:
        """Connections to a provider; a changed address or TLS setting gets a pool of its own."""
        pool = self._pools.get(provider.name)
        if pool is not None and pool.provider is provider:
            return pool
        if pool is not None and _address(pool.provider) == _address(provider):
            pool.provider = provider
            return pool
        if pool is not None:
            pool.close()
            self._old_pools.append(pool)
        pool = self._pools[provider.name] = Pool(provider, self.clock)
        return pool

    @property
    def pools(self) -> list[Pool]:
        return [*self._pools.values(), *self._old_pools]

    def sweep_pools(self) -> None:
        """Close connections that have been idle for too long, and forget pools that nobody can use any more."""
        for pool in self.pools:
            pool.sweep(self.clock.now)
        if self.control_pool is not None:
            self.control_pool.sweep(self.clock.now)
        for pool in self._old_pools:
            pool.close()
        self._old_pools = [pool for pool in self._old_pools if pool.open_count]

    def new_id(self, now: float) -> str:
        """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then random. `now`: Unix seconds."""
        milliseconds = int(now * 1000)
        if milliseconds != self._id_milliseconds:
            text = f"{milliseconds:012x}"
            self._id_milliseconds, self._id_begin = milliseconds, f"{text[:8]}-{text[8:]}-7"
        bits = self.random.getrandbits(74)
        text = f"{bits >> 2:018x}"
        return f"{self._id_begin}{text[:3]}-{'89ab'[bits & 3]}{text[3:6]}-{text[6:]}"

    def asks_for_usage(self, provider: Provider) -> bool:
        """Whether to put `stream_options.include_usage` into a request that lacks it."""
        if provider.inject_usage == "auto":
            return self._no_usage_until.get(provider.name, 0.0) <= self.clock.now
        return provider.inject_usage == "always"

    def retreat_from_usage(self, provider: Provider) -> None:
        """The provider refused the field: don't ask for an hour."""
        self.stats.usage_retreats += 1
        self._no_usage_until[provider.name] = self.clock.now + RETREAT_SECONDS
        log.warning("usage_injection_refused", provider=provider.name, hint="set inject_usage: never for this provider")

    def spool_failed(self, failure: SpoolError) -> None:
        """A record could not be kept: said aloud, because it is money."""
        self.stats.records_lost += 1
        log.error("record_lost", error=str(failure))

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a reference until the task is done (asyncio keeps none)."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        return self._tasks

    def renew_leases(self) -> None:
        """Move the deadlines of long answers' holds, each once in a third of a lease; called every second."""
        now = time.time()
        lease = self.rules.settings.lease_seconds
        due = now + lease * 2 / 3
        for weighing in list(self.live.values()):
            reservation = weighing.admitted.reservation if weighing.admitted is not None else None
            if reservation is not None and reservation.deadline_at <= due:
                self.quota.renew(reservation, now, lease)


async def _no_newer(rules: Rules) -> bool:
    return False


def _address(provider: Provider) -> tuple[object, ...]:
    """What a connection depends on."""
    return (provider.scheme, provider.host, provider.port, provider.verify_tls, provider.ca_file, provider.proxy_url)


def control_provider() -> Provider:
    """The control plane, seen as one more upstream: /api, /dashboard and /metrics are relayed to it like any call."""
    return Provider(
        "control",
        "http",
        "control",
        80,
        b"",
        "control",
        "none",
        credential="none",
        connect_timeout_seconds=5.0,
        first_byte_timeout_seconds=120.0,
        between_bytes_timeout_seconds=3600.0,
    )
