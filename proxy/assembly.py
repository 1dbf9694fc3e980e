"""The house put together: which adapter stands behind which port, what starts first and what stops last.

The only room that knows which store is used. Everything else is handed what it needs.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import structlog
from aiohttp import web

import proxy
from proxy.config.build import build_rules
from proxy.config.mistakes import Mistake
from proxy.config.watch import LiveConfig, SnapshotReader
from proxy.control import config_in_force
from proxy.control.alerts.alert_rules import read_alert_rules
from proxy.control.app import build_app
from proxy.control.auth import ADMIN_KEY_VARIABLE, admin_digests, ensure_admin_key
from proxy.control.context import Context
from proxy.control.digesting import keep_digested
from proxy.control.oidc import sign_in_from
from proxy.control.overlay import OverlayKeeper
from proxy.control.retention import Retention
from proxy.control.seeding import add_seeding
from proxy.control.workers import WorkersLink
from proxy.errors import ConfigError, LedgerError, QuotaStoreError
from proxy.ledger.ledger import Ledger
from proxy.limits.estimate import Estimator
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.quota.store import QuotaStore, SeedCount
from proxy.relay.clock import Clock
from proxy.relay.inspect import Inspector
from proxy.relay.state import RelayState
from proxy.relay.worker import Worker
from proxy.rules import Rules
from proxy.spool.drain import Drain
from proxy.spool.writer import SpoolWriter
from proxy.supervisor.link import ChildLink, ignore_terminal_signals
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger(__name__)
STOP_DRAIN_SECONDS = 30.0
SEED_SECONDS = 90.0
"""How long a seed may take: summing a month of ten million records takes 7 to 25."""
SEED_PATIENCE_SECONDS = 8.0
"""How long a worker waits for it before it serves without."""


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
    def price_list(self) -> Path:
        """The price data, compiled once per release for all processes: 5 ms and 1 MB instead of 0.5 s and 73 MB."""
        return self.run / "prices.json"

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


def open_quota(environ: Mapping[str, str], where: Places, zone: Callable[[], ZoneInfo]) -> QuotaStore:
    """The counters that REDIS_URL names, else those of this process."""
    url = environ.get("REDIS_URL")
    if not url:
        return MemoryQuotaStore(zone)
    from proxy.quota.redis_store import RedisQuotaStore

    return RedisQuotaStore(url, zone, reseed=partial(fetch_seed, where.control_socket))


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker process is told on its command line."""

    number: int
    listen_fd: int
    link_fd: int | None
    restarts: int = 0
    """How often its place was filled again after a death."""
    relays_control: bool = True
    """Whether /api, /dashboard and /metrics are answered at the public port."""


async def run_worker(plan: WorkerPlan, environ: Mapping[str, str]) -> None:
    """A relay worker, from its first breath to its last."""
    ignore_terminal_signals()
    where = places(environ)
    snapshots = SnapshotReader(where.snapshot)

    def build() -> Rules:
        return build_rules(snapshots.read(), environ, price_list=where.price_list)

    rules = build()
    settings = rules.settings
    spool = SpoolWriter(
        where.spool,
        fsync=settings.fsync,
        fsync_interval_seconds=settings.fsync_interval_seconds,
        segment_bytes=settings.spool_segment_bytes,
        max_bytes=settings.spool_max_bytes,
        on_full=settings.on_spool_full,
    )
    link = ChildLink(plan.link_fd)
    tasks = Tasks()
    states: list[RelayState] = []
    quota = open_quota(environ, where, lambda: (states[0].rules if states else rules).timezone)
    await quota.start()
    state = RelayState(rules, quota, spool, Estimator(), Clock(), str(where.control_socket) if plan.relays_control else None)
    states.append(state)
    worker = Worker(state, socket.socket(fileno=plan.listen_fd), snapshots, build)
    inspector = Inspector(state, plan.number, where.worker_socket(plan.number), quota_kind(environ), plan.restarts)
    await inspector.start()
    if quota_kind(environ) == "memory":
        await seed_first(tasks, quota, where.control_socket)
        tasks.start(seed_when_alone(link, quota, where.control_socket), name="seed-when-alone")
    await worker.start()
    link.ready()
    await link.stopping.wait()
    await tasks.close()
    await worker.stop()
    await inspector.close()


