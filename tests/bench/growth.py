"""What must stay flat while something grows, and what must fit: scaling sweeps, draining, open streams, reloads, workers.

Each sweep starts the small and the large case side by side and measures them in turn; what counts is the ratio of their CPU.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from proxy.ledger.sqlite_ledger import SqliteLedger
from proxy.spool.writer import SpoolWriter
from tests.bench.load import NUMBER, Bench, Shape, chat_body
from tests.bench.machine import cpu_seconds, resident_kb
from tests.bench.peers import nginx_with_workers
from tests.bench.rounds import Measurable, Rounds, run_rounds, wait_for, weigh
from tests.bench.subjects import KEY, Subject, limits_text
from tests.bench.tables import Report, Table
from tests.sample_records import samples
from tests.servers import postgres_server, redis_server

TESTS = ("scaling", "drain", "open", "reload", "workers", "trickle")
FLAT = 1.10
"""CPU of the large case over that of the small one."""


def run(bench: Bench, report: Report, tests: Sequence[str], *, is_quick: bool, rows: int | None) -> None:
    """Those of TESTS that are asked for."""
    if "scaling" in tests:
        scaling(bench, report, is_quick=is_quick, rows=rows)
    if "drain" in tests:
        drain(bench, report, rows or (20_000 if is_quick else 200_000))
    if "open" in tests:
        open_streams(bench, report, streams=500 if is_quick else 8_000, long_chunks=2_000 if is_quick else 100_000)
    if "reload" in tests:
        reload(bench, report, keys=10_000, rounds=1 if is_quick else 3)
    if "workers" in tests:
        workers(bench, report, counts=(1, 2) if is_quick else (1, 2, 4), rounds=2 if is_quick else 3)
    if "trickle" in tests:
        trickle(bench, report, seconds=4.0 if is_quick else 10.0)


# ── scaling ──


@dataclass
class Case:
    """One size of what grows."""

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = (f"Authorization: Bearer {KEY}",)
    body: bytes = field(default_factory=chat_body)
    vary: int = 0
    touched: int = 0
    """Requests sent before it is measured, so that everybody was there once."""
    ledger_rows: int = 0


def cases(is_quick: bool, rows: int | None) -> dict[str, list[Case]]:
    """Small and large, by what grows."""
    speaking = limits_text(more=", may_speak_for_others: true")
    by_key = f"Authorization: Bearer wb-bench-{NUMBER}"
    by_user = (f"Authorization: Bearer {KEY}", f"x-weighbridge-user: user-{NUMBER}")
    users = 10_000 if is_quick else 1_000_000
    keys = 10_000
    models = 500
    ledger = rows or (20_000 if is_quick else 200_000)

    def priced(count: int) -> dict[str, str]:
        lines = [f"    bench-{number:07d}: {{input_mtok: 0.15, output_mtok: 0.60}}\n" for number in range(count)]
        return {"prices.yaml": "prices:\n  openai:\n" + "".join(lines)}

    of_models = chat_body(model=f"bench-{NUMBER}")
    return {
        "users": [Case(f"{count:,} users", {"limits.yaml": speaking}, by_user, vary=count, touched=count) for count in (10, users)],
        "keys in YAML": [
            Case(f"{count:,} keys", {"limits.yaml": limits_text(count)}, (by_key,), vary=count, touched=count)
            for count in (1, keys)
        ],
        "models": [Case(f"{count:,} models", priced(count), body=of_models, vary=count, touched=count) for count in (1, models)],
        "ledger rows": [Case(f"{count:,} rows", ledger_rows=count) for count in (0, ledger)],
    }


def scaling(bench: Bench, report: Report, *, is_quick: bool, rows: int | None) -> None:
    """CPU per request, small beside large."""
    rounds, seconds = (2, 1.0) if is_quick else (5, 2.0)
    table = Table(
        "Flat in what grows",
        f"CPU µs per request of all processes, small and large in turn, medians of {rounds} rounds; memory of all processes.",
        ("what grows", "small", "large", "CPU small", "CPU large", "ratio", "MB small", "MB large", "failed"),
    )
    for what, (small, large) in cases(is_quick, rows).items():
        found = _beside(bench, [small, large], rounds, seconds)
        _add_pair(table, report, what, small.name, large.name, found, lambda found, name: found.us(name))
    report.show(table)
    by_size = Table(
        "Flat in the size of a call",
        "CPU per kilobyte of prompt, and per chunk of a stream (no pause between chunks).",
        ("what grows", "small", "large", "per unit small", "per unit large", "ratio", "MB small", "MB large", "failed"),
    )
    _prompts(bench, report, by_size, large_kb=100 if is_quick else 1_000, rounds=rounds)
    _chunks(bench, report, by_size, large=2_000 if is_quick else 99_999, rounds=rounds)
    report.show(by_size)


def _add_pair(
    table: Table, report: Report, what: str, small: str, large: str, found: Rounds, cost: Callable[[Rounds, str], float]
) -> None:
    before, after = cost(found, small), cost(found, large)
    megabytes = [found.median(name, lambda each: sum(each.kb.values()) / 1024) for name in (small, large)]
    table.add(what, small, large, before, after, f"{after / before:.2f}", *megabytes, found.failed)
    report.target(f"flat in {what}: {large} / {small}", after / before, FLAT)
    report.failed += found.failed
    report.keep(f"scaling, {what}", found.rows)


def _beside(bench: Bench, pair: list[Case], rounds: int, seconds: float) -> Rounds:
    bench.plain()
    merged = Rounds("scaling", {case.name: [] for case in pair})
    with ExitStack() as stack:
        started: list[tuple[Case, Subject]] = []
        for case in pair:
            subject = stack.enter_context(Subject(case.name, bench, files=case.files, headers=case.headers))
            if case.ledger_rows:
                asyncio.run(_fill_ledger(subject, case.ledger_rows))
            subject.start(bench)
            if case.touched:
                shape = Shape(32, 3_600.0, 0.0, body=case.body, vary=case.vary, requests=case.touched)
                bench.run(subject.target, shape)
                subject.settle(600.0)
            started.append((case, subject))
        for _ in range(rounds):
            for case, subject in started:
                shape = Shape(connections=64, seconds=seconds, warm_seconds=0.5, body=case.body, vary=case.vary)
                merged.rows[case.name].append(weigh(bench, subject, shape))
    return merged


async def _fill_ledger(subject: Subject, rows: int) -> None:
    """Records of the last month, into the ledger that the subject will open."""
    subject.house.data.mkdir(parents=True, exist_ok=True)
    ledger = SqliteLedger(subject.house.data / "ledger.sqlite3")
    await ledger.start()
    begin = datetime.now(UTC) - timedelta(days=28)
    step = timedelta(days=27) / rows
    for at in range(0, rows, 5_000):
        count = min(5_000, rows - at)
        await ledger.append(samples(count, at=begin + at * step, step=step, user=f"user-{at % 1_000}"))
    await ledger.close()


class _Sized:
    """One subject under another name, for a load of another size."""

    def __init__(self, name: str, subject: Subject) -> None:
        self.name, self.target, self.roles, self.settle = name, subject.target, subject.roles, subject.settle

    def start(self, bench: Bench) -> None:
        """The subject runs already."""

    def stop(self) -> None:
        """Its owner stops it."""


def _prompts(bench: Bench, report: Report, table: Table, *, large_kb: int, rounds: int) -> None:
    sizes = {f"{kb} KB": kb for kb in (1, 10, large_kb)}
    bench.plain()
    merged = Rounds("prompts", {name: [] for name in sizes})
    with Subject("prompts", bench) as subject:
        subject.start(bench)
        for _ in range(rounds):
            for name, kb in sizes.items():
                shape = Shape(connections=16, seconds=1.0, warm_seconds=0.5, body=chat_body(kb * 1_000))
                merged.rows[name].append(weigh(bench, subject, shape))
    base = merged.us("1 KB")

    def per_kb(found: Rounds, name: str) -> float:
        """What each kilobyte beyond the first adds."""
        return (found.us(name) - base) / (sizes[name] - 1)

    _add_pair(table, report, "prompt size (µs per further KB)", "10 KB", f"{large_kb} KB", merged, per_kb)


def _chunks(bench: Bench, report: Report, table: Table, *, large: int, rounds: int) -> None:
    bench.plain()
    merged = Rounds("chunks", {"100 chunks": [], f"{large:,} chunks": []})
    with Subject("chunks", bench) as subject:
        subject.start(bench)
        for _ in range(rounds):
            for name, chunks in (("100 chunks", 100), (f"{large:,} chunks", large)):
                bench.set(chunks=chunks)
                count = max(2, 200_000 // chunks // 50)
                shape = Shape(8, 60.0, 0.0, is_stream=True, events=chunks, body=chat_body(is_stream=True), requests=count * 8)
                merged.rows[name].append(weigh(bench, subject, shape))
    bench.plain()
    few, many = merged.rows
    _add_pair(table, report, "chunks of a stream (µs per chunk)", few, many, merged, lambda found, name: found.us_per_chunk(name))


# ── the drain ──


def drain(bench: Bench, report: Report, records: int) -> None:
    """A backlog put into the spool of a running proxy at once; how fast it reaches the ledger."""
    table = Table(
        "Draining a backlog",
        f"{records:,} records put into the spool of a running proxy at once; one control process.",
        ("ledger", "records/s", "control CPU µs/record", "control MB before", "control MB most"),
    )
    with postgres_server() as postgres:
        for name, env in (("SQLite", {}), ("Postgres", {"DATABASE_URL": postgres.url})):
            with Subject(f"drain-{name}", bench, env=env) as subject:
                subject.start(bench)
                rate, us, before, most = _drain_one(bench, subject, records)
                table.add(name, rate, us, before, most)
                if name == "Postgres":
                    report.target("records/s into Postgres", rate, 20_000, at_least=True)
    report.show(table)


def _drain_one(bench: Bench, subject: Subject, records: int) -> tuple[float, float, float, float]:
    beside = subject.house.data / "spool-beside"
    writer = SpoolWriter(beside, fsync="off")
    began = datetime.now(UTC) - timedelta(hours=1)
    for at in range(0, records, 5_000):
        for record in samples(min(5_000, records - at), at=began + timedelta(milliseconds=at), step=timedelta(milliseconds=1)):
            writer.append(record)
    writer.close()
    segments = sorted(beside.glob("*"))
    control = subject.roles()["control"][0]
    before_kb, before_cpu = resident_kb(control), cpu_seconds(control)
    most = before_kb
    spool = subject.house.data / "spool"
    began_at = time.monotonic()
    names = [segment.name for segment in segments]
    for segment in segments:
        segment.rename(spool / segment.name)

    def is_done() -> bool:
        nonlocal most
        most = max(most, resident_kb(control))
        return not any((spool / name).exists() for name in names)

    wait_for(is_done, 60 + records / 500, "the backlog was not drained", every=0.02)
    seconds = time.monotonic() - began_at
    return records / seconds, (cpu_seconds(control) - before_cpu) * 1e6 / records, before_kb / 1024, most / 1024


# ── open streams ──


def open_streams(bench: Bench, report: Report, *, streams: int, long_chunks: int) -> None:
    """Memory of one worker with many open streams, and with few very long ones."""
    bench.plain()
    bench.set(chunks=1_000, delay_us=1_000_000)
    with Subject("open", bench) as subject:
        subject.start(bench)
        worker = subject.workers()[0]
        body = chat_body(is_stream=True)
        bench.run(subject.target, Shape(32, 1.0, 0.0))
        idle = resident_kb(worker)
        ramp = max(2.0, streams / 800)
        load = bench.begin(subject.target, Shape(streams, 6.0, ramp, ramp_seconds=ramp, is_stream=True, body=body))
        time.sleep(ramp + 1.5)
        opened = bench.stats()["open"]
        first = resident_kb(worker)
        time.sleep(3.0)
        later = resident_kb(worker)
        bench.end(load)
        subject.settle()
        bench.set(chunks=long_chunks, delay_us=0)
        shape = Shape(4, 600.0, 0.0, is_stream=True, events=long_chunks, body=body, requests=4)
        long_before = resident_kb(worker)
        long = bench.run(subject.target, shape, [worker])
        long_after = resident_kb(worker)
    bench.plain()
    table = Table(
        "Memory of one worker",
        "Open streams at one chunk a second; then 4 streams of very many chunks.",
        ("what", "streams", "KB each", "growth KB"),
    )
    each = (first - idle) / max(1, streams)
    table.add("open at once", opened, each, later - first)
    table.add(f"{long_chunks:,} chunks each", long.ok, 0.0, long_after - long_before)
    report.show(table)
    report.target("KB of memory per open stream", each, 20)
    report.failed += long.failed
    if opened < streams:
        report.failed += 1
        print(f"only {opened} of {streams} streams were open")


# ── reload ──


def reload(bench: Bench, report: Report, *, keys: int, rounds: int) -> None:
    """The longest answer while a large configuration is saved again and again, beside one run without."""
    bench.plain()
    shape = Shape(connections=20, seconds=4.0, warm_seconds=1.0, rate=200.0, body=chat_body())
    longest: dict[bool, list[float]] = {False: [], True: []}
    p99: dict[bool, list[float]] = {False: [], True: []}
    failed = saved = 0
    with Subject("reload", bench, files={"limits.yaml": limits_text(keys)}) as subject:
        subject.start(bench)
        for number in range(rounds * 2):
            is_saving = number % 2 == 1
            load = bench.begin(subject.target, shape)
            time.sleep(shape.warm_seconds)
            while is_saving and load.poll() is None:
                saved += 1
                text = limits_text(keys).replace("1_000_000_000\n", f"{1_000_000_000 + saved}\n", 1)
                subject.house.write("limits.yaml", text)
                time.sleep(1.5)
            found = bench.end(load)
            longest[is_saving].append(found.longest / 1000)
            p99[is_saving].append(found.p99 / 1000)
            failed += found.failed
    table = Table(
        "Reload under load",
        f"{keys:,} keys in YAML, 200 requests a second; limits.yaml saved every 1.5 s ({saved} times). Milliseconds, all rounds.",
        ("", "p99 ms", "longest ms", "failed"),
    )
    table.add("undisturbed", max(p99[False]), max(longest[False]), failed)
    table.add("while reloading", max(p99[True]), max(longest[True]), failed)
    report.show(table)
    report.target("pause by a reload, ms", min(longest[True]) - min(longest[False]), 10)
    report.failed += failed


# ── workers ──


def workers(bench: Bench, report: Report, *, counts: Sequence[int], rounds: int) -> None:
    """CPU per request of one, two and four workers that share a Redis, all on one core; beside nginx with as many."""
    bench.plain()
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        subjects: list[Measurable] = []
        for count in counts:
            subject = stack.enter_context(Subject(f"{count} workers", bench, env={"REDIS_URL": redis.url}, workers=count))
            subject.start(bench)
            subjects.append(subject)
        peers = [peer for count in counts if (peer := nginx_with_workers(bench, count)) is not None]
        for peer in peers:
            stack.callback(peer.stop)
            peer.start(bench)
        found = run_rounds(bench, "workers", [*subjects, *peers], Shape(connections=64, seconds=2.0, body=chat_body()), rounds)
    table = Table(
        "More workers",
        f"CPU µs per request, limits in one Redis, everything on one core; medians of {rounds} interleaved rounds.",
        ("", "worker", "control", "× 1 worker", "MB", "failed"),
    )
    first = found.us(subjects[0].name, "worker")
    for each in subjects:
        us = found.us(each.name, "worker")
        megabytes = found.median(each.name, lambda row: sum(row.kb.values()) / 1024)
        table.add(each.name, us, found.us(each.name, "control"), f"{us / first:.2f}", megabytes, found.failed)
        report.target(f"{each.name}: worker CPU / one worker's", us / first, 1.05)
    for peer in peers:
        us = found.us(peer.name)
        megabytes = found.median(peer.name, lambda row: sum(row.kb.values()) / 1024)
        table.add(peer.name, us, "-", f"{us / found.us(peers[0].name):.2f}", megabytes, found.failed)
    report.show(table)
    report.failed += found.failed
    report.keep("workers", found.rows)


# ── hardly anything to do ──


def trickle(bench: Bench, report: Report, *, seconds: float) -> None:
    """CPU of a house that nobody calls, and that few call."""
    bench.plain()
    table = Table(
        "A trickle of calls", f"CPU milliseconds a second over {seconds:g} s each.", ("calls a second", "worker", "control")
    )
    with Subject("weighbridge", bench) as subject:
        subject.start(bench)
        time.sleep(5.0)  # what a start does
        roles = subject.roles()
        for rate in (0, 25, 100):
            shape = Shape(connections=20, seconds=seconds + 2.0, rate=float(rate), body=chat_body())
            load = bench.begin(subject.target, shape) if rate else None
            time.sleep(2.0)
            before = {role: sum(map(cpu_seconds, pids)) for role, pids in roles.items()}
            time.sleep(seconds)
            used = {role: (sum(map(cpu_seconds, pids)) - before[role]) * 1000 / seconds for role, pids in roles.items()}
            if load is not None:
                report.failed += bench.end(load).failed
            table.add(rate, used["worker"], used["control"])
    report.show(table)
