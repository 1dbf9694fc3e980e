"""The demo's fake provider on a thread of its own, so that SDKs that block do not block it; its book as plain values."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from proxy.demo import sending
from proxy.demo.provider import run_provider

HOLD_SECONDS = 0.02
_held: set[str] = set()
_pause = sending._pause


async def _pause_while_held(request: web.Request, seconds: float) -> None:
    """The demo's own pause, and then as long as a test holds the call; who hangs up is noticed all the same."""
    await _pause(request, seconds)
    while any(f"call={call}" in request.headers.get("x-demo", "") for call in _held):
        await _pause(request, HOLD_SECONDS)


sending._pause = _pause_while_held


class FakeProvider:
    """Listening between `start` and `stop`, on a free port of 127.0.0.1."""

    def __init__(self, seed: int = 7) -> None:
        self.port = 0
        self._seed = seed
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-provider", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10), "the fake provider did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the fake provider did not stop"

    @contextmanager
    def holding(self, call: str) -> Iterator[None]:
        """Meanwhile answers to this call wait where the provider pauses: a state to wait for, where a time would be a guess."""
        _held.add(call)
        try:
            yield
        finally:
            _held.discard(call)

    def book(self, call: str | None = None, request_id: str | None = None) -> list[dict[str, Any]]:
        """What it answered, oldest first: of one call (`x-demo: call=…`) or one of its request ids, where asked."""
        query = f"?call={call}" if call else f"?request_id={request_id}" if request_id else ""
        with urllib.request.urlopen(f"{self.url}/demo/book{query}", timeout=30) as answer:
            entries: list[dict[str, Any]] = json.load(answer)["entries"]
            return entries

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        runner = await run_provider("127.0.0.1", 0, self._seed)
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()
