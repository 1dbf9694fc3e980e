"""The house put together: which adapter stands behind which port, what starts first and what stops last.

The only room that knows which store is used. Everything else is handed what it needs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog

from proxy.config.build import build_rules
from proxy.config.watch import SnapshotReader
from proxy.errors import ConfigError
from proxy.ledger.ledger import Ledger
from proxy.limits.estimate import Estimator
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.quota.store import QuotaStore, SeedCount
from proxy.relay.clock import Clock
from proxy.relay.inspect import Inspector
from proxy.relay.state import RelayState
from proxy.relay.worker import Worker
from proxy.rules import Rules
from proxy.spool.writer import SpoolWriter
from proxy.supervisor import ChildLink, ignore_terminal_signals

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of one instance lies on disk."""

    data: Path

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def spool(self) -> Path:
        return self.data / "spool"

    @property
    def snapshot(self) -> Path:
        return self.run / "rules.json"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    def worker_socket(self, number: int) -> Path:
        return self.run / f"worker-{number}.sock"


def places(environ: Mapping[str, str]) -> Places:
    """WEIGHBRIDGE_DATA_DIR, or `data` below the current directory."""
    return Places(Path(environ.get("WEIGHBRIDGE_DATA_DIR") or "data").absolute())


def open_ledger(environ: Mapping[str, str], where: Places) -> Ledger:
    """The ledger that DATABASE_URL names: SQLite below the data directory where it names none.

    Raises:
        ConfigError: a URL of another kind.
    """
    url = environ.get("DATABASE_URL") or f"sqlite:///{where.data / 'ledger.sqlite3'}"
    if url.startswith(("postgresql://", "postgres://")):
        from proxy.ledger.postgres_ledger import PostgresLedger

        return PostgresLedger(url)
    if url.startswith("sqlite:///"):
        from proxy.ledger.sqlite_ledger import SqliteLedger

        return SqliteLedger(Path(url.removeprefix("sqlite:///")))
    raise ConfigError("DATABASE_URL must begin with postgresql:// or sqlite:///")


def quota_kind(environ: Mapping[str, str]) -> str:
    """redis where REDIS_URL is set, else memory."""
    return "redis" if environ.get("REDIS_URL") else "memory"


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker process is told on its command line."""

    number: int
    listen_fd: int
    link_fd: int | None


async def run_worker(plan: WorkerPlan, environ: Mapping[str, str]) -> None:
    """A relay worker, from its first breath to its last."""
    ignore_terminal_signals()
    where = places(environ)
    snapshots = SnapshotReader(where.snapshot)
    rules = build_rules(snapshots.read(), environ)
    settings = rules.settings
    spool = SpoolWriter(
        where.spool, fsync=settings.fsync, fsync_interval_seconds=settings.fsync_interval_seconds, segment_bytes=settings.spool_segment_bytes,
        max_bytes=settings.spool_max_bytes, on_full=settings.on_spool_full,
    )  # fmt: skip
    link = ChildLink(plan.link_fd)
    state: RelayState | None = None

    def zone() -> object:
        return (state.rules if state is not None else rules).timezone

    quota: QuotaStore = MemoryQuotaStore(zone)  # type: ignore[arg-type]
    await quota.start()
    state = RelayState(rules, quota, spool, Estimator(), Clock(), str(where.control_socket))
    worker = Worker(state, socket.socket(fileno=plan.listen_fd), snapshots, lambda: build_rules(snapshots.read(), environ))
    inspector = Inspector(state, plan.number, where.worker_socket(plan.number), "memory")
    await inspector.start()
    await quota.seed(await ask_for_seed(where.control_socket))
    await worker.start()
    link.ready()
    await link.stopping.wait()
    await worker.stop()
    await inspector.close()


async def ask_for_seed(control_socket: Path, patience_seconds: float = 20.0) -> list[SeedCount]:
    """What the ledger says is used already, asked of the control plane, so that a restart forgives nothing.

    Without an answer the worker starts with empty counters and says so: calls come before counting.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            connector = aiohttp.UnixConnector(str(control_socket))
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=patience_seconds)) as session:
                async with session.get("http://control/internal/seed") as answer:
                    answer.raise_for_status()
                    counts = (await answer.json())["counts"]
            return [SeedCount(c["counter"], c["window"], c["window_id"], c["amount"]) for c in counts]
        except (aiohttp.ClientError, OSError, TimeoutError, KeyError, ValueError) as error:
            if time.monotonic() > deadline:
                log.error("counters_not_seeded", error=str(error), consequence="usage before this start is not counted against limits")
                return []
            await asyncio.sleep(0.2)


def raise_file_limit() -> None:
    """As many open files as the system allows: each call needs two."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        log.warning("file_limit_not_raised", limit=hard)


__all__ = ["Places", "WorkerPlan", "open_ledger", "places", "quota_kind", "raise_file_limit", "run_worker"]
_ = (os, signal, Rules)
