"""One child process as its parent sees it: started, ready, dismissed, ended.

Each holds one end of a socket pair: it says `ready` on it, is told `stop` on it, and ends by itself when the other end closes
(link.py), so that no child outlives a killed parent.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Sequence

import structlog

from proxy.config.own_program import PYTHON, own_environment
from proxy.supervisor.link import PARENTS_SIGNALS, READY, STOP
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger(__name__)
PROGRAM = (*PYTHON, "-m", "proxy")
UNREADY_SECONDS = 2.0
"""How long a child that is told to stop before it was ready may take: it has nothing to finish."""


class ChildProcess:
    """A running child. The three events come in any order but `ended`, which is last."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, link: socket.socket, tasks: Tasks) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.dismissed = asyncio.Event()
        """It was asked to go: its end is no failure."""
        self.ended = asyncio.Event()
        self.started_at = time.monotonic()
        self._process = process
        self._link = link
        hearing = tasks.start(self._hear_ready(), name=f"hear-{name}")
        tasks.start(self._await_end(hearing), name=f"end-of-{name}")

    @property
    def code(self) -> int | None:
        """Exit code, negative where a signal ended it; None while it runs."""
        return self._process.returncode

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _hear_ready(self) -> None:
        try:
            if (await asyncio.get_running_loop().sock_recv(self._link, 16)) == READY:
                self.ready.set()
        except OSError:
            pass  # it died: `ended` says so

    async def _await_end(self, hearing: asyncio.Task[object]) -> None:
        await self._process.wait()
        await asyncio.wait({hearing}, timeout=1.0)  # the last word of one that died right after it
        hearing.cancel()
        self._link.close()
        self.ended.set()

    def tell(self, word: bytes) -> None:
        """Say one of link.py's words."""
        try:
            self._link.send(word)
        except OSError:
            pass  # it is dying: whoever waits for `ended` sees to it

    def kill(self) -> None:
        """At once."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self, seconds: float) -> bool:
        """Ask, wait, then kill. Whether it went in order."""
        self.dismissed.set()
        if self.ended.is_set():
            return True
        self.tell(STOP)
        if not self.ready.is_set():
            await first_of(self.ready, self.ended, seconds=UNREADY_SECONDS)
            if not self.ready.is_set():
                self.kill()
                await self.ended.wait()
                return True
        await first_of(self.ended, seconds=seconds)
        if not self.ended.is_set():
            log.error("child_killed", child=self.name, after_seconds=seconds)
            self.kill()
            await self.ended.wait()
            return False
        if self.code != 0:
            log.error("child_failed_while_stopping", child=self.name, ended_by=how_it_ended(self.code))
        return self.code == 0


async def launch(name: str, command: Sequence[str], inherited: Sequence[int], tasks: Tasks) -> ChildProcess:
    """Start a child with a link to it.

    Raises:
        OSError: the system does not give another process.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    # Blocked signals stay blocked over fork and exec. A group-wide signal that comes before the child has said that it
    # ignores it must not end it; the parent's own are delivered as soon as they are unblocked below.
    signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--link-fd",
            str(theirs.fileno()),
            pass_fds=[*inherited, theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=own_environment(),
        )
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
        theirs.close()
    return ChildProcess(name, process, ours, tasks)


def how_it_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


async def first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until one of the events is set, or the time is up."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
