"""Who runs, who is started again, and in which order all end.

    supervisor ─┬─ control   spool → ledger, /api, /dashboard, /metrics        (stops last: it drains what the workers left)
                └─ worker 0…N-1   one listening socket each, made by the parent and inherited, so that a worker's death loses
                                  no connection that had not been accepted yet

Signals: SIGTERM and SIGINT stop gracefully, a second one at once; SIGHUP replaces control and workers by new processes
without dropping an answer. Children ignore all three, so one to the whole group is one to the parent.

What dies unasked is started again, ever more slowly. The control plane may fail for ever, calls go on without it; only where
no worker could be started at all does the house give up.

Exit codes: 0 stopped in order · 1 no worker came up, or a child failed or had to be killed while stopping · 128 + n cut short
by a second signal n.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from proxy.supervisor.link import ALONE
from proxy.supervisor.process import PROGRAM, ChildProcess, first_of, how_it_ended, launch
from proxy.telemetry.tasks import Tasks

log = structlog.get_logger(__name__)
CONTROL_SECONDS = 10.0
"""How long workers wait for the control plane at the start: it knows what was used before. Calls come before counting."""
READY_SECONDS = 60.0
"""A child that is not ready by then is started again, and has twice the time: it may be stuck, or the machine starved."""
MOST_DOUBLINGS = 4
BACKOFF_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STABLE_SECONDS = 30.0
"""A child that lived this long is restarted at once when it dies."""
START_ATTEMPTS = 3
"""How often each worker is tried before a house in which none ever served gives up."""
STOP_MARGIN_SECONDS = 10.0
"""What a worker may take, beyond the time for answers, to settle and to close its files."""
CONTROL_STOP_SECONDS = 60.0
GUEST_STOP_SECONDS = 5.0


@dataclass
class Place:
    """A role in the house, and who fills it now."""

    name: str
    arguments: list[str]
    inherited: tuple[int, ...] = ()
    process: ChildProcess | None = None
    restarts: int = 0
    """Deaths that nobody asked for, since the house stands."""
    failures: int = 0
    """Deaths in a row, each soon after its start."""
    overdue: int = 0
    """Starts in a row that were not ready in time."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while somebody new is brought in, so that there are never two by mistake."""


