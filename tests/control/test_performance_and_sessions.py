"""How fast and how well models answer, what a session cost, and how much it is growing."""

from __future__ import annotations

from typing import Any

import pytest

ALICE = "wb-alice-key-of-the-tests"


async def test_speed_and_success_by_provider_and_model(house: Any, record: Any) -> None:
    quick = [record(duration_ms=1000.0 * n, time_to_first_byte_ms=100.0 * n, output_tokens=50) for n in range(1, 21)]
    failed = [record(outcome="upstream_error", status=503, duration_ms=9e6) for _ in range(4)]
    denied = [record(outcome="denied", status=429) for _ in range(5)]
    tracked = [record(response_model="batch-model", usage_source="tracked", duration_ms=0.0, time_to_first_byte_ms=None)]
    await house.ledger.append([*quick, *failed, *denied, *tracked, record(response_model="other-model")])
    found = await house.get("/usage/performance", range="day")
    row, *others = found["rows"]
    assert (row["provider"], row["model"], row["requests"], row["ok"], row["failed"]) == ("openai", "test-model", 29, 20, 4)
    assert row["success_rate"] == pytest.approx(20 / 24, abs=1e-6)  # a refusal of ours is not the provider's failure
    assert row["duration_ms"] == sum(range(1, 21)) * 1000 / 20
    assert (row["duration_p50_ms"], row["duration_p95_ms"], row["duration_p99_ms"]) == (10_000, 19_000, 20_000)
    assert (row["time_to_first_byte_p50_ms"], row["time_to_first_byte_p95_ms"]) == (1000, 1900)
    assert row["output_tokens_per_second"] == pytest.approx(20 * 50 / 210, abs=1e-3)  # 210 seconds in all
    assert {one["model"]: (one["sample"], one["duration_p50_ms"]) for one in others} == {
        "batch-model": (0, None),  # nobody measured what did not pass here
        "other-model": (1, 1500.0),
    }
    by_user = await house.get("/usage/performance", ALICE, range="day", group_by="user,outcome")
    assert {(one["user"], one["outcome"]) for one in by_user["rows"]} == {
        ("alice", "ok"),
        ("alice", "upstream_error"),
        ("alice", "denied"),
    }


async def test_a_session_has_its_cost_and_calls(house: Any, record: Any) -> None:
    mine = [record(session="s-1", operation="plan"), record(session="s-1", operation="write", cost_usd="0.5")]
    await house.ledger.append([*mine, record(session="s-2"), record(), record(user="bob", session="s-1", cost_usd="2")])
    listed = await house.get("/usage/sessions", range="day")
    assert [(one["user"], one["session"], one["requests"], one["cost_usd"]) for one in listed["sessions"]] == [
        ("bob", "s-1", 1, "2"),
        ("alice", "s-1", 2, "0.5004"),
        ("alice", "s-2", 1, "0.0004"),
    ]
    whole = await house.get("/usage/sessions/s-1")
    assert (whole["totals"]["requests"], whole["totals"]["cost_usd"]) == (3, "2.5004")
    assert [one["user"] for one in whole["users"]] == ["bob", "alice"]
    seen = await house.get("/usage/sessions/s-1", ALICE)
    assert (seen["totals"]["cost_usd"], [one["id"] for one in seen["calls"]]) == ("0.5004", [mine[1].id, mine[0].id])
    assert {one["operation"] for one in seen["operations"]} == {"plan", "write"}
    await house.ask("GET", "/usage/sessions/nothing", status=404)


async def test_shares_and_growth_against_the_week_before(house: Any, record: Any) -> None:
    now = [record(input_tokens=100, cache_read_tokens=40, output_tokens=20, cost_usd="3") for _ in range(3)]
    before = [record(started_at="2026-11-08T10:00:00.000000Z", cost_usd="2") for _ in range(2)]
    await house.ledger.append(
        [*now, *before, record(outcome="upstream_error", cost_usd=None, input_tokens=None, output_tokens=None)]
    )
    week = await house.get("/usage/summary", range="week", compare="true")
    assert (week["averages"]["cache_share"], week["averages"]["output_per_input"]) == (0.4, 0.2)
    assert week["averages"]["success_rate"] == 0.75
    assert week["previous"]["growth"]["cost_usd"] == (9 - 4) / 4
    assert week["previous"]["growth"]["requests"] == (4 - 2) / 2
    assert (await house.get("/stats", range="week"))["previous"]["growth"]["requests"] == 1.0
    empty = await house.get("/usage/summary", range="day", user="nobody", compare="true")
    assert empty["averages"]["success_rate"] is None
    assert empty["previous"]["growth"]["cost_usd"] is None
