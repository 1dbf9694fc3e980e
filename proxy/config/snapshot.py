"""The snapshot: how an accepted configuration reaches the workers.

    {"version": "…", "documents": {"providers": …, "limits": …, "prices": …, "server": …},
     "overlay": {"keys":      [in the words of `keys:` in limits.yaml …],
                 "overrides": {"alice": {"limits": {…in the words of limits.yaml…}, "until": "2026-12-01T00:00:00Z" | null} …},
                 "stops":     [{"scope": "all|provider|model|team|user|key", "value": …, "reason": …, "cut_streams": …} …]}}

Rules of this file: readable by its owner only (a key may stand in providers.yaml in clear); replaced in one step, so a
reader sees the old one or the new one; its version is the hash of its content.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from proxy.config.load import Documents
from proxy.errors import ConfigError

Stamp = tuple[int, int, int]
NO_OVERLAY: Mapping[str, Any] = {"keys": [], "overrides": {}, "stops": []}


def make_snapshot(documents: Documents, overlay: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `build_rules` takes."""
    content = {"documents": documents.as_dict(), "overlay": dict(NO_OVERLAY if overlay is None else overlay)}
    version = sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()[:16]
    return {"version": version, **content}


def write_snapshot(path: Path, documents: Documents, overlay: Mapping[str, Any] | None = None) -> str:
    """Put a snapshot in place, in one step.

    Returns:
        Its version.

    Raises:
        OSError: the disk refuses; the old snapshot stays.
    """
    snapshot = make_snapshot(documents, overlay)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(snapshot))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return str(snapshot["version"])


class SnapshotReader:
    """A worker's end: asks four times a second whether there is a new snapshot (2 µs), reads it when there is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Stamp | None = None

    def changed(self) -> bool:
        """Whether `read` would give something new. A snapshot that is gone is not new."""
        try:
            return _stamp(os.stat(self._path)) != self._seen
        except FileNotFoundError:
            return False

    def read(self) -> Mapping[str, Any]:
        """The snapshot in place.

        Raises:
            ConfigError: there is none, or it is not one.
        """
        try:
            with open(self._path, "rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                content = file.read()
            snapshot = orjson.loads(content)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no snapshot of the configuration can be read at {self._path}: {error}") from error
        self._seen = stamp
        if not isinstance(snapshot, dict) or "documents" not in snapshot:
            raise ConfigError(f"{self._path} is no snapshot of a configuration")
        return snapshot


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
