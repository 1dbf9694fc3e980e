"""The promises, each proven on the real process and printed as a table.

    python -m tests.bench promises [--size small|full] [name …]

Each proof says what it did, what it found and whether that keeps the promise. The small size runs in CI (test_smoke.py runs one of
each), the full one is what README shows. Proofs live in proofs/, one worry per file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.bench.load import Bench
from tests.bench.machine import BenchError, work_folder
from tests.bench.proofs import book, kills, overshoot, postgres_faults, provider_faults, redis_faults, stops
from tests.bench.proofs.verdict import EMBEDDED, Stage, Verdict
from tests.bench.tables import Report, Table
from tests.servers import postgres_server, redis_cluster, redis_server

Proof = Callable[[Bench, bool], list[Verdict]]


@contextmanager
def networked(replicas: int, workers: int, *, is_cluster: bool = False) -> Iterator[Stage]:
    """Replicas that share a Redis (or a cluster of three) and a Postgres."""
    with ExitStack() as stack:
        url = stack.enter_context(redis_cluster()).url if is_cluster else stack.enter_context(redis_server()).url
        postgres = stack.enter_context(postgres_server())
        name = f"{replicas} × {workers} workers, Redis{' Cluster' if is_cluster else ''}, Postgres"
        yield Stage(name, replicas, workers, {"REDIS_URL": url, "DATABASE_URL": postgres.url})


def _overshoot(kinds: Sequence[overshoot.Kind], replicas: int, *, is_cluster: bool = False) -> Proof:
    """Endless demand against these kinds of limits; no replicas: embedded."""

    def proof(bench: Bench, is_full: bool) -> list[Verdict]:
        clients, rounds = (200, 100) if is_full else (40, 1)
        if not replicas:
            return overshoot.prove(bench, EMBEDDED, kinds, clients=clients, rounds=rounds)
        with networked(replicas, 2, is_cluster=is_cluster) as stage:
            return overshoot.prove(bench, stage, kinds, clients=clients, rounds=rounds)

    return proof


def _kills(bench: Bench, is_full: bool) -> list[Verdict]:
    return kills.prove(bench, EMBEDDED, clients=24 if is_full else 8, kills=100 if is_full else 3)


def _kills_shared(bench: Bench, is_full: bool) -> list[Verdict]:
    with networked(1, 2) as stage:
        return kills.prove(bench, stage, clients=24 if is_full else 8, kills=100 if is_full else 3)


def _postgres(bench: Bench, is_full: bool) -> list[Verdict]:
    return postgres_faults.prove(bench, away_seconds=180.0 if is_full else 2.0, seconds=20.0 if is_full else 2.0)


def _redis(bench: Bench, is_full: bool) -> list[Verdict]:
    return redis_faults.prove(bench, seconds=10.0 if is_full else 2.0)


def _provider(bench: Bench, is_full: bool) -> list[Verdict]:
    return provider_faults.prove(bench, seconds=15.0 if is_full else 6.0)


def _stops(bench: Bench, is_full: bool) -> list[Verdict]:
    return stops.prove(bench, EMBEDDED, streams=50 if is_full else 10, rounds=5 if is_full else 1)


def _book(bench: Bench, is_full: bool) -> list[Verdict]:
    return book.prove(bench, EMBEDDED, calls=1_000_000 if is_full else 2_000)


def _book_shared(bench: Bench, is_full: bool) -> list[Verdict]:
    with networked(1, 2) as stage:
        return book.prove(bench, stage, calls=1_000_000 if is_full else 2_000)


PROOFS: dict[str, Proof] = {
    "overshoot": _overshoot(overshoot.budgets(), 0),
    "overshoot-shared": _overshoot(overshoot.budgets(), 2),
    "overshoot-cluster": _overshoot(overshoot.budgets(), 2, is_cluster=True),
    "slots": _overshoot([overshoot.SLOTS], 0),
    "slots-shared": _overshoot([overshoot.SLOTS], 2),
    "slots-cluster": _overshoot([overshoot.SLOTS], 2, is_cluster=True),
    "kills": _kills,
    "kills-shared": _kills_shared,
    "postgres": _postgres,
    "redis": _redis,
    "provider": _provider,
    "sigterm": _stops,
    "book": _book,
    "book-shared": _book_shared,
}


def run(report: Report, size: str, names: Sequence[str]) -> None:
    """Run the proofs named, all where none is; print the table.

    Raises:
        BenchError: an unknown name.
    """
    unknown = set(names) - set(PROOFS)
    if unknown:
        raise BenchError(f"No such proof: {', '.join(sorted(unknown))}. There are: {', '.join(PROOFS)}.")
    table = Table(
        "Promises, proven",
        f"`python -m tests.bench promises --size {size}`: real processes, stores and faults.",
        ("promise", "how", "found", "seconds", "kept"),
    )
    with ExitStack() as stack:
        bench = Bench(stack.enter_context(work_folder()))
        stack.callback(bench.close)
        for name in names or PROOFS:
            began = time.monotonic()
            for verdict in PROOFS[name](bench, size == "full"):
                row = (verdict.promise, verdict.how, verdict.found, time.monotonic() - began, "yes" if verdict.is_kept else "NO")
                table.add(*row)
                print(f"{row[4]:3s} {row[3]:6.1f} s  {verdict.promise}: {verdict.found}  [{verdict.how}]", flush=True)
                report.failed += not verdict.is_kept
    report.show(table)
