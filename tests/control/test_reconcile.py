"""POST prices/reconcile and GET prices/drift over the real ledgers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

ALICE = "wb-alice-key-of-the-tests"
DAY = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())
MORNING = "2026-11-16T10:00:00.000000Z"


def openai_usage(*results: dict[str, Any], day: int = DAY) -> dict[str, Any]:
    """A page as `GET /v1/organization/usage/completions?group_by=model` gives it."""
    rows = [{"object": "organization.usage.completions.result", "project_id": None, "batch": None, **one} for one in results]
    bucket = {"object": "bucket", "start_time": day, "end_time": day + 86_400, "results": rows}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


def openai_costs(*lines: tuple[str | None, float], day: int = DAY) -> dict[str, Any]:
    rows = [
        {
            "object": "organization.costs.result",
            "amount": {"value": value, "currency": "usd"},
            "line_item": item,
            "project_id": None,
        }
        for item, value in lines
    ]
    bucket = {"object": "bucket", "start_time": day, "end_time": day + 86_400, "results": rows}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


USED = {"model": "test-model", "input_tokens": 1000, "input_cached_tokens": 0, "output_tokens": 200, "num_model_requests": 10}


async def reconcile(house: Any, *documents: Any, **more: Any) -> Any:
    return await house.ask("POST", "/prices/reconcile", json={"format": "openai", "documents": list(documents), **more})


@pytest.fixture
async def ten_calls(house: Any, record: Any) -> Any:
    """Ten of 100 tokens in and 20 out, $1 each; and one of another provider, which is nobody's business here."""
    await house.ledger.append([record(MORNING, cost_usd="1") for _ in range(10)])
    await house.ledger.append([record(MORNING, provider="anthropic", cost_usd="5")])
    return house


async def test_what_agrees_is_within(ten_calls: Any) -> None:
    found = await reconcile(ten_calls, openai_usage(USED), openai_costs(("test-model, input", 6), ("test-model, output", 4)))
    assert (found["is_within"], found["beyond"], found["provider"]) == (True, 0, "openai")
    (row,) = found["rows"]
    assert (row["day"], row["model"], row["causes"]) == ("2026-11-16", "test-model", [])
    tokens = {"input_tokens": 1000, "cache_read_tokens": 0, "cache_write_tokens": 0, "output_tokens": 200}
    assert row["ours"] == {"requests": 10, **tokens, "cost_usd": "10"}
    assert (row["theirs"]["cost_usd"], row["difference"]["cost_usd"]) == ("10", "0")
    assert found["totals"]["ours"]["cost_usd"] == found["totals"]["theirs"]["cost_usd"] == "10"


@pytest.mark.parametrize(
    ("changes", "cost", "cause", "is_within"),
    [
        ({"input_tokens": 1500, "output_tokens": 300, "num_model_requests": 15}, 15, "missing here", False),
        ({"input_tokens": 500, "output_tokens": 100, "num_model_requests": 5}, 5, "missing there", False),
        ({"input_cached_tokens": 400}, 9.2, "cache classes", False),
        ({"batch": True}, 5, "tier", False),
        ({"service_tier": "flex"}, 5, "tier", False),
        ({}, 5, "tier", False),
        ({}, 7, "price", False),
        ({}, 10.005, "rounding", True),
        ({"input_tokens": 1005}, 10, "tokens", True),
        ({"input_tokens": 1100}, 10, "tokens", False),
    ],
)
async def test_differences_are_named(ten_calls: Any, changes: Any, cost: float, cause: str, is_within: bool) -> None:
    found = await reconcile(ten_calls, openai_usage({**USED, **changes}), openai_costs(("test-model, input", cost)))
    (row,) = found["rows"]
    assert cause in row["causes"], row
    assert (found["is_within"], row["is_beyond"]) == (is_within, not is_within)


