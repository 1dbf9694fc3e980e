"""Interleaved rounds: every subject once, then again, so that what else happens on the machine happens to all of them.

What is compared: CPU per request, counted from before the load's first request until the last record is in the ledger, over all
processes of the subject, divided by all requests of the run. Medians over the rounds. Requests per second are given too, but on a
shared machine only ratios and CPU mean something; differences under 25 % are noise.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.bench.load import Bench, Measured, Shape, Target
from tests.bench.machine import cpu_seconds, resident_kb

NAN = float("nan")


class Measurable(Protocol):
    """A peer or Weighbridge itself."""

    name: str
    target: Target

    def start(self, bench: Bench) -> None: ...
    def stop(self) -> None: ...
    def roles(self) -> dict[str, list[int]]: ...
    def settle(self) -> None: ...


class Direct:
    """The provider itself, with nobody between: what latency is compared with."""

    name = "direct"

    def __init__(self, bench: Bench) -> None:
        self.target = Target(bench.port)

    def start(self, bench: Bench) -> None:
        """It runs already."""

    def stop(self) -> None:
        """Its owner stops it."""

    def roles(self) -> dict[str, list[int]]:
        return {}

    def settle(self) -> None:
        """Nothing runs on."""


@dataclass(frozen=True)
class Weighed:
    """One load on one subject."""

    measured: Measured
    us: dict[str, float]
    """CPU microseconds per request by role."""
    us_per_chunk: dict[str, float]
    """CPU microseconds per streamed event by role, while it was measured."""
    kb: dict[str, float]
    """Resident memory by role at the end."""


def weigh(bench: Bench, subject: Measurable, shape: Shape) -> Weighed:
    """Put one load on a subject and say what it cost."""
    roles = subject.roles()
    everyone = [pid for pids in roles.values() for pid in pids]
    before = {pid: cpu_seconds(pid) for pid in everyone}
    found = bench.run(subject.target, shape, everyone)
    subject.settle()
    us, us_per_chunk, kb = {}, {}, {}
    for role, pids in roles.items():
        used = sum(cpu_seconds(pid) - before[pid] for pid in pids)
        us[role] = used * 1e6 / found.total if found.total else NAN
        us_per_chunk[role] = sum(found.cpu.get(pid, 0.0) for pid in pids) * 1e6 / found.chunks if found.chunks else NAN
        kb[role] = sum(map(resident_kb, pids))
    return Weighed(found, us, us_per_chunk, kb)


@dataclass
class Rounds:
    """All loads of one test, by subject."""

    title: str
    rows: dict[str, list[Weighed]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(each.measured.failed for rows in self.rows.values() for each in rows)

    def median(self, name: str, value: Callable[[Weighed], float]) -> float:
        values = [value(each) for each in self.rows.get(name, [])]
        return statistics.median(values) if values else NAN

    def us(self, name: str, role: str | None = None) -> float:
        """Median CPU microseconds per request; of all processes where no role is named."""
        return self.median(name, lambda each: each.us.get(role, NAN) if role else sum(each.us.values()))

    def us_per_chunk(self, name: str) -> float:
        return self.median(name, lambda each: sum(each.us_per_chunk.values()))


def run_rounds(bench: Bench, title: str, subjects: Sequence[Measurable], shape: Shape, rounds: int) -> Rounds:
    """`rounds` times every subject in turn."""
    found = Rounds(title, {subject.name: [] for subject in subjects})
    for number in range(rounds):
        for subject in rotated(subjects, number):
            found.rows[subject.name].append(weigh(bench, subject, shape))
    return found


def rotated(subjects: Sequence[Measurable], number: int) -> Iterable[Measurable]:
    """Another one begins each round, so that none always follows the same neighbour."""
    at = number % len(subjects)
    return [*subjects[at:], *subjects[:at]]


def wait_for(what: Callable[[], bool], seconds: float, why: str, every: float = 0.1) -> float:
    """Seconds until something is so.

    Raises:
        TimeoutError: it was not, `why` says what.
    """
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{why}: not within {seconds:g} s")
        time.sleep(every)
    return time.monotonic() - began
