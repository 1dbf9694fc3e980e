"""The worker's end of the spool: one line per answered request, in one `write`, before the last byte is handed out.

What was appended is in the kernel's page cache: `kill -9` of the process loses none of it. A power cut loses what was
not yet synced: with `fsync: always` nothing, with `interval` (the default) the last second, with `off` what the kernel
had not written back (about 30 s). Syncing by interval happens in a thread, one at a time, for all that was appended
since the last: the loop never waits for the disk.

Not here: reading (reader.py), moving to the ledger (drain.py).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import SpoolError
from proxy.records import UsageRecord
from proxy.spool.segment import HEADER, OPENING_SUFFIX, SEGMENT_SUFFIX, begun_at, new_segment_stem, record_line

LOG = logging.getLogger(__name__)
DISK_RESERVE_BYTES = 16 * 1024 * 1024
"""Free space below which the disk counts as full: what calls in flight may still need."""


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """The spool as one worker sees it. Segments, bytes and age are of the whole directory, at most one interval old."""

    segments: int
    bytes: int
    oldest_age_seconds: float
    appended: int
    lost: int
    """Records that could not be put on disk."""
    fsync_errors: int
    is_full: bool


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the maintenance thread found."""

    segments: int
    bytes: int
    oldest_age_seconds: float
    free_bytes: int
    appended_bytes_before: int
    has_sync_failed: bool


