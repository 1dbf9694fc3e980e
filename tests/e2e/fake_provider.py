"""The demo's fake provider on a thread of its own, so that SDKs that block do not block it; its book as plain values."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from typing import Any

from proxy.demo.provider import run_provider


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

    def book(self, call: str | None = None, request_id: str | None = None) -> list[dict[str, Any]]:
        """What it answered, oldest first: of one call (`x-demo: call=…`) or one of its request ids, where asked."""
        query = f"?call={call}" if call else f"?request_id={request_id}" if request_id else ""
        with urllib.request.urlopen(f"{self.url}/demo/book{query}", timeout=10) as answer:
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
