"""The promises, each proven on the real process and printed as a table.

    python -m tests.bench promises [--size small|full] [--rounds N] [--rows CALLS] [name …]

Each proof says what it did, what it found and whether that keeps the promise. The small size takes minutes, the full one hours on a
small machine; README says which size its figures are from. Proofs live in proofs/, one worry per file; the tests of the same
promises are in tests/e2e, tests/contract and tests/relay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from tests.bench.load import Bench
from tests.bench.machine import BenchError, work_folder
from tests.bench.proofs import book, kills, overshoot, postgres_faults, provider_faults, redis_faults, stops
from tests.bench.proofs.verdict import EMBEDDED, Stage, Verdict
from tests.bench.tables import Report, Table
from tests.servers import postgres_server, redis_cluster, redis_server


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    clients: int
    rounds: int
    """Of each kind of limit."""
    kill_clients: int
    kills: int
    away_seconds: float
    """Postgres is gone for so long."""
    fault_seconds: float
    """Every other fault lasts so long."""
    streams: int
    """Open when SIGTERM comes."""
    stops: int
    calls: int
    """Compared with the provider's own book."""


SMALL = Size(40, 1, 8, 3, 2.0, 2.0, 10, 1, 2_000)
FULL = Size(200, 100, 24, 100, 180.0, 15.0, 50, 5, 1_000_000)
Proof = Callable[[Bench, Size], list[Verdict]]


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

    def proof(bench: Bench, size: Size) -> list[Verdict]:
        if not replicas:
            return overshoot.prove(bench, EMBEDDED, kinds, clients=size.clients, rounds=size.rounds)
        with networked(replicas, 2, is_cluster=is_cluster) as stage:
            return overshoot.prove(bench, stage, kinds, clients=size.clients, rounds=size.rounds)

    return proof


def _kills(bench: Bench, size: Size) -> list[Verdict]:
    return kills.prove(bench, EMBEDDED, clients=size.kill_clients, kills=size.kills)


def _kills_shared(bench: Bench, size: Size) -> list[Verdict]:
    with networked(1, 2) as stage:
        return kills.prove(bench, stage, clients=size.kill_clients, kills=size.kills)


def _postgres(bench: Bench, size: Size) -> list[Verdict]:
    return postgres_faults.prove(bench, away_seconds=size.away_seconds, seconds=size.fault_seconds)


def _redis(bench: Bench, size: Size) -> list[Verdict]:
    return redis_faults.prove(bench, seconds=size.fault_seconds)


def _provider(bench: Bench, size: Size) -> list[Verdict]:
    return provider_faults.prove(bench, seconds=size.fault_seconds)


def _stops(bench: Bench, size: Size) -> list[Verdict]:
    return stops.prove(bench, EMBEDDED, streams=size.streams, rounds=size.stops)


def _book(bench: Bench, size: Size) -> list[Verdict]:
    return book.prove(bench, EMBEDDED, calls=size.calls)


def _book_shared(bench: Bench, size: Size) -> list[Verdict]:
    with networked(1, 2) as stage:
        return book.prove(bench, stage, calls=size.calls)


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


def run(report: Report, size: str, names: Sequence[str], *, rounds: int | None = None, calls: int | None = None) -> None:
    """Run the proofs named, all where none is; print the table.

    Args:
        size: small or full.
        rounds: instead of the size's own rounds and kills.
        calls: instead of the size's own calls against the provider's book.

    Raises:
        BenchError: an unknown name.
    """
    unknown = set(names) - set(PROOFS)
    if unknown:
        raise BenchError(f"No such proof: {', '.join(sorted(unknown))}. There are: {', '.join(PROOFS)}.")
    much = FULL if size == "full" else SMALL
    much = replace(much, rounds=rounds or much.rounds, kills=rounds or much.kills, calls=calls or much.calls)
    table = Table(
        "Promises, proven",
        f"`python -m tests.bench promises --size {size}`, {much.rounds} rounds, {much.kills} kills, {much.calls:,} calls.",
        ("promise", "how", "found", "seconds", "kept"),
    )
    with ExitStack() as stack:
        bench = Bench(stack.enter_context(work_folder()))
        stack.callback(bench.close)
        for name in names or PROOFS:
            began = time.monotonic()
            for verdict in PROOFS[name](bench, much):
                row = (verdict.promise, verdict.how, verdict.found, time.monotonic() - began, "yes" if verdict.is_kept else "NO")
                table.add(*row)
                print(f"{row[4]:3s} {row[3]:6.1f} s  {verdict.promise}: {verdict.found}  [{verdict.how}]", flush=True)
                report.failed += not verdict.is_kept
    report.show(table)
