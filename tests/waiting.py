"""Waiting for what happens in the background, and failing when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(is_so: Callable[[], object], seconds: float = 10.0) -> None:
    """Return as soon as `is_so()` is true; TimeoutError after so many seconds."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.002)
