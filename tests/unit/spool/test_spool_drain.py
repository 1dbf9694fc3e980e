"""The drain: acknowledged by commits only, each record shown once, nothing spoilt in the way, memory flat."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from proxy.errors import LedgerError, RefusedRecord
from proxy.records import UsageRecord
from proxy.spool import drain as drain_module
from proxy.spool.drain import Drain, Tail
from proxy.spool.reader import Reader
from proxy.spool.segment import HEADER, OPENING_SUFFIX, POISON_SUFFIX, SEGMENT_SUFFIX, record_line, segment_names
from proxy.spool.writer import SpoolWriter
from tests.sample_records import sample, samples


class RecordedLedger:
    """What a ledger promises to the drain: all or nothing, once by id."""

    def __init__(self) -> None:
        self.kept: dict[str, UsageRecord] = {}
        self.is_away = False
        self.refused: set[str] = set()
        self.calls: list[int] = []
        self.fails_after_commit = False

    async def append(self, records: Sequence[UsageRecord]) -> list[UsageRecord]:
        self.calls.append(len(records))
        await asyncio.sleep(0)
        if self.is_away:
            raise LedgerError("away")
        if any(record.id in self.refused for record in records):
            raise RefusedRecord("not this one")
        new = [record for record in records if record.id not in self.kept]
        self.kept.update((record.id, record) for record in new)
        if self.fails_after_commit:
            raise LedgerError("the answer was lost")
        return new


class Seen:
    """An observer."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, records: Sequence[UsageRecord]) -> None:
        self.ids += [record.id for record in records]


def spooled(directory: Path, records: Sequence[UsageRecord]) -> None:
    """A segment whose writer is gone."""
    writer = SpoolWriter(directory, fsync="off")
    for record in records:
        writer.append(record)
    writer.close()


