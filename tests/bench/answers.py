"""How long the control API takes over millions of records: the real process, over HTTP, on PostgreSQL.

    python -m tests.bench control --rows 10_000_000 [--database URL]

Fills an empty PostgreSQL (big_ledger.py), lets the ledger sum up the hours that are over, starts the proxy on it and asks.
`--database` takes one that was filled before. An export with the control process's memory watched, and EXPLAIN of it all.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from proxy.ledger.ledger import RecordFilter
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.statements import Statement
from tests.bench.big_ledger import DAYS, SETTINGS, fill
from tests.bench.load import Bench
from tests.bench.machine import BenchError, hurry, resident_kb, work_folder
from tests.bench.subjects import Subject
from tests.bench.tables import Report, Table
from tests.e2e.house import ADMIN_KEY
from tests.servers import postgres_server, redis_server

ASKED = 100
"""Times that each question is put."""
FAST_MS, SCREEN_MS = 100.0, 1000.0
HELD = (
    ("summary", "usage/summary?range=30d"),
    ("summary by provider and model", "usage/summary?range=30d&group_by=provider,model"),
    ("timeseries by day", "usage/timeseries?range=30d&interval=day"),
    ("timeseries by day, Europe/Berlin", "usage/timeseries?range=30d&interval=day&timezone=Europe/Berlin"),
    ("top users", "usage/summary?range=30d&group_by=user&limit=10"),
)
"""Held against FAST_MS."""
TOLD = (
    ("timeseries by hour", "usage/timeseries?range=30d&interval=hour"),
    ("timeseries by day and model", "usage/timeseries?range=30d&interval=day&group_by=model"),
    ("timeseries by day, Asia/Kolkata", "usage/timeseries?range=30d&interval=day&timezone=Asia/Kolkata"),
    ("all users with limits", "users?range=30d"),
    ("one user", "users/user-0100?range=30d"),
    ("projection", "usage/projection"),
    ("anomalies", "usage/anomalies?range=week"),
    ("newest records", "usage/records?limit=100"),
)
SCREEN = (
    "stats?range=30d", "usage/projection", "usage/timeseries?range=this_month&interval=day", "usage/summary?range=today",
    "usage/summary?range=30d", "usage/timeseries?range=30d&interval=day", "usage/timeseries?range=30d&interval=day&group_by=model",
    "switch",
)  # fmt: skip
"""What the dashboard asks for its first screen, all at once."""
EXPORTED = 1_000_000
_BUSY = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def run(report: Report, rows: int, database: str | None) -> None:
    with ExitStack() as stack:
        url, server = database, None
        if url is None:
            server = stack.enter_context(postgres_server(SETTINGS))
            url = server.url
            asyncio.run(fill(url, rows, datetime.now(UTC), progress()))
        shape = asyncio.run(digest(url))
        bench = Bench(stack.enter_context(work_folder()))
        stack.callback(bench.close)
        redis = stack.enter_context(redis_server())  # a house of this size has it, and asks the ledger for no counters at its start
        subject = stack.enter_context(Subject("weighbridge", bench, env={"DATABASE_URL": url, "REDIS_URL": redis.url}))
        subject.start(bench)
        if server is not None:
            hurry(server.process.pid)  # as the subject is: what runs on this machine besides is not to be measured
        print(f"  the start's own sums (a seed for an empty Redis, anomalies) took {asyncio.run(quiet(url)):.0f} s", flush=True)
        measure(report, subject, shape)
        report.show(export(report, subject, rows))
        plans: list[str] = []
        asyncio.run(explain(url, plans.append))
        report.keep("plans", plans)
        print("\n".join(plans))


def progress() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda text: print(f"  {time.monotonic() - began:6.0f} s {text}", flush=True)


async def digest(url: str) -> str:
    """Sum up what is over, as the control process does in the background; what stands in the database then."""
    ledger = PostgresLedger(url)
    await ledger.start()
    began, rounds = time.monotonic(), 0
    while await ledger.digest():
        rounds += 1
    print(f"  digested in {time.monotonic() - began:.0f} s, {rounds} rounds", flush=True)
    await ledger.close()
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        counts = [
            f"{await connection.fetchval(f'SELECT COUNT(*) FROM {table}'):,} {word}"
            for table, word in (("usage_records", "records"), ("series", "series"), ("rollups", "roll-ups"), ("digests", "digests"))
        ]
        size = await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
        await connection.execute("VACUUM ANALYZE digests, digested")
    finally:
        await connection.close()
    return f"{', '.join(counts)}; {size}"


async def quiet(url: str) -> float:
    """Wait until the database has had nothing to do for three seconds; how long that took."""
    connection = await asyncpg.connect(url)
    began = idle_since = time.monotonic()
    try:
        while time.monotonic() - idle_since < 3.0:
            if time.monotonic() - began > 300.0:
                raise BenchError("PostgreSQL does not come to rest")
            if await connection.fetchval(_BUSY):
                idle_since = time.monotonic()
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
    return idle_since - began


def measure(report: Report, subject: Subject, shape: str) -> None:
    table = Table(
        f"Questions over {DAYS} days",
        f"{shape}. Each asked {ASKED} times over one connection (those without an aim {ASKED // 4}), through the public port; ms.",
        ("question", "p50", "p95", "most"),
    )
    with Asker(subject) as asker:
        for name, path in (*HELD, *TOLD, ("first screen, its largest call", SCREEN[0])):
            spent = [asker.ask(path) for _ in range(ASKED if (name, path) in HELD else ASKED // 4)]
            p95 = statistics.quantiles(spent, n=20)[-1]
            table.add(name, statistics.median(spent), p95, max(spent))
            report.keep(name, spent)
            if (name, path) in HELD:
                report.target(f"{name}, p95 ms", p95, FAST_MS)
    whole = screens(subject, ASKED // 4)
    table.add(
        f"first screen whole ({len(SCREEN)} calls at once)",
        statistics.median(whole),
        statistics.quantiles(whole, n=20)[-1],
        max(whole),
    )
    report.target("first screen, p95 ms", statistics.quantiles(whole, n=20)[-1], SCREEN_MS)
    report.show(table)


class Asker:
    """One kept-alive connection to the API."""

    def __init__(self, subject: Subject) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", subject.house.port, timeout=120)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: Any) -> None:
        self._connection.close()

    def ask(self, path: str) -> float:
        """Milliseconds until the whole answer is there."""
        began = time.perf_counter()
        self._connection.request("GET", f"/api/v1/{path}", headers={"authorization": f"Bearer {ADMIN_KEY}"})
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {body[:300]!r}"
        return (time.perf_counter() - began) * 1000


def screens(subject: Subject, count: int) -> list[float]:
    """Milliseconds of whole first screens: every call at once, each over a connection of its own, as a browser does."""
    askers = [Asker(subject) for _ in SCREEN]
    found = []
    with ThreadPoolExecutor(len(SCREEN)) as pool:
        for _ in range(count):
            began = time.perf_counter()
            list(pool.map(lambda pair: pair[0].ask(pair[1]), zip(askers, SCREEN, strict=True)))
            found.append((time.perf_counter() - began) * 1000)
    return found


def export(report: Report, subject: Subject, rows: int) -> Table:
    """A million records (or all), as JSON lines and as CSV, and the memory of the control process meanwhile."""
    (control,) = subject.roles()["control"]
    now = datetime.now(UTC)
    start = now - timedelta(days=DAYS * min(1.0, EXPORTED / rows) + 0.01)
    table = Table(
        "Export",
        "Through the public port; memory of the control process, MB.",
        ("format", "records", "s", "records/s", "before", "after a tenth", "most"),
    )
    for form in ("jsonl", "csv"):
        before = resident_kb(control) / 1024
        began = time.monotonic()
        count, early, most = download(
            subject, f"usage/export?format={form}&from={start:%Y-%m-%dT%H:%M:%SZ}", control, min(EXPORTED, rows)
        )
        seconds = time.monotonic() - began
        count -= form == "csv"
        table.add(form, count, seconds, count / seconds, before, early, most)
        report.target(f"export as {form}: MB more at the end than after a tenth", most - early, 16.0)
    return table


def download(subject: Subject, path: str, pid: int, expected: int) -> tuple[int, float, float]:
    """Lines that came; memory after a tenth of them, and the most of all."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.house.port, timeout=600)
    connection.request("GET", f"/api/v1/{path}", headers={"authorization": f"Bearer {ADMIN_KEY}", "accept-encoding": "identity"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()[:300]
    lines, early, most = 0, 0.0, 0.0
    while part := answer.read(1 << 20):
        lines += part.count(b"\n")
        memory = resident_kb(pid) / 1024
        if not early and lines * 10 >= expected:
            early = memory
        most = max(most, memory)
    connection.close()
    return lines, early, most


async def explain(url: str, say: Callable[[str], None]) -> None:
    """The plan of every statement behind the questions that are held, with its time."""
    ledger = PostgresLedger(url)
    asked: list[Statement] = []
    fetch = ledger._fetch

    async def watched(statement: Statement) -> Sequence[Any]:
        asked.append(statement)
        return await fetch(statement)

    ledger._fetch = watched  # type: ignore[method-assign]
    await ledger.start()
    now = datetime.now(UTC)
    month = RecordFilter(start_at=(now - timedelta(days=30)).replace(minute=0, second=0, microsecond=0), end_at=None)
    questions = {
        "summary": lambda: ledger.sums(month),
        "top users": lambda: ledger.sums(month, ("user",), 10),
        "timeseries by day": lambda: ledger.timeseries(month, "day", "UTC"),
        "timeseries by day, Europe/Berlin": lambda: ledger.timeseries(month, "day", "Europe/Berlin"),
    }
    connection = await asyncpg.connect(url, server_settings={"jit": "off", "timezone": "UTC"})
    try:
        for name, question in questions.items():
            asked.clear()
            await question()
            for statement in asked:
                plan = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement.text}", *statement.values)
                say(f"{name}: {statement.text[-200:]}\n" + "\n".join(f"    {row[0]}" for row in plan))
    finally:
        await connection.close()
        await ledger.close()
