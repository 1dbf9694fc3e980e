"""The writer: what was appended is on disk, whatever then goes wrong; bounds and syncing."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.errors import SpoolError
from proxy.spool import writer as writer_module
from proxy.spool.reader import Reader
from proxy.spool.segment import HEADER, record_line, segment_names
from proxy.spool.writer import SpoolWriter
from tests.sample_records import sample, samples


def read_ids(directory: Path) -> list[str]:
    reader = Reader(directory)
    found = []
    while lines := reader.take(1000):
        assert all(line.flaw is None for line in lines)
        found += [line.record.id for line in lines if line.record is not None]
    return found


def settle(writer: SpoolWriter, now: float) -> None:
    """One maintenance round, waited for."""
    writer.maintain(now)
    deadline = time.monotonic() + 5
    while writer._job is not None and not writer._job.done():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    writer.maintain(now)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond: a disk that is full in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_appended_means_readable_at_once(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    records = samples(3)
    for count, record in enumerate(records, 1):
        writer.append(record)
        assert read_ids(tmp_path) == [each.id for each in records[:count]]
    writer.close()
    assert writer.stats().appended == 3


def test_an_unused_segment_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    assert len(segment_names(tmp_path)) == 1
    writer.close()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_rotation_by_size_loses_nothing_and_frees_the_old_segment(tmp_path: Path) -> None:
    records = samples(100)
    size = len(record_line(records[0]))
    writer = SpoolWriter(tmp_path, segment_bytes=len(HEADER) + 10 * size)
    for record in records:
        writer.append(record)
    assert len(segment_names(tmp_path)) == 10
    reader = Reader(tmp_path)
    reader.take(1000)
    assert reader.done() == []  # locks are held until the maintenance thread has synced them
    settle(writer, 0.0)
    reader.take(1000)
    assert len(reader.done()) == 9
    assert sorted(read_ids(tmp_path)) == sorted(record.id for record in records)
    writer.close()


def test_rotation_by_age_ends_a_segment_that_holds_something(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_seconds=60, fsync_interval_seconds=1)
    writer.append(sample())
    settle(writer, 100.0)
    settle(writer, 159.0)
    assert len(segment_names(tmp_path)) == 1
    settle(writer, 160.0)
    assert len(segment_names(tmp_path)) == 2
    settle(writer, 500.0)  # the new one is empty: it stays
    assert len(segment_names(tmp_path)) == 2
    writer.close()


def test_the_bound_holds_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    size = len(record_line(sample()))
    writer = SpoolWriter(tmp_path, max_bytes=len(HEADER) + 5 * size)
    for _ in range(5):
        writer.append(sample())
    for _ in range(3):
        with pytest.raises(SpoolError, match="full"):
            writer.append(sample())
    stats = writer.stats()
    assert (stats.appended, stats.lost, stats.is_full) == (5, 3, True)
    assert not writer.is_refusing  # on_full: serve
    assert len(read_ids(tmp_path)) == 5
    writer.close()


def test_the_bound_is_that_of_all_writers_together(tmp_path: Path) -> None:
    size = len(record_line(sample()))
    one = SpoolWriter(tmp_path, max_bytes=10 * size + 2 * len(HEADER), on_full="refuse")
    other = SpoolWriter(tmp_path, max_bytes=10 * size + 2 * len(HEADER), on_full="refuse")
    for _ in range(10):
        other.append(sample())
    settle(one, 0.0)
    assert one.is_refusing
    with pytest.raises(SpoolError):
        one.append(sample())
    for name in segment_names(tmp_path):
        if (tmp_path / name).stat().st_size > len(HEADER):
            os.unlink(tmp_path / name)  # the drain was here
    settle(one, 10.0)
    assert not one.is_refusing
    one.append(sample())
    one.close()
    other.close()


def test_a_disk_that_fills_up_in_the_middle_of_a_line(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, fsync="off")
    kept = samples(2)
    size = len(record_line(kept[0]))
    for cut in range(1, size, 37):
        before = (tmp_path / segment_names(tmp_path)[0]).stat().st_size
        with file_size_limit(before + cut), pytest.raises(SpoolError):
            writer.append(sample())
        assert (tmp_path / segment_names(tmp_path)[0]).stat().st_size == before
    for record in kept:
        writer.append(record)
    assert read_ids(tmp_path) == [record.id for record in kept]
    assert writer.stats().lost == len(range(1, size, 37))
    writer.close()


def test_a_half_line_that_cannot_be_taken_back_spoils_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path, fsync="off")
    first, second = samples(2)
    writer.append(first)
    size = (tmp_path / segment_names(tmp_path)[0]).stat().st_size

    def refuse(fd: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(writer_module.os, "ftruncate", refuse)
        with file_size_limit(size + 100), pytest.raises(SpoolError):
            writer.append(sample())
    writer.append(second)
    lines = Reader(tmp_path).take(10)
    assert [line.record.id for line in lines if line.record] == [first.id, second.id]
    assert [len(line.raw) for line in lines if line.flaw] == [100]
    writer.close()


def test_interval_syncs_in_a_thread_once_for_many_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(writer_module.os, "fdatasync", synced.append)
    writer = SpoolWriter(tmp_path, fsync="interval", fsync_interval_seconds=1)
    settle(writer, 0.0)
    synced.clear()
    for _ in range(100):
        writer.append(sample())
    assert synced == []
    settle(writer, 0.5)
    assert synced == []
    settle(writer, 1.0)
    assert len(synced) == 1
    settle(writer, 2.0)
    assert len(synced) == 1  # nothing new
    writer.close()


@pytest.mark.parametrize(("mode", "count"), [("always", 3), ("off", 0)])
def test_always_and_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, count: int) -> None:
    synced: list[int] = []
    writer = SpoolWriter(tmp_path, fsync=mode)
    monkeypatch.setattr(writer_module.os, "fdatasync", synced.append)
    for _ in range(3):
        writer.append(sample())
    assert len(synced) == count
    settle(writer, 0.0)
    assert len(synced) >= count
    assert mode == "always" or synced == []
    writer.close()


def test_after_a_failed_sync_the_next_record_goes_to_a_new_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(sample())

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(writer_module.os, "fdatasync", refuse)
        settle(writer, 0.0)
    assert writer.stats().fsync_errors == 1
    writer.append(sample())
    assert len(segment_names(tmp_path)) == 2
    assert len(read_ids(tmp_path)) == 2
    writer.close()


def test_stats_survey_the_directory(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    for _ in range(3):
        writer.append(sample())
    settle(writer, 0.0)
    stats = writer.stats()
    assert stats.segments == 1
    assert stats.bytes == (tmp_path / segment_names(tmp_path)[0]).stat().st_size
    assert 0 <= stats.oldest_age_seconds < 60
    writer.close()


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be written"):
        SpoolWriter(tmp_path / "file" / "spool")
