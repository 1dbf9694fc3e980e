"""What open dashboards cost the calls.

Fifty dashboards on the overview, through the public port like browsers: each holds the live feed open and asks what
the overview asks again and again, in its own turn. Slices with and without them alternate under one load, so that a ratio is of
seconds that follow each other, and the spread of the ratios tells what the machine adds.
Twice: control plane and worker on one core, where each takes from the other what it uses, and control on the other core, beside the
load, as on a machine that has one to spare. The machine's own spread is wider than what is looked for, so what dashboards take is
also measured where nothing else runs (`_cost`).
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp

from proxy.spool.writer import SpoolWriter
from tests.bench.growth import _fill_ledger
from tests.bench.load import Bench, Shape, chat_body
from tests.bench.machine import cpu_seconds, move, pinned
from tests.bench.subjects import Subject
from tests.bench.tables import Report, Table
from tests.e2e.house import ADMIN_KEY
from tests.sample_records import samples

VIEWERS = 50
FALL_PERCENT = 2.0
CALLS_ELSEWHERE = 5_000
SETTLE_SECONDS = 1.0
"""All feeds are open, or gone."""
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


class Slice(NamedTuple):
    """Some seconds of a load."""

    per_second: float
    worker_us: float
    """CPU of the worker per call, what it relays for dashboards included."""
    control: float
    """Share of a core."""
    feed_kb: float
    asked: float
    refused: float


class Shares(NamedTuple):
    """Of a core."""

    worker: float
    control: float


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
    """Throughput with and without the viewers, in slices of one load."""
    bench.plain()
    table = Table(
        f"{VIEWERS} open dashboards",
        f"One worker at saturation under one load, {rows:,} records in the ledger; {rounds} pairs of slices of {seconds:g} s, "
        f"without and with {VIEWERS} overviews open (feed, and all they ask again); medians, and quartiles of the pairs' ratios.",
        (
            "control runs",
            "viewers",
            "req/s",
            "ratio",
            "quartiles",
            "worker µs/req",
            "ratio",
            "quartiles",
            "control",
            "feed KB/s",
            "asks/s",
        ),
    )
    with Subject("viewed", bench) as subject:
        asyncio.run(_fill_ledger(subject, rows))
        subject.start(bench)
        for layout, cores in (("on the worker's core", bench.subject_cores), ("on the other core", bench.load_cores)):
            for pid in subject.roles()["control"]:
                move(pid, cores)
            load = bench.begin(subject.target, Shape(connections=64, seconds=3_600.0, warm_seconds=0.0, body=chat_body(2_000)))
            try:
                time.sleep(2.0)
                pairs = [_pair(bench, subject, seconds, is_watched_first=number % 2 == 1) for number in range(rounds)]
            finally:
                load.kill()
                load.communicate()
            subject.settle()
            _show(table, report, layout, pairs)
        for pid in subject.roles()["control"]:
            move(pid, bench.subject_cores)
        _show_cost(report, _cost(bench, subject, 2 * seconds, rounds=max(3, rounds // 2)))
    report.show(table)


def _pair(bench: Bench, subject: Subject, seconds: float, *, is_watched_first: bool) -> tuple[Slice, Slice]:
    """A slice without viewers and one with them, in either order."""
    if not is_watched_first:
        alone = _slice(bench, subject, seconds, None)
    viewers = Viewers(subject.house.port, VIEWERS)
    with viewers.open(bench):
        watched = _slice(bench, subject, seconds, viewers)
    if is_watched_first:
        alone = _slice(bench, subject, seconds, None)
    return alone, watched


def _slice(bench: Bench, subject: Subject, seconds: float, viewers: Viewers | None) -> Slice:
    def now() -> tuple[float, ...]:
        roles = subject.roles()
        used = [sum(map(cpu_seconds, roles[role])) for role in ("worker", "control")]
        seen = (viewers.bytes, viewers.answers) if viewers is not None else (0, 0)
        return time.monotonic(), bench.stats()["answers"], *used, *seen

    time.sleep(SETTLE_SECONDS)
    before = now()
    time.sleep(seconds)
    passed, calls, worker, control, fed, asked = (after - then for after, then in zip(now(), before, strict=True))
    refused = viewers.failed if viewers is not None else 0
    return Slice(calls / passed, worker * 1e6 / calls, control / passed, fed / passed / 1024, asked / passed, refused)


def _show(table: Table, report: Report, layout: str, pairs: list[tuple[Slice, Slice]]) -> None:
    def compared(figure: Callable[[Slice], float]) -> tuple[float, str]:
        ratios = [figure(watched) / figure(alone) for alone, watched in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return middle, f"{low:.3f} to {high:.3f}"

    speed, speed_spread = compared(lambda one: one.per_second)
    cost, cost_spread = compared(lambda one: one.worker_us)
    for count, slices in ((0, [alone for alone, _ in pairs]), (VIEWERS, [watched for _, watched in pairs])):
        middle = Slice(*(statistics.median(values) for values in zip(*slices, strict=True)))
        table.add(
            layout, count, middle.per_second, f"{speed:.3f}" if count else "", speed_spread if count else "",
            middle.worker_us, f"{cost:.3f}" if count else "", cost_spread if count else "",
            f"{middle.control * 100:.1f} %", middle.feed_kb, middle.asked,
        )  # fmt: skip
    report.failed += sum(int(watched.refused) for _, watched in pairs)
    report.target(f"{VIEWERS} viewers, control {layout}: throughput falls by %", (1 - speed) * 100, FALL_PERCENT)
    report.target(f"{VIEWERS} viewers, control {layout}: worker CPU per call rises by %", (cost - 1) * 100, FALL_PERCENT)
    report.keep(f"viewers, control {layout}", pairs)


def _cost(bench: Bench, subject: Subject, seconds: float, rounds: int) -> list[tuple[Shares, Shares]]:
    """What worker and control take without and with viewers, while calls of another worker are recorded. This one has none, so what
    it relays to dashboards is all that it does: small beside nothing instead of beside a whole core."""
    stop = threading.Event()
    elsewhere = threading.Thread(target=_record_calls, args=(subject, stop))
    with pinned(bench.load_cores):
        elsewhere.start()
    pairs = []
    try:
        for number in range(rounds):
            found: dict[bool, Shares] = {}
            for is_watched in (number % 2 == 1, number % 2 == 0):
                with Viewers(subject.house.port, VIEWERS).open(bench) if is_watched else nullcontext():
                    time.sleep(SETTLE_SECONDS)
                    found[is_watched] = _shares(subject, seconds)
            pairs.append((found[False], found[True]))
    finally:
        stop.set()
        elsewhere.join()
    return pairs


def _record_calls(subject: Subject, stop: threading.Event) -> None:
    """Records as a saturated worker writes them, in time with the clock."""
    writer = SpoolWriter(subject.house.data / "spool", fsync="off")
    began, written = time.monotonic(), 0
    try:
        while not stop.wait(0.02):
            due = int((time.monotonic() - began) * CALLS_ELSEWHERE) - written
            for record in samples(due, at=datetime.now(UTC), step=timedelta(microseconds=1)):
                writer.append(record)
            written += due
    finally:
        writer.close()


def _shares(subject: Subject, seconds: float) -> Shares:
    def used() -> list[float]:
        roles = subject.roles()
        return [sum(map(cpu_seconds, roles[role])) for role in ("worker", "control")]

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return Shares(*((after - then) / passed for after, then in zip(used(), before, strict=True)))


def _show_cost(report: Report, pairs: list[tuple[Shares, Shares]]) -> None:
    table = Table(
        f"What {VIEWERS} dashboards take",
        f"Share of a core while {CALLS_ELSEWHERE:,} calls a second of another worker are recorded; medians of {len(pairs)} pairs.",
        ("", "without", f"with {VIEWERS}", "difference"),
    )
    whole = 0.0
    for at, role in enumerate(Shares._fields):
        alone, watched = (statistics.median(shares[side][at] for shares in pairs) for side in (0, 1))
        more = statistics.median(with_them[at] - without[at] for without, with_them in pairs)
        whole += more
        table.add(role, f"{alone:.1%}", f"{watched:.1%}", f"{more:+.1%}")
    report.show(table)
    report.target(f"{VIEWERS} viewers: part of one core, worker and control, in %", whole * 100, FALL_PERCENT)
    report.keep("viewers, their own cost", pairs)
