"""Weighbridge as the thing to be measured: the real process with a virtual key under strict limits of every kind.

Two of them: embedded (limits in memory, SQLite) and networked (limits in Redis, ledger in Postgres); Redis and Postgres run on the
load's core, as another machine would, and their CPU is not counted. Everything else, control plane included, is.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from tests.bench.load import Bench, Target
from tests.bench.machine import arguments, cpu_seconds, family, hurry, pinned
from tests.e2e.house import House

KEY = "wb-bench-0000000"
IDLE_SHARE = 0.03
"""A control process that uses less of a core than this has nothing left to move."""


def bench_key(number: int) -> str:
    return f"wb-bench-{number:07d}"


def key_line(number: int, more: str = "") -> str:
    return f'  - {{key_sha256: "{sha256(bench_key(number).encode()).hexdigest()}", user: bench-{number}{more}}}\n'


def limits_text(keys: int = 1, more: str = "", mode: str = "strict") -> str:
    """Limits that are never reached and always checked: tokens, money and requests."""
    head = f"""mode: {mode}
defaults:
  tokens: {{per_day: 1_000_000_000_000_000}}
  cost_usd: {{per_month: 1_000_000_000}}
  requests: {{per_minute: 1_000_000_000}}
keys:
"""
    return head + "".join(key_line(number, more) for number in range(keys))


def providers_text(provider_url: str) -> str:
    return f"providers:\n  openai: {{base_url: {provider_url}, api: openai, api_key: sk-upstream, max_connections: 30000}}\n"


class Subject:
    """One running proxy, seen as the peers are."""

    def __init__(
        self,
        name: str,
        bench: Bench,
        *,
        env: Mapping[str, str] | None = None,
        workers: int = 1,
        files: Mapping[str, str] | None = None,
        headers: tuple[str, ...] = (f"Authorization: Bearer {KEY}",),
    ) -> None:
        self.name = name
        texts = {"providers.yaml": providers_text(bench.provider_url), "limits.yaml": limits_text(), **(files or {})}
        self.house = House(texts, workers, dict(env or {}))
        self.target = Target(self.house.port, headers)

    def start(self, bench: Bench) -> None:
        with pinned(bench.subject_cores):
            self.house.start()
        hurry(self._root())

    def stop(self) -> None:
        """As an operator does; then nothing of it is left on disk."""
        try:
            if self.house.process is not None:
                self.house.stop()
        finally:
            shutil.rmtree(self.house.directory, ignore_errors=True)

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _root(self) -> int:
        assert self.house.process is not None
        return self.house.process.pid

    def roles(self) -> dict[str, list[int]]:
        """Its processes by what they do."""
        found: dict[str, list[int]] = {"worker": [], "control": [], "supervisor": []}
        for pid in family(self._root()):
            words = arguments(pid)
            role = "worker" if "_worker" in words else "control" if "_control" in words else "supervisor"
            found[role].append(pid)
        return found

    def workers(self) -> list[int]:
        return self.roles()["worker"]

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until the control plane has moved all records: it is part of what a request costs."""
        control = self.roles()["control"]
        until = time.monotonic() + seconds
        used = sum(map(cpu_seconds, control))
        while time.monotonic() < until:
            time.sleep(0.5)
            before, used = used, sum(map(cpu_seconds, control))
            if used - before <= IDLE_SHARE * 0.5:
                return
