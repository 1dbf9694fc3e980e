"""Where the microseconds of a worker go: py-spy over a loaded proxy, self and inclusive time by function."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import Bench, Shape, chat_body
from tests.bench.machine import BenchError, work_folder
from tests.bench.rounds import weigh
from tests.bench.subjects import Subject

RATE = 500
"""Samples a second: more would slow the program that is looked at."""
LINES = 40
IDLE = ("_worker (concurrent/futures/thread.py:81)", "_worker (concurrent/futures/thread.py:80)", "wait (threading.py:320)")
"""Where pool threads wait; py-spy does not always see that they do."""


def run(*, is_control: bool, is_stream: bool, seconds: float) -> None:
    """Print both lists.

    Raises:
        BenchError: py-spy is not installed.
    """
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        raise BenchError("The profile needs py-spy: pip install py-spy")
    with ExitStack() as stack:
        bench = Bench(stack.enter_context(work_folder()))
        stack.callback(bench.close)
        subject = stack.enter_context(Subject("weighbridge", bench))
        subject.start(bench)
        bench.plain()
        if is_stream:
            bench.set(delay_us=20_000)
        shape = Shape(
            connections=200 if is_stream else 64,
            seconds=seconds + 2,
            is_stream=is_stream,
            events=100 if is_stream else 0,
            ramp_seconds=2.0 if is_stream else 0.0,
            body=chat_body(2_000, is_stream=is_stream),
        )
        plain = weigh(bench, subject, Shape(**{**vars(shape), "seconds": 3.0}))
        print("CPU µs per request:", {role: round(us, 1) for role, us in plain.us.items()})
        pid = subject.roles()["control" if is_control else "worker"][0]
        load = bench.begin(subject.target, shape)
        out = bench.folder / "profile.txt"
        command = [spy, "record", "-p", str(pid), "-d", str(int(seconds)), "-r", str(RATE), "-f", "raw", "-o", str(out)]
        done = subprocess.run([*command, *(["-t"] if is_control else [])], capture_output=True, text=True, check=False)
        bench.end(load)
        if not out.exists():
            raise BenchError(f"py-spy failed: {done.stderr[-500:]}")
        print(listing(out.read_text()))


def listing(raw: str) -> str:
    """Self and inclusive shares from py-spy's raw lines (`frame;frame;frame count`)."""
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    total = 0
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack.endswith(IDLE):
            continue
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            inclusive[frame] += int(count)
    lines = []
    for title, counts in (("SELF", own), ("INCLUSIVE", inclusive)):
        lines.append(title)
        lines += [f"{count / max(1, total):6.1%} {frame}" for frame, count in counts.most_common(LINES)]
    return "\n".join(lines)
