"""Starting and stopping whole instances: the supervisor with its children, the demo, and one-off commands on local data.

Between `cli` (which only parses) and `assembly` (which only puts rooms together).
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO, TypeVar

import structlog

from proxy.assembly import Places, WorkerPlan, open_ledger, places, quota_kind, raise_file_limit, run_control, run_worker
from proxy.config.load import Documents, load, settings_from
from proxy.config.price_list import ensure_price_list
from proxy.config.watch import SnapshotReader, write_snapshot
from proxy.control.oidc import sign_in_from
from proxy.demo.configuration import demo_config
from proxy.demo.history import history
from proxy.demo.operator import run_operator
from proxy.demo.people import DEMO_KEYS
from proxy.demo.provider import run_provider
from proxy.demo.traffic import run_traffic
from proxy.errors import ConfigError
from proxy.routing.callers import VIRTUAL_KEY_PREFIX
from proxy.rules import Settings
from proxy.supervisor.link import ChildLink, ignore_terminal_signals
from proxy.supervisor.listeners import listening_sockets
from proxy.supervisor.supervisor import Supervisor
from proxy.telemetry.logs import configure_logs
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger(__name__)
DEMO_PREFIX = "weighbridge-demo-"
DEMO_LOCK = "in-use"
HISTORY_DAYS = 60
HISTORY_BATCH = 2000
T = TypeVar("T")


def run_loop(main: Coroutine[object, object, T]) -> T:
    """Run on uvloop where it exists (a third less CPU per request), else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run_house(
    config: Path | None,
    host: str,
    port: int,
    workers: int,
    control_port: int | None,
    environ: Mapping[str, str],
    guests: Sequence[list[str]] = (),
) -> int:
    """`weighbridge serve`: check everything that can be wrong, then run until told to stop. Returns the exit code."""
    try:
        documents = load(config, environ)
        sign_in_from(environ)  # mistakes in WEIGHBRIDGE_OIDC_* are told here, not by a child that dies of them
    except ConfigError as error:
        return _refuse(str(error))
    if workers > 1 and quota_kind(environ) == "memory":
        return _refuse(
            f"--workers {workers} needs REDIS_URL: without it each of the {workers} processes counts on its own "
            "and would grant every limit whole."
        )
    where = places(environ)
    try:
        lock = _make_room(where)
    except OSError as error:
        return _refuse(
            f"The data directory {where.data} can't be used: {error}. Set WEIGHBRIDGE_DATA_DIR to one that can be written."
        )
    if lock is None:
        return _refuse(
            f"Another weighbridge uses the data directory {where.data}. Set WEIGHBRIDGE_DATA_DIR to another one for this instance."
        )
    try:
        listeners = listening_sockets(host, port, workers)
    except OSError as error:
        return _refuse(f"Can't listen on {host}:{port}: {error.strerror or error}. Choose another with --port.")
    try:
        _write_first_snapshot(where, documents)
    except OSError as error:
        return _refuse(f"Can't write {where.snapshot}: {error.strerror or error}.")
    try:
        ensure_price_list(where.price_list)
    except ConfigError as error:
        log.warning("price_list_not_compiled", error=str(error), consequence="each process compiles its own")
    settings = documents.settings()
    configure_logs(settings.log_level)
    raise_file_limit()
    control, worker = ["_control"], ["_worker"]
    if config is not None:
        control += ["--config", str(config)]
    if control_port is not None:
        control += ["--host", host, "--control-port", str(control_port)]
        worker += ["--without-control"]
    worker_arguments = [[*worker, "--number", str(number)] for number in range(workers)]
    bound = listeners[0].getsockname()
    log.info(
        "listening",
        host=bound[0],
        port=bound[1],
        workers=workers,
        config=str(config) if config else "built-in",
        data=str(where.data),
    )
    supervisor = Supervisor(control, worker_arguments, listeners, _stop_seconds(where, settings), guests)
    code = asyncio.run(supervisor.run())  # not on uvloop: it would undo the signal mask that children start with
    log.info("stopped", code=code)
    return code


def _stop_seconds(where: Places, settings: Settings) -> Callable[[], float]:
    """How long answers may take after a stop: what server.yaml says when it comes, which may differ from the start."""

    def ask() -> float:
        try:
            return settings_from(SnapshotReader(where.snapshot).read()["documents"].get("server", {})).stop_seconds
        except (ConfigError, KeyError, TypeError) as error:
            log.warning("snapshot_unreadable", error=str(error), stop_seconds=settings.stop_seconds)
            return settings.stop_seconds

    return ask


def _refuse(message: str) -> int:
    """Nothing was started: say why, on standard error."""
    print(message, file=sys.stderr)
    return 1


