"""The load generator and the provider as Python sees them: one call, one measurement.

Every peer gets the same bytes from the same program. What a measurement says of CPU is split by process, so that the data plane
can be told from the control plane.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.machine import REAL_TIME, Program, build_tools, cores, pinned
from tests.servers import free_port

CHAT = "/v1/chat/completions"
NUMBER = "@@@@@@@"
"""Replaced by another number for each request (`Shape.vary`)."""


@dataclass(frozen=True)
class Shape:
    """What is sent and how fast."""

    connections: int = 64
    seconds: float = 3.0
    warm_seconds: float = 1.0
    rate: float | None = None
    """Requests per second on a fixed timetable; None: each connection sends its next request when the last one ended."""
    is_stream: bool = False
    events: int = 0
    """Content events that each stream must have."""
    ramp_seconds: float = 0.0
    body: bytes | None = None
    requests: int | None = None
    """Stop after so many."""
    vary: int = 0
    """How many different numbers stand for NUMBER."""


@dataclass(frozen=True)
class Measured:
    """One run of the load generator; times in microseconds."""

    per_second: float
    ok: int
    failed: int
    total: int
    """Requests that ended, warm-up included."""
    seconds: float
    p50: float
    p99: float
    longest: float
    first_byte_p50: float
    first_byte_p99: float
    chunk_p50: float
    chunk_p99: float
    chunks: int
    frames: int
    """HTTP chunks of streams as they arrived."""
    cpu: dict[int, float] = field(default_factory=dict)
    """CPU seconds by process while it was measured."""
    note: str = ""

    @property
    def chunks_per_second(self) -> float:
        return self.chunks / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Target:
    """Where the load goes."""

    port: int
    headers: tuple[str, ...] = ("Authorization: Bearer sk-client",)
    path: str = CHAT


class Bench:
    """The two C programs, the provider running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        build_tools(folder)
        self.subject_cores, self.load_cores = cores()
        self.port = free_port()
        with pinned(self.load_cores):
            self.provider = Program("provider", [*REAL_TIME, str(folder / "mock"), "-p", str(self.port)], self.port, folder)
            self.provider.wait_until_it_listens()
        self._bodies = 0

    @property
    def provider_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.provider.stop()

    def set(self, **settings: int) -> None:
        """How the provider answers from now on: chunks, size, delay_us, body, latency_us, tokens, vary, reset."""
        self._get("/_set?" + "&".join(f"{name}={value}" for name, value in settings.items()))

    def plain(self) -> None:
        """600-byte answers at once; streams of 100 chunks of 180 bytes."""
        self.set(chunks=100, size=180, delay_us=0, body=600, latency_us=0, tokens=21, vary=0, reset=1)

    def stats(self) -> dict[str, Any]:
        """The provider's counters and its book."""
        found: dict[str, Any] = json.loads(self._get("/_stats"))
        return found

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.provider_url + path, timeout=60) as answer:
            return bytes(answer.read())

    def command(self, target: Target, shape: Shape, processes: Sequence[int] = ()) -> list[str]:
        """The load generator's command line."""
        command = [*REAL_TIME, str(self.folder / "lg"), "-u", f"127.0.0.1:{target.port}{target.path}"]
        for header in target.headers:
            command += ["-H", header]
        command += ["-c", str(shape.connections), "-d", str(shape.seconds), "-w", str(shape.warm_seconds)]
        command += ["-g", str(shape.ramp_seconds)]
        if shape.rate is not None:
            command += ["-r", str(shape.rate)]
        if shape.is_stream:
            command += ["-s", "-n", str(shape.events)]
        if shape.requests is not None:
            command += ["-m", str(shape.requests)]
        if shape.vary:
            command += ["-V", str(shape.vary)]
        if shape.body is not None:
            self._bodies += 1
            path = self.folder / f"body-{self._bodies}.json"
            path.write_bytes(shape.body)
            command += ["-f", str(path)]
        if processes:
            command += ["-P", ",".join(map(str, processes))]
        return command

    def begin(self, target: Target, shape: Shape, processes: Sequence[int] = ()) -> subprocess.Popen[str]:
        """Start a load; `end` waits for it."""
        with pinned(self.load_cores):
            return subprocess.Popen(
                self.command(target, shape, processes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

    def end(self, load: subprocess.Popen[str]) -> Measured:
        """The figures of a load."""
        out, errors = load.communicate()
        return measured(out, errors)

    def run(self, target: Target, shape: Shape, processes: Sequence[int] = ()) -> Measured:
        """One load from its first request to its last."""
        return self.end(self.begin(target, shape, processes))


def measured(out: str, errors: str) -> Measured:
    """The load generator's JSON; a run that brought none is one failed request with its reason."""
    try:
        row = json.loads(out)
    except ValueError:
        return Measured(0.0, 0, 1, 0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}, errors.strip()[-300:])
    (p50, _, p99, longest), (first_p50, _, first_p99), (chunk_p50, _, chunk_p99) = row["lat_us"], row["ttfb_us"], row["chunk_us"]
    return Measured(
        per_second=row["rps"],
        ok=row["ok"],
        failed=row["failed"],
        total=row["total"],
        seconds=row["secs"],
        p50=p50,
        p99=p99,
        longest=longest,
        first_byte_p50=first_p50,
        first_byte_p99=first_p99,
        chunk_p50=chunk_p50,
        chunk_p99=chunk_p99,
        chunks=row["chunks"],
        frames=row["frames"],
        cpu={int(pid): seconds for pid, seconds in row["cpu_s"].items()},
        note=errors.strip()[-300:],
    )


def chat_body(
    prompt_bytes: int = 2_000, *, is_stream: bool = False, model: str = "gpt-4o-mini", max_tokens: int | None = 256
) -> bytes:
    """A chat request of about so many bytes."""
    words = "word " * max(1, (prompt_bytes - 150) // 5)
    body: dict[str, object] = {"model": model}
    if is_stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    body["messages"] = [{"role": "system", "content": "You weigh lorries."}, {"role": "user", "content": words}]
    return json.dumps(body).encode()


def settle_down(seconds: float = 0.3) -> None:
    """Let what a load left behind end before the next one is measured."""
    time.sleep(seconds)
