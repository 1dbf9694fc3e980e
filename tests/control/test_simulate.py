"""POST limits/simulate: another limits.yaml against what was called; counts are arithmetic on the records."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from proxy.control.replay import MODELS

ALICE = "wb-alice-key-of-the-tests"
START = datetime.fromisoformat("2026-11-17T10:00:00+00:00")


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def simulate(house: Any, text: str, days: int = 30, **more: Any) -> Any:
    return await house.ask("POST", "/limits/simulate", json={"limits_yaml": text, "days": days, **more})


async def test_who_would_have_been_refused_when_and_by_what(house: Any, record: Any) -> None:
    """120 tokens each: eight calls of 120 are 960, the ninth does not fit into 1,000 and none after it."""
    await house.ledger.append([record(at(minute * 60), duration_ms=10.0) for minute in range(12)])
    await house.ledger.append([record(at(5), user="bob", team=None)])
    found = await simulate(house, "defaults: {tokens: {per_day: 1000}}")
    assert (found["calls"], found["refused"], found["users_refused"]) == (13, 12 - 8, 1)
    assert (found["refused_tokens"], found["refused_cost_usd"]) == (4 * 120, "0.0016")
    (user,) = found["users"]
    assert (user["user"], user["calls"], user["limits"]) == ("alice", 12, {"defaults.tokens.per_day": 4})
    assert (user["first_at"], user["last_at"]) == (at(8 * 60), at(11 * 60))
    first = found["examples"][0]
    assert (first["limit"], first["used"], first["wanted"], first["amount"]) == ("defaults.tokens.per_day", 960, 120, 1000)
    assert (await house.get("/usage/summary"))["totals"]["denied"] == 0  # nothing happened to anybody


async def test_a_day_begins_where_the_new_file_says(house: Any, record: Any) -> None:
    """22:30 and 23:30 UTC are two days in Berlin, and one in UTC."""
    times = ["2026-11-16T22:30:00.000000Z", "2026-11-16T23:30:00.000000Z"]
    await house.ledger.append([record(time) for time in times])
    for zone, refused in (("UTC", 1), ("Europe/Berlin", 0)):
        found = await simulate(house, f"timezone: {zone}\ndefaults: {{tokens: {{per_day: 200}}}}")
        assert found["refused"] == refused, zone


async def test_the_month_before_the_span_fills_the_counters(house: Any, record: Any) -> None:
    await house.ledger.append([record("2026-11-02T10:00:00.000000Z"), record(at(0))])
    found = await simulate(house, "defaults: {tokens: {per_month: 200}}", days=3)
    assert (found["examined"], found["calls"], found["refused"]) == (2, 1, 1)


async def test_calls_that_run_at_once_are_counted_at_once(house: Any, record: Any) -> None:
    calls = [record(at(0), duration_ms=10_000.0), record(at(5), duration_ms=1_000.0), record(at(6.5), duration_ms=1_000.0)]
    await house.ledger.append([*calls, record(at(20))])
    found = await simulate(house, "defaults: {concurrent_requests: 1}")
    assert [one["at"] for one in found["examples"]] == [at(5), at(6.5)]
    assert (await simulate(house, "defaults: {concurrent_requests: 2}"))["refused"] == 0


async def test_a_call_counts_in_the_minute_it_began_in(house: Any, record: Any) -> None:
    """It ends in the next minute, and its tokens still belong to the first."""
    await house.ledger.append([record(at(50), duration_ms=30_000.0), record(at(85), duration_ms=1.0)])
    assert (await simulate(house, "defaults: {tokens: {per_minute: 130}}"))["refused"] == 0


async def test_keys_teams_models_and_money_are_told_apart(house: Any, record: Any) -> None:
    key = await house.ask("POST", "/keys", json={"user": "carol", "team": "ops"})
    await house.ledger.append(
        [record(at(0)), record(at(60), user="bob", team=None), record(at(120), user="carol", team="ops", key_id=key["key_id"])]
    )
    text = """
teams:
  research: {cost_usd: {per_day: 0.0001}}
  ops: {tokens: {per_day: 1}}