class Supervisor:
    """Runs the house until it is told to stop."""

    def __init__(
        self,
        control_arguments: list[str],
        worker_arguments: Sequence[list[str]],
        listeners: Sequence[socket.socket],
        stop_seconds: Callable[[], float],
        guests: Sequence[list[str]] = (),
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """
        Args:
            stop_seconds: how long running answers may take after a stop, asked when it comes.
            guests: further children, started last and stopped first (the demo's provider and people).
            program: what the arguments are given to.
        """
        self._control = Place("control", control_arguments)
        self._workers = [
            Place(f"worker-{number}", [*arguments, "--listen-fd", str(listener.fileno())], (listener.fileno(),))
            for number, (arguments, listener) in enumerate(zip(worker_arguments, listeners, strict=True))
        ]
        self._guests = [Place(arguments[0].lstrip("_"), list(arguments)) for arguments in guests]
        self._listeners = listeners
        self._stop_seconds = stop_seconds
        self._program = program
        self._tasks = Tasks()
        self._alive: set[ChildProcess] = set()
        self._leaving: set[asyncio.Task[object]] = set()
        self._rolling: asyncio.Task[object] | None = None
        self._is_roll_wanted = False
        self._has_terminal = os.isatty(0)
        self._has_served = asyncio.Event()
        self._stopping = asyncio.Event()
        self._cut_short_by = 0
        self._has_given_up = False

    async def run(self) -> int:
        """Start, watch, stop. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hang_up)
        begun_at = time.monotonic()
        await self._fill((self._control,))
        await self._until_ready(self._control, CONTROL_SECONDS)
        await self._fill(self._workers)
        await first_of(self._has_served, self._stopping)
        if not self._stopping.is_set():
            log.info("serving", after_seconds=round(time.monotonic() - begun_at, 2))
        await self._fill(self._guests)
        await self._stopping.wait()
        is_orderly = await self._stop_all()
        if self._cut_short_by:
            return 128 + self._cut_short_by
        return 0 if is_orderly and not self._has_given_up else 1

    # ── signals ──

    def _on_stop_signal(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            log.info("stopping", signal=number.name, answers_may_take_seconds=self._stop_seconds())
            self._stopping.set()
            return
        self._cut_short_by = number
        log.warning("stopping_at_once", signal=number.name)
        for process in self._alive:
            process.kill()

    def _on_hang_up(self) -> None:
        if self._has_terminal and not os.isatty(0):
            self._on_stop_signal(signal.SIGHUP)  # not an operator's wish: the terminal that we ran in was closed
        elif not self._stopping.is_set():
            self._is_roll_wanted = True
            if self._rolling is None or self._rolling.done():
                self._rolling = self._tasks.start(self._roll(), name="roll")

    # ── keeping places filled ──

    async def _fill(self, places: Iterable[Place]) -> None:
        """Bring somebody into each place, and see to it that there always is."""
        for place in places:
            if self._stopping.is_set():
                return
            process = await self._occupant(place)
            self._tasks.start(self._keep(place, process), name=f"keep-{place.name}")

    async def _keep(self, place: Place, process: ChildProcess | None) -> None:
        while not self._stopping.is_set():
            if process is not None:
                await self._watch(place, process)
            if self._stopping.is_set():
                return
            if process is None or not process.dismissed.is_set():
                await first_of(self._stopping, seconds=self._count_failure(place, process))
            process = await self._occupant(place)

    async def _occupant(self, place: Place) -> ChildProcess | None:
        """Who is in the place; somebody new where nobody is. None: nobody was to be had, or the house stops."""
        async with place.turn:
            if (place.process is None or place.process.ended.is_set()) and not self._stopping.is_set():
                place.process = await self._launch(place)
            return place.process

    async def _launch(self, place: Place) -> ChildProcess | None:
        if self._stopping.is_set():
            return None
        command = [*self._program, *place.arguments, "--restarts", str(place.restarts)]
        try:
            process = await launch(place.name, command, place.inherited, self._tasks)
        except OSError as error:
            log.error("child_not_started", child=place.name, error=str(error))
            return None
        self._alive.add(process)
        return process

    async def _watch(self, place: Place, process: ChildProcess) -> None:
        """Until it has ended, or was asked to."""
        patience = READY_SECONDS * 2 ** min(place.overdue, MOST_DOUBLINGS)
        await first_of(process.ready, process.ended, process.dismissed, seconds=patience)
        if process.ready.is_set():
            place.overdue = 0
            if place in self._workers:
                self._has_served.set()
        elif not process.ended.is_set() and not process.dismissed.is_set():
            place.overdue += 1
            log.error("child_not_ready", child=place.name, after_seconds=patience)
            process.kill()
        await first_of(process.ended, process.dismissed)
        if process.ended.is_set():
            self._alive.discard(process)

    def _count_failure(self, place: Place, process: ChildProcess | None) -> float:
        """Note a death that nobody asked for. Returns how long to wait before the next start, in seconds."""
        lived = time.monotonic() - process.started_at if process is not None else 0.0
        place.restarts += 1
        place.failures = 0 if lived > STABLE_SECONDS else place.failures + 1
        wait = BACKOFF_SECONDS[min(place.failures, len(BACKOFF_SECONDS) - 1)]
        if process is not None:
            log.error(
                "child_died",
                child=place.name,
                pid=process.pid,
                ended_by=how_it_ended(process.code),
                lived_seconds=round(lived, 1),
                restart_in_seconds=wait,
            )
        if not self._has_served.is_set() and all(worker.failures >= START_ATTEMPTS for worker in self._workers):
            log.error("giving_up", reason="no worker can be started; its messages are above", attempts=START_ATTEMPTS)
            self._has_given_up = True
            self._stopping.set()
        return wait

    async def _until_ready(self, place: Place, seconds: float) -> None:
        """Wait for the first one in the place, and for its successors should it die."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            process = place.process
            if process is None or process.ended.is_set():
                await first_of(self._stopping, seconds=min(left, 0.05))  # its keeper brings the next one
                continue
            await first_of(process.ready, process.ended, self._stopping, seconds=left)
            if process.ready.is_set():
                return
        if not self._stopping.is_set():
            log.error("control_plane_not_ready", after_seconds=seconds, consequence="calls are served without it meanwhile")

    # ── replacing everybody ──

    async def _roll(self) -> None:
        """New processes in all places: control first (a release that can't start is found out there), then each worker."""
        while self._is_roll_wanted and not self._stopping.is_set():
            self._is_roll_wanted = False
            log.info("roll_begun", workers=len(self._workers))
            if not await self._replace_control():
                return
            for worker in self._workers:
                if not await self._replace_worker(worker):
                    return
            log.info("roll_done")

    async def _replace_control(self) -> bool:
        """One after the other: two must not drain one spool. Calls need neither."""
        place = self._control
        async with place.turn:
            if place.process is not None:
                await place.process.end(CONTROL_STOP_SECONDS)
                self._alive.discard(place.process)
            if self._stopping.is_set():
                return False
            place.process = new = await self._launch(place)
        if new is not None:
            await first_of(new.ready, new.ended, self._stopping, seconds=READY_SECONDS)
            if new.ready.is_set():
                return True
        if not self._stopping.is_set():
            log.error("roll_failed", child=place.name, consequence="the workers were not touched; it is tried again for ever")
        return False

    async def _replace_worker(self, place: Place) -> bool:
        """A new process on the same socket; when it serves, the old one finishes its answers and goes."""
        async with place.turn:
            new = await self._launch(place)
            if new is not None:
                await first_of(new.ready, new.ended, self._stopping, seconds=READY_SECONDS)
            if new is None or not new.ready.is_set():
                if new is not None:
                    new.kill()
                    await new.ended.wait()
                    self._alive.discard(new)
                if not self._stopping.is_set():
                    log.error("roll_failed", child=place.name, consequence="the old one goes on, and all after it")
                return False
            old, place.process = place.process, new
        log.info("worker_replaced", child=place.name, pid=new.pid)
        if old is not None:
            leaving = self._tasks.start(self._see_off(old, place), name=f"leaving-{place.name}")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        return True

    async def _see_off(self, process: ChildProcess, place: Place) -> bool:
        """Let it finish; its successor then reads from the ledger what the last answers used."""
        is_orderly = await process.end(self._stop_seconds() + STOP_MARGIN_SECONDS)
        self._alive.discard(process)
        if place.process is not None:
            place.process.tell(ALONE)
        return is_orderly

    # ── the end ──

    async def _stop_all(self) -> bool:
        """Guests, then workers, then control. Whether all went in order."""
        for listener in self._listeners:
            listener.close()  # the workers close theirs: who comes now is refused at once, not left waiting
        patience = self._stop_seconds() + STOP_MARGIN_SECONDS
        guests = await asyncio.gather(*(self._empty(place, GUEST_STOP_SECONDS) for place in self._guests))
        workers = await asyncio.gather(*(self._empty(place, patience) for place in self._workers))
        leaving = await asyncio.gather(*self._leaving)
        control = await self._empty(self._control, CONTROL_STOP_SECONDS)
        await self._tasks.close()
        return all((*guests, *workers, *leaving, control))

    async def _empty(self, place: Place, seconds: float) -> bool:
        async with place.turn:
            if place.process is None:
                return True
            return await place.process.end(seconds)
