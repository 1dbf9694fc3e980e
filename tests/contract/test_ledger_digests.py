"""Sums from digests are the sums of the records, whatever was asked, whatever changed since, and while it is being changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from proxy.ledger.digests import KINDS, WIDTHS, cover, kind_for, kind_number, stretches
from proxy.ledger.ledger import Ledger, RecordFilter, Repriced
from proxy.ledger.statements import Statement
from tests.ledger_house import LedgerHouse, ledger_house, one_postgres
from tests.sample_records import sample
from tests.servers import PostgresServer

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=16)
QUESTIONS: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
    ((), {}), (("user",), {}), (("team", "user"), {"user": "u-1"}), (("provider", "model"), {}), (("operation",), {}),
    (("key_id",), {}), (("outcome",), {"provider": "p-1"}), (("api",), {}), ((), {"outcome": "denied"}), (("user", "model"), {}),
    ((), {"model": "m-1"}),
)  # fmt: skip
SERIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("day", "UTC", ("user",)), ("day", "Europe/Berlin", ()), ("day", "Asia/Kolkata", ("model",)), ("day", "Asia/Kathmandu", ()),
    ("hour", "UTC", ()), ("week", "America/New_York", ("user",)), ("month", "UTC", ()),
)  # fmt: skip


@pytest.fixture(scope="module")
def postgres() -> Iterator[Callable[[], PostgresServer]]:
    with one_postgres() as server:
        yield server


@pytest.fixture
async def house(tmp_path: Path, postgres: Callable[[], PostgresServer]) -> AsyncIterator[LedgerHouse]:
    async with ledger_house("postgres", tmp_path, postgres) as opened:
        yield opened


def records(count: int = 400, first: int = 0) -> list[Any]:
    """One every 57 minutes and 7 seconds, over sixteen days: a whole week is among them."""
    return [
        sample(
            START + number * timedelta(minutes=57, seconds=7),
            user=f"u-{number % 3}",
            team=f"t-{number % 2}",
            key_id=f"k-{number % 4}",
            provider=f"p-{number % 2}",
            request_model=f"m-{number % 5}",
            response_model=None if number % 7 == 0 else f"m-{number % 5}-2026",
            operation=None if number % 3 else "chat",
            outcome=("ok", "ok", "ok", "denied", "upstream_error")[number % 5],
            input_tokens=number + 1,
            cost_usd=f"0.000{number + 1:03d}",
        )
        for number in range(first, first + count)
    ]


async def digest_all(ledger: Ledger) -> int:
    rounds = 0
    while await ledger.digest():
        rounds += 1
    return rounds


async def answers(ledger: Ledger) -> list[object]:
    """Every kind of question over ragged and whole stretches, and series in zones of whole, half and quarter hours."""
    found: list[object] = []
    for start, end in ((None, None), (START + timedelta(minutes=17), TODAY - timedelta(hours=3, minutes=4))):
        for groups, more in QUESTIONS:
            found.append(await ledger.sums(RecordFilter(start_at=start, end_at=end, **more), groups))
    which = RecordFilter(start_at=START, end_at=TODAY)
    for interval, zone, groups in SERIES:
        found.append(await ledger.timeseries(which, interval, zone, groups))
    return found


async def test_answers_are_the_same_with_digests_and_without(house: LedgerHouse) -> None:
    ledger = await house.open()
    await ledger.append(records())
    before = await answers(ledger)
    assert await digest_all(ledger) > 10
    asked: list[str] = []
    fetch = ledger._fetch  # type: ignore[attr-defined]

    async def watched(statement: Statement) -> Any:
        asked.append(statement.text)
        return await fetch(statement)

    ledger._fetch = watched  # type: ignore[attr-defined]
    assert await answers(ledger) == before
    assert sum('"digests"' in text for text in asked) > 20, "nothing came from the digests"
    asked.clear()
    await ledger.sums(RecordFilter(start_at=START, end_at=TODAY))
    assert not any('"rollups"' in text or '"usage_records"' in text for text in asked if "MIN" not in text)
    assert await digest_all(ledger) == 0
    levels = await fetch(Statement('SELECT "level", COUNT(*) FROM "digested" GROUP BY "level"'))
    assert {level for level, count in levels if count} == set(WIDTHS)


async def test_what_changes_later_is_seen_at_once_and_digested_again(house: LedgerHouse) -> None:
    ledger = await house.open()
    everything = records()
    await ledger.append(everything)
    await digest_all(ledger)
    late = records(30, 410)
    await ledger.append([one._replace(started_at=everything[at * 7].started_at) for at, one in enumerate(late)])
    fresh = await answers(ledger)
    assert (await ledger.sums(RecordFilter()))[0].sums.requests == 430
    assert await digest_all(ledger) > 0
    assert await answers(ledger) == fresh
    prices = [Repriced(one.id, "1", "2", "3", "new") for one in everything[:20]]
    assert await ledger.reprice(prices) == 20
    fresh = await answers(ledger)
    assert (await ledger.sums(RecordFilter()))[0].sums.cost_usd > 60
    await digest_all(ledger)
    assert await answers(ledger) == fresh


async def test_a_person_who_is_forgotten_is_in_no_digest(house: LedgerHouse) -> None:
    ledger = await house.open()
    await ledger.append(records())
    await digest_all(ledger)
    gone = await ledger.forget_user("u-1")
    fresh = await answers(ledger)
    (whole,) = await ledger.sums(RecordFilter())
    assert whole.sums.requests == 400 - gone
    rows = await ledger._fetch(Statement('SELECT COUNT(*) FROM "digests" WHERE "user" = $1', ["u-1"]))  # type: ignore[attr-defined]
    assert rows[0][0] == 0
    await digest_all(ledger)
    assert await answers(ledger) == fresh


async def test_writers_and_digests_at_once_lose_nothing(house: LedgerHouse) -> None:
    """Two that digest and two that write into hours that are over, all the time."""
    ledgers = [await house.open() for _ in range(4)]
    everything = records()
    is_over = False

    async def digest(ledger: Ledger) -> None:
        while not is_over:
            await ledger.digest()

    async def write(ledger: Ledger, mine: list[Any]) -> None:
        for first in range(0, len(mine), 10):
            await ledger.append(mine[first : first + 10])

    digesting = [asyncio.create_task(digest(ledger)) for ledger in ledgers[:2]]
    await asyncio.gather(write(ledgers[2], everything[::2]), write(ledgers[3], everything[1::2]))
    is_over = True
    await asyncio.gather(*digesting)
    await digest_all(ledgers[0])
    (whole,) = await ledgers[0].sums(RecordFilter(start_at=START, end_at=TODAY))
    assert whole.sums.requests == sum(one.started_at < f"{TODAY:%Y-%m-%dT%H:%M}" for one in everything)
    assert whole.sums.input_tokens == sum(one.input_tokens for one in everything if one.started_at < f"{TODAY:%Y-%m-%dT%H:%M}")


def test_kinds_and_their_numbers() -> None:
    assert len({kind_number(kind) for kind in KINDS}) == len(KINDS)
    assert kind_number(()) == 255
    assert kind_for(RecordFilter(), ()) == ()
    assert kind_for(RecordFilter(provider="p"), ("model",)) == ("provider", "model", "outcome")
    assert kind_for(RecordFilter(user="u"), ("model",)) is None
    assert kind_for(replace(RecordFilter(), model="m"), ()) is None


def test_a_stretch_is_covered_once_and_whole() -> None:
    first = datetime(2026, 10, 1, tzinfo=UTC)  # a week since the epoch begins
    marks = {level: {first + width * at for at in range(int(timedelta(days=20) / width))} for level, width in WIDTHS.items()}
    start, end = first + timedelta(hours=22, minutes=15), first + timedelta(days=17, hours=19, minutes=30)
    edge = first + timedelta(days=1, hours=5, minutes=30)
    found = cover(start, end, [start, edge], marks)
    assert found is not None
    assert found.spans["week"] == [first + timedelta(days=7)]
    assert found.spans["day"] == [first + timedelta(days=at) for at in (2, 3, 4, 5, 6, 14, 15, 16)]
    assert found.spans["quarter"][:3] == [first + timedelta(days=1, hours=at) for at in (6, 12, 18)]
    assert edge.replace(minute=0) not in found.spans["hour"]
    whole = [(at, at + WIDTHS[level]) for level, instants in found.spans.items() for at in instants]
    whole = sorted(whole + list(stretches(found.buckets)))
    assert (whole[0][0], whole[-1][1]) == (start, end)
    assert all(one[1] == other[0] for one, other in pairwise(whole))
    assert cover(start, end, [], {level: set() for level in WIDTHS}) is None
