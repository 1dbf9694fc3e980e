"""Waiting for what happens in the background, and failing when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WORK_SECONDS = 0.1


async def until(is_so: Callable[[], object], seconds: float = 60.0) -> None:
    """Return as soon as `is_so()` is true; TimeoutError after so many seconds."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.002)


def within(seconds: float, took: float) -> bool:
    """Whether something took less than so many seconds of a machine that has time for it.

    A promise of "within a second" is about the program: where others use the processors at this moment, so that work takes three
    times its own time, the second is three seconds long. On a machine with time to spare it is one second.
    """
    return took < seconds or took < seconds * slowness()


def slowness() -> float:
    """How many times its own time a bit of work takes at this moment; 1.0 where nobody else wants the processor."""
    began, own = time.perf_counter(), time.thread_time()
    while time.thread_time() - own < WORK_SECONDS:
        pass
    return max(1.0, (time.perf_counter() - began) / WORK_SECONDS)
