"""The made-up past is repeatable, priced like real usage, and holds what the dashboard should be able to show."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from proxy.demo.history import SPIKE_DAYS_AGO, SPIKE_USER, UNPRICED_SINCE_DAYS, history
from proxy.demo.people import PEOPLE
from proxy.pricing.pricebook import Pricebook, build_pricebook
from proxy.records import OUTCOMES, USAGE_SOURCES, UsageRecord

UNTIL = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
DAYS = 40


@pytest.fixture(scope="module")
def pricebook() -> Pricebook:
    return build_pricebook({"local": {"*": {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}}})


@pytest.fixture(scope="module")
def records(pricebook: Pricebook) -> list[UsageRecord]:
    return list(history(1, DAYS, UNTIL, pricebook))


def test_the_same_seed_makes_the_same_records(records: list[UsageRecord], pricebook: Pricebook) -> None:
    assert list(history(1, DAYS, UNTIL, pricebook)) == records
    assert list(history(2, DAYS, UNTIL, pricebook)) != records


def test_ids_are_unique_and_carry_their_time(records: list[UsageRecord]) -> None:
    assert len({record.id for record in records}) == len(records)
    for record in records[:500]:
        made = UUID(record.id)
        assert made.version == 7
        started_at = datetime.fromisoformat(record.started_at)
        assert abs((made.int >> 80) / 1000 - started_at.timestamp()) < 0.002


def test_records_are_oldest_first_and_in_the_past(records: list[UsageRecord]) -> None:
    times = [record.started_at for record in records]
    assert times[-1] < UNTIL.isoformat()
    assert times[0] >= (UNTIL - timedelta(days=DAYS + 1)).isoformat()[:10]
    days = [time[:10] for time in times]
    assert days == sorted(days)


def test_every_outcome_and_person_occurs(records: list[UsageRecord]) -> None:
    outcomes = Counter(record.outcome for record in records)
    assert set(outcomes) == set(OUTCOMES) - {"proxy_error"}
    assert outcomes["ok"] > 0.9 * len(records)
    assert {record.usage_source for record in records} == set(USAGE_SOURCES) - {"tracked"}
    assert {record.user for record in records} == {person.user for person in PEOPLE}


def test_costs_are_the_pricebooks(records: list[UsageRecord]) -> None:
    """gpt-4o-mini: $0.15 in, $0.075 of it cached, $0.60 out per million tokens."""
    some = [record for record in records if record.request_model == "gpt-4o-mini" and record.cost_usd]
    assert len(some) > 100
    for record in some:
        assert record.input_tokens is not None
        assert record.output_tokens is not None
        cached = record.cache_read_tokens or 0
        cost = (record.input_tokens - cached) * Decimal("0.15") + cached * Decimal("0.075") + record.output_tokens * Decimal("0.60")
        assert Decimal(record.cost_usd or 0) == cost / 1_000_000


def test_the_new_model_is_unpriced_and_not_free(records: list[UsageRecord]) -> None:
    unpriced = [record for record in records if record.input_tokens and record.cost_usd is None]
    assert {record.request_model for record in unpriced} == {"weighbridge-demo-1"}
    since = (UNTIL - timedelta(days=UNPRICED_SINCE_DAYS + 1)).isoformat()
    assert all(record.started_at > since for record in unpriced)


def test_refused_calls_used_nothing(records: list[UsageRecord]) -> None:
    for record in records:
        if record.outcome == "denied":
            assert (record.status, record.total_tokens, record.cost_usd) == (429, None, None)
            assert record.limit


def test_there_is_a_spike_to_find(records: list[UsageRecord]) -> None:
    per_day = Counter(record.started_at[:10] for record in records if record.user == SPIKE_USER)
    spike = (UNTIL - timedelta(days=SPIKE_DAYS_AGO)).date().isoformat()
    week_before = [per_day[(UNTIL - timedelta(days=SPIKE_DAYS_AGO + back)).date().isoformat()] for back in range(1, 8)]
    assert per_day[spike] > 3 * sum(week_before) / 7