async def test_models_that_only_one_side_has(ten_calls: Any, house: Any, record: Any) -> None:
    other = {**USED, "model": "gpt-elsewhere"}
    found = await reconcile(ten_calls, openai_usage(USED, other))
    assert {row["model"]: row["causes"] for row in found["rows"]} == {"test-model": [], "gpt-elsewhere": ["missing here"]}
    await house.ledger.append([record(MORNING, response_model="test-mini")])
    found = await reconcile(ten_calls, openai_usage(USED))
    assert {row["model"]: row["causes"] for row in found["rows"]} == {"test-model": [], "test-mini": ["missing there"]}
    assert not found["is_within"]


async def test_days_that_begin_elsewhere_are_named_and_do_not_fail(house: Any, record: Any) -> None:
    late = "2026-11-16T23:30:00.000000Z"
    await house.ledger.append([*(record(MORNING) for _ in range(9)), record(late), record("2026-11-17T10:00:00.000000Z")])
    first, second = {**USED, "input_tokens": 900, "output_tokens": 180}, {**USED, "input_tokens": 200, "output_tokens": 40}
    pages = [openai_usage({**first, "num_model_requests": 9}), openai_usage({**second, "num_model_requests": 2}, day=DAY + 86_400)]
    found = await reconcile(house, {"pages": pages})
    assert [row["causes"] for row in found["rows"]] == [["time-zone edge"]] * 2
    assert found["is_within"]


async def test_costs_without_models_are_compared_by_day(ten_calls: Any) -> None:
    found = await reconcile(ten_calls, openai_costs((None, 10)))
    assert [(row["model"], row["theirs"]["cost_usd"], row["causes"]) for row in found["rows"]] == [(None, "10", [])]
    assert not (await reconcile(ten_calls, openai_costs((None, 12))))["is_within"]


async def test_estimates_and_missing_prices_are_named(house: Any, record: Any) -> None:
    await house.ledger.append([record(MORNING, usage_source="estimated", input_tokens=150, total_tokens=170)])
    used = {**USED, "input_tokens": 100, "output_tokens": 20, "num_model_requests": 1}
    assert (await reconcile(house, openai_usage(used)))["rows"][0]["causes"] == ["estimated"]
    await house.ledger.append([record("2026-11-17T10:00:00.000000Z", cost_usd=None)])
    pages = (openai_usage(used, day=DAY + 86_400), openai_costs(("test-model, input", 3), day=DAY + 86_400))
    assert (await reconcile(house, *pages))["rows"][0]["causes"] == ["unpriced"]


async def test_anthropic_counts_cache_apart_and_costs_in_cents(house: Any, record: Any) -> None:
    await house.ledger.append(
        [
            record(
                MORNING, provider="anthropic", request_model="claude-x", response_model="claude-x", input_tokens=1000,
                cache_read_tokens=600, cache_write_tokens=300, output_tokens=50, total_tokens=1050, cost_usd="1.2345",
            )
        ]
    )  # fmt: skip
    used = {
        "uncached_input_tokens": 100,
        "cache_read_input_tokens": 600,
        "cache_creation": {"ephemeral_5m_input_tokens": 250, "ephemeral_1h_input_tokens": 50},
        "output_tokens": 50,
        "server_tool_use": {"web_search_requests": 0},
        "model": "claude-x",
        "service_tier": "standard",
        "context_window": "0-200k",
    }
    edges = {"starting_at": "2026-11-16T00:00:00Z", "ending_at": "2026-11-17T00:00:00Z"}
    usage = {"data": [{**edges, "results": [used]}], "has_more": False, "next_page": None}
    cost = {"data": [{**edges, "results": [{"currency": "USD", "amount": "123.45", "model": "claude-x", "cost_type": "tokens"}]}]}
    found = await house.ask("POST", "/prices/reconcile", json={"format": "anthropic", "documents": [usage, cost]})
    (row,) = found["rows"]
    assert (row["causes"], found["is_within"]) == ([], True)
    assert (row["theirs"]["input_tokens"], row["theirs"]["cache_write_tokens"], row["theirs"]["cost_usd"]) == (1000, 300, "1.2345")


