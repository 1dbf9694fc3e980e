"""Mixed live traffic of the demo's people, faults and refusals included: the ledger and the provider's book tell the same story."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from proxy.demo.configuration import demo_config
from proxy.demo.people import DEMO_KEYS, PEOPLE
from proxy.demo.traffic import run_traffic
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House

TRAFFIC_SECONDS = 12.0
PACE = 25.0
"""Times the demo's own: some twenty calls a second."""
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@pytest.fixture
def own_provider() -> Any:
    """A provider whose book holds nothing else."""
    fake = FakeProvider(seed=11)
    fake.start()
    yield fake
    fake.stop()


async def test_every_request_is_in_both_once(own_provider: FakeProvider) -> None:
    async with House(demo_config(own_provider.url)) as house:
        stop = asyncio.Event()
        traffic = asyncio.create_task(run_traffic(house.url, DEMO_KEYS, stop, pace=PACE))
        await asyncio.sleep(TRAFFIC_SECONDS)
        stop.set()
        await traffic
        book = {entry["request_id"]: entry for entry in await asyncio.to_thread(own_provider.book)}
        assert len(book) > 100, "too little traffic to prove anything"
        records = await asyncio.to_thread(settled_records, house, set(book))

    asked = [record for record in records if record["outcome"] != "denied"]
    by_provider_id = Counter(record["provider_request_id"] for record in asked)
    assert by_provider_id == Counter(book.keys()), "each request that reached the provider has one record, and none has two"
    for record in asked:
        compare(record, book[record["provider_request_id"]])
    outcomes = Counter(record["outcome"] for record in records)
    assert outcomes["ok"] > 50
    assert outcomes["denied"] > 0, "the demo's limits are low enough to be met"
    assert {record["user"] for record in records} == {person.user for person in PEOPLE}


def settled_records(house: House, wanted: set[str]) -> list[dict[str, Any]]:
    """All records once those of the book have arrived, or what there is after ten seconds."""
    until = time.monotonic() + 10
    while True:
        records = house.records()
        if wanted <= {record["provider_request_id"] for record in records} or time.monotonic() > until:
            time.sleep(1)
            return house.records()
        time.sleep(0.2)


def compare(record: dict[str, Any], entry: dict[str, Any]) -> None:
    """One request as both saw it."""
    assert (record["api"], record["request_model"], record["path"]) == (entry["api"], entry["model"], entry["path"])
    assert record["status"] == entry["status"]
    if entry["status"] != 200:
        assert (record["outcome"], record["usage_source"], record["total_tokens"]) == ("upstream_error", "none", None)
        return
    if entry["ended"] == "cut":
        assert record["outcome"] == "upstream_aborted"
        return
    assert record["outcome"] in ("ok", "client_aborted")
    if record["outcome"] == "client_aborted" and record["usage_source"] == "estimated":
        return
    assert record["usage_source"] == "reported"
    for field in COUNTS:
        assert (record[field] or 0) == entry[field], f"{field} of {record['id']}"
    if entry["model"] == "weighbridge-demo-1":
        assert record["cost_usd"] is None, "an unknown price is not zero"
    elif entry["model"] == "llama3.2":
        assert Decimal(record["cost_usd"]) == 0
    else:
        assert Decimal(record["cost_usd"]) > 0
