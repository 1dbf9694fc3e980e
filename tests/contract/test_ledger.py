"""What every ledger promises, on SQLite and on a real Postgres."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import RefusedRecord
from proxy.ledger.ledger import Entry, Ledger, RecordFilter, Repriced, StoredKey, Sums
from proxy.records import OUTCOMES, UsageRecord
from tests.ledger_house import KINDS, LedgerHouse, ledger_house, one_postgres
from tests.sample_records import NOON, instant, minted_id, sample, samples
from tests.servers import PostgresServer

ALL = RecordFilter()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Callable[[], PostgresServer]]:
    with one_postgres() as server:
        yield server


@pytest.fixture(params=KINDS)
async def house(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], PostgresServer]
) -> AsyncIterator[LedgerHouse]:
    async with ledger_house(request.param, tmp_path, postgres) as opened:
        yield opened


@pytest.fixture
async def ledger(house: LedgerHouse) -> Ledger:
    return await house.open()


async def total(ledger: Ledger, which: RecordFilter = ALL) -> Sums:
    (only,) = await ledger.sums(which)
    return only.sums


async def exported(ledger: Ledger, which: RecordFilter = ALL) -> list[UsageRecord]:
    return [record async for record in ledger.export(which)]


async def paged(ledger: Ledger, which: RecordFilter = ALL, limit: int = 1000) -> list[UsageRecord]:
    found: list[UsageRecord] = []
    cursor = None
    while True:
        page = await ledger.records(which, limit, cursor)
        assert len(page.records) <= limit
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            return found


# --- append -----------------------------------------------------------------------------------------------------------------


async def test_a_record_comes_back_as_it_was(ledger: Ledger) -> None:
    record = sample(
        user="Zoë \U0001f600 'quoted\" \\",
        tags={"k": "v'\"", "ü": "x"},
        cost_usd="0.000000000000123456789",
        input_cost_usd="123456.789012345678901234567890",
        output_cost_usd="0",
        reported_cost_usd="1.10",
        usage_details={"service_tier": "flex", "units": {"images": "2"}, "deep": [1, {"a": None}]},
        limit="user alice tokens per_day",
    )
    assert await ledger.append([record]) == [record]
    assert await ledger.record(record.id) == record
    assert (await ledger.records(ALL, 10, None)).records == [record]
    assert await exported(ledger) == [record]


async def test_a_record_of_nothing_but_required_fields(ledger: Ledger) -> None:
    empty = dict.fromkeys(UsageRecord._fields)
    record = UsageRecord(
        **{
            **empty, "id": minted_id(NOON), "started_at": instant(NOON), "duration_ms": 0.0, "user": "u", "provider": "p",
            "api": "unknown", "method": "GET", "path": "/", "streamed": False, "status": 0, "outcome": "client_aborted",
            "usage_source": "none",
        }
    )  # type: ignore[arg-type]  # fmt: skip
    await ledger.append([record])
    assert await ledger.record(record.id) == record
    assert (await total(ledger)) == Sums(requests=1, client_aborted=1)


async def test_the_same_batch_twice_counts_once(ledger: Ledger) -> None:
    records = samples(50)
    assert sorted(await ledger.append(records)) == sorted(records)
    once = await total(ledger)
    assert await ledger.append(records) == []
    assert await total(ledger) == once
    assert once.requests == 50


async def test_the_same_id_twice_in_one_batch_counts_once(ledger: Ledger) -> None:
    record = sample()
    assert await ledger.append([record, record]) == [record]
    assert (await total(ledger)).requests == 1


async def test_an_overlapping_batch_adds_only_what_is_new(ledger: Ledger) -> None:
    records = samples(30)
    await ledger.append(records[:20])
    assert sorted(await ledger.append(records[10:])) == sorted(records[20:])
    assert await total(ledger) == replace(
        await total(ledger), requests=30, total_tokens=30 * 1545, cost_usd=30 * Decimal("0.000312")
    )


@pytest.mark.parametrize(
    "later",
    [timedelta(milliseconds=1), timedelta(minutes=20), timedelta(hours=30), timedelta(days=40), timedelta(days=-40)],
)
@pytest.mark.parametrize("identity", ["minted", "foreign"])
async def test_once_by_id_even_when_the_time_differs(ledger: Ledger, later: timedelta, identity: str) -> None:
    record = sample(id=minted_id(NOON) if identity == "minted" else "job-17", usage_source="tracked")
    again = record._replace(started_at=instant(NOON + later))
    assert await ledger.append([record]) == [record]
    assert await ledger.append([again]) == []
    assert await ledger.record(record.id) == record
    assert (await total(ledger)).requests == 1


async def test_ids_that_are_no_uuid_are_records_like_others(ledger: Ledger) -> None:
    tracked = [sample(NOON - timedelta(days=400) * at, id=f"invoice {at}/ü") for at in range(3)]
    assert len(await ledger.append(tracked)) == 3
    for record in tracked:
        assert await ledger.record(record.id) == record
    assert await paged(ledger) == tracked
    assert await paged(ledger, RecordFilter(start_at=NOON - timedelta(days=401), end_at=NOON - timedelta(days=399))) == [tracked[1]]


async def test_an_empty_batch_is_fine(ledger: Ledger) -> None:
    assert await ledger.append([]) == []
    assert await total(ledger) == Sums()


async def test_racing_writers_store_each_record_once(house: LedgerHouse) -> None:
    """Eight writers, each with all 400 records in another order."""
    ledgers = [await house.open() for _ in range(8)]
    records = [sample(NOON + timedelta(seconds=at), user=f"u{at % 7}", session=f"s{at % 3}") for at in range(400)]

    async def write(ledger: Ledger, number: int) -> int:
        mine = records[number * 50 :] + records[: number * 50]
        count = 0
        for at in range(0, 400, 25):
            batch = mine[at : at + 25]
            count += len(await ledger.append(batch[::-1] if number % 2 else batch))
        return count

    counts = await asyncio.gather(*(write(ledger, number) for number, ledger in enumerate(ledgers)))
    assert sum(counts) == 400
    assert await total(ledgers[0]) == Sums(
        requests=400,
        ok=400,
        input_tokens=400 * 1200,
        cache_read_tokens=400 * 1000,
        output_tokens=400 * 345,
        total_tokens=400 * 1545,
        input_cost_usd=400 * Decimal("0.000105"),
        output_cost_usd=400 * Decimal("0.000207"),
        cost_usd=400 * Decimal("0.000312"),
        duration_ms=400 * 1234.567,
        time_to_first_byte_ms=400 * 310.25,
        first_byte_count=400,
    )
    sessions = [each for user in range(7) for each in await ledgers[0].last_sessions(f"u{user}")]
    assert sum(int(str(each["requests"])) for each in sessions) == 400


# --- refusals ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "x" * 201},
        {"started_at": "yesterday"},
        {"started_at": "2026-11-21T12:00:00"},
        {"started_at": None},
        {"input_tokens": -1},
        {"input_tokens": 2**63},
        {"input_tokens": "1" * 30},
        {"output_tokens": 1.5},
        {"status": 10**9},
        {"cost_usd": "NaN"},
        {"cost_usd": "Infinity"},
        {"cost_usd": "a lot"},
        {"cost_usd": "1E+50"},
        {"cost_usd": "1E-5000"},
        {"duration_ms": float("inf")},
        {"started_at": "1969-12-31T23:59:59.000000Z"},
        {"user": None},
        {"user": "half \ud83d pair"},
        {"user": 7},
        {"tags": "k=v"},
    ],
)
async def test_what_no_column_can_hold_is_refused_and_nothing_is_stored(ledger: Ledger, changes: dict[str, Any]) -> None:
    good = sample()
    with pytest.raises(RefusedRecord):
        await ledger.append([good, sample(**changes)])
    assert await total(ledger) == Sums()
    assert await ledger.append([good]) == [good]


async def test_nul_characters_do_not_make_a_call_free(ledger: Ledger) -> None:
    record = sample(user="a\0b", path="/\0", tags={"k\0": "v\0"}, usage_details={"x": ["\0", "\\u0000"]}, session="\0")
    assert len(await ledger.append([record])) == 1
    kept = await ledger.record(record.id)
    assert kept is not None
    assert kept.user == "a\ufffdb"
    assert kept.usage_details is not None
    assert kept.usage_details["x"][1] == "\\u0000"  # type: ignore[index]
    assert (await total(ledger)).cost_usd == Decimal("0.000312")


async def test_times_and_money_are_stored_in_one_form(ledger: Ledger) -> None:
    record = sample(started_at="2026-11-21T13:00:00+01:00", cost_usd="1.5E-3")
    await ledger.append([record])
    kept = await ledger.record(record.id)
    assert kept is not None
    assert (kept.started_at, kept.cost_usd) == ("2026-11-21T12:00:00.000000Z", "0.0015")


# --- bills ------------------------------------------------------------------------------------------------------------------


def unbilled(record: UsageRecord) -> bool:
    return record.total_tokens is None and record.input_tokens is None and record.cost_usd is None and record.usage_details is None


async def test_a_second_record_with_the_same_bill_counts_nothing(ledger: Ledger) -> None:
    first, second = samples(2, billing_key="batch:b1")
    await ledger.append([first])
    (stored,) = await ledger.append([second])
    assert unbilled(stored)
    assert first.id in (stored.price_source or "")
    assert await ledger.record(second.id) == stored
    assert await ledger.record(first.id) == first
    sums = await total(ledger)
    assert (sums.requests, sums.total_tokens, sums.cost_usd, sums.unpriced) == (2, 1545, Decimal("0.000312"), 0)


async def test_of_one_batch_the_earliest_has_the_bill(ledger: Ledger) -> None:
    first, second, third = samples(3, billing_key="response:r1")
    stored = {record.id: record for record in await ledger.append([third, first, second])}
    assert not unbilled(stored[first.id])
    assert unbilled(stored[second.id])
    assert unbilled(stored[third.id])


async def test_a_poll_without_usage_does_not_take_the_bill(ledger: Ledger) -> None:
    polled, done = samples(2, billing_key="batch:b1")
    nothing = dict.fromkeys(
        ("input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "input_cost_usd",
         "output_cost_usd", "cost_usd", "usage_details")
    )  # fmt: skip
    await ledger.append([polled._replace(**nothing)])
    assert await ledger.append([done]) == [done]


async def test_the_owner_of_a_bill_may_be_read_again(ledger: Ledger) -> None:
    first, second = samples(2, billing_key="batch:b1")
    await ledger.append([first])
    await ledger.append([first, second])
    await ledger.append([second, first])
    sums = await total(ledger)
    assert (sums.requests, sums.total_tokens) == (2, 1545)


async def test_racing_polls_bill_once(house: LedgerHouse) -> None:
    ledgers = [await house.open() for _ in range(4)]
    keys = [f"batch:{at}" for at in range(10)]

    async def poll(ledger: Ledger, number: int) -> list[UsageRecord]:
        batch = [sample(NOON + timedelta(seconds=number), billing_key=key) for key in keys]
        return await ledger.append(batch[::-1] if number % 2 else batch)

    stored = [record for batch in await asyncio.gather(*(poll(*each) for each in enumerate_ledgers(ledgers))) for record in batch]
    assert len(stored) == 40
    assert sorted(record.billing_key or "" for record in stored if not unbilled(record)) == sorted(keys)
    sums = await total(ledgers[0])
    assert (sums.requests, sums.total_tokens, sums.cost_usd) == (40, 10 * 1545, 10 * Decimal("0.000312"))


def enumerate_ledgers(ledgers: list[Ledger]) -> list[tuple[Ledger, int]]:
    return [(ledger, number) for number, ledger in enumerate(ledgers)]


# --- pages ------------------------------------------------------------------------------------------------------------------


async def test_pages_come_newest_first_even_at_equal_times(ledger: Ledger) -> None:
    records = [sample(NOON + timedelta(seconds=at // 10)) for at in range(100)]
    await ledger.append(records)
    expected = sorted(records, key=lambda record: (record.started_at, record.id), reverse=True)
    for limit in (1, 7, 10, 99, 100, 101):
        assert await paged(ledger, limit=limit) == expected
    assert await exported(ledger) == expected[::-1]


async def test_records_that_arrive_between_two_pages_shift_nothing(ledger: Ledger) -> None:
    records = samples(10)
    await ledger.append(records)
    first = await ledger.records(ALL, 5, None)
    await ledger.append(samples(5, NOON + timedelta(hours=1)))
    second = await ledger.records(ALL, 5, first.next_cursor)
    assert first.records + second.records == records[::-1]
    assert second.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "🙂", "AAAAAAAA", "c5rgdFsiMjAyNi0xMS0wMlQwMTo", "' OR 1=1"])
async def test_a_cursor_that_is_not_ours_is_told(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await ledger.records(ALL, 5, cursor)


async def test_a_cursor_with_a_changed_letter_is_told(ledger: Ledger) -> None:
    await ledger.append(samples(3))
    cursor = (await ledger.records(ALL, 1, None)).next_cursor
    assert cursor is not None
    for at in range(0, len(cursor) - 1, 3):
        changed = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        with pytest.raises(ValueError, match="cursor"):
            await ledger.records(ALL, 1, changed)


async def test_every_filter(ledger: Ledger) -> None:
    wanted = sample(
        user="u", team="t", key_id="k", provider="p", operation="o", session="s", outcome="denied", request_model="asked",
        response_model="given",
    )  # fmt: skip
    await ledger.append([wanted, *samples(5, NOON + timedelta(hours=1))])
    filters = [
        {"user": "u"}, {"team": "t"}, {"key_id": "k"}, {"provider": "p"}, {"operation": "o"}, {"session": "s"},
        {"outcome": "denied"},
        {"model": "asked"}, {"model": "given"}, {"request_id": wanted.id}, {"end_at": NOON + timedelta(minutes=1)},
    ]  # fmt: skip
    for fields in filters:
        which = RecordFilter(**fields)  # type: ignore[arg-type]
        assert await paged(ledger, which) == [wanted], fields
        assert await exported(ledger, which) == [wanted], fields
        assert (await total(ledger, which)).requests == 1, fields
        assert (await ledger.sums(which, ("user",)))[0].group == {"user": "u"}, fields
        assert len(await ledger.timeseries(which, "day", "UTC")) == 1, fields
    everything: dict[str, Any] = {name: value for fields in filters for name, value in fields.items()}
    assert await paged(ledger, RecordFilter(**everything)) == [wanted]
    assert await paged(ledger, RecordFilter(**{**everything, "team": "other"})) == []
    assert await ledger.record("no such id") is None


async def test_the_ends_of_a_period_are_exact_to_the_microsecond(ledger: Ledger) -> None:
    start, end = NOON, NOON + timedelta(hours=1)
    tick = timedelta(microseconds=1)
    records = [sample(at, id=f"r{number}") for number, at in enumerate((start - tick, start, end - tick, end))]
    await ledger.append(records)
    which = RecordFilter(start_at=start, end_at=end)
    assert await paged(ledger, which) == [records[2], records[1]]
    assert (await total(ledger, which)).requests == 2
    assert (await total(ledger, replace(which, start_at=start + tick))).requests == 1


# --- sums -------------------------------------------------------------------------------------------------------------------


async def test_sums_say_what_happened(ledger: Ledger) -> None:
    records = [
        sample(outcome=outcome, status=status, **changes)
        for outcome, status, changes in (
            ("ok", 200, {"reported_cost_usd": "0.5"}),
            ("ok", 200, {"cost_usd": None, "usage_source": "estimated", "cache_write_tokens": 3, "reasoning_tokens": 4}),
            ("ok", 200, {"cost_usd": None, "total_tokens": 0, "input_tokens": 0, "output_tokens": 0}),
            ("denied", 429, {"total_tokens": None, "input_tokens": None, "output_tokens": None, "cost_usd": None}),
            ("upstream_error", 500, {"time_to_first_byte_ms": None}),
            ("upstream_aborted", 200, {"input_audio_tokens": 5}),
            ("client_aborted", 200, {"output_audio_tokens": 6}),
            ("proxy_error", 502, {}),
        )
    ]
    await ledger.append(records)
    expected = Sums(
        requests=8,
        ok=3,
        denied=1,
        failed=3,
        client_aborted=1,
        input_tokens=6 * 1200,
        cache_read_tokens=8 * 1000,
        cache_write_tokens=3,
        output_tokens=6 * 345,
        reasoning_tokens=4,
        input_audio_tokens=5,
        output_audio_tokens=6,
        total_tokens=6 * 1545,
        estimated=1,
        unpriced=1,
        input_cost_usd=8 * Decimal("0.000105"),
        output_cost_usd=8 * Decimal("0.000207"),
        cost_usd=5 * Decimal("0.000312"),
        reported_cost_usd=Decimal("0.5"),
        duration_ms=8 * 1234.567,
        time_to_first_byte_ms=7 * 310.25,
        first_byte_count=7,
    )
    assert await total(ledger) == expected  # from the roll-ups
    assert await total(ledger, RecordFilter(session="s-1")) == expected  # from the records
    assert {record.outcome for record in records} == set(OUTCOMES)


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        (["0.1"] * 10, "1"),
        (["0.000000000001", "999999999.999999999999"], "1000000000"),
        (["0.0001283333333333333333333333333"] * 3, "0.0003849999999999999999999999999"),
        (["123456789.123456789123456789", "0.000000000000000000000001"], "123456789.123456789123456789000001"),
        (["999999999999"] * 40, "39999999999960"),
        (["0", "0.000"], "0"),
    ],
)
async def test_money_is_summed_exactly(ledger: Ledger, amounts: list[str], expected: str) -> None:
    await ledger.append([sample(NOON + timedelta(minutes=20) * at, cost_usd=amount) for at, amount in enumerate(amounts)])
    assert (await total(ledger)).cost_usd == Decimal(expected)
    assert (await total(ledger, RecordFilter(session="s-1"))).cost_usd == Decimal(expected)
    (session,) = await ledger.last_sessions("alice")
    assert Decimal(str(session["cost_usd"])) == Decimal(expected)


async def test_groups_rank_by_cost_then_tokens(ledger: Ledger) -> None:
    await ledger.append(
        [
            sample(user="dear", cost_usd="2", total_tokens=1),
            sample(user="cheap", cost_usd="1", total_tokens=9),
            sample(user="big", cost_usd="1", total_tokens=10),
            sample(user="unknown", cost_usd=None, total_tokens=1000),
        ]
    )
    found = await ledger.sums(ALL, ("user",))
    assert [each.group["user"] for each in found] == ["dear", "big", "cheap", "unknown"]
    assert [each.group["user"] for each in await ledger.sums(ALL, ("user",), limit=2)] == ["dear", "big"]


@pytest.mark.parametrize("groups", [("user",), ("team",), ("user", "team"), ("model", "outcome"), ("tag",)])
async def test_the_first_groups_are_those_of_all_whatever_pieces_they_are_summed_from(
    ledger: Ledger, groups: tuple[str, ...]
) -> None:
    chance = random.Random(11)
    records = [
        sample(
            NOON - timedelta(minutes=7 * number, seconds=number),
            user=f"user-{chance.randrange(9)}",
            team=chance.choice([None, "None", "blue", "Ärzte", "zoo", "Zoo"]),
            response_model=chance.choice([None, "m-1", "m-2"]),
            outcome=chance.choice(["ok", "denied"]),
            cost_usd=chance.choice([None, "0", "0.01", "0.02"]),
            total_tokens=chance.choice([None, 0, 7]),
            tags=chance.choice([None, {"a": "1"}, {"a": "2", "b": "1"}]),
        )
        for number in range(400)
    ]
    await ledger.append(records)
    while await ledger.digest():
        pass
    which = RecordFilter(start_at=NOON - timedelta(minutes=2000, seconds=13), end_at=NOON - timedelta(minutes=61))
    meant = [record for record in records if which.start_at <= datetime.fromisoformat(record.started_at) < which.end_at]  # type: ignore[operator]
    sums: dict[tuple[str | None, ...], list[Any]] = {}
    for record in meant:
        model = record.response_model or record.request_model
        for tag in [f"{name}={value}" for name, value in (record.tags or {}).items()] or [None]:
            named = {"user": record.user, "team": record.team, "model": model, "outcome": record.outcome, "tag": tag}
            found = sums.setdefault(tuple(named[name] for name in groups), [Decimal(0), 0, 0])
            for at, amount in enumerate((Decimal(record.cost_usd or 0), record.total_tokens or 0, 1)):
                found[at] += amount
            if groups != ("tag",):
                break
    expected = sorted(sums, key=lambda names: (-sums[names][0], -sums[names][1], tuple(map(str, names))))
    for limit in (1, 3, 5, 1000):
        rows = await ledger.sums(which, groups, limit)
        assert [tuple(row.group.values()) for row in rows] == expected[:limit]
        assert [[row.sums.cost_usd, row.sums.total_tokens, row.sums.requests] for row in rows] == [
            sums[names] for names in expected[:limit]
        ]


async def test_every_group(ledger: Ledger) -> None:
    await ledger.append([sample(), sample(team=None, operation=None, session=None, response_model=None, key_id=None)])
    for name, values in {
        "user": {"alice"},
        "team": {"research", None},
        "key_id": {"3f9a00112233", None},
        "provider": {"openai"},
        "model": {"gpt-4o-mini-2024-07-18", "gpt-4o-mini"},
        "operation": {"summarise", None},
        "session": {"s-1", None},
        "api": {"openai.chat"},
        "outcome": {"ok"},
    }.items():
        assert {each.group[name] for each in await ledger.sums(ALL, (name,))} == values
    both = await ledger.sums(ALL, ("team", "model"))
    assert {(each.group["team"], each.group["model"]) for each in both} == {
        ("research", "gpt-4o-mini-2024-07-18"),
        (None, "gpt-4o-mini"),
    }
    with pytest.raises(ValueError, match="colour"):
        await ledger.sums(ALL, ("colour",))


async def test_roll_ups_and_records_agree_for_any_two_instants(ledger: Ledger) -> None:
    records = [sample(NOON + timedelta(seconds=97) * at, user=f"u{at % 3}", session="s") for at in range(200)]
    await ledger.append(records)
    for start, end in ((0, 200), (1, 2), (3, 190), (9, 10), (50, 51), (100, 160), (0, 1)):
        first, last = NOON + timedelta(seconds=97 * start), NOON + timedelta(seconds=97 * end, microseconds=1)
        which = RecordFilter(start_at=first, end_at=last)
        inside = [record for record in records if instant(first) <= record.started_at < instant(last)]
        sums = await total(ledger, which)
        assert sums.requests == len(inside)
        assert sums == await total(ledger, replace(which, session="s"))
        by_user = {each.group["user"]: each.sums.requests for each in await ledger.sums(which, ("user",))}
        assert sum(by_user.values()) == len(inside)


# --- time series ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "interval", "at", "begins"),
    [
        ("UTC", "hour", "2026-11-21T12:34:56+00:00", "2026-11-21T12:00:00+00:00"),
        ("UTC", "day", "2026-11-21T23:59:59+00:00", "2026-11-21T00:00:00+00:00"),
        ("UTC", "week", "2026-11-22T12:00:00+00:00", "2026-11-16T00:00:00+00:00"),
        ("UTC", "month", "2026-12-31T23:59:59+00:00", "2026-12-01T00:00:00+00:00"),
        ("Asia/Kolkata", "hour", "2026-11-21T12:20:00+00:00", "2026-11-21T11:30:00+00:00"),
        ("Asia/Kolkata", "day", "2026-11-21T18:29:59+00:00", "2026-11-20T18:30:00+00:00"),
        ("Asia/Kathmandu", "day", "2026-11-21T18:15:00+00:00", "2026-11-21T18:15:00+00:00"),
        ("America/New_York", "day", "2026-11-01T05:30:00+00:00", "2026-11-01T04:00:00+00:00"),  # clocks go back
        ("America/New_York", "day", "2026-11-02T04:30:00+00:00", "2026-11-01T04:00:00+00:00"),  # 25 hours
        ("America/New_York", "day", "2026-11-02T05:00:00+00:00", "2026-11-02T05:00:00+00:00"),
        ("Europe/Berlin", "week", "2026-03-29T21:30:00+00:00", "2026-03-22T23:00:00+00:00"),  # the week the clocks go forward
        ("Europe/Berlin", "month", "2026-10-31T22:30:00+00:00", "2026-09-30T22:00:00+00:00"),
        ("Australia/Lord_Howe", "hour", "2026-04-04T15:10:00+00:00", "2026-04-04T14:00:00+00:00"),  # 01:40 for the second time
        ("Australia/Lord_Howe", "hour", "2026-04-04T16:40:00+00:00", "2026-04-04T16:30:00+00:00"),
        ("Asia/Beirut", "day", "2026-03-28T22:10:00+00:00", "2026-03-28T22:00:00+00:00"),  # there is no midnight
    ],
)
async def test_intervals_begin_where_they_begin_in_that_zone(
    ledger: Ledger, zone: str, interval: str, at: str, begins: str
) -> None:
    moment = datetime.fromisoformat(at)
    await ledger.append([sample(moment, id="one")])
    for which in (ALL, RecordFilter(start_at=moment - timedelta(days=40), end_at=moment + timedelta(days=40))):
        (point,) = await ledger.timeseries(which, interval, zone)
        assert point.start_at == datetime.fromisoformat(begins)
        assert point.start_at.tzinfo is not None
        assert point.sums.requests == 1


async def test_a_series_adds_up_to_the_sum_across_a_clock_change(ledger: Ledger) -> None:
    start = datetime(2026, 10, 24, tzinfo=UTC)
    records = [sample(start + timedelta(minutes=17) * at, id=f"r{at}", user=f"u{at % 2}") for at in range(300)]
    await ledger.append(records)
    which = RecordFilter(start_at=start + timedelta(minutes=5), end_at=start + timedelta(hours=80, minutes=3))
    whole = await total(ledger, which)
    for interval in ("hour", "day", "week", "month"):
        for groups in ((), ("user",), ("session",)):
            points = await ledger.timeseries(which, interval, "Europe/Berlin", groups)
            assert sum(point.sums.requests for point in points) == whole.requests
            assert sum((point.sums.cost_usd for point in points), Decimal(0)) == whole.cost_usd
            assert [point.start_at for point in points] == sorted(point.start_at for point in points)
    days = await ledger.timeseries(which, "day", "Europe/Berlin")
    # 25 October has 25 hours in Berlin: 22:00 UTC to 23:00 UTC.
    assert [point.start_at.hour for point in days] == [22, 22, 23, 23][: len(days)]


async def test_series_of_nothing_and_wrong_words(ledger: Ledger) -> None:
    assert await ledger.timeseries(ALL, "day", "UTC") == []
    for interval, zone, groups in (("year", "UTC", ()), ("day", "Mars/Olympus", ()), ("day", "../etc", ()), ("day", "UTC", ("x",))):
        with pytest.raises(ValueError):
            await ledger.timeseries(ALL, interval, zone, groups)
    await ledger.append([sample()])
    with pytest.raises(ValueError, match="points"):
        await ledger.timeseries(RecordFilter(start_at=NOON - timedelta(days=9000), end_at=NOON + timedelta(days=1)), "hour", "UTC")
    assert await ledger.timeseries(RecordFilter(start_at=NOON, end_at=NOON - timedelta(1)), "day", "UTC") == []


# --- sessions, seeds --------------------------------------------------------------------------------------------------------


async def test_last_sessions_come_newest_first(ledger: Ledger) -> None:
    records = [sample(NOON + timedelta(minutes=at), session=f"s{at % 60}") for at in range(120)]
    await ledger.append(records[:70])
    await ledger.append(records[70:])
    await ledger.append([sample(session=None), sample(user="bob", session="s0")])
    found = await ledger.last_sessions("alice")
    assert [each["session"] for each in found] == [f"s{at}" for at in range(59, 9, -1)]
    assert found[0] == {
        "session": "s59",
        "requests": 2,
        "total_tokens": 2 * 1545,
        "cost_usd": "0.000624",
        "first_at": instant(NOON + timedelta(minutes=59)),
        "last_at": instant(NOON + timedelta(minutes=119)),
    }
    assert len(await ledger.last_sessions("alice", 3)) == 3
    assert await ledger.last_sessions("nobody") == []


async def test_used_since_is_what_counters_are_seeded_with(ledger: Ledger) -> None:
    start = NOON + timedelta(minutes=7)
    await ledger.append(
        [
            sample(NOON, cost_usd="99"),  # before
            sample(start, cost_usd="1"),
            sample(start + timedelta(hours=3), cost_usd="2", outcome="client_aborted"),
            sample(start + timedelta(hours=3), cost_usd="4", usage_source="tracked", id="job"),
            sample(start + timedelta(hours=1), cost_usd="8", outcome="denied"),
            sample(start + timedelta(hours=2), cost_usd="16", request_model="other", response_model="gpt-4o-mini-2024-07-18"),
        ]
    )
    found = await ledger.used_since(start)
    assert {each.group["model"]: (each.sums.requests, each.sums.cost_usd) for each in found} == {
        "gpt-4o-mini": (3, Decimal(7)),
        "other": (1, Decimal(16)),
    }
    assert found[1].group == {
        "user": "alice", "team": "research", "key_id": "3f9a00112233", "provider": "openai", "model": "gpt-4o-mini",
    }  # fmt: skip


# --- keys and settings ------------------------------------------------------------------------------------------------------


async def test_keys_are_kept_and_replaced(house: LedgerHouse) -> None:
    ledger, other = await house.open(), await house.open()
    key = StoredKey("abc", "abc" + "0" * 61, "alice", "research", "premium", "laptop", instant(NOON), "admin")
    before = await other.change_marker()
    await ledger.put_key(key)
    assert await other.keys() == [key]
    marker = await other.change_marker()
    assert marker != before
    revoked = replace(key, revoked_at=instant(NOON), settings={"models": ["gpt-*"], "limits": {"tokens": {"per_day": 5}}})
    await other.put_key(revoked)
    assert await ledger.keys() == [revoked]
    assert await ledger.change_marker() != marker


async def test_settings_are_small_documents(house: LedgerHouse) -> None:
    ledger, other = await house.open(), await house.open()
    assert await ledger.setting("switch") is None
    markers = {await other.change_marker()}
    for value in ({"all": True, "n": [1, 2.5, None, "ü"]}, [], "text", 0, False):
        await ledger.put_setting("switch", value)
        assert await other.setting("switch") == value
        markers.add(await other.change_marker())
    assert len(markers) == 6
    assert await ledger.setting("overrides") is None


async def test_settings_by_prefix_once_and_away(house: LedgerHouse) -> None:
    ledger, other = await house.open(), await house.open()
    for name in ("override:a%_", "override:b", "override", "Override:c", "x"):
        await ledger.put_setting(name, {"name": name})
    assert await other.settings("override:") == {"override:a%_": {"name": "override:a%_"}, "override:b": {"name": "override:b"}}
    assert len(await other.settings("")) == 5
    assert await other.settings("none") == {}
    marker = await other.change_marker()
    ledgers = [await house.open() for _ in range(4)]
    assert sorted(await asyncio.gather(*(each.add_setting("leader", n) for n, each in enumerate(ledgers)))) == [False] * 3 + [True]
    after = await other.change_marker()
    assert after != marker
    assert await ledger.delete_setting("leader")
    assert not await ledger.delete_setting("leader")
    assert await other.setting("leader") is None
    assert await other.change_marker() not in (marker, after)


async def test_a_journal_is_written_once_and_read_newest_first(house: LedgerHouse) -> None:
    ledgers = [await house.open() for _ in range(4)]
    ledger = ledgers[0]
    entry = Entry("alert", "a1", instant(NOON), {"user": "alice", "at": [1, None], "nul": "x"})
    assert sorted(await asyncio.gather(*(each.put_entry(entry) for each in ledgers))) == [False] * 3 + [True]
    assert await ledger.entry("alert", "a1") == entry
    assert await ledger.entry("audit", "a1") is None
    changed = replace(entry, body={"acknowledged": True})
    assert not await ledger.put_entry(changed)
    assert await ledger.put_entry(changed, replace=True)
    assert await ledger.entry("alert", "a1") == changed
    lines = [Entry("audit", f"l{at:02}", instant(NOON + timedelta(seconds=at // 3)), {"n": at}) for at in range(20)]
    for line in lines:
        await ledger.put_entry(line)
    found: list[Entry] = []
    cursor = None
    while True:
        page = await ledger.entries("audit", 7, cursor)
        found += page.entries
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == lines[::-1]
    some = await ledger.entries("audit", 100, None, start_at=NOON + timedelta(seconds=2), end_at=NOON + timedelta(seconds=4))
    assert [line.id for line in some.entries] == ["l11", "l10", "l09", "l08", "l07", "l06"]
    with pytest.raises(ValueError, match="cursor"):
        await ledger.entries("audit", 5, "7")
    assert await ledger.delete_entries("audit", NOON + timedelta(seconds=4)) == 12
    assert len((await ledger.entries("audit", 100, None)).entries) == 8
    assert await ledger.entry("alert", "a1") == changed


async def test_a_marker_is_quiet_while_records_come(ledger: Ledger) -> None:
    before = await ledger.change_marker()
    await ledger.append(samples(3))
    assert await ledger.change_marker() == before


# --- prices, people, retention ----------------------------------------------------------------------------------------------


async def test_repricing_moves_the_sums_with_the_records(ledger: Ledger) -> None:
    unpriced, wrong = samples(2, step=timedelta(hours=2), cost_usd="123456789.123456789012345678901234567890")
    unpriced = unpriced._replace(input_cost_usd=None, output_cost_usd=None, cost_usd=None, price_source="unknown model")
    await ledger.append([unpriced, wrong])
    assert (await total(ledger)).unpriced == 1
    changed = await ledger.reprice(
        [
            Repriced(unpriced.id, "1", "2", "3", "prices.yaml"),
            Repriced(wrong.id, None, None, None, "withdrawn"),
            Repriced("no such id", "1", "1", "1", "x"),
        ]
    )
    assert changed == 2
    kept = await ledger.record(unpriced.id)
    assert kept == unpriced._replace(input_cost_usd="1", output_cost_usd="2", cost_usd="3", price_source="prices.yaml")
    for which in (ALL, RecordFilter(session="s-1")):
        sums = await total(ledger, which)
        assert (sums.requests, sums.total_tokens, sums.unpriced) == (2, 3090, 1)
        assert (sums.input_cost_usd, sums.output_cost_usd, sums.cost_usd) == (1, 2, 3)
    (session,) = await ledger.last_sessions("alice")
    assert Decimal(str(session["cost_usd"])) == 3


async def test_a_person_is_forgotten_and_nobody_else(ledger: Ledger) -> None:
    await ledger.append([*samples(3), *samples(2, user="bob")])
    assert await ledger.forget_user("alice") == 3
    assert {record.user for record in await exported(ledger)} == {"bob"}
    assert (await total(ledger)).requests == 2
    assert await ledger.sums(RecordFilter(user="alice"), ("model",)) == []
    assert await ledger.last_sessions("alice") == []
    assert await ledger.forget_user("alice") == 0
    await ledger.append(samples(1))
    assert (await total(ledger, RecordFilter(user="alice"))).requests == 1


async def test_retention_keeps_the_sums(ledger: Ledger) -> None:
    old = samples(3, NOON - timedelta(days=120), billing_key=None)
    tracked = sample(NOON - timedelta(days=120), id="job")
    new = samples(2)
    await ledger.append([*old, tracked, *new])
    before = await total(ledger)
    await ledger.forget_before(NOON - timedelta(days=60))
    assert await exported(ledger) == new
    assert await total(ledger) == before
    await ledger.append(samples(1, NOON - timedelta(days=119)))  # a late one still has a place
    assert (await total(ledger)).requests == before.requests + 1


# --- life -------------------------------------------------------------------------------------------------------------------


async def test_what_was_appended_is_there_after_a_restart(house: LedgerHouse) -> None:
    ledger = await house.open()
    records = samples(10)
    await ledger.append(records)
    await ledger.close()
    await ledger.close()
    again = await house.open()
    assert await paged(again) == records[::-1]
    assert await again.append(records) == []


async def test_eight_starters_at_once(house: LedgerHouse) -> None:
    ledgers = await asyncio.gather(*(house.open() for _ in range(8)))
    await asyncio.gather(*(ledger.append([sample()]) for ledger in ledgers))
    assert (await total(ledgers[0])).requests == 8


async def test_an_export_of_any_size_needs_the_memory_of_a_page(ledger: Ledger) -> None:
    for at in range(12):
        await ledger.append(samples(1000, NOON + timedelta(hours=at), step=timedelta(seconds=1)))
    tracemalloc.start()
    try:
        count = 0
        async for _ in ledger.export(ALL):
            count += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 12_000
    assert peak < 16_000_000, f"{peak} bytes"