async def test_a_table_with_columns_named_or_guessed(ten_calls: Any) -> None:
    table = "Usage Date,Model,Prompt Tokens,Completion Tokens,Cost\r\n2026-11-16,TEST-MODEL,1000,200,$10.00\r\n"
    body = {"format": "csv", "documents": [table], "provider": "openai", "columns": {"day": "Usage Date"}}
    found = await ten_calls.ask("POST", "/prices/reconcile", json=body)
    assert (found["is_within"], found["rows"][0]["model"], found["rows"][0]["causes"]) == (True, "TEST-MODEL", [])
    refusal = await ten_calls.ask("POST", "/prices/reconcile", json={**body, "columns": {"day": "Tag"}}, status=422)
    assert "Usage Date" in refusal["error"]["message"]  # what there is to choose from


async def test_the_reports_day_may_be_another_zones(house: Any, record: Any) -> None:
    await house.ledger.append([record("2026-11-16T23:30:00.000000Z")])
    body = {"format": "csv", "provider": "openai", "timezone": "Europe/Berlin"}
    table = "date,model,input_tokens,output_tokens\n2026-11-17,test-model,100,20\n"
    assert (await house.ask("POST", "/prices/reconcile", json={**body, "documents": [table]}))["is_within"]
    assert not (await house.ask("POST", "/prices/reconcile", json={**body, "timezone": "UTC", "documents": [table]}))["is_within"]


@pytest.mark.parametrize(
    "document",
    [{}, [], "text", {"data": 5}, {"data": [{"start_time": "x", "end_time": 5}]}, {"data": [{"start_time": 1e300, "end_time": 1}]},
     {"data": [{"start_time": DAY, "end_time": DAY + 1, "results": [{"input_tokens": "many"}]}]}, {"pages": [{"data": None}]},
     {"data": [{"start_time": DAY, "end_time": DAY + 1, "results": [{"amount": {"value": True}}]}]}],
)  # fmt: skip
async def test_what_is_no_report_is_refused_in_words(house: Any, document: Any) -> None:
    refusal = await house.ask("POST", "/prices/reconcile", json={"format": "openai", "documents": [document]}, status=422)
    assert refusal["error"]["code"] == "bad_report"


async def test_only_admins_and_auditors_reconcile(house: Any) -> None:
    await house.ask("POST", "/prices/reconcile", ALICE, json={"format": "csv", "documents": ["x"]}, status=403)


async def test_drift_looks_only_at_calls_that_carry_a_cost(house: Any, record: Any) -> None:
    calls = [
        record(MORNING, provider="openrouter", cost_usd="1.00", reported_cost_usd="1.00"),
        record(MORNING, provider="openrouter", cost_usd="1.10", reported_cost_usd="1.00"),
        record(MORNING, provider="openrouter", cost_usd=None, reported_cost_usd="3.00"),
        record(MORNING, provider="openrouter", cost_usd="50"),
        record(MORNING, cost_usd="70"),
    ]
    await house.ledger.append(calls)
    found = await house.get("/prices/drift", range="week")
    (row,) = found["models"]
    assert (row["provider"], row["model"], row["requests"], row["unpriced"]) == ("openrouter", "test-model", 3, 1)
    assert (row["cost_usd"], row["reported_cost_usd"], row["difference_usd"]) == ("2.1", "2", "0.1")
    assert (row["difference_share"], row["is_drifting"], row["worst"]["id"]) == (0.05, True, calls[1].id)
    assert found["drifting"] == 1
    assert (await house.get("/prices/drift", range="week", tolerance="0.05"))["drifting"] == 0
    assert (await house.get("/prices/drift", "wb-bob-key-of-the-tests", range="week"))["models"] == []
