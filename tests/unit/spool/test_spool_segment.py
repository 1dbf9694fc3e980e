"""Lines of a segment: what is written is what is read, by this release, an older and a newer one; damage is always noticed."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from proxy.records import FIELDS, UsageRecord
from proxy.spool.segment import HEADER, begun_at, fields_of, framed, new_segment_stem, payload_of, record_line, record_of
from tests.sample_records import sample


def test_names_are_unique_and_sort_by_time() -> None:
    names = [new_segment_stem() for _ in range(1000)]
    assert len(set(names)) == 1000
    times = [begun_at(name) for name in names]
    assert times == sorted(times)
    assert {name[14] for name in names} == {"7"}
    assert {name[19] for name in names} <= set("89ab")


def test_a_record_comes_back_as_it_was() -> None:
    record = sample()
    assert record_of(payload_of(record_line(record)[:-1]), FIELDS) == record


def test_the_header_names_the_fields() -> None:
    assert fields_of(payload_of(HEADER[:-1])) == FIELDS


def test_a_line_is_one_line_whatever_the_text() -> None:
    record = sample(user="two\nlines\r\u2028", error="tab\tand \x00")
    line = record_line(record)
    assert line.count(b"\n") == 1
    assert record_of(payload_of(line[:-1]), FIELDS) == record


def test_every_flipped_byte_is_noticed() -> None:
    line = record_line(sample())[:-1]
    for at in range(len(line)):
        spoilt = bytearray(line)
        spoilt[at] ^= 0x01
        with pytest.raises(ValueError):
            record_of(payload_of(bytes(spoilt)), FIELDS)


def test_every_cut_is_noticed() -> None:
    line = record_line(sample())[:-1]
    for at in range(len(line)):
        with pytest.raises(ValueError):
            record_of(payload_of(line[:at]), FIELDS)


def test_an_older_release_wrote_fewer_fields() -> None:
    record = sample(key_name=None, tier=None)
    older = FIELDS[:-2]
    assert record_of([*record[:-2]], older) == record


def test_a_newer_release_wrote_more_fields() -> None:
    record = sample()
    assert record_of([*record, "new"], (*FIELDS, "some_new_field")) == record


def test_a_line_without_a_required_field_is_not_a_record() -> None:
    record = sample()
    with pytest.raises(ValueError, match="id"):
        record_of([*record[1:]], FIELDS[1:])


def test_a_line_of_another_length_is_not_a_record() -> None:
    with pytest.raises(ValueError, match=str(len(FIELDS))):
        record_of([1, 2, 3], FIELDS)


@pytest.mark.parametrize(
    ("changes", "field", "written"),
    [
        ({"user": "half \ud83d pair"}, "user", "half ? pair"),
        ({"input_tokens": 2**70}, "input_tokens", str(2**70)),
        ({"usage_details": {"seconds": Decimal("1.50")}}, "usage_details", {"seconds": "1.50"}),
        ({"tags": {"half \ud83d": "1"}}, "tags", {"half ?": "1"}),
    ],
)
def test_what_json_cannot_hold_is_spooled_as_text(changes: dict[str, object], field: str, written: object) -> None:
    record = record_of(payload_of(record_line(sample(**changes))[:-1]), FIELDS)
    assert getattr(record, field) == written


def test_a_payload_that_is_no_json_is_noticed_in_spite_of_its_checksum() -> None:
    with pytest.raises(ValueError):
        payload_of(framed(b"{not json")[:-1])


def test_record_lines_are_plain_json_behind_the_checksum() -> None:
    record = sample()
    assert UsageRecord._make(orjson.loads(record_line(record)[9:])) == record
