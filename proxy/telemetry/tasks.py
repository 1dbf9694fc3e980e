"""The one door to background tasks: named, held by a strong reference, and never failing in silence.

asyncio keeps only weak references to tasks, so one that nobody holds may vanish half-way; and an exception in one that
nobody awaits is told at garbage collection, if ever. Hence nothing else in this program calls `create_task`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

_log = structlog.get_logger("tasks")


class Tasks:
    """The background tasks of one owner. `failed` counts those that ended by an exception."""

    def __init__(self, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        """
        Args:
            on_failure: called with the task's name and its exception, after the log line; e.g. counts it.
        """
        self.failed = 0
        self._on_failure = on_failure
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, object], *, name: str) -> asyncio.Task[Any]:
        """Run `work` in the background. Its exception, if any, is logged once and counted."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        return len(self._running)

    async def close(self, patience_seconds: float = 5.0) -> None:
        """Cancel what still runs and wait for it, `patience_seconds` at most; what does not end by then is logged."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            _, stubborn = await asyncio.wait(running, timeout=patience_seconds)
            for task in stubborn:
                _log.warning("task did not end", task=task.get_name())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        failure = task.exception()
        if failure is None:
            return
        self.failed += 1
        _log.error("task failed", task=task.get_name(), exc_info=failure)
        if self._on_failure is not None:
            self._on_failure(task.get_name(), failure)
