"""A batch by column is the same as its records one by one: checks, JSON texts, COPY text, partition columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import RefusedRecord
from proxy.ledger.columns import AT, are_storable, are_uuid7, columns_of, json_texts, storable_batch
from proxy.ledger.partitions import minted_at
from proxy.ledger.postgres_copy import COPY_COLUMNS, FOREIGN_TEXT, copy_text, minted_texts, months_of
from proxy.ledger.rows import storable
from proxy.records import FIELDS, UsageRecord
from tests.sample_records import NOON, minted_id, sample, samples

ODD = [
    {"id": ""}, {"id": "x" * 201}, {"id": "a\0b"}, {"id": 7}, {"started_at": "2026-11-21T12:00:00Z"}, {"started_at": "yesterday"},
    {"started_at": "2026-13-21T12:00:00.000000Z"}, {"started_at": "1969-12-31T23:59:59.999999Z"}, {"started_at": None},
    {"started_at": "2026-11-21T12:00:00.000000"}, {"started_at": "2026-W47-6T12:00:00.000000Z"},
    {"started_at": "2026-11-21T12:00:00,000000Z"}, {"started_at": "9999-12-31T23:59:59-05:00"},
    {"status": True}, {"status": -1}, {"status": 10_000}, {"status": "200"},
    {"streamed": 1}, {"user": None}, {"user": 5}, {"user": "nul\0"}, {"team": "nul\0"}, {"error": b"bytes"}, {"input_tokens": -1},
    {"input_tokens": 10**15 + 1}, {"input_tokens": 1.0}, {"input_tokens": True}, {"duration_ms": None}, {"duration_ms": -0.1},
    {"duration_ms": float("nan")}, {"overhead_ms": float("inf")}, {"overhead_ms": 1e15}, {"overhead_ms": 10**400},
    {"cost_usd": "1e-7"}, {"cost_usd": "-1"}, {"cost_usd": ""}, {"cost_usd": 0.1}, {"cost_usd": ".5"}, {"cost_usd": "1\n"},
    {"tags": "text"}, {"timings": [1]},
]  # fmt: skip


@pytest.mark.parametrize("changes", ODD, ids=str)
def test_what_needs_a_closer_look_gets_it(changes: dict[str, Any]) -> None:
    """Among good ones; and where the closer look accepts it, the batch does as well."""
    good = samples(3)
    odd = sample(**changes)
    batch = [*good, odd]
    assert not are_storable(columns_of(batch))
    try:
        accepted = storable(odd)
    except RefusedRecord:
        with pytest.raises(RefusedRecord):
            storable_batch(batch)
    else:
        assert accepted in storable_batch(batch).records


USUAL = [{}, {"cost_usd": "0"}, {"team": None, "tags": None}, {"input_tokens": 0}, {"duration_ms": 0}, {"user": "null \t \\N"}]


@pytest.mark.parametrize("changes", USUAL, ids=str)
def test_the_usual_needs_no_closer_look(changes: dict[str, Any]) -> None:
    records = [sample(**changes), sample()]
    assert are_storable(columns_of(records))
    assert [storable(record) for record in records] == records


def test_of_nothing_there_is_nothing() -> None:
    assert storable_batch([]).records == []
    assert minted_texts(columns_of([])) == []


JSON = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(-5, 5) | st.none() | st.lists(st.text(max_size=3)))


@given(st.lists(st.none() | JSON | st.just({"\x1e": "\x1e"}), max_size=8))
def test_json_texts_are_those_of_each_value(column: list[dict[str, Any] | None]) -> None:
    texts = json_texts(column)
    assert len(texts) == len(column)
    for value, text in zip(column, texts, strict=True):
        if value is None or "\\u0000" in orjson.dumps(value).decode():
            assert (text is None) == (value is None)
        else:
            assert text is not None
            assert orjson.loads(text) == value


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(RefusedRecord):
        json_texts([{"count": 2**70}])


def read_copy(text: bytes) -> list[dict[str, str | None]]:
    """COPY's text format as Postgres documents it (sql-copy, file formats)."""
    plain = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    rows = []
    for line in text.decode().split("\n")[:-1]:
        values: list[str | None] = []
        for field in line.split("\t"):
            parts, at = "", 0
            while at < len(field):
                width = 2 if field[at] == "\\" else 1
                parts += plain[field[at : at + 2]] if width == 2 and field != "\\N" else field[at : at + width]
                at += width
            values.append(None if field == "\\N" else parts)
        rows.append(dict(zip(COPY_COLUMNS, values, strict=True)))
    return rows


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "user": st.text(min_size=1, max_size=6),
                "team": st.none() | st.sampled_from(["\\N", "null", "a\tb", "c\nd", "e\\", "\r", "plain"]),
                "tags": st.none() | JSON,
                "input_tokens": st.none() | st.integers(0, 10**15),
                "cost_usd": st.none() | st.just("0.000123"),
                "time_to_first_byte_ms": st.none() | st.floats(0, 1e9),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
def test_copy_text_says_what_the_records_say(many: list[dict[str, Any]]) -> None:
    records = [storable(sample(NOON + timedelta(seconds=at), **changes)) for at, changes in enumerate(many)]
    columns = columns_of(records)
    for record, row in zip(records, read_copy(copy_text(columns, minted_texts(columns))), strict=True):
        for name, value in zip(FIELDS, record, strict=True):
            text = row[name]
            if value is None:
                assert text is None, name
            elif isinstance(value, bool):
                assert text == str(value).lower(), name
            elif isinstance(value, dict):
                assert text is not None
                if "\\u0000" not in orjson.dumps(value).decode():
                    assert orjson.loads(text) == value, name
            elif isinstance(value, int | float):
                assert text is not None
                assert float(text) == value, name
            else:
                assert text == value, name


@given(
    st.lists(
        st.tuples(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.sampled_from([0, 1, 23, 25, -25, 1000])), min_size=1
    )
)
def test_the_partition_column_is_the_same_by_batch_and_one_by_one(many: list[tuple[datetime, int]]) -> None:
    records: list[UsageRecord] = []
    for minted, hours in many:
        at = minted.replace(tzinfo=UTC)
        records.append(sample(at + timedelta(hours=hours), id=minted_id(at)))
    texts = minted_texts(columns_of(records))
    wanted = [minted_at(record.id, datetime.fromisoformat(record.started_at)) for record in records]
    assert [datetime.fromisoformat(text) for text in texts] == wanted
    assert {(month.year, month.month) for month in months_of(texts)} == {(at.year, at.month) for at in wanted}


def test_foreign_ids_are_foreign_in_a_batch() -> None:
    own, tracked = sample(), sample(id="tracked-1")
    assert not are_uuid7([tracked.id])
    assert minted_texts(columns_of([own, tracked]))[1] == FOREIGN_TEXT
    upper = own.id.upper()
    assert are_uuid7([own.id])
    assert not are_uuid7([upper]) or upper == own.id
    assert not are_uuid7([own.id[:14] + "4" + own.id[15:]])


def test_columns_are_in_the_order_of_fields() -> None:
    records = samples(2)
    assert columns_of(records)[AT["user"]] == tuple(record.user for record in records)
