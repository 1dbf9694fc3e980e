"""Refusals that no limit is the reason of: paths that lead nowhere, and limits that cannot be checked."""

from __future__ import annotations

import json

import pytest

from proxy.limits.limit import Demand, Refusal
from proxy.quota.memory_store import MemoryQuotaStore
from tests.relay.conftest import House
from tests.relay.relay_house import request_bytes
from tests.relay.scripted_upstream import ReadRequest

LIMITS = "on_store_failure: closed\ndefaults:\n  tokens: {per_day: 1_000_000}\n"


@pytest.mark.parametrize("path", ["/nobody/v1/chat/completions", "/", "/openaix/v1/models", "/v2/chat"])
async def test_a_path_that_leads_nowhere_names_the_providers_there_are(house: House, path: str) -> None:
    async with house([[ReadRequest()]]) as (relay, upstream):
        got = await relay.ask(request_bytes(path))
        error = json.loads(got.body)["error"]
        assert (got.status, error["code"]) == (404, "not_found")
        assert "(openai)" in error["message"]
        assert upstream.connections == 0


async def test_limits_that_cannot_be_checked_and_are_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the Redis store answers while Redis is away (tests/contract/test_redis_store.py)."""

    def away(demands: list[Demand]) -> Refusal:
        return Refusal(demands[0].limit, 0, 0, 1, 5.0, True, "store_away")

    async def reserve(self: object, request_id: str, demands: list[Demand], now: float, lease_seconds: float) -> Refusal:
        return away(demands)

    def reserve_now(self: object, request_id: str, demands: list[Demand], now: float, lease_seconds: float) -> Refusal:
        return away(demands)

    monkeypatch.setattr(MemoryQuotaStore, "reserve", reserve)
    monkeypatch.setattr(MemoryQuotaStore, "reserve_now", reserve_now)
    async with house([[ReadRequest()]], LIMITS) as (relay, upstream):
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (503, "limits_unavailable")
        assert got.header("retry-after") == "5"
        assert upstream.connections == 0
        record = await relay.record()
        assert (record.outcome, record.status) == ("denied", 503)
