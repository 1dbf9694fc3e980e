"""The benchmarks' one command.

    python -m tests.bench [--quick]                  everything, tables for README, JSON beside them
    python -m tests.bench plain streams low gateway  some of it
    python -m tests.bench promises [--size small|full] [--rounds N] [--rows CALLS] [name …]
    python -m tests.bench plans [--rows 10000000]              how Postgres reads a ledger of that size
    python -m tests.bench profile [--control] [--stream]       py-spy over a loaded proxy
    python -m tests.bench control [--rows 10_000_000]          the control API over many records on PostgreSQL
    python -m tests.bench screen [--rows 10_000_000]           the overview in Chromium over the same
    python -m tests.bench viewers [--rows 200_000]             fifty open dashboards beside none
    python -m tests.bench way [--calls]                        Python's own share, without sockets: the figure to watch
    python -m tests.bench instructions                         the same counted by valgrind: nothing disturbs it

Nothing here runs in the normal tests except test_smoke.py, which looks at correctness and never at time.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.bench import answers, growth, instructions, plans, profiling, promises, side_by_side, viewers, way
from tests.bench.load import Bench
from tests.bench.machine import BenchError, load_average, raise_file_limit, work_folder
from tests.bench.peers import find_peers
from tests.bench.rounds import Measurable
from tests.bench.subjects import Subject
from tests.bench.tables import Report
from tests.servers import postgres_server, redis_server

SIDE_BY_SIDE = ("plain", "streams", "low", "gateway")
TESTS = (*SIDE_BY_SIDE, *growth.TESTS)
ON_DEMAND = ("viewers",)
"""Not among everything: what it takes is minutes of both cores."""
SLOW_PEERS = ("litellm", "litellm+redis")
QUICK_PEERS = ("nginx", "envoy", "raw")


def parser() -> argparse.ArgumentParser:
    raw_text = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__, formatter_class=raw_text)
    made.add_argument("tests", nargs="*", metavar="TEST", help=f"{', '.join(TESTS)}; all where none is named; or as above")
    made.add_argument("--quick", action="store_true", help="under two minutes: side by side only, fewer peers, short rounds")
    made.add_argument("--rounds", type=int, help="interleaved rounds (default 3; quick 2, then 1); promises: rounds and kills")
    made.add_argument("--seconds", type=float, help="length of one measurement (default 3; quick 1.5)")
    made.add_argument("--connections", type=int, default=128)
    made.add_argument("--only", help="comma-separated names of peers and subjects")
    made.add_argument("--out", type=Path, default=Path("bench-results.json"), help="where the JSON goes")
    made.add_argument("--size", choices=("small", "full"), default="full", help="promises: what CI runs, or what README shows")
    made.add_argument("--control", action="store_true", help="profile: the control process")
    made.add_argument("--stream", action="store_true", help="profile: streams")
    made.add_argument("--calls", action="store_true", help="way: every function with its calls per request")
    made.add_argument("--database", metavar="URL", help="control, screen: a PostgreSQL that was filled before")
    made.add_argument("--rows", type=int, help="records: beside an empty ledger, to drain, of plans and control; calls of promises")
    return made


def main(argv: list[str]) -> int:
    """Exit code 1: a request failed or a promise broke; a missed speed target is told and no error."""
    asked = parser().parse_intermixed_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    raise_file_limit()
    report = Report()
    try:
        if asked.tests[:1] == ["promises"]:
            promises.run(report, asked.size, asked.tests[1:], rounds=asked.rounds, calls=asked.rows)
        elif asked.tests == ["plans"]:
            plans.run(report, asked.rows or 10_000_000)
        elif asked.tests[:1] == ["way"]:
            report.show(way.run())
            if asked.calls:
                print(way.calls())
        elif asked.tests[:1] == ["control"]:
            answers.run(report, asked.rows or 10_000_000, asked.database)
        elif asked.tests[:1] == ["screen"]:
            from tests.bench import screen  # wants a browser

            screen.run(report, asked.rows or 10_000_000, asked.database, asked.rounds or 7)
        elif asked.tests[:1] == ["instructions"]:
            report.show(instructions.run())
        elif asked.tests[:1] == ["profile"]:
            profiling.run(is_control=asked.control, is_stream=asked.stream, seconds=asked.seconds or 6.0)
            return 0
        else:
            unknown = set(asked.tests) - {*TESTS, *ON_DEMAND}
            if unknown:
                parser().error(f"no such test: {', '.join(sorted(unknown))}")
            run(report, asked)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    report.write(asked.out)
    print(f"written: {asked.out}; load now {load_average():.1f}; requests or promises failed: {report.failed}")
    for missed in report.missed:
        print(f"missed: {missed}")
    return 1 if report.failed else 0


def run(report: Report, asked: argparse.Namespace) -> None:
    """The measurements that were asked for."""
    tests = asked.tests or (SIDE_BY_SIDE if asked.quick else TESTS)
    rounds = asked.rounds or (2 if asked.quick else 3)
    seconds = asked.seconds or (1.5 if asked.quick else 3.0)
    later = 1 if asked.quick and not asked.rounds else rounds
    with ExitStack() as stack:
        bench = Bench(stack.enter_context(work_folder()))
        stack.callback(bench.close)
        if set(tests) & set(SIDE_BY_SIDE):
            subjects = stack.enter_context(_Everyone(bench, asked)).subjects
            fast = [each for each in subjects if each.name not in SLOW_PEERS]
            if "plain" in tests:
                side_by_side.plain(bench, subjects, report, connections=asked.connections, seconds=seconds, rounds=rounds)
            if "streams" in tests:
                counts, delays = ((50,), (20_000,)) if asked.quick else ((50, 200, 1000), (20_000, 0))
                side_by_side.streams(bench, fast, report, counts=counts, delays_us=delays, seconds=seconds, rounds=later)
            if "low" in tests:
                side_by_side.low_rate(bench, fast, report, rate=100, seconds=max(2.0, seconds), rounds=later)
            if "gateway" in tests:
                concurrency = (1, 16) if asked.quick else (1, 4, 16, 64)
                side_by_side.gateway(bench, fast, report, concurrency=concurrency, seconds=seconds, rounds=later)
        if "viewers" in tests:
            viewers.run(bench, report, rounds=max(2, asked.rounds or 20), seconds=seconds, rows=asked.rows or 200_000)
        growth.run(bench, report, [test for test in tests if test in growth.TESTS], is_quick=asked.quick, rows=asked.rows)


class _Everyone:
    """All peers that are here and Weighbridge twice, started; those that do not start are said and left out."""

    def __init__(self, bench: Bench, asked: argparse.Namespace) -> None:
        self._bench = bench
        self._stack = ExitStack()
        self._only = asked.only.split(",") if asked.only else None
        self._is_quick = asked.quick
        self.subjects: list[Measurable] = []

    def _is_wanted(self, name: str) -> bool:
        if self._only is not None:
            return name in self._only
        return not self._is_quick or name in QUICK_PEERS or name in side_by_side.OURS

    def __enter__(self) -> _Everyone:
        redis = self._stack.enter_context(redis_server())
        candidates: list[Measurable] = []
        peers, missing = find_peers(self._bench, redis)
        candidates += [peer for peer in peers if self._is_wanted(peer.name)]
        if missing:
            print("not here, left out:", ", ".join(missing))
        if self._is_wanted("weighbridge"):
            candidates.append(Subject("weighbridge", self._bench))
        if self._is_wanted("weighbridge+redis"):
            postgres = self._stack.enter_context(postgres_server())
            env = {"REDIS_URL": redis.url, "DATABASE_URL": postgres.url}
            candidates.append(Subject("weighbridge+redis", self._bench, env=env))
        for subject in candidates:
            try:
                subject.start(self._bench)
            except (BenchError, AssertionError) as error:
                if isinstance(subject, Subject):
                    raise
                print(f"{subject.name} did not start and is left out: {str(error)[-500:]}", file=sys.stderr)
                continue
            self._stack.callback(subject.stop)
            self.subjects.append(subject)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
