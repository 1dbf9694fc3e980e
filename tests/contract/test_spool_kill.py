"""`kill -9` of a process that writes: every record whose append returned is still there. Real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.errors import LedgerError
from proxy.records import UsageRecord
from proxy.spool.drain import Drain
from proxy.spool.reader import Reader
from proxy.spool.segment import segment_names
from proxy.spool.writer import SpoolWriter
from tests.sample_records import sample

WRITER = """
import sys, time
from pathlib import Path
from proxy.spool.writer import SpoolWriter
from tests.sample_records import sample
writer = SpoolWriter(Path(sys.argv[1]), fsync=sys.argv[2], segment_bytes=200_000, fsync_interval_seconds=0.01)
while True:
    record = sample()
    writer.append(record)
    sys.stdout.write(record.id + "\\n")
    sys.stdout.flush()
    writer.maintain(time.monotonic())
"""


@pytest.mark.parametrize("mode", ["off", "interval"])
def test_kill_9_loses_no_appended_record(tmp_path: Path, mode: str) -> None:
    acknowledged: list[str] = []
    for round_number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), mode],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": "."},
        )
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(500 + 333 * round_number)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split("\n")[:-1]  # what it still said before it died
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
    reader = Reader(tmp_path)
    found: list[str] = []
    while lines := reader.take(1000):
        assert [line.flaw for line in lines if line.flaw] == []
        found += [line.record.id for line in lines if line.record is not None]
    assert len(acknowledged) >= 1500 + 333 * 3
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 3  # the one whose append had returned before its id was told
    assert len(found) == len(set(found))
    assert sorted(reader.done()) == segment_names(tmp_path)  # the kernel gave the locks up with the processes


async def test_a_long_outage_keeps_memory_flat(tmp_path: Path) -> None:
    """100,000 records wait; the drain and its tail never hold more than a few batches."""
    writer = SpoolWriter(tmp_path, fsync="off")
    record = sample()
    for number in range(100_000):
        writer.append(record._replace(id=f"{record.id}-{number}"))
    writer.close()

    async def away(records: Sequence[UsageRecord]) -> list[UsageRecord]:
        raise LedgerError("away")

    count = 0

    def observe(records: Sequence[UsageRecord]) -> None:
        nonlocal count
        count += len(records)

    drain = Drain(tmp_path, away, [observe])
    tracemalloc.start()
    try:
        with pytest.raises(LedgerError):
            await drain.drain_now()
        await drain._tail.catch_up()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert peak < 40_000_000, f"{peak} bytes"
    assert len(segment_names(tmp_path)) > 1
