"""How edits arrive: the control process watches the configuration directory and keeps the snapshot in step with it.

    edit ──► changes() ──► load() ── right ──► write_snapshot() ──► workers
                              └───── wrong ──► the old snapshot stays; `LiveConfig.mistakes` says why

Rules of this file: whatever way a file is saved (in place, by rename, through a ConfigMap's `..data` link, on a disk that
sends no events) the change is seen within a second; a file that is half written or briefly gone is waited for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from proxy.config.load import Documents, load
from proxy.config.mistakes import ConfigErrors, Mistake
from proxy.config.schema import FILES
from proxy.config.snapshot import NO_OVERLAY, SnapshotReader, write_snapshot

LOOK_SECONDS = 0.2
"""How often the files are looked at. Events would come sooner where they come at all (network and bind mounts send none), but
waiting for them woke the process fifty times a second: half of all that it did while nobody called."""
QUIET_SECONDS = 0.1
"""How long the files must stay as they are before they are read."""
GONE_QUIET_SECONDS = 0.5
"""The same where a file has disappeared or become empty: editors and deployment tools do that in the middle of a save."""

Fingerprint = tuple[tuple[int, int, int] | None, ...]


def fingerprint(directory: Path) -> Fingerprint:
    """What tells one state of the files from another, links followed: 10 µs, no reading."""
    found: list[tuple[int, int, int] | None] = []
    for name in FILES:
        try:
            status = os.stat(directory / name)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _has_shrunk(old: Fingerprint, new: Fingerprint) -> bool:
    return any(
        before is not None and before[2] > 0 and (after is None or after[2] == 0) for before, after in zip(old, new, strict=True)
    )


async def changes(directory: Path, stop: asyncio.Event | None = None) -> AsyncIterator[Fingerprint]:
    """Yields each time the files have come to rest in a new state. Runs until `stop` is set or it is closed."""
    known = fingerprint(directory)
    stop = stop or asyncio.Event()
    while not stop.is_set():
        seen = fingerprint(directory)
        if seen != known:
            seen = await _at_rest(directory, known, seen)
            if seen != known:
                known = seen
                yield seen
        await _wait(stop, LOOK_SECONDS)


async def _at_rest(directory: Path, known: Fingerprint, seen: Fingerprint) -> Fingerprint:
    """The state of the files after they have not changed for a moment."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < (GONE_QUIET_SECONDS if _has_shrunk(known, seen) else QUIET_SECONDS):
        await asyncio.sleep(0.02)
        now = fingerprint(directory)
        if now != seen:
            seen, quiet_since = now, time.monotonic()
    return seen


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        pass


class LiveConfig:
    """The configuration in force and the snapshot of it; what the control process holds.

    Args:
        directory: None or missing: the built-in defaults, and then nothing to watch but its appearance.
        snapshot: where workers read.

    Raises:
        ConfigErrors: the configuration cannot be used at the start.
    """

    def __init__(
        self, directory: Path | None, environ: Mapping[str, str], snapshot: Path, overlay: Mapping[str, Any] | None = None
    ) -> None:
        self.directory = directory
        self.documents: Documents = load(directory, environ)
        self.mistakes: tuple[Mistake, ...] = ()
        """What is wrong with the files as they are now; while there is any, `documents` are those of before."""
        self.accepted_count = 0
        self.refused_count = 0
        self.changed_at = time.time()
        """Unix seconds of the last accepted or refused edit."""
        self._environ = environ
        self._snapshot = snapshot
        self._overlay: Mapping[str, Any] = NO_OVERLAY if overlay is None else overlay
        self.version = write_snapshot(snapshot, self.documents, self._overlay)
        """Of the snapshot in place."""

    @property
    def overlay(self) -> Mapping[str, Any]:
        """Keys, overrides and stops in force."""
        return self._overlay

    def set_overlay(self, overlay: Mapping[str, Any]) -> None:
        """Take over what the ledger says. Raises OSError where the snapshot cannot be written."""
        if overlay != self._overlay:
            self.version = write_snapshot(self._snapshot, self.documents, overlay)
            self._overlay = overlay

    def reload(self) -> tuple[Mistake, ...]:
        """Read the files again; the new ones are in force unless something is wrong with them.

        Returns:
            What is wrong; empty where the edit was accepted.
        """
        return self._take(_attempt(self.directory, self._environ))

    def _take(self, read: Documents | tuple[Mistake, ...]) -> tuple[Mistake, ...]:
        self.changed_at = time.time()
        mistakes = read if isinstance(read, tuple) else self._put_in_force(read)
        self.mistakes = mistakes
        if mistakes:
            self.refused_count += 1
        else:
            self.accepted_count += 1
        return mistakes

    def _put_in_force(self, documents: Documents) -> tuple[Mistake, ...]:
        if documents != self.documents:
            try:
                self.version = write_snapshot(self._snapshot, documents, self._overlay)
            except OSError as error:
                message = (
                    f"the new configuration cannot be put in force: {error.strerror}; make room there, then save the file again"
                )
                return (Mistake(str(self._snapshot), 1, 1, message),)
            self.documents = documents
        return ()

    async def watch(self, told: Callable[[tuple[Mistake, ...]], None], stop: asyncio.Event | None = None) -> None:
        """Follow the files until `stop` is set or this is cancelled; `told` hears of every edit: () or what is wrong with it."""
        if self.directory is None:
            await (stop or asyncio.Event()).wait()
            return
        async for _ in changes(self.directory, stop):
            told(self._take(await asyncio.to_thread(_attempt, self.directory, self._environ)))


def _attempt(directory: Path | None, environ: Mapping[str, str]) -> Documents | tuple[Mistake, ...]:
    try:
        return load(directory, environ)
    except ConfigErrors as errors:
        return errors.mistakes


__all__ = ["Fingerprint", "LiveConfig", "SnapshotReader", "changes", "fingerprint", "write_snapshot"]