async def until(condition: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_everything_arrives_once_and_the_segments_go(tmp_path: Path) -> None:
    records = samples(25)
    spooled(tmp_path, records[:10])
    spooled(tmp_path, records[10:])
    ledger, seen = RecordedLedger(), Seen()
    drain = Drain(tmp_path, ledger.append, [seen], batch_records=7)
    assert await drain.drain_now() == 25
    assert set(ledger.kept) == {record.id for record in records}
    assert sorted(seen.ids) == sorted(ledger.kept)
    assert os.listdir(tmp_path) == []
    assert max(ledger.calls) <= 7
    stats = await drain.stats()
    assert (stats.new, stats.known, stats.backlog_bytes) == (25, 0, 0)


async def test_a_living_writers_segment_stays_until_it_is_closed(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, fsync="off")
    ledger = RecordedLedger()
    drain = Drain(tmp_path, ledger.append)
    for record in samples(3):
        writer.append(record)
        assert await drain.drain_now() == 1
        assert len(segment_names(tmp_path)) == 1
    writer.close()
    assert await drain.drain_now() == 0
    assert segment_names(tmp_path) == []
    assert len(ledger.kept) == 3


async def test_nothing_is_deleted_before_its_commit(tmp_path: Path) -> None:
    records = samples(5)
    spooled(tmp_path, records)
    ledger = RecordedLedger()
    ledger.is_away = True
    drain = Drain(tmp_path, ledger.append, batch_records=2)
    with pytest.raises(LedgerError):
        await drain.drain_now()
    assert len(segment_names(tmp_path)) == 1
    ledger.is_away = False
    await drain.drain_now()
    assert set(ledger.kept) == {record.id for record in records}
    assert segment_names(tmp_path) == []


async def test_a_commit_whose_answer_was_lost_counts_once(tmp_path: Path) -> None:
    records = samples(5)
    spooled(tmp_path, records)
    ledger, seen = RecordedLedger(), Seen()
    ledger.fails_after_commit = True
    drain = Drain(tmp_path, ledger.append, [seen])
    with pytest.raises(LedgerError):
        await drain.drain_now()
    ledger.fails_after_commit = False
    await drain.drain_now()
    stats = await drain.stats()
    assert (len(ledger.kept), stats.new, stats.known) == (5, 0, 5)
    assert segment_names(tmp_path) == []


async def test_a_ledger_that_is_away_is_not_asked_over_and_over(tmp_path: Path) -> None:
    spooled(tmp_path, samples(1))
    ledger = RecordedLedger()
    ledger.is_away = True
    drain = Drain(tmp_path, ledger.append, poll_seconds=0.01)
    running = asyncio.create_task(drain.run())
    await asyncio.sleep(0.8)
    asked = len(ledger.calls)  # 0, 0.1, 0.3 and 0.7 s after the first
    ledger.is_away = False
    await until(lambda: ledger.kept)
    drain.stop()
    await running
    assert 2 <= asked <= 4


async def test_a_fault_in_the_ledgers_own_code_is_told_and_tried_again_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spooled(tmp_path, samples(3))
    ledger, asked, is_broken = RecordedLedger(), 0, True

    async def broken_at_first(records: Sequence[UsageRecord]) -> list[UsageRecord]:
        nonlocal asked
        if is_broken:
            asked += 1
            raise RuntimeError("a fault of our own")
        return await ledger.append(records)

    drain = Drain(tmp_path, broken_at_first, poll_seconds=0.01)
    running = asyncio.create_task(drain.run())
    await asyncio.sleep(0.5)
    assert 2 <= asked <= 4  # at once, after 0.1, 0.3 and 0.7 s
    is_broken = False
    await until(lambda: len(ledger.kept) == 3)
    drain.stop()
    await running
    assert caplog.text.count("the drain stumbled") == asked


async def test_the_backlog_is_told_in_records_and_a_commit_by_how_long_it_took(tmp_path: Path) -> None:
    ledger, writer = RecordedLedger(), SpoolWriter(tmp_path, fsync="off")

    async def slow(records: Sequence[UsageRecord]) -> list[UsageRecord]:
        await asyncio.sleep(0.1)
        return await ledger.append(records)

    drain = Drain(tmp_path, slow)
    records = samples(30)
    for record in records[:10]:
        writer.append(record)
    assert await drain.drain_now() == 10
    assert 0.1 <= (await drain.stats()).commit_seconds < 30
    for record in records[10:]:
        writer.append(record)
    assert 18 <= (await drain.stats()).backlog_records <= 22  # by the mean length of the ten
    await drain.drain_now()
    assert (await drain.stats()).backlog_records == 0
    writer.close()


async def test_a_restart_reads_again_and_shows_only_what_is_new(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, fsync="off")
    before, after = samples(3), samples(2)
    ledger = RecordedLedger()
    for record in before:
        writer.append(record)
    await Drain(tmp_path, ledger.append).drain_now()
    for record in after:
        writer.append(record)
    seen = Seen()
    drain = Drain(tmp_path, ledger.append, [seen])  # the control process began anew
    assert await drain.drain_now() == 5
    assert seen.ids == [record.id for record in after]
    writer.close()


async def test_while_the_ledger_is_away_observers_see_each_record_once(tmp_path: Path) -> None:
    records = samples(30)
    spooled(tmp_path, records[:10])
    ledger, seen = RecordedLedger(), Seen()
    ledger.is_away = True
    drain = Drain(tmp_path, ledger.append, [seen], batch_records=4, poll_seconds=0.005)
    task = asyncio.ensure_future(drain.run())
    await until(lambda: len(seen.ids) == 10)
    spooled(tmp_path, records[10:20])
    await until(lambda: len(seen.ids) == 20)
    assert (await drain.stats()).is_ledger_away
    assert ledger.kept == {}
    ledger.is_away = False
    await until(lambda: len(ledger.kept) == 20)
    ledger.is_away = True  # away again, at once
    spooled(tmp_path, records[20:])
    await until(lambda: len(seen.ids) == 30)
    ledger.is_away = False
    await until(lambda: segment_names(tmp_path) == [])
    drain.stop()
    await task
    assert sorted(seen.ids) == sorted(record.id for record in records)
    assert set(ledger.kept) == set(seen.ids)
    assert not (await drain.stats()).is_ledger_away


async def test_a_refused_record_is_set_aside_and_the_others_go_in(tmp_path: Path) -> None:
    records = samples(100)
    spooled(tmp_path, records)
    name = segment_names(tmp_path)[0]
    ledger, seen = RecordedLedger(), Seen()
    ledger.refused = {records[13].id, records[14].id, records[99].id}
    drain = Drain(tmp_path, ledger.append, [seen])
    await drain.drain_now()
    assert set(ledger.kept) == {record.id for record in records} - ledger.refused
    assert sorted(seen.ids) == sorted(ledger.kept)
    assert segment_names(tmp_path) == []
    entries = [orjson.loads(line) for line in (tmp_path / (name + POISON_SUFFIX)).read_bytes().splitlines()]
    assert {orjson.loads(entry["line"])["id"] for entry in entries} == ledger.refused
    assert {entry["reason"] for entry in entries} == {"not this one"}
    assert (await drain.stats()).poisoned == 3


async def test_an_outage_between_the_halves_of_a_batch_shows_nothing_twice(tmp_path: Path) -> None:
    records = samples(40)
    spooled(tmp_path, records)
    ledger, seen = RecordedLedger(), Seen()
    ledger.refused = {records[33].id}
    outages = iter([False, False, True, False, True, True])

    async def append(batch: Sequence[UsageRecord]) -> list[UsageRecord]:
        ledger.is_away = next(outages, False)
        return await ledger.append(batch)

    drain = Drain(tmp_path, append, [seen], batch_records=16, poll_seconds=0.005)
    task = asyncio.ensure_future(drain.run())
    await until(lambda: segment_names(tmp_path) == [])
    drain.stop()
    await task
    assert sorted(seen.ids) == sorted({*ledger.kept, *ledger.refused} & set(seen.ids))
    assert set(ledger.kept) == {record.id for record in records} - ledger.refused
    assert set(ledger.kept) <= set(seen.ids)


async def test_spoilt_lines_are_set_aside_once_even_when_read_again(tmp_path: Path) -> None:
    first, second = samples(2)
    path = tmp_path / f"{minted_id_now()}{SEGMENT_SUFFIX}"
    path.write_bytes(HEADER + record_line(first) + b"garbage\xff\n" + record_line(second) + b"torn")
    ledger = RecordedLedger()
    ledger.is_away = True
    drain = Drain(tmp_path, ledger.append)
    for _ in range(2):
        with pytest.raises(LedgerError):
            await drain.drain_now()
    again = Drain(tmp_path, ledger.append)
    ledger.is_away = False
    await again.drain_now()
    assert set(ledger.kept) == {first.id, second.id}
    entries = [orjson.loads(line) for line in (tmp_path / (path.name + POISON_SUFFIX)).read_bytes().splitlines()]
    assert [entry["line"] for entry in entries] == ["garbage\\xff", "torn"]
    stats = await drain.stats()
    assert (stats.poisoned, stats.torn) == (1, 1)
    assert segment_names(tmp_path) == []


def minted_id_now() -> str:
    return sample().id


async def test_where_a_line_cannot_be_set_aside_its_segment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = sample()
    path = tmp_path / f"{minted_id_now()}{SEGMENT_SUFFIX}"
    path.write_bytes(HEADER + b"garbage\n" + record_line(record))
    ledger = RecordedLedger()
    drain = Drain(tmp_path, ledger.append)

    def refuse(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(drain_module.os, "fsync", refuse)
        await drain.drain_now()
    assert set(ledger.kept) == {record.id}
    assert segment_names(tmp_path) == [path.name]


async def test_an_observers_fault_is_counted_and_harms_nobody(tmp_path: Path) -> None:
    spooled(tmp_path, samples(3))

    def fail(records: Sequence[UsageRecord]) -> None:
        raise RuntimeError("an observer's fault")

    ledger, seen = RecordedLedger(), Seen()
    drain = Drain(tmp_path, ledger.append, [fail, seen])
    await drain.drain_now()
    assert (len(ledger.kept), len(seen.ids), (await drain.stats()).observer_errors) == (3, 3, 1)


async def test_a_fault_of_the_ledgers_code_does_not_end_the_drain(tmp_path: Path) -> None:
    spooled(tmp_path, samples(3))
    ledger = RecordedLedger()
    faults = iter([ZeroDivisionError("a bug")])

    async def append(records: Sequence[UsageRecord]) -> list[UsageRecord]:
        for fault in faults:
            raise fault
        return await ledger.append(records)

    drain = Drain(tmp_path, append, poll_seconds=0.005)
    task = asyncio.ensure_future(drain.run())
    await until(lambda: len(ledger.kept) == 3)
    drain.stop()
    await task


async def test_a_disk_that_fails_under_a_look_does_not_end_the_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = samples(2)
    spooled(tmp_path, [first])
    ledger = RecordedLedger()
    failures = 0

    def failing(self: Reader) -> tuple[int, float | None]:
        nonlocal failures
        failures += 1
        raise OSError(5, "Input/output error")

    drain = Drain(tmp_path, ledger.append, poll_seconds=0.005)
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "backlog", failing)
        task = asyncio.ensure_future(drain.run())
        await until(lambda: first.id in ledger.kept and failures > 0)
    spooled(tmp_path, [second])
    await until(lambda: second.id in ledger.kept)
    drain.stop()
    await task


async def test_the_segment_of_a_writer_that_ended_goes_though_nothing_is_new(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, fsync="off")
    (record,) = samples(1)
    writer.append(record)
    ledger = RecordedLedger()
    drain = Drain(tmp_path, ledger.append, poll_seconds=0.005)
    task = asyncio.ensure_future(drain.run())
    await until(lambda: record.id in ledger.kept)
    await asyncio.sleep(0.05)
    assert len(segment_names(tmp_path)) == 1
    writer.close()
    await until(lambda: segment_names(tmp_path) == [])
    drain.stop()
    await task


async def test_a_cancelled_batch_is_read_again(tmp_path: Path) -> None:
    spooled(tmp_path, samples(3))
    ledger = RecordedLedger()
    is_reached = asyncio.Event()

    async def hang(records: Sequence[UsageRecord]) -> list[UsageRecord]:
        is_reached.set()
        await asyncio.Event().wait()
        return []

    drain = Drain(tmp_path, hang)
    task = asyncio.ensure_future(drain.drain_now())
    await is_reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    drain._append = ledger.append
    assert await drain.drain_now() == 3
    assert len(ledger.kept) == 3


async def test_stopping_in_an_outage_keeps_everything_on_disk(tmp_path: Path) -> None:
    spooled(tmp_path, samples(3))
    ledger = RecordedLedger()
    ledger.is_away = True
    drain = Drain(tmp_path, ledger.append)
    task = asyncio.ensure_future(drain.run())
    await until(lambda: ledger.calls)
    drain.stop()
    await asyncio.wait_for(task, 30)
    assert len(segment_names(tmp_path)) == 1


async def test_two_drains_at_once_do_no_harm(tmp_path: Path) -> None:
    records = samples(200)
    for at in range(0, 200, 20):
        spooled(tmp_path, records[at : at + 20])
    ledger = RecordedLedger()
    drains = [Drain(tmp_path, ledger.append, batch_records=9) for _ in range(2)]
    await asyncio.gather(*(drain.drain_now() for drain in drains))
    assert set(ledger.kept) == {record.id for record in records}
    assert segment_names(tmp_path) == []


async def test_segments_that_never_got_their_name_are_swept(tmp_path: Path) -> None:
    old = tmp_path / f"01900000-0000-7000-8000-000000000000{OPENING_SUFFIX}"
    old.write_bytes(HEADER)
    ledger = RecordedLedger()
    drain = Drain(tmp_path, ledger.append, poll_seconds=0.005)
    task = asyncio.ensure_future(drain.run())
    await until(lambda: not old.exists())
    drain.stop()
    await task


async def test_a_tail_shows_each_record_once_from_its_own_place(tmp_path: Path) -> None:
    records = samples(5)
    spooled(tmp_path, records[:3])
    seen = Seen()
    tail = Tail(tmp_path, seen)
    assert await tail.catch_up() == 3
    assert await tail.catch_up() == 0
    spooled(tmp_path, records[3:])
    assert await tail.catch_up() == 2
    assert sorted(seen.ids) == sorted(record.id for record in records)
