"""What open dashboards cost the calls.

Fifty dashboards on the overview, through the public port like browsers: each holds the live feed open and asks what
the overview asks again and again, in its own turn. Rounds with and without them alternate on the same running proxy, so that the
ratio is of one run. Twice: control plane and worker on one core, where each takes from the other what it uses, and control on the
other core, beside the load, as on a machine that has one to spare.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlencode

import aiohttp

from tests.bench.growth import _fill_ledger
from tests.bench.load import Bench, Shape, chat_body, settle_down
from tests.bench.machine import pinned
from tests.bench.rounds import Weighed, weigh
from tests.bench.subjects import Subject
from tests.bench.tables import Report, Table
from tests.e2e.house import ADMIN_KEY

VIEWERS = 50
FALL_PERCENT = 2.0
POLLS: tuple[tuple[str, dict[str, str], float], ...] = (
    ("stats", {"range": "30d"}, 120.0),
    ("usage/timeseries", {"range": "30d", "interval": "day", "group_by": "model"}, 120.0),
    ("switch", {}, 60.0),
    ("alerts", {"state": "open", "limit": "100"}, 60.0),
    ("usage/summary", {"range": "today", "group_by": "user", "limit": "1000"}, 120.0),
    ("usage/summary", {"range": "yesterday", "group_by": "user", "limit": "1000"}, 600.0),
    ("usage/summary", {"range": "this_month", "group_by": "user", "limit": "1000"}, 120.0),
    ("usage/summary", {"range": "last_month"}, 600.0),
    ("usage/timeseries", {"range": "30d", "interval": "day"}, 120.0),
    ("usage/projection", {}, 300.0),
    ("usage/timeseries", {"range": "this_month", "interval": "day"}, 300.0),
)
"""What the overview asks for, and how often: views/overview.js and the parts it is made of."""


class Viewers:
    """Open dashboards, in a thread of their own."""

    def __init__(self, port: int, count: int) -> None:
        self.bytes = self.answers = self.failed = 0
        self._url, self._count = f"http://127.0.0.1:{port}/api/v1/", count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    @contextmanager
    def open(self, bench: Bench) -> Iterator[Viewers]:
        with pinned(bench.load_cores):
            self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(20)

    async def _run(self) -> None:
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            tasks = [asyncio.create_task(self._feed(session)) for _ in range(self._count)]
            tasks += [
                asyncio.create_task(self._ask(session, f"{path}?{urlencode(query)}", every, every * viewer / self._count))
                for viewer in range(self._count)
                for path, query, every in POLLS
            ]
            await asyncio.to_thread(self._stop.wait)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _feed(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self._url + "live", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for chunk in answer.content.iter_any():
                self.bytes += len(chunk)

    async def _ask(self, session: aiohttp.ClientSession, what: str, every: float, first: float) -> None:
        await asyncio.sleep(first)
        while True:
            try:
                async with session.get(self._url + what, headers={"cache-control": f"max-age={every / 2:.0f}"}) as answer:
                    await answer.read()
                    self.failed += answer.status != 200
            except aiohttp.ClientError:
                self.failed += 1
            self.answers += 1
            await asyncio.sleep(every)


def run(bench: Bench, report: Report, *, rounds: int, seconds: float, rows: int) -> None:
    """Throughput with and without the viewers, in alternation."""
    bench.plain()
    shape = Shape(connections=64, seconds=seconds, warm_seconds=1.0, body=chat_body(2_000))
    table = Table(
        f"{VIEWERS} open dashboards",
        f"One worker at saturation, {rows:,} records in the ledger; each round once without and once with {VIEWERS} overviews open "
        f"(live feed, and all they ask again), medians of {rounds} rounds of {seconds:g} s; control in share of a core.",
        (
            "control runs",
            "viewers",
            "req/s",
            "ratio",
            "worker µs/req",
            "ratio",
            "control µs/req",
            "control",
            "feed KB/s",
            "asks/s",
            "failed",
        ),
    )
    with Subject("viewed", bench) as subject:
        asyncio.run(_fill_ledger(subject, rows))
        subject.start(bench)
        for layout, cores in (("on the worker's core", bench.subject_cores), ("on the other core", bench.load_cores)):
            for pid in subject.roles()["control"]:
                _move(pid, cores)
            alone: list[Weighed] = []
            watched: list[Weighed] = []
            fed, asked, refused = 0.0, 0.0, 0
            for number in range(rounds):
                for is_watched in (number % 2 == 0, number % 2 == 1):
                    if not is_watched:
                        alone.append(weigh(bench, subject, shape))
                        continue
                    viewers = Viewers(subject.house.port, VIEWERS)
                    with viewers.open(bench):
                        time.sleep(2.0)  # all have their feeds
                        before, began = (viewers.bytes, viewers.answers), time.monotonic()
                        watched.append(weigh(bench, subject, shape))
                        passed = time.monotonic() - began
                        fed += (viewers.bytes - before[0]) / passed / 1024 / rounds
                        asked += (viewers.answers - before[1]) / passed / rounds
                        refused += viewers.failed
                    settle_down()
            _show(table, report, layout, alone, watched, (fed, asked, refused))
    report.show(table)


def _show(
    table: Table, report: Report, layout: str, alone: list[Weighed], watched: list[Weighed], seen: tuple[float, float, int]
) -> None:
    def middle(rows: list[Weighed], role: str) -> float:
        return statistics.median(row.us[role] for row in rows)

    def share(rows: list[Weighed]) -> str:
        return f"{statistics.median(row.us['control'] * row.measured.per_second for row in rows) / 10_000:.1f} %"

    speed = statistics.median(two.measured.per_second / one.measured.per_second for one, two in zip(alone, watched, strict=True))
    cost = statistics.median(two.us["worker"] / one.us["worker"] for one, two in zip(alone, watched, strict=True))
    for count, rows in ((0, alone), (VIEWERS, watched)):
        per_second = statistics.median(row.measured.per_second for row in rows)
        failed = sum(row.measured.failed for row in rows)
        table.add(
            layout, count, per_second, f"{speed:.3f}" if count else "", middle(rows, "worker"), f"{cost:.3f}" if count else "",
            middle(rows, "control"), share(rows), *(seen[:2] if count else (0.0, 0.0)),
            failed + (seen[2] if count else 0),
        )  # fmt: skip
        report.failed += failed
    report.target(f"{VIEWERS} viewers, control {layout}: throughput falls by %", (1 - speed) * 100, FALL_PERCENT)
    report.target(f"{VIEWERS} viewers, control {layout}: worker CPU per call rises by %", (cost - 1) * 100, FALL_PERCENT)
    report.keep(f"viewers, control {layout}", {"alone": alone, "watched": watched})


def _move(pid: int, cores: set[int]) -> None:
    """A process with all its threads onto these cores."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), cores)
