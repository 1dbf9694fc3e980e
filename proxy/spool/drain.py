"""From the spool to the ledger: in batches, each acknowledged by its commit; a segment goes when all of it is in.

What can go wrong, and what then happens:
- the ledger is away: the batch is tried again, ever more slowly (5 s at most); what waits stays on disk, so memory is flat;
- a line cannot be read, or the ledger refuses one record: it is set aside in `<segment>.poison` and told, the others go in;
- the last line of a dead writer is torn: the same, and counted apart;
- this process dies: the next one reads the remaining segments again, and the ledger keeps what is new.

Observers (metrics, alerts, the live view) get every record once per life of the process: when a commit has made it new
or, while the ledger is away, as soon as it can be read (`Tail`).

Not here: the lines (segment.py), the places (reader.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from proxy.errors import LedgerError, RefusedRecord
from proxy.records import UsageRecord, as_dict
from proxy.spool.reader import TORN, Line, Reader
from proxy.spool.segment import OPENING_SUFFIX, POISON_SUFFIX, begun_at, is_owned

LOG = logging.getLogger("spool.drain")
BATCH_RECORDS = 2000
"""At 1,000 the sums of 200 users cost a sixth more; at 4,000 memory grows by 20 MB for nothing."""
BATCHES_AT_ONCE = 2
"""While the database works on one batch, this process prepares the next."""
POLL_SECONDS = 0.2
"""A call waits so long for the ledger at most, and for a commit. At 0.1 a trickle of calls costs a third more."""
LOOKS_PER_STEP = 5
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 5.0
ABANDONED_SECONDS = 60.0
"""Age at which a segment that never got its name (its writer died while beginning it) is swept away."""

Append = Callable[[Sequence[UsageRecord]], Awaitable[list[UsageRecord]]]
Observer = Callable[[Sequence[UsageRecord]], None]


@dataclass(slots=True)
class DrainStats:
    """Counts of this process; the backlog is what no commit has covered yet."""

    new: int = 0
    known: int = 0
    """Records that the ledger had already."""
    failures: int = 0
    """Batches that the ledger did not take (they were tried again)."""
    poisoned: int = 0
    torn: int = 0
    observer_errors: int = 0
    is_ledger_away: bool = False
    commit_seconds: float = 0.0
    """Of the last batch."""
    backlog_records: int = 0
    """Estimated from bytes and the mean length of a line."""
    backlog_bytes: int = 0
    backlog_age_seconds: float = 0.0


class Tail:
    """Shows an observer what no commit has covered yet: each record once, from a place of its own in the spool."""

    def __init__(self, directory: Path, observe: Observer) -> None:
        self._reader = Reader(directory)
        self._observe = observe
        self._turn = asyncio.Lock()
        self._shown_elsewhere: list[Line] = []
        """Shown by the drain while its place has not moved on yet."""

    async def catch_up(self) -> int:
        """Show everything that can be read now; the number of records shown."""
        shown = 0
        async with self._turn:
            while lines := await asyncio.to_thread(self._reader.take, BATCH_RECORDS):
                shown_elsewhere = {(line.segment, line.start) for line in self._shown_elsewhere}
                fresh = [line for line in lines if (line.segment, line.start) not in shown_elsewhere]
                records = [line.record for line in fresh if line.record is not None]
                self._observe(records)
                shown += len(records)
        return shown

    def take_over(self, lines: Sequence[Line]) -> list[Line]:
        """Those of the lines that were not shown yet, which the caller shows now."""
        read = {name: self._reader.offset(name) for name in {line.segment for line in lines}}
        fresh = [line for line in lines if line.start >= read[line.segment]]
        self._shown_elsewhere += fresh
        return fresh

    def advance(self, reader: Reader) -> None:
        """Leave out what lies before that reader's place: it was shown by whoever moved it."""
        self._reader.advance(reader)
        self._shown_elsewhere.clear()


