"""What the same traffic would have cost elsewhere, how the cache is used, what is wasted."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.control.abilities import ability_class


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


async def test_only_models_of_the_same_ability_are_offered(house: Any, record: Any) -> None:
    await house.ledger.append([record(request_model="gpt-4o", response_model="gpt-4o", input_tokens=10**6, total_tokens=10**6)])
    found = (await house.get("/recommendations"))["models"]
    assert {one["ability_class"] for one in found} == {"large"}
    others = {one["other_model"] for one in found}
    assert others
    assert not others & {"gpt-4o-mini", "gpt-5-mini", "gpt-5-nano", "text-embedding-3-small"}
    (asked,) = (await house.get("/recommendations", models="openai/gpt-4o-mini"))["models"]
    assert asked["other_model"] == "gpt-4o-mini"


async def test_an_unused_cache_discount_is_counted_in_dollars(house: Any, record: Any) -> None:
    # 1,000,000 input tokens of gpt-4o at 2.50, half of them at 1.25 from the cache: 0.625 less
    await house.ledger.append(
        [record(request_model="gpt-4o", response_model="gpt-4o", input_tokens=10**6, output_tokens=0, total_tokens=10**6)]
    )
    (row,) = (await house.get("/recommendations"))["cache"]
    assert (row["saving_usd"], row["assumed_share"]) == ("0.625", 0.5)


async def test_failures_that_were_paid_for_are_told_with_their_cost(house: Any, record: Any) -> None:
    await house.ledger.append(
        [
            *[record(outcome="upstream_aborted", cost_usd="0.5") for _ in range(2)],
            record(outcome="client_aborted", cost_usd="0.25"),
            record(outcome="upstream_error", cost_usd=None, total_tokens=None, input_tokens=None, output_tokens=None),
            record(),
        ]
    )
    found = (await house.get("/recommendations"))["paid_failures"]
    assert [(row["outcome"], row["requests"], row["cost_usd"]) for row in found] == [
        ("upstream_aborted", 2, "1"),
        ("client_aborted", 1, "0.25"),
    ]


async def test_users_far_under_their_tier_are_told(house: Any, record: Any) -> None:
    house.context.rules = build_rules(
        {"documents": load_texts({"limits.yaml": TIERS}, {}).as_dict()}, {}, pricebook=house.context.rules.pricebook
    )
    days = [f"2026-11-{day:02d}T10:00:00.000000Z" for day in range(8, 18)]
    await house.ledger.append(
        [
            *[record(day, user="ann", total_tokens=500) for day in days],
            *[record(day, user="joe", total_tokens=2000) for day in days],
            *[record(day, user="new", total_tokens=1) for day in days[:3]],
        ]
    )
    found = (await house.get("/recommendations"))["under_tier"]
    assert found == [
        {"user": "ann", "tier": "premium", "limit": "tiers.premium.tokens.per_day", "amount": 10000, "highest": 500, "share": 0.05}
    ]


TIERS = """
tiers: {premium: {tokens: {per_day: 10_000}}}
users: {ann: {tier: premium}, joe: {tier: premium}, new: {tier: premium}}
"""


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-2024-08-06", "large"), ("gpt-4o-mini", "small"), ("gpt-5-nano-2026-01-01", "small"), ("o3-mini", "reasoning"),
        ("claude-opus-4-1", "large"), ("claude-3-5-haiku-latest", "small"), ("models/gemini-2.5-pro", "large"),
        ("gemini-2.5-flash", "small"), ("text-embedding-3-small", "embedding"), ("whisper-1", "audio"), ("dall-e-3", "image"),
        ("llama-3.3-70b-versatile", "large"), ("llama3.1:8b", "small"), ("deepseek-reasoner", "reasoning"), ("in-house", None),
        ("rerank-v3.5", "rerank"), ("omni-moderation-latest", "moderation"),
    ],
)  # fmt: skip
def test_a_models_name_tells_what_it_is_for(model: str, name: str | None) -> None:
    assert ability_class(model) == name
