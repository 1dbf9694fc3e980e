"""What the same traffic would have cost elsewhere, how the cache is used, what is wasted."""

from __future__ import annotations

from typing import Any


async def test_the_same_tokens_on_a_cheaper_model(house: Any, record: Any) -> None:
    # 10 calls of 1,000 in and 500 out: 10 × (1000 × 2 + 500 × 10) / 10^6 = 0.07; the mini costs half
    big = [record(input_tokens=1000, output_tokens=500, total_tokens=1500, cost_usd="0.007") for _ in range(10)]
    await house.ledger.append([*big, record(response_model="test-mini", request_model="test-mini")])
    found = (await house.get("/recommendations"))["models"]
    assert [(one["model"], one["other_model"], one["cost_usd"], one["other_cost_usd"], one["saving_share"]) for one in found] == [
        ("test-model", "test-mini", "0.07", "0.035", 0.5)
    ]
    assert (await house.get("/recommendations", models="openai/test-model,nobody/nothing"))["models"] == []


async def test_a_model_whose_price_is_unknown_is_no_recommendation(house: Any, record: Any) -> None:
    strange = record(request_model="strange", response_model="strange", cost_usd=None)
    await house.ledger.append([record(input_tokens=10**6, total_tokens=10**6, cost_usd="2"), strange])
    assert (await house.get("/recommendations"))["models"] == []


async def test_cache_and_waste(house: Any, record: Any) -> None:
    read = [record(input_tokens=60_000, cache_read_tokens=3_000, total_tokens=60_020) for _ in range(2)]
    lost = [record(outcome="upstream_error", status=502, total_tokens=None, cost_usd=None) for _ in range(5)]
    await house.ledger.append([*read, *lost, *[record() for _ in range(15)]])
    whole = await house.get("/recommendations")
    (cache,) = whole["cache"]
    assert (cache["cache_read_tokens"], cache["is_low"]) == (6_000, True)
    (waste,) = whole["waste"]
    assert (waste["requests"], waste["failed"], waste["share"]) == (22, 5, round(5 / 22, 4))


async def test_a_user_is_advised_on_their_own_traffic(house: Any, record: Any) -> None:
    await house.ledger.append([record(user="bob", input_tokens=10**6, total_tokens=10**6)])
    own = await house.get("/recommendations", "wb-alice-key-of-the-tests")
    assert (own["models"], own["cache"]) == ([], [])


async def test_a_model_of_ones_own_is_compared_only_where_it_is_asked_for(house: Any, record: Any) -> None:
    own = record(provider="ollama", request_model="llama", response_model="llama", cost_usd="0")
    await house.ledger.append([record(input_tokens=10**6, total_tokens=10**6, cost_usd="2"), own])
    assert (await house.get("/recommendations"))["models"] == []
    (asked,) = (await house.get("/recommendations", models="ollama/llama"))["models"]
    assert (asked["other_model"], asked["other_cost_usd"]) == ("llama", "0")