class Drain:
    """Moves records from the spool's directory into the ledger. One per control process; several at once do no harm."""

    def __init__(
        self,
        directory: Path,
        append: Append,
        observers: Sequence[Observer] = (),
        *,
        batch_records: int = BATCH_RECORDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """
        Args:
            append: `Ledger.append`: all or nothing; returns those that were new. Raises LedgerError where the ledger is
                away, RefusedRecord where one of the records can never be stored.
            observers: called on the loop with records that were not seen before; their faults are logged and counted.
        """
        self._directory = directory
        self._append = append
        self._observers = tuple(observers)
        self._batch_records = batch_records
        self._poll_seconds = poll_seconds
        self._reader = Reader(directory)
        self._tail = Tail(directory, self._show)
        self._turn = asyncio.Lock()
        self._is_stopping = asyncio.Event()
        self._stats = DrainStats()
        self._line_bytes = 500.0
        self._kept: set[str] = set()
        self._set_aside_offsets: dict[str, set[int]] = {}

    async def run(self) -> None:
        """Until `stop`. Never ends by a fault: whatever happens is logged and tried again."""
        await asyncio.to_thread(self._sweep)
        retry_seconds = FIRST_RETRY_SECONDS
        while not self._is_stopping.is_set():
            try:
                async with self._turn:
                    moved = await self._step(is_patient=True)
                retry_seconds = FIRST_RETRY_SECONDS
                if moved < self._batch_records:  # small batches cost several times as much a record: let one gather
                    await self._gather()
            except LedgerError:
                continue  # only while stopping: it was told already
            except Exception:  # a fault here must not end the only way into the ledger
                LOG.exception("the drain stumbled; trying again in %.1f s", retry_seconds)
                await self._pause(retry_seconds)
                retry_seconds = min(retry_seconds * 2, LAST_RETRY_SECONDS)

    async def _gather(self) -> None:
        """Wait until there is something to move. A look costs a small part of a step, and most find nothing; every few looks a
        step is due anyway, for segments whose writer has died."""
        for _ in range(LOOKS_PER_STEP):
            await self._pause(self._poll_seconds)
            if self._is_stopping.is_set() or self._reader.backlog()[0]:
                return

    def stop(self) -> None:
        """Let `run` end after the batch in hand; what is left stays on disk."""
        self._is_stopping.set()

    async def drain_now(self) -> int:
        """Move everything that is on disk now; the number of lines moved. Waits for `run` where that is in the middle of a batch.

        Raises:
            LedgerError: the ledger is away; what it did not take stays on disk.
        """
        total = 0
        async with self._turn:
            while moved := await self._step(is_patient=False):
                total += moved
        return total

    async def stats(self) -> DrainStats:
        """Counts now; looks at the directory."""
        size, oldest = await asyncio.to_thread(self._reader.backlog)
        self._stats.backlog_bytes = size
        self._stats.backlog_records = round(size / self._line_bytes)
        self._stats.backlog_age_seconds = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        return self._stats

    async def _step(self, is_patient: bool) -> int:
        """One batch: read, commit, acknowledge. On a fault the place goes back to where it was."""
        before = self._reader.copy()
        try:
            lines = await asyncio.to_thread(self._reader.take, self._batch_records * BATCHES_AT_ONCE)
            for line in lines:
                if line.record is None:
                    await self._set_aside(line, line.flaw or "unreadable")
            good = [line for line in lines if line.record is not None]
            await self._commit_all(good, is_patient)
        except BaseException:
            self._reader = before
            raise
        if lines:
            self._line_bytes = sum(line.end - line.start for line in lines) / len(lines)
        self._tail.advance(self._reader)
        if self._reader.done():
            await asyncio.to_thread(self._delete_done)
        return len(lines)

    async def _commit_all(self, lines: Sequence[Line], is_patient: bool) -> None:
        """Commit in batches, side by side. Ends when all have ended; raises what the first of them raised."""
        starts = range(0, len(lines), self._batch_records)
        work = [self._commit(lines[start : start + self._batch_records], is_patient) for start in starts]
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _commit(self, lines: Sequence[Line], is_patient: bool) -> None:
        """Commit these lines, in halves where one of them is refused.

        Raises:
            LedgerError: the ledger is away, and the caller is not patient or the drain is being stopped.
        """
        records = [line.record for line in lines if line.record is not None]
        retry_seconds = FIRST_RETRY_SECONDS
        while True:
            began = time.perf_counter()
            try:
                new = await self._append(records)
                break
            except RefusedRecord as refusal:
                await self._commit_halves(lines, is_patient, str(refusal))
                return
            except LedgerError as error:
                self._lost_sight_of_ledger(error)
                if not is_patient or self._is_stopping.is_set():
                    raise
                await self._tail.catch_up()
                await self._pause(retry_seconds)
                retry_seconds = min(retry_seconds * 2, LAST_RETRY_SECONDS)
        if self._stats.is_ledger_away:
            LOG.info("the ledger is back")
        self._stats.is_ledger_away = False
        self._stats.commit_seconds = time.perf_counter() - began
        self._stats.new += len(new)
        self._stats.known += len(records) - len(new)
        fresh = self._tail.take_over(lines)
        if len(fresh) < len(lines):
            unseen = {line.record.id for line in fresh if line.record is not None}
            new = [record for record in new if record.id in unseen]
        self._show(new)

    async def _commit_halves(self, lines: Sequence[Line], is_patient: bool, reason: str) -> None:
        if len(lines) == 1:
            await self._set_aside(lines[0], reason)
            return
        half = len(lines) // 2
        await self._commit(lines[:half], is_patient)
        await self._commit(lines[half:], is_patient)

    def _lost_sight_of_ledger(self, error: LedgerError) -> None:
        self._stats.failures += 1
        if not self._stats.is_ledger_away:
            LOG.warning("the ledger is away, records wait in the spool: %s", error)
        self._stats.is_ledger_away = True

    def _show(self, records: Sequence[UsageRecord]) -> None:
        if not records:
            return
        for observer in self._observers:
            try:
                observer(records)
            except Exception:  # an observer's fault is its own: records must go on
                self._stats.observer_errors += 1
                LOG.exception("an observer of the spool failed")

    async def _set_aside(self, line: Line, reason: str) -> None:
        """Keep the line where the operator finds it. Where even that fails, its segment is kept whole."""
        try:
            is_first = await asyncio.to_thread(self._write_poison, line, reason)
        except OSError as error:
            LOG.error("a spoilt line of %s could not be set aside, the segment is kept: %s", line.segment, error)
            self._kept.add(line.segment)
            is_first = True
        if is_first:
            LOG.error("a line of the spool was set aside: %s at %d: %s", line.segment, line.start, reason)
            if line.flaw == TORN:
                self._stats.torn += 1
            else:
                self._stats.poisoned += 1

    def _write_poison(self, line: Line, reason: str) -> bool:
        """In a thread: append to `<segment>.poison`; False where it stands there already (the segment was read again)."""
        path = self._directory / (line.segment + POISON_SUFFIX)
        offsets = self._set_aside_offsets.get(line.segment)
        if offsets is None:
            known = path.read_bytes().splitlines() if path.exists() else []
            offsets = self._set_aside_offsets[line.segment] = {orjson.loads(each)["offset"] for each in known}
        if line.start in offsets:
            return False
        raw = line.raw if line.record is None else orjson.dumps(as_dict(line.record))
        entry = {"offset": line.start, "reason": reason, "line": raw.decode("utf-8", "backslashreplace")}
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, orjson.dumps(entry) + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        offsets.add(line.start)
        return True

    def _delete_done(self) -> None:
        """In a thread. Everything that was taken has been committed or set aside when this is called."""
        for name in self._reader.done():
            if name not in self._kept:
                (self._directory / name).unlink(missing_ok=True)
                self._set_aside_offsets.pop(name, None)

    def _sweep(self) -> None:
        """Files of writers that died between creating a segment and naming it: nothing is in them."""
        for path in self._directory.glob(f"*{OPENING_SUFFIX}"):
            if time.time() - begun_at(path.name) < ABANDONED_SECONDS:
                continue
            fd = os.open(path, os.O_RDONLY)
            try:
                if not is_owned(fd):
                    path.unlink(missing_ok=True)
            finally:
                os.close(fd)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._is_stopping.wait(), seconds)
        except TimeoutError:
            pass  # the usual end of a pause
