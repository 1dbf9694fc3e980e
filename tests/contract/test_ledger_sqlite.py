"""What only the SQLite ledger promises: one file for several processes, killed ones too; long queries out of the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.errors import LedgerError
from proxy.ledger import sqlite_ledger
from proxy.ledger.ledger import RecordFilter
from proxy.ledger.sqlite_ledger import SqliteLedger
from tests.sample_records import NOON, sample, samples
from tests.waiting import within

APPENDER = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from proxy.ledger.sqlite_ledger import SqliteLedger
from tests.sample_records import NOON, sample

async def main():
    ledger = SqliteLedger(Path(sys.argv[1]))
    await ledger.start()
    print("ready", flush=True)
    sys.stdin.readline()
    count = 0
    for at in range(int(sys.argv[2])):
        batch = [sample(NOON + timedelta(seconds=at), id=f"{at}-{number}") for number in range(20)]
        count += len(await ledger.append(batch))
        print(count, flush=True)
    await ledger.close()

asyncio.run(main())
"""


def appender(path: Path, batches: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path), str(batches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )


async def test_two_processes_store_each_record_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    processes = [appender(path, 50) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n") for process in processes))
    assert sum(int(out.split()[-1]) for out, _ in outputs) == 1000
    ledger = SqliteLedger(path)
    assert (await ledger.sums(RecordFilter()))[0].sums.requests == 1000
    await ledger.close()


async def test_many_processes_may_begin_the_same_file(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"ledger-{number}.db"
        processes = [appender(path, 1) for _ in range(6)]
        outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n") for process in processes))
        assert [process.returncode for process in processes] == [0] * 6
        assert sum(int(out.split()[-1]) for out, _ in outputs) == 20


async def test_kill_9_leaves_records_and_sums_that_agree(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    acknowledged = 0
    for _ in range(3):
        process = appender(path, 100_000)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        for _ in range(30):
            acknowledged = max(acknowledged, int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL
    ledger = SqliteLedger(path)
    stored = [record async for record in ledger.export(RecordFilter())]
    assert len(stored) >= acknowledged
    assert len(stored) % 20 == 0  # whole batches only
    sums = (await ledger.sums(RecordFilter()))[0].sums
    assert (sums.requests, sums.total_tokens) == (len(stored), 1545 * len(stored))
    await ledger.close()


async def test_a_long_query_does_not_hold_up_appends(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.db")
    await ledger.start()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"

    def run() -> None:
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            ledger._connection().execute(endless).fetchall()

    query = asyncio.get_running_loop().run_in_executor(ledger._read_threads, run)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    for _ in range(5):
        await ledger.append(samples(100))
    assert (await ledger.sums(RecordFilter()))[0].sums.requests == 500
    assert within(2, time.monotonic() - began)
    await ledger.close()  # interrupts it
    await query


async def test_commits_are_durable_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.db"
    ledger = SqliteLedger(path)
    await ledger.start()

    def pragmas() -> tuple[str, int]:
        connection = ledger._connection()
        return connection.execute("PRAGMA journal_mode").fetchone()[0], connection.execute("PRAGMA synchronous").fetchone()[0]

    assert await asyncio.get_running_loop().run_in_executor(ledger._write_thread, pragmas) == ("wal", 2)
    assert path.stat().st_mode & 0o777 == 0o600
    await ledger.close()


async def test_a_file_that_stays_locked_is_a_ledger_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_ledger, "BUSY_SECONDS", 0.05)
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    await ledger.start()
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    record = sample(NOON)
    with pytest.raises(LedgerError, match="locked"):
        await ledger.append([record])
    assert (await ledger.records(RecordFilter(), 10, None)).records == []
    other.rollback()
    other.close()
    assert await ledger.append([record]) == [record]
    await ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        await ledger.append([record])


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = SqliteLedger(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerError):
        await ledger.start()
    await ledger.close()


async def test_a_schema_with_another_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    await ledger.start()
    await ledger.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE schema_migrations SET checksum = 'x'")
    connection.commit()
    connection.close()
    other = SqliteLedger(path)
    with pytest.raises(LedgerError, match="0001"):
        await other.start()
    await other.close()