def run_demo(host: str, port: int, environ: Mapping[str, str]) -> int:
    """`weighbridge demo`: the same house with a provider of its own, a past, and people who use it; all gone at the end."""
    _sweep_demos()
    with tempfile.TemporaryDirectory(prefix=DEMO_PREFIX) as scratch, _mark_in_use(Path(scratch)):
        provider_port = free_port()
        config = Path(scratch) / "config"
        config.mkdir()
        admin_key = environ.get("WEIGHBRIDGE_ADMIN_KEY") or VIRTUAL_KEY_PREFIX + "admin-" + secrets.token_urlsafe(16)
        # The children inherit this process's environment, so the demo's must be put there.
        os.environ.update(WEIGHBRIDGE_DATA_DIR=scratch + "/data", WEIGHBRIDGE_ADMIN_KEY=admin_key)
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        count, spent = run_loop(_write_history(os.environ))
        for name, text in demo_config(f"http://127.0.0.1:{provider_port}", spent).items():
            (config / name).write_text(text, encoding="utf-8")
        url = f"http://{host}:{port}"
        user, key = next(iter(DEMO_KEYS.items()))
        print(
            f"\n  Weighbridge demo, with {count:,} sample calls of the last {HISTORY_DAYS} days and new ones coming in.\n\n"
            f"  Dashboard   {url}/dashboard   admin key {admin_key}\n"
            f"  A call      curl {url}/v1/chat/completions -H 'authorization: Bearer {key}' \\\n"
            "                -H 'content-type: application/json' \\\n"
            f'                -d \'{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"Hello"}}]}}\'\n'
            f"  Its record  curl {url}/api/v1/usage/records?limit=1 -H 'authorization: Bearer {admin_key}'\n"
            f"  Its limits  {config}/limits.yaml   save a change, and see it in force or refused within a second\n"
            f"  The key above is {user}'s; ctrl-C stops the demo and removes its data.\n",
            flush=True,
        )
        guest = ["_demo", "--port", str(provider_port), "--url", url]
        return run_house(config, host, port, 1, None, os.environ, [guest])


def _mark_in_use(folder: Path) -> TextIO:
    """A lock that ends with this process, however it ends; it gets its name when it is held."""
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "lock").rename(folder / DEMO_LOCK)
    return lock


def _sweep_demos() -> None:
    """Remove what demos left behind that were killed: folders whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(DEMO_PREFIX + "*"):
        try:
            with (folder / DEMO_LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        except OSError:  # in use, just being made, or somebody else's
            continue


async def _write_history(environ: Mapping[str, str]) -> tuple[int, dict[str, Decimal]]:
    """Put the demo's past into its ledger. Returns how many records, and this month's dollars by team and user."""
    where = places(environ)
    where.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    ledger = open_ledger(environ, where)
    await ledger.start()
    count, batch, now = 0, [], datetime.now(UTC)
    spent: dict[str, Decimal] = {}
    for record in history(1, HISTORY_DAYS, now):
        batch.append(record)
        if record.cost_usd and record.started_at[:7] == now.isoformat()[:7]:
            for name in filter(None, (record.team, record.user)):
                spent[name] = spent.get(name, Decimal(0)) + Decimal(record.cost_usd)
        if len(batch) == HISTORY_BATCH:
            count += len(await ledger.append(batch))
            batch = []
    count += len(await ledger.append(batch))
    await ledger.close()
    return count, spent


async def _run_demo_guests(port: int, url: str, link_fd: int | None) -> None:
    """The demo's provider and its people, until the parent says stop; nobody waits for an answer that is still being read."""
    link = ChildLink(link_fd)
    runner = await run_provider("127.0.0.1", port)
    link.ready()
    admin_key = os.environ.get("WEIGHBRIDGE_ADMIN_KEY", "")
    tasks = Tasks()
    tasks.start(run_operator(url, admin_key, link.stopping), name="demo operator")
    traffic = tasks.start(run_traffic(url, DEMO_KEYS, link.stopping), name="demo traffic")
    stopping = tasks.start(link.stopping.wait(), name="demo stop")
    await asyncio.wait((traffic, stopping), return_when=asyncio.FIRST_COMPLETED)
    await tasks.close()
    await runner.cleanup()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _make_room(where: Places) -> int | None:
    """The data directory with everything in it; the file descriptor of its lock, None where another instance has it."""
    for directory in (where.data, where.run, where.spool):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(where.lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    for stale in where.run.glob("*.sock"):
        stale.unlink()
    return lock


def _write_first_snapshot(where: Places, documents: Documents) -> None:
    """Rules to start with, should the control plane not come up: the files as they are now, and the last known overlay."""
    overlay: Mapping[str, object] = {}
    try:
        last = SnapshotReader(where.snapshot).read().get("overlay")
        if isinstance(last, dict):
            overlay = last
    except (OSError, ValueError, ConfigError):
        pass  # there is no earlier snapshot, or not one of ours: nothing to carry over
    write_snapshot(where.snapshot, documents, overlay)


def run_child(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """A process that the supervisor started: `_worker` or `_control`."""
    parser = argparse.ArgumentParser(prog="weighbridge")
    parser.add_argument("kind", choices=("_worker", "_control", "_demo"))
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--listen-fd", type=int, default=-1)
    parser.add_argument("--link-fd", type=int, default=None)
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--without-control", action="store_true")
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--control-port", type=int, default=None)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--url", default="")
    asked = parser.parse_args(arguments)
    ignore_terminal_signals()
    configure_logs(environ.get("WEIGHBRIDGE_LOG_LEVEL", "info"))
    if asked.kind == "_worker":
        plan = WorkerPlan(asked.number, asked.listen_fd, asked.link_fd, asked.restarts, not asked.without_control)
        return run_loop(_exit_zero(run_worker(plan, environ)))
    if asked.kind == "_demo":
        return run_loop(_exit_zero(_run_demo_guests(asked.port, asked.url, asked.link_fd)))
    return run_loop(_exit_zero(run_control(asked.config, asked.host, asked.control_port, asked.link_fd, environ)))


async def _exit_zero(main: Coroutine[object, object, None]) -> int:
    await main
    return 0
