"""Rows, bills, roll-ups, cursors and partitions: all that is decided before a database is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import LedgerError
from proxy.ledger import migrations as migrations_module
from proxy.ledger.columns import storable_batch
from proxy.ledger.cursors import from_cursor, to_cursor
from proxy.ledger.ledger import RecordFilter
from proxy.ledger.migrations import migrations, missing, queries
from proxy.ledger.partitions import (
    FOREIGN_AT,
    has_own_partition,
    minted_at,
    months_ahead,
    next_month,
    partition_month,
    partition_name,
    time_of_id,
)
from proxy.ledger.rollup import COUNTS, EXACT, Cell, bucket_of, roll_up, roll_up_sessions, series_id
from proxy.ledger.rows import claims, storable, without_second_bills
from proxy.ledger.sqlite_money import amount_of, units_and_rest
from proxy.ledger.statements import Piece, pieces
from proxy.records import UsageRecord
from tests.sample_records import NOON, instant, sample, samples

MONEY = st.decimals(min_value=0, max_value=10**12 - 1, places=20, allow_nan=False).map(lambda amount: amount.normalize())


def test_a_good_record_is_stored_as_it_is() -> None:
    record = sample()
    assert storable(record) == record


def test_a_batch_is_sorted_and_has_each_id_once() -> None:
    records = samples(5)
    assert storable_batch([*records[::-1], *records]).records == sorted(records, key=lambda record: record.id)


@given(amount=MONEY)
def test_any_amount_survives_as_units_and_rest(amount: Decimal) -> None:
    units, rest = units_and_rest(amount)
    assert amount_of([units // 10**12, units % 10**12, rest]) == amount
    assert abs(units) <= 10**15


@given(amounts=st.lists(st.tuples(MONEY, st.sampled_from(["u", "v"]), st.integers(0, 5000)), max_size=30), cut=st.integers(0, 30))
def test_roll_ups_conserve_whatever_the_batches(amounts: list[tuple[Decimal, str, int]], cut: int) -> None:
    records = [
        sample(NOON + timedelta(seconds=at), user=user, cost_usd=f"{amount:f}", total_tokens=at) for amount, user, at in amounts
    ]
    whole: dict[object, list[object]] = {}
    for batch in (records[:cut], records[cut:]):
        for key, cell in roll_up(batch).items():
            known = whole.setdefault(key, [0, Decimal(0)])
            known[0] += cell.counts[COUNTS.index("total_tokens")]  # type: ignore[operator]
            known[1] = EXACT.add(known[1], cell.money[2])  # type: ignore[arg-type]
    at_once = {key: [cell.counts[COUNTS.index("total_tokens")], cell.money[2]] for key, cell in roll_up(records).items()}
    assert whole == at_once
    assert sum(int(str(tokens)) for tokens, _ in whole.values()) == sum(at for _, _, at in amounts)


def test_taking_away_undoes_adding() -> None:
    records = samples(7, reported_cost_usd="0.5", cost_usd="123456789.123456789012345678901234567890")
    for key, cell in roll_up(records).items():
        less = roll_up(records, -1)[key]
        assert [a + b for a, b in zip(cell.counts, less.counts, strict=True)] == [0] * len(COUNTS)
        assert [a + b for a, b in zip(cell.money, less.money, strict=True)] == [0] * 4


def test_a_cell_holds_its_quarter_of_an_hour() -> None:
    assert bucket_of("2026-11-21T12:14:59.999999Z") == int(NOON.timestamp())
    assert bucket_of("2026-11-21T12:15:00.000000Z") == int(NOON.timestamp()) + 900
    (key,) = roll_up([sample(NOON + timedelta(minutes=14)), sample(NOON)])
    assert key[0] == int(NOON.timestamp())
    assert isinstance(roll_up([sample()])[key], Cell)


def test_series_ids_never_change() -> None:
    """They are stored: another digest would split every series in two."""
    dimensions = ("alice", "research", None, "openai", "gpt-4o-mini", None, None, "openai.chat", "ok")
    assert series_id(dimensions).hex() == "d81358840e534cdbbe4e9de62bd649c1"
    assert series_id(("a", None)) != series_id((None, "a"))


def test_sessions_add_up() -> None:
    cells = roll_up_sessions([sample(), sample(NOON + timedelta(seconds=5)), sample(session=None), sample(user="bob")])
    assert list(cells) == [("alice", "s-1"), ("bob", "s-1")]
    cell = cells[("alice", "s-1")]
    assert (cell.requests, cell.total_tokens, cell.cost_usd) == (2, 3090, Decimal("0.000624"))
    assert (cell.first_at, cell.last_at) == (instant(NOON), instant(NOON + timedelta(seconds=5)))


def test_the_earliest_of_a_batch_claims_and_the_others_count_nothing() -> None:
    first, second = samples(2, billing_key="b")
    wanted = claims([second, first])
    assert wanted == {"b": first.id}
    kept = without_second_bills([second, first], wanted)
    assert kept[1] == first
    assert (kept[0].total_tokens, kept[0].cost_usd, kept[0].billing_key) == (None, None, "b")
    assert without_second_bills([sample()], {}) != []


def test_cursors_come_back_and_nothing_else_does() -> None:
    cursor = to_cursor(instant(NOON), "ü-1")
    assert from_cursor(cursor) == (NOON, "ü-1")
    for other in ("", "a", cursor[:-2], cursor + "AA", cursor[::-1], "ü"):
        with pytest.raises(ValueError, match="cursor"):
            from_cursor(other)


def test_an_id_says_its_partition() -> None:
    assert time_of_id(sample(NOON).id) == NOON
    assert time_of_id("job-17") is None
    assert time_of_id("ffffffff-ffff-7000-8000-000000000000") is None
    assert time_of_id(sample(NOON).id.upper()) is None
    record = sample(NOON)
    assert minted_at(record.id, NOON) == NOON
    assert minted_at(record.id, NOON + timedelta(hours=23)) == NOON
    assert minted_at(record.id, NOON + timedelta(hours=25)) == FOREIGN_AT
    assert minted_at("x", NOON) == FOREIGN_AT


def test_months() -> None:
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert next_month(december) == datetime(2027, 1, 1, tzinfo=UTC)
    assert months_ahead(NOON)[1] == december
    assert partition_month(partition_name(december)) == december
    assert partition_month("usage_records_default") is None
    assert has_own_partition(december, NOON)
    assert not has_own_partition(datetime(2027, 11, 1, tzinfo=UTC), NOON)
    assert not has_own_partition(datetime(1970, 1, 1, tzinfo=UTC), NOON)


def quarter(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [("rollups", None, None)]),
        (0, 30, [("rollups", 0, 30)]),
        (7, 37, [("records", 7, 15), ("rollups", 15, 30), ("records", 30, 37)]),
        (7, 15, [("records", 7, 15)]),
        (7, 16, [("records", 7, 16)]),
        (3, 4, [("records", 3, 4)]),
        (7, None, [("records", 7, 15), ("rollups", 15, None)]),
        (None, 7, [("rollups", None, 0), ("records", 0, 7)]),
        (0, 0, [("records", 0, 0)]),
    ],
)
def test_pieces_cover_a_period_once(start: int | None, end: int | None, expected: list[tuple[str, int | None, int | None]]) -> None:
    def at(minutes: int | None) -> datetime | None:
        return None if minutes is None else quarter(minutes)

    found = pieces(RecordFilter(start_at=at(start), end_at=at(end)), ())
    assert found == [Piece(source, at(first), at(last)) for source, first, last in expected]


@pytest.mark.parametrize(("which", "groups"), [({"session": "s"}, ()), ({"request_id": "r"}, ()), ({}, ("session",))])
def test_what_roll_ups_do_not_know_comes_from_the_records(which: dict[str, str], groups: tuple[str, ...]) -> None:
    assert pieces(RecordFilter(start_at=NOON, **which), groups) == [Piece("records", NOON, None)]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_migrations_are_numbered_without_a_gap(kind: str) -> None:
    files = migrations(kind)
    assert [each.number for each in files] == list(range(1, len(files) + 1))
    applied = {each.number: each.checksum for each in files}
    assert missing(kind, applied) == []
    assert missing(kind, {**applied, 9999: "a later release's"}) == []
    assert missing(kind, {}) == list(files)
    with pytest.raises(LedgerError, match="0001"):
        missing(kind, {**applied, 1: "other"})


def test_both_databases_have_a_column_for_every_field() -> None:
    for kind in ("sqlite", "postgres"):
        text = "".join(each.text for each in migrations(kind))
        table = text[text.index('CREATE TABLE "usage_records"') :]
        table = table[: table.index(");")]
        for name in UsageRecord._fields:
            assert f'    "{name}" ' in table, (kind, name)


def test_queries_have_names() -> None:
    assert {"bill_owners", "keys", "put_setting"} <= set(queries("sqlite")) & set(queries("postgres"))
    assert all(text and not text.endswith(";") for text in queries("postgres").values())
    assert migrations_module.queries("sqlite") is queries("sqlite")
