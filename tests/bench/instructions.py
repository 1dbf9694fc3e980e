"""Instructions of one request without sockets, counted by valgrind: the one figure of speed that nothing on the machine disturbs.

The rig is that of way.py. Of two runs of different length the difference counts: it leaves out whatever begins and ends one. It
needs Debian's `valgrind`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

from proxy.relay.worker import stop_looking_for_garbage
from tests.bench import way
from tests.bench.machine import BenchError
from tests.bench.subjects import limits_text
from tests.bench.tables import Table

CASES = (
    "request, strict limits, 2 KB",
    "request, no limits, 2 KB",
    "stream of 100 chunks, strict limits",
    "raw relay, request",
    "an SDK's request (18 header lines), strict limits",
    "the same with a trace and a user of its own in each",
    "an SDK's request, head and body in two writes (httpx)",
)
SHORT, LONG = 64, 264
"""Requests of the two runs."""
VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null")


def run() -> Table:
    """The table; printed by `python -m tests.bench instructions`.

    Raises:
        BenchError: valgrind is missing, or a run failed.
    """
    if shutil.which("valgrind") is None:
        raise BenchError("Counting instructions needs valgrind: apt-get install valgrind")
    table = Table("Instructions of the way", "In user space, by callgrind; connections in memory.", ("", "thousand instructions"))
    for number, name in enumerate(CASES):
        requests = LONG - SHORT
        table.add(name, (_counted(number, LONG) - _counted(number, SHORT)) / requests / 1000)
    return table


def _counted(number: int, count: int) -> int:
    """Instructions of `count` requests and of what surrounds them."""
    command = [*VALGRIND, sys.executable, "-m", "tests.bench.instructions", str(number), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise BenchError(f"valgrind failed: {done.stderr[-500:]}")
    return int(found[1])


def _limits(number: int) -> str:
    if number == 1:
        return way.keys_only()
    return limits_text(more=", may_speak_for_others: true") if number == 5 else limits_text()


async def ask(number: int, count: int) -> None:
    """Under valgrind: warm up, then count."""
    is_stream = number == 2
    requests = way.sdk_requests(is_traced=number == 5) if number >= 4 else [way.request_bytes(2_000, is_stream=is_stream)]
    answer = way.streamed_answer(100) if is_stream else [way.whole_answer()]
    with tempfile.TemporaryDirectory() as folder:
        if number == 3:
            rig, spool = way.raw_rig(requests, answer), None
        else:
            rig, spool = way.our_rig(Path(folder), requests, answer, _limits(number), is_parted=number == 6)
        await rig.run(20 if is_stream else 300)
        stop_looking_for_garbage()
        switch = ["callgrind_control", "-i"]
        await asyncio.to_thread(subprocess.run, [*switch, "on", str(os.getpid())], stdout=subprocess.DEVNULL, check=True)
        await rig.run(count)
        await asyncio.to_thread(subprocess.run, [*switch, "off", str(os.getpid())], stdout=subprocess.DEVNULL, check=True)
        if spool is not None:
            spool.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask(int(sys.argv[1]), int(sys.argv[2])))