async def fetch_seed(control_socket: Path) -> list[SeedCount]:
    """What the ledger says is used already of every open window, asked of the control plane.

    Raises:
        QuotaStoreError: it does not answer, or the ledger behind it does not.
    """
    connector = aiohttp.UnixConnector(str(control_socket))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=SEED_SECONDS)) as session,
            session.get("http://control/internal/seed") as answer,
        ):
            answer.raise_for_status()
            counts = (await answer.json())["counts"]
    except (aiohttp.ClientError, OSError, TimeoutError, KeyError, ValueError) as error:
        raise QuotaStoreError(f"the control plane gives no seed: {error}") from error
    return [SeedCount(c["counter"], c["window"], c["window_id"], c["amount"]) for c in counts]


async def seed(quota: QuotaStore, control_socket: Path) -> None:
    """Count what the ledger knows, so that a restart forgives nothing; however long the ledger takes to answer."""
    wait = 0.1
    while True:
        try:
            await quota.seed(await fetch_seed(control_socket))
            return
        except QuotaStoreError as error:
            log.debug("counters_not_seeded_yet", error=str(error))
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, 2.0)


async def seed_first(tasks: Tasks, quota: QuotaStore, control_socket: Path) -> None:
    """The same, for a moment; then calls come before counting, and the seed as soon as it can be had."""
    seeding = tasks.start(seed(quota, control_socket), name="seed")
    await asyncio.wait({seeding}, timeout=SEED_PATIENCE_SECONDS)
    if not seeding.done():
        log.error(
            "counters_not_seeded",
            reason="the ledger does not answer; the control plane's messages say why",
            consequence="until it does, usage before this start is not counted against limits",
        )


async def seed_when_alone(link: ChildLink, quota: QuotaStore, control_socket: Path) -> None:
    """After a roll: what the process before this one still finished counts here as soon as it has ended."""
    while True:
        await link.alone.wait()
        link.alone.clear()
        await seed(quota, control_socket)