class SpoolWriter:
    """One append-only stream of segments. For one thread (the worker's loop); a process makes its own after forking."""

    def __init__(
        self,
        directory: Path,
        *,
        fsync: str = "interval",
        fsync_interval_seconds: float = 1.0,
        segment_bytes: int = 8 * 1024 * 1024,
        max_bytes: int = 4 * 1024 * 1024 * 1024,
        on_full: str = "serve",
        segment_seconds: float = 60.0,
    ) -> None:
        """
        Args:
            fsync: off, interval or always.
            segment_bytes: size at which the next segment is begun. Bounds what a restart reads again.
            max_bytes: bound of the whole directory, all workers together (known to one interval).
            on_full: serve (calls are answered, their records lost and counted) or refuse (see `is_refusing`).
            segment_seconds: age at which a segment that holds something is ended.

        Raises:
            SpoolError: the directory cannot be written.
        """
        self._directory = directory
        self._fsync = fsync
        self._interval_seconds = fsync_interval_seconds
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._max_bytes = max_bytes
        self._refuses_when_full = on_full == "refuse"
        self._fd = -1
        self._path = directory
        self._size = 0
        self._used_bytes = 0
        self._appended_bytes = 0
        self._rotate_at: float | None = None
        self._retired: list[int] = []
        self._is_sync_due = False
        self._is_disk_full = False
        self._is_torn = False
        self._rotate_bytes = segment_bytes
        self._appended = 0
        self._lost = 0
        self._fsync_errors = 0
        self._survey = _Survey(0, 0, 0.0, 0, 0, False)
        self._survey_due_at = 0.0
        self._job: Future[_Survey] | None = None
        self._thread = ThreadPoolExecutor(1, "spool-sync")
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._begin_segment()
        except OSError as error:
            raise SpoolError(f"the spool in {directory} cannot be written: {error}") from error
        self._survey_into(lambda: self._look(None, [], self._appended_bytes))

    @property
    def is_full(self) -> bool:
        """The bound is (nearly) reached, or the disk is full. The last 16th is kept for calls that are already running."""
        return self._is_disk_full or self._used_bytes > self._max_bytes - self._max_bytes // 16

    @property
    def is_refusing(self) -> bool:
        """New calls must be refused (503), because their records would have no place."""
        return self._refuses_when_full and self.is_full

    def append(self, record: UsageRecord) -> None:
        """Put one record on disk.

        Raises:
            SpoolError: there was no room or the disk failed; the record is counted as lost, what stood before it is intact.
        """
        line = record_line(record)
        size = len(line)
        if self._used_bytes + size > self._max_bytes:
            self._lost += 1
            raise SpoolError(f"the spool is full ({self._used_bytes} of {self._max_bytes} bytes)")
        if self._size + size > self._rotate_bytes:
            self._rotate()
        if self._is_torn:
            line, size = b"\n" + line, size + 1
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise self._failed(error) from error
        if written != size:  # the disk filled up in the middle of the line
            raise self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._size += size
        self._used_bytes += size
        self._appended_bytes += size
        self._appended += 1
        self._is_disk_full = self._is_torn = False
        self._is_sync_due = True
        if self._fsync == "always":
            self._sync_now()

    def maintain(self, now: float) -> None:
        """Sync, end an old segment, survey the directory: in a thread, once per interval.

        Args:
            now: seconds of any steady clock.
        """
        if self._job is not None:
            if not self._job.done():
                return
            self._take_job()
        if now < self._survey_due_at:
            return
        self._survey_due_at = now + self._interval_seconds
        if self._size > len(HEADER) and self._rotate_at is not None and now >= self._rotate_at:
            self._rotate()
        if self._rotate_at is None:
            self._rotate_at = now + self._segment_seconds
        fd = self._fd if self._is_sync_due and self._fsync != "off" else None
        self._is_sync_due = False
        retired, self._retired = self._retired, []
        self._job = self._thread.submit(self._look, fd, retired, self._appended_bytes)

    def close(self) -> None:
        """Sync and let go; the drain takes the rest. Idempotent."""
        self._take_job()
        self._thread.shutdown()
        if self._fd < 0:
            return
        if self._size == len(HEADER):
            self._path.unlink(missing_ok=True)
        self._retired.append(self._fd)
        self._fd = -1
        retired, self._retired = self._retired, []
        self._survey_into(lambda: self._look(None, retired, self._appended_bytes))

    def stats(self) -> SpoolStats:
        survey = self._survey
        return SpoolStats(
            segments=survey.segments,
            bytes=self._used_bytes,
            oldest_age_seconds=survey.oldest_age_seconds,
            appended=self._appended,
            lost=self._lost,
            fsync_errors=self._fsync_errors,
            is_full=self.is_full,
        )

    def _begin_segment(self) -> None:
        """Raises OSError. The old segment stays in use where no new one can be had."""
        stem = new_segment_stem()
        opening = self._directory / (stem + OPENING_SUFFIX)
        path = self._directory / (stem + SEGMENT_SUFFIX)
        fd = os.open(opening, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, HEADER) != len(HEADER):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(opening, path)
        except OSError:
            os.close(fd)
            opening.unlink(missing_ok=True)
            raise
        if self._fd >= 0:
            self._retired.append(self._fd)
        self._fd, self._path, self._size = fd, path, len(HEADER)
        self._used_bytes += len(HEADER)
        self._appended_bytes += len(HEADER)
        self._rotate_at = None
        self._rotate_bytes = self._segment_bytes
        self._is_sync_due = True
        self._is_torn = False
        if self._fsync == "always":
            _sync_directory(self._directory)

    def _rotate(self) -> None:
        try:
            self._begin_segment()
        except OSError as error:
            LOG.warning("no new spool segment, the old one grows on: %s", error)
            self._rotate_bytes = self._size + self._segment_bytes // 8  # not at every record

    def _failed(self, error: OSError) -> SpoolError:
        """Take a half-written line back; where even that fails, the next one begins with a newline, so that only this is spoilt."""
        self._lost += 1
        self._is_disk_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as second:
            LOG.error("a half-written spool line could not be taken back: %s", second)
            self._is_torn = True
            self._size += len(HEADER)  # not known exactly any more; only rotation asks
        return SpoolError(f"a record could not be spooled: {error}")

    def _sync_now(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._count_sync_failure()
            raise SpoolError(f"a record could not be forced to the disk: {error}") from error

    def _count_sync_failure(self) -> None:
        """After a failed fsync Linux calls the pages clean: the segment cannot be trusted to become durable, so begin another."""
        self._fsync_errors += 1
        self._rotate_bytes = 0

    def _look(self, fd: int | None, retired: list[int], appended_bytes_before: int) -> _Survey:
        """In the thread: sync, close what was rotated away (which gives its lock up), survey."""
        has_failed = False
        try:
            if self._fsync != "off":
                for each in [*retired, *([] if fd is None else [fd])]:
                    os.fdatasync(each)
                if retired or fd is not None:
                    _sync_directory(self._directory)
        except OSError as error:
            LOG.error("fsync of the spool failed: %s", error)
            has_failed = True
        for each in retired:
            os.close(each)
        segments, size, oldest = 0, 0, time.time()
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(SEGMENT_SUFFIX):
                    try:
                        size += entry.stat().st_size
                    except FileNotFoundError:  # the drain was quicker
                        continue
                    segments += 1
                    oldest = min(oldest, begun_at(entry.name))
        disk = os.statvfs(self._directory)
        age = time.time() - oldest
        return _Survey(segments, size, age, disk.f_bavail * disk.f_frsize, appended_bytes_before, has_failed)

    def _take_job(self) -> None:
        if self._job is not None:
            self._survey_into(self._job.result)
            self._job = None

    def _survey_into(self, result: Callable[[], _Survey]) -> None:
        try:
            self._take_survey(result())
        except OSError as error:
            LOG.error("the spool in %s cannot be surveyed: %s", self._directory, error)

    def _take_survey(self, survey: _Survey) -> None:
        self._survey = survey
        # What was appended while the thread looked is counted on top, perhaps twice: the bound errs to the safe side.
        self._used_bytes = survey.bytes + self._appended_bytes - survey.appended_bytes_before
        self._is_disk_full = survey.free_bytes < DISK_RESERVE_BYTES
        if survey.has_sync_failed:
            self._count_sync_failure()


def _sync_directory(directory: Path) -> None:
    """Make the names durable (a synced file without its directory entry is gone after a power cut)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
