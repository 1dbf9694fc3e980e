"""Retention through the real ledgers: what goes, what stays, that one of several replicas does it, and that it is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from proxy.control.alerts.alert import JOURNAL as ALERTS
from proxy.control.alerts.delivery import CLAIMS
from proxy.control.alerts.delivery import JOURNAL as DELIVERIES
from proxy.control.periods import iso
from proxy.control.retention import Retention
from proxy.errors import LedgerError
from proxy.ledger.ledger import Entry, RecordFilter
from proxy.records import UsageRecord
from tests.control.conftest import NOW, House
from tests.sample_records import sample


def keep(house: House, **days: int) -> None:
    rules = house.context.rules
    house.context.rules = replace(rules, settings=replace(rules.settings, **days))


async def stored(house: House) -> set[str]:
    return {record.user async for record in house.context.ledger.export(RecordFilter())}


async def old_and_new(house: House) -> None:
    records: Sequence[UsageRecord] = [
        sample(NOW - timedelta(days=200), user="old", session="s-old"),
        sample(NOW - timedelta(days=3), user="new", session="s-new"),
    ]
    await house.context.ledger.append(records)


async def audit(house: House) -> list[dict[str, object]]:
    page = await house.context.ledger.entries("audit", 100, None)
    return [entry.body for entry in page.entries]


async def test_by_default_all_calls_are_kept_and_alerts_for_longer_than_what_became_of_them(house: House) -> None:
    await old_and_new(house)
    ledger = house.context.ledger
    for journal in (ALERTS, DELIVERIES, CLAIMS):
        for days in (29, 31, 399, 401):
            await ledger.put_entry(Entry(journal, f"{journal}-{days}", iso(NOW - timedelta(days=days)), {}))
    await Retention(house.context).tick()
    assert await stored(house) == {"old", "new"}
    left = [entry.id for journal in (ALERTS, DELIVERIES, CLAIMS) for entry in (await ledger.entries(journal, 10, None)).entries]
    assert left == [f"{ALERTS}-29", f"{ALERTS}-31", f"{ALERTS}-399", f"{DELIVERIES}-29", f"{CLAIMS}-29"]
    (line,) = await audit(house)
    assert line["after"] == {"alerts": "2025-10-14T12:00:00.000000Z", "deliveries": "2026-10-19T12:00:00.000000Z"}


async def test_nothing_goes_where_everything_is_kept_for_ever(house: House) -> None:
    await old_and_new(house)
    keep(house, keep_alerts_days=0, keep_deliveries_days=0)
    await Retention(house.context).tick()
    assert await stored(house) == {"old", "new"}
    assert await audit(house) == []


async def test_old_records_go_and_their_sums_stay(house: House) -> None:
    await old_and_new(house)
    keep(house, keep_records_days=100, keep_alerts_days=0, keep_deliveries_days=0)
    before = await house.context.ledger.sums(RecordFilter())
    await Retention(house.context).tick()
    assert await stored(house) == {"new"}
    assert await house.context.ledger.sums(RecordFilter()) == before
    assert await house.context.ledger.last_sessions("old") == []
    (line,) = await audit(house)
    assert line["action"] == "forget old data"
    assert line["after"] == {"records": "2026-08-10T12:00:00.000000Z"}
    assert line["ended_at"]


async def test_sessions_and_audit_lines_have_ages_of_their_own(house: House) -> None:
    await old_and_new(house)
    ledger = house.context.ledger
    keep(house, keep_records_days=1000, keep_sessions_days=2, keep_audit_days=7)
    await Retention(house.context).tick()
    assert await stored(house) == {"old", "new"}
    assert await ledger.last_sessions("new") == []
    house.clock.at += 10 * 86_400
    await Retention(house.context).tick()
    assert [entry.id for entry in (await ledger.entries("audit", 10, None)).entries] == ["retention-2026-11-28"]


async def test_of_two_replicas_one_does_it_once_a_day(house: House) -> None:
    keep(house, keep_records_days=100)
    replicas = [Retention(house.context), Retention(house.context)]
    called: list[datetime] = []
    forget_before = house.context.ledger.forget_before

    async def counted(at: datetime) -> None:
        called.append(at)
        await forget_before(at)

    house.context.ledger.forget_before = counted  # type: ignore[method-assign]
    for _ in range(3):
        for replica in replicas:
            await replica.tick()
    assert called == [NOW - timedelta(days=100)]
    house.clock.at += 86_400
    for replica in replicas:
        await replica.tick()
    assert len(called) == 2


async def test_a_ledger_that_goes_away_in_the_middle_is_waited_for(house: House) -> None:
    await old_and_new(house)
    keep(house, keep_records_days=100)
    retention = Retention(house.context)
    forget_before = house.context.ledger.forget_before

    async def away(at: datetime) -> None:
        raise LedgerError("away")

    house.context.ledger.forget_before = away  # type: ignore[method-assign]
    await retention.tick()
    assert await stored(house) == {"old", "new"}
    house.context.ledger.forget_before = forget_before  # type: ignore[method-assign]
    await retention.tick()
    assert await stored(house) == {"new"}