users:
  alice: {team: research}
  bob: {models: [claude-*]}
"""
    found = await simulate(house, text)
    by_user = {one["user"]: one["limits"] for one in found["users"]}
    assert by_user == {
        "alice": {"teams.research.cost_usd.per_day": 1},
        "bob": {MODELS: 1},
        "carol": {"teams.ops.tokens.per_day": 1},
    }
    money = next(one for one in found["examples"] if one["user"] == "alice")
    assert (money["amount"], money["used"], money["wanted"]) == ("0.0001", "0", "0.0004")


async def test_overrides_in_force_stay_above_the_file(house: Any, record: Any) -> None:
    await house.ask("PATCH", "/users/alice/limits", json={"tokens": {"per_day": 100_000}})
    await house.ledger.append([record(at(minute)) for minute in range(3)])
    assert (await simulate(house, "defaults: {tokens: {per_day: 100}}"))["refused"] == 0


async def test_calls_that_were_refused_then_may_pass_now(house: Any, record: Any) -> None:
    nothing = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens", "cost_usd"))
    refused = {**nothing, "outcome": "denied", "status": 429, "usage_source": "none"}
    await house.ledger.append(
        [record(at(0), **refused, limit="defaults.tokens.per_day"), record(at(1), **refused, limit="defaults.requests.per_minute")]
    )
    found = await simulate(house, "defaults: {requests: {per_minute: 1}}")
    assert (found["refused_then"], found["refused_then_passes_now"], found["refused"]) == (2, 1, 1)


async def test_soft_limits_and_tracked_usage(house: Any, record: Any) -> None:
    """Soft looks at what is settled: the first passes whatever it takes. What was told afterwards counts, and is never refused."""
    await house.ledger.append([record(at(minute * 10), duration_ms=1.0) for minute in range(3)])
    assert (await simulate(house, "mode: soft\ndefaults: {tokens: {per_day: 100}}"))["refused"] == 2
    await house.ledger.append([record(at(-60), usage_source="tracked", total_tokens=950, input_tokens=950, output_tokens=0)])
    found = await simulate(house, "defaults: {tokens: {per_day: 1000}}")
    assert (found["calls"], found["refused"]) == (3, 3)


async def test_one_user_and_a_shorter_span(house: Any, record: Any) -> None:
    await house.ledger.append([record(at(0)), record(at(60), user="bob"), record("2026-11-05T10:00:00.000000Z")])
    assert (await simulate(house, "{}", days=2))["calls"] == 2
    assert (await simulate(house, "{}", days=2, user="bob"))["calls"] == 1


async def test_a_file_with_mistakes_is_told_where(house: Any) -> None:
    refusal = await house.ask("POST", "/limits/simulate", json={"limits_yaml": "defaults: {token: {per_day: 5}}"}, status=422)
    assert "limits.yaml:1:" in refusal["error"]["message"]
    await house.ask("POST", "/limits/simulate", json={"limits_yaml": "defaults: {"}, status=422)
    await house.ask("POST", "/limits/simulate", json={"limits_yaml": "{}", "days": 0}, status=400)


async def test_it_is_for_admins(house: Any) -> None:
    await house.ask("POST", "/limits/simulate", ALICE, json={"limits_yaml": "{}"}, status=403)


@pytest.mark.parametrize("seconds", [0.05])
async def test_long_work_sends_blanks_and_is_still_json(house: Any, record: Any, monkeypatch: Any, seconds: float) -> None:
    monkeypatch.setattr("proxy.control.long_work.BLANK_SECONDS", seconds)
    slow = house.ledger.export

    async def dawdling(which: Any) -> Any:
        import asyncio

        await asyncio.sleep(seconds * 4)
        async for one in slow(which):
            yield one

    await house.ledger.append([record(at(0))])
    monkeypatch.setattr(house.ledger, "export", dawdling)
    reply = await house.client.post(
        "/api/v1/limits/simulate", json={"limits_yaml": "{}"}, headers={"authorization": "Bearer admin-key-of-the-tests"}
    )
    text = await reply.text()
    assert text.startswith("  ")
    assert (await reply.json())["calls"] == 1
