"""The reader: torn ends at every byte, living and dead writers, places, and no more memory than one batch."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from proxy.spool.reader import TORN, Line, Reader
from proxy.spool.segment import HEADER, SEGMENT_SUFFIX, new_segment_stem, record_line
from tests.sample_records import sample, samples


def segment(directory: Path, content: bytes) -> Path:
    path = directory / (new_segment_stem() + SEGMENT_SUFFIX)
    path.write_bytes(content)
    return path


def ids(lines: list[Line]) -> list[str]:
    return [line.record.id for line in lines if line.record is not None]


def take_all(reader: Reader, limit: int = 1000) -> list[Line]:
    taken: list[Line] = []
    while lines := reader.take(limit):
        taken += lines
    return taken


def test_a_dead_writers_torn_end_at_every_byte(tmp_path: Path) -> None:
    records = samples(2)
    first, second = (record_line(record) for record in records)
    whole = HEADER + first + second
    for cut in range(len(whole) + 1):
        directory = tmp_path / str(cut)
        directory.mkdir()
        path = segment(directory, whole[:cut])
        reader = Reader(directory)
        lines = take_all(reader)
        # A line is whole without its newline: its checksum says so.
        expected = [
            record.id for record, end in zip(records, (len(HEADER) + len(first) - 1, len(whole) - 1), strict=True) if cut >= end
        ]
        assert ids(lines) == expected, cut
        ends = {0, len(HEADER), len(HEADER) - 1, len(HEADER) + len(first), len(HEADER) + len(first) - 1, len(whole), len(whole) - 1}
        assert [line.flaw for line in lines if line.flaw] == ([] if cut in ends else [TORN]), cut
        assert reader.done() == [path.name]


def test_a_living_writers_unfinished_line_is_waited_for_at_every_byte(tmp_path: Path) -> None:
    record = sample()
    line = record_line(record)
    path = segment(tmp_path, HEADER)
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        reader = Reader(tmp_path)
        for at in range(len(line) - 1):
            file.write(line[at : at + 1])
            assert reader.take(10) == []
        file.write(line[-1:])
        assert ids(reader.take(10)) == [record.id]
        assert reader.done() == []
    assert reader.take(10) == []
    assert reader.done() == [path.name]


def test_a_spoilt_line_does_not_hide_the_next(tmp_path: Path) -> None:
    records = samples(3)
    lines = [record_line(record) for record in records]
    segment(tmp_path, HEADER + lines[0] + b"\0" * 50 + b"\n" + lines[1] + b"00000000 {}\n\n" + lines[2])
    taken = take_all(Reader(tmp_path))
    assert ids(taken) == [record.id for record in records]
    assert [line.raw for line in taken if line.flaw] == [b"\0" * 50, b"00000000 {}"]


def test_a_spoilt_header_does_not_cost_the_records(tmp_path: Path) -> None:
    records = samples(3)
    segment(tmp_path, b"#" + HEADER[1:] + b"".join(record_line(record) for record in records))
    taken = take_all(Reader(tmp_path))
    assert ids(taken) == [record.id for record in records]
    assert sum(line.flaw is not None for line in taken) == 1


def test_segments_come_in_order_and_batches_are_bounded(tmp_path: Path) -> None:
    records = samples(50)
    for at in range(0, 50, 10):
        segment(tmp_path, HEADER + b"".join(record_line(record) for record in records[at : at + 10]))
    names = sorted(path.name for path in tmp_path.iterdir())
    by_name = {name: [] for name in names}  # type: dict[str, list[str]]
    reader = Reader(tmp_path)
    seen = []
    while lines := reader.take(7):
        assert len(lines) <= 7
        seen += lines
        for line in lines:
            assert line.record is not None
            by_name[line.segment].append(line.record.id)
    assert [line.segment for line in seen] == sorted(line.segment for line in seen)
    assert sorted(ids(seen)) == sorted(record.id for record in records)
    assert {len(found) for found in by_name.values()} == {10}


def test_a_line_longer_than_a_block_is_read_whole(tmp_path: Path) -> None:
    records = [sample(error="x" * 3_000_000), sample()]
    segment(tmp_path, HEADER + b"".join(record_line(record) for record in records))
    assert ids(take_all(Reader(tmp_path))) == [record.id for record in records]


def test_a_copy_goes_its_own_way_and_advance_catches_up(tmp_path: Path) -> None:
    records = samples(4)
    path = segment(tmp_path, HEADER + b"".join(record_line(record) for record in records))
    one = Reader(tmp_path)
    first = one.take(1)
    other = one.copy()
    assert ids(other.take(2)) == [records[1].id, records[2].id]
    assert one.offset(path.name) == first[0].end
    one.advance(other)
    assert ids(one.take(10)) == [records[3].id]
    other.advance(Reader(tmp_path))  # never backwards
    assert ids(other.take(10)) == [records[3].id]
    assert one.done() == [path.name]


def test_backlog_counts_what_was_not_read(tmp_path: Path) -> None:
    lines = [record_line(record) for record in samples(2)]
    segment(tmp_path, HEADER + b"".join(lines))
    reader = Reader(tmp_path)
    size, begun = reader.backlog()
    assert size == len(HEADER) + len(lines[0]) + len(lines[1])
    assert begun is not None
    reader.take(1)
    assert reader.backlog()[0] == len(lines[1])
    reader.take(1)
    assert reader.backlog() == (0, None)


def test_a_segment_that_vanishes_is_no_fault(tmp_path: Path) -> None:
    path = segment(tmp_path, HEADER + record_line(sample()))
    reader = Reader(tmp_path)
    assert len(reader.take(10)) == 1
    os.unlink(path)
    assert reader.take(10) == []
    segment(tmp_path, HEADER + record_line(sample()))
    assert len(reader.take(10)) == 1


def test_no_directory_is_an_empty_spool(tmp_path: Path) -> None:
    assert Reader(tmp_path / "none").take(10) == []
