"""The parent process: starts the control plane and the relay workers, keeps them alive, ends them in order.

    supervisor ─┬─ control   spool → ledger, /api, /dashboard, /metrics        (stops last: it drains what the workers left)
                └─ worker 0…N-1   one listening socket each, made here and inherited, so that a worker's death loses no
                                  connection that had not been accepted yet

Each child holds one end of a socket pair: it says `ready` on it, is told `stop` on it, and ends by itself when the
other end closes, so that no child outlives a killed parent. Signals: SIGTERM and SIGINT stop gracefully (twice: at
once), SIGHUP replaces the workers one by one without dropping an answer.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)
READY_SECONDS = 30.0
BACKOFF_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STABLE_SECONDS = 30.0
"""A child that lived this long is restarted at once when it dies."""


@dataclass
class Child:
    """One child process and the parent's end of its socket pair."""

    name: str
    arguments: list[str]
    inherited: list[int]
    process: asyncio.subprocess.Process | None = None
    link: socket.socket | None = None
    started_at: float = 0.0
    failures: int = 0
    is_wanted: bool = True
    is_ready: bool = False
    watching: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Runs the house until it is told to stop."""

    def __init__(
        self,
        control_arguments: list[str],
        worker_arguments: Sequence[list[str]],
        listeners: Sequence[socket.socket],
        stop_seconds: float,
        guests: Sequence[list[str]] = (),
    ) -> None:
        """
        Args:
            guests: further children, started last and stopped first (the demo's provider and people).
        """
        self._control = Child("control", control_arguments, [])
        self._workers = [
            Child(f"worker-{number}", [*arguments, "--listen-fd", str(listener.fileno())], [listener.fileno()])
            for number, (arguments, listener) in enumerate(zip(worker_arguments, listeners, strict=True))
        ]
        self._guests = [Child(arguments[0].lstrip("_"), list(arguments), []) for arguments in guests]
        self._stop_seconds = stop_seconds
        self._stopping = asyncio.Event()
        self._signals = 0
        self._rolling: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Start, watch, stop. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_roll_signal)
        await self._start(self._control)
        if not self._control.is_ready and not self._stopping.is_set():
            log.error("control_plane_not_ready", hint="calls are served all the same; see its messages above")
        for worker in self._workers:
            if not self._stopping.is_set():
                await self._start(worker)
        for guest in self._guests:
            if not self._stopping.is_set():
                await self._start(guest)
        code = 0
        if not self._stopping.is_set():
            if any(worker.is_ready for worker in self._workers):
                await self._stopping.wait()
            else:
                code = 1
        await self._stop_all()
        return code

    def _on_stop_signal(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            for child in (self._control, *self._workers, *self._guests):
                if child.process is not None and child.process.returncode is None:
                    child.process.kill()

    def _on_roll_signal(self) -> None:
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.get_running_loop().create_task(self._roll())

    async def _start(self, child: Child) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        child.link, child.is_ready, child.started_at = ours, False, time.monotonic()
        command = [sys.executable, "-m", "proxy", *child.arguments, "--link-fd", str(theirs.fileno())]
        child.process = await asyncio.create_subprocess_exec(
            *command, pass_fds=[*child.inherited, theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        child.watching = asyncio.get_running_loop().create_task(self._watch(child))
        ready = asyncio.get_running_loop().create_task(self._hear_ready(child))
        stopped = asyncio.get_running_loop().create_task(self._stopping.wait())
        await asyncio.wait({ready, stopped}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, stopped):
            task.cancel()

    async def _hear_ready(self, child: Child) -> None:
        assert child.link is not None
        try:
            child.is_ready = (await asyncio.get_running_loop().sock_recv(child.link, 16)).startswith(b"ready")
        except OSError:
            child.is_ready = False

    async def _watch(self, child: Child) -> None:
        """Start a child again when it dies unasked."""
        process = child.process
        assert process is not None
        code = await process.wait()
        if child.link is not None:
            child.link.close()
        if self._stopping.is_set() or not child.is_wanted or child.process is not process:
            return
        lived = time.monotonic() - child.started_at
        child.failures = 0 if lived > STABLE_SECONDS else child.failures + 1
        if not child.is_ready and child.failures >= len(BACKOFF_SECONDS):
            log.error("child_keeps_failing", child=child.name, code=code)
            self._stopping.set()
            return
        wait = BACKOFF_SECONDS[min(child.failures, len(BACKOFF_SECONDS) - 1)]
        log.error("child_died", child=child.name, code=code, restart_in_seconds=wait)
        try:
            await asyncio.wait_for(self._stopping.wait(), wait) if wait else None
        except TimeoutError:
            pass
        if not self._stopping.is_set():
            await self._start(child)

    async def _roll(self) -> None:
        """Replace each worker by a new process on the same socket; the old one finishes its answers first."""
        for index, old in enumerate(self._workers):
            if self._stopping.is_set():
                return
            new = Child(old.name, old.arguments, old.inherited)
            await self._start(new)
            if not new.is_ready:
                log.error("roll_failed", child=old.name, hint="the old worker goes on")
                new.is_wanted = False
                await self._end(new, 1.0)
                return
            self._workers[index] = new
            old.is_wanted = False
            await self._end(old, self._stop_seconds + 5.0)
            log.info("worker_replaced", child=old.name)

    async def _end(self, child: Child, seconds: float) -> None:
        """Ask, wait, then kill."""
        process = child.process
        child.is_wanted = False
        if process is None or process.returncode is not None:
            return
        if child.link is not None:
            try:
                child.link.send(b"stop\n")
            except OSError:
                pass  # it is dying already: the wait below sees to it
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log.error("child_killed", child=child.name, after_seconds=seconds)
            process.kill()
            await process.wait()

    async def _stop_all(self) -> None:
        if self._rolling is not None:
            self._rolling.cancel()
        await asyncio.gather(*(self._end(guest, 5.0) for guest in self._guests))
        await asyncio.gather(*(self._end(worker, self._stop_seconds + 5.0) for worker in self._workers))
        await self._end(self._control, 60.0)


def listening_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket per worker on the same address.

    Raises:
        OSError: the address is in use (also by another instance of this program) or not ours.
    """
    family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    probe = socket.socket(family)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((host, port))  # without SO_REUSEPORT: two instances must not share a port unseen
    port = probe.getsockname()[1]
    probe.close()
    sockets = []
    for _ in range(count):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if count > 1:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(4096)
        listener.set_inheritable(True)
        sockets.append(listener)
    return sockets


class ChildLink:
    """The child's end of the socket pair: says ready, hears stop, notices that the parent is gone."""

    def __init__(self, fd: int | None) -> None:
        self._socket = socket.socket(fileno=fd) if fd is not None else None
        self.stopping = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    def ready(self) -> None:
        """Tell the parent, and begin to listen."""
        if self._socket is not None:
            self._socket.setblocking(True)
            self._socket.sendall(b"ready\n")
            self._socket.setblocking(False)
        self.listen()

    def listen(self) -> None:
        """Hear the parent's word, or its end."""
        if self._socket is not None and self._listening is None:
            self._socket.setblocking(False)
            self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        assert self._socket is not None
        try:
            await asyncio.get_running_loop().sock_recv(self._socket, 16)
        except OSError:
            pass  # as good as closed
        self.stopping.set()


def ignore_terminal_signals() -> None:
    """A child that its parent stops in order: ctrl-C and a group-wide SIGTERM reach the parent, which decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