async def run_control(
    config: Path | None, host: str, control_port: int | None, link_fd: int | None, environ: Mapping[str, str]
) -> None:
    """The control process: spool → ledger, configuration → workers, API, dashboard and metrics."""
    ignore_terminal_signals()
    where = places(environ)
    snapshots = SnapshotReader(where.snapshot)
    config_live = LiveConfig(config, environ, where.snapshot, snapshots.read().get("overlay") or {})
    ledger = open_ledger(environ, where)
    rules = build_rules(snapshots.read(), environ, price_list=where.price_list)
    metrics = Metrics(proxy.__version__, has_user_label=rules.settings.metrics_user_label)
    tasks = Tasks(metrics.task_failed)
    context = Context(ledger, rules, WorkersLink(where.run), metrics, time.time, proxy.__version__, sign_in=sign_in_from(environ))
    drain = Drain(where.spool, context.append, [metrics.observe, context.feed.publish])
    context.is_admin_key_given = bool(environ.get(ADMIN_KEY_VARIABLE))
    if context.is_admin_key_given:
        context.admin_key_sha256 = await admin_digests(ledger, environ)  # this one is known without a ledger

    def take_rules() -> None:
        snapshot = snapshots.read()
        context.rules = build_rules(snapshot, environ, price_list=where.price_list)
        context.alert_rules = read_alert_rules(snapshot["documents"].get("alerts", {}), environ)
        metrics.reloaded(config_live.version, time.time())

    async def publish(overlay: dict[str, object]) -> None:
        config_live.set_overlay(overlay)
        take_rules()

    def told(mistakes: tuple[Mistake, ...]) -> None:
        for mistake in mistakes:
            log.error("configuration_refused", mistake=str(mistake), consequence="the last good configuration stays in force")
        if mistakes:
            metrics.refused()
        else:
            take_rules()
            log.info("configuration_accepted", version=config_live.version)

    context.alert_rules = read_alert_rules(snapshots.read()["documents"].get("alerts", {}), environ)
    keeper = OverlayKeeper(ledger, publish, time.time)
    context.refresh = keeper.refresh
    context.config_mistakes = lambda: [str(mistake) for mistake in config_live.mistakes]
    app = build_app(context)
    app[config_in_force.DOCUMENTS] = lambda: config_live.documents.as_dict()
    add_seeding(app, drain.drain_now)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()

    async def begin() -> None:
        """What needs the ledger, as soon as it can be reached; calls and the API's other parts do not wait for it."""
        await until_open(ledger)
        fresh = await ensure_admin_key(ledger, environ)
        if fresh is not None:
            announce_admin_key(fresh)
        context.admin_key_sha256 = await admin_digests(ledger, environ)
        await keeper.poll()
        opened.set()
        await asyncio.gather(keeper.run(), drain.run())

    opened = asyncio.Event()
    work = tasks.start(begin(), name="ledger")
    await first_of(work, opened.wait(), timeout_seconds=10.0)
    where.control_socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(where.control_socket)).start()
    where.control_socket.chmod(0o600)
    if control_port is not None:
        await web.TCPSite(runner, host, control_port).start()
    tasks.start(config_live.watch(told), name="config")
    tasks.start(keep_drain_stats(context, drain), name="drain-stats")
    tasks.start(Retention(context).run(), name="retention")
    tasks.start(keep_digested(context.ledger), name="digests")
    collect_garbage_seldom()
    link = ChildLink(link_fd)
    link.ready()
    await first_of(work, link.stopping.wait())

    await runner.cleanup()
    if work.done():
        raise SystemExit("the control plane can't go on; see the error above")  # the supervisor starts it again
    drain.stop()
    try:
        await asyncio.wait_for(drain.drain_now(), STOP_DRAIN_SECONDS)
    except (TimeoutError, LedgerError) as failure:
        log.error(
            "spool_not_drained",
            error=str(failure) or "out of time",
            consequence="the records stay in the spool; the next start moves them",
        )
    await tasks.close()
    await ledger.close()


async def first_of(
    work: asyncio.Task[object], event: Coroutine[object, object, object], timeout_seconds: float | None = None
) -> None:
    """Wait until the task ends, the event comes, or the time is up."""
    waiting = asyncio.ensure_future(event)
    try:
        await asyncio.wait({work, waiting}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def until_open(ledger: Ledger) -> None:
    """Open the ledger, however long it takes to come."""
    wait = 0.2
    while True:
        try:
            await ledger.start()
            return
        except LedgerError as failure:
            log.error("ledger_away", error=str(failure), consequence="records wait in the spool", retry_in_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)


async def keep_drain_stats(context: Context, drain: Drain) -> None:
    """Numbers of the backlog for the metrics, once a second: counting them reads the directory."""
    while True:
        stats = await drain.stats()
        context.drain_stats = partial(asdict, stats)
        await asyncio.sleep(1.0)


def collect_garbage_seldom() -> None:
    """What stands after the start stays; batches of records come and go without cycles. Looking for some all the time took a
    sixth of the drain's processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def announce_admin_key(key: str) -> None:
    """Show the admin key that was made at the first start: to the terminal, not to the log."""
    sys.stderr.write(f"\n  Admin key, shown this once:  {key}\n  Keep it; set WEIGHBRIDGE_ADMIN_KEY to use one of your own.\n\n")
    sys.stderr.flush()


def raise_file_limit() -> None:
    """As many open files as the system allows: each call needs two."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        log.warning("file_limit_not_raised", limit=hard)
