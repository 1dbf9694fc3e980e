"""What changes something: keys, overrides, the switch, erasure; that it reaches the rules, and the audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy.routing.callers import Caller, key_digest

ADMIN, ALICE = "admin-key-of-the-tests", "wb-alice-key-of-the-tests"


async def audit(house: Any) -> list[tuple[str, str, str]]:
    return [(one["by"], one["action"], one["subject"]) for one in (await house.get("/audit"))["audit"]]


async def test_a_key_is_shown_once_kept_as_a_digest_and_works_at_once(house: Any) -> None:
    made = await house.ask("POST", "/keys", status=201, json={"user": "carol", "name": "ci", "limits": {"tokens": {"per_day": 5}}})
    assert made["key"].startswith("wb-")
    assert len(made["key"]) == 3 + 43
    listed = (await house.get("/keys", user="carol"))["keys"]
    assert [(one["key_id"], one["state"], one["origin"]) for one in listed] == [(key_digest(made["key"])[:12], "active", "api")]
    assert made["key"] not in str(listed) + str(await house.ledger.keys()) + str((await house.get("/audit"))["audit"])
    assert house.context.rules.caller_of(made["key"]).user == "carol"
    assert (await house.get("/usage/summary", made["key"]))["totals"]["requests"] == 0
    names = [limit["name"] for limit in (await house.get("/users/carol"))["limits"]]
    assert "keys.ci.tokens.per_day" in names
    assert await audit(house) == [("admin", "create key", f"key:{made['key_id']}")]


async def test_a_key_has_all_that_it_may_and_the_rules_know_it(house: Any) -> None:
    wanted = {
        "user": "carol", "team": "research", "tier": None, "models": ["gpt-4o*"], "labels": ["operation", "tags"],
        "limits": {"tokens": {"per_day": 7}}, "name": "batch",
    }  # fmt: skip
    made = await house.ask("POST", "/keys", json={name: value for name, value in wanted.items() if value is not None})
    assert made["settings"]["labels"] == ["operation", "tags"]
    caller = house.context.rules.caller_of(made["key"])
    assert (caller.user, caller.team, caller.key_name, caller.labels) == ("carol", "research", "batch", {"operation", "tags"})
    assert house.context.rules.resolve_models(caller) == ("gpt-4o*",)
    assert 7 in [limit.amount for limit in house.context.rules.resolve_all_limits(caller)]
    await house.ask("POST", "/keys", status=400, json={"user": "carol", "labels": ["user"]})


async def test_a_revoked_key_is_nobody(house: Any) -> None:
    made = await house.ask("POST", "/keys", json={"user": "carol"})
    gone = await house.ask("DELETE", f"/keys/{made['key_id']}")
    assert gone["state"] == "revoked"
    await house.ask("GET", "/keys", made["key"], status=401)
    assert (await house.get("/keys", user="carol"))["keys"] == []
    assert len((await house.get("/keys", user="carol", include_revoked="true"))["keys"]) == 1
    await house.ask("DELETE", "/keys/000000000000", status=404)
    await house.ask("DELETE", f"/keys/{key_digest(ALICE)[:12]}", status=409)  # it stands in limits.yaml


async def test_a_rotated_key_goes_on_until_its_grace_is_over(house: Any) -> None:
    old = await house.ask("POST", "/keys", json={"user": "carol", "models": ["gpt-*"]})
    new = await house.ask("POST", f"/keys/{old['key_id']}/rotate", status=201, json={"grace_seconds": 60})
    assert new["settings"]["models"] == ["gpt-*"]
    for key in (old["key"], new["key"]):
        assert house.context.rules.caller_of(key).user == "carol"
    house.clock.at += 61
    await house.keeper.poll()
    assert house.context.rules.caller_of(old["key"]) is None
    assert house.context.rules.caller_of(new["key"]).user == "carol"
    await house.ask("GET", "/keys", old["key"], status=401)
    await house.ask("POST", f"/keys/{old['key_id']}/rotate", status=409)


async def test_a_key_with_an_end_is_refused_after_it(house: Any) -> None:
    made = await house.ask("POST", "/keys", json={"user": "carol", "expires_at": "2026-11-18T13:00:00+01:00"})
    assert made["expires_at"] == "2026-11-18T12:00:00.000000Z"
    await house.ask("GET", "/keys", made["key"], status=401)


async def test_an_override_stands_above_the_yaml_until_its_time(house: Any) -> None:
    house.worker.used["user:alice:*:tokens"] = 900
    house.worker.reserved["user:alice:*:tokens"] = 50
    body = {"tokens": {"per_day": 5000}, "cost_usd": {"per_month": 2.5}, "until": "2026-11-18T13:00:00Z", "reason": "launch"}
    shown = await house.ask("PATCH", "/users/alice/limits", json=body)
    limits = {one["name"]: one for one in shown["limits"]}
    day = limits["users.alice.tokens.per_day"]
    assert (day["origin"], day["amount"], day["used"], day["reserved"], day["remaining"]) == ("override", 5000, 900, 50, 4050)
    assert day["resets_at"] == datetime.fromtimestamp(1795046400, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert limits["users.alice.cost_usd.per_month"]["amount"] == "2.5"
    assert limits["defaults.tokens.per_month"]["origin"] == "limits.yaml"
    assert shown["override"]["reason"] == "launch"
    house.clock.at += 3600
    await house.keeper.poll()
    back = (await house.get("/users/alice/limits"))["limits"]
    assert {one["amount"] for one in back if one["name"].endswith("tokens.per_day")} == {1000}
    assert (await house.get("/users/alice/limits"))["override"] is None


async def test_until_midnight_is_the_houses_own(house: Any) -> None:
    house.context.rules = replace(house.context.rules, timezone=ZoneInfo("Asia/Kolkata"))
    house.context.refresh = _nothing
    body = {"tokens": {"per_day": 5000}, "until": "midnight", "reason": "month-end close"}
    found = (await house.ask("PATCH", "/users/alice/limits", json=body))["override"]
    assert (found["until"], found["reason"], found["by"]) == ("2026-11-18T18:30:00.000000Z", "month-end close", "admin")
    await house.ask("PATCH", "/users/alice/limits", status=400, json={**body, "until": "noon"})


async def _nothing() -> None: ...


async def test_overrides_are_merged_and_null_takes_away(house: Any) -> None:
    await house.ask("PATCH", "/users/alice/limits", json={"tokens": {"per_day": 1, "per_hour": 2}, "concurrent_requests": 3})
    merged = await house.ask("PATCH", "/users/alice/limits", json={"tokens": {"per_day": None, "per_month": "unlimited"}})
    assert merged["override"]["limits"] == {"tokens": {"per_hour": 2, "per_month": "unlimited"}, "concurrent_requests": 3}
    assert not [one for one in merged["limits"] if one["window"] == "month" and one["resource"] == "tokens"]
    assert (await house.ask("DELETE", "/users/alice/limits"))["override"] is None
    await house.ask("DELETE", "/users/alice/limits", status=404)
    assert sorted(action for _, action, _ in await audit(house)) == ["override limits", "override limits", "remove override"]


@pytest.mark.parametrize(
    "body",
    [
        {"tokens": {"per_day": -1}},
        {"tokens": {"per_year": 1}},
        {"token": {"per_day": 1}},
        {"tokens": 5},
        {"tokens": {"per_day": "many"}},
        [],
    ],
)
async def test_an_override_with_a_mistake_changes_nothing(house: Any, body: object) -> None:
    await house.ask("PATCH", "/users/alice/limits", status=400, json=body)
    assert (await house.get("/users/alice/limits"))["override"] is None


async def test_the_switch_stops_and_lets_go(house: Any) -> None:
    alice = Caller("alice")
    await house.ask("POST", "/switch", json={"scope": "model", "value": "gpt-4*", "reason": "leak"})
    assert house.context.rules.stop_for("openai", "GPT-4o", alice)["reason"] == "leak"
    assert house.context.rules.stop_for("openai", "o3", alice) is None
    stops = (await house.ask("POST", "/switch", json={"scope": "all", "cut_streams": True}))["stops"]
    assert {(one["scope"], one["value"], one["cut_streams"]) for one in stops} == {("model", "gpt-4*", False), ("all", "", True)}
    for body in ({"scope": "all", "stopped": False}, {"scope": "model", "value": "gpt-4*", "stopped": False}):
        stops = (await house.ask("POST", "/switch", json=body))["stops"]
    assert stops == []
    assert house.context.rules.stop_for("openai", "gpt-4o", alice) is None
    await house.ask("POST", "/switch", status=400, json={"scope": "user"})
    await house.ask("POST", "/switch", status=400, json={"scope": "all", "value": "x"})


async def test_a_persons_data_goes_out_and_away(house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(), record(user="bob")])
    key = await house.ask("POST", "/keys", json={"user": "alice", "name": "Alice's laptop"})
    await house.ask("PATCH", "/users/alice/limits", json={"tokens": {"per_day": 5}})
    reply = await house.client.get("/api/v1/users/alice/export", headers={"x-api-key": ALICE})
    assert (await reply.text()).count("\n") == 2
    gone = await house.ask("DELETE", "/users/alice/data")
    assert (gone["records"], gone["keys_revoked"]) == (2, 1)
    assert (await house.get("/usage/summary", group_by="user"))["totals"]["requests"] == 1
    assert house.context.rules.caller_of(key["key"]) is None
    assert "alice" not in str(await house.ledger.keys()).lower()
    assert ("admin", "erase user data", f"user-sha256:{key_digest('alice')[:16]}") in await audit(house)


async def test_users_are_shown_with_their_limits_and_days(house: Any, record: Any) -> None:
    await house.ledger.append(
        [record(session="s1"), record(session="s1"), record(user="bob", started_at="2026-11-10T10:00:00.000000Z")]
    )
    house.worker.used["user:alice:*:tokens"] = 240
    listed = {one["user"]: one for one in (await house.get("/users", range="day"))["users"]}
    assert (listed["alice"]["requests"], listed["alice"]["team"]) == (2, "research")
    assert listed["bob"]["requests"] == 0  # configured, and silent in this period
    alice = await house.get("/users/alice", ALICE)
    assert [(one["at"][:10], one["total_tokens"]) for one in alice["per_day"]] == [("2026-11-18", 240)]
    assert [(one["at"][:7], one["total_tokens"]) for one in alice["per_month"]] == [("2026-11", 240)]
    assert [(one["session"], one["requests"]) for one in alice["sessions"]] == [("s1", 2)]
    day = next(one for one in alice["limits"] if one["name"] == "defaults.tokens.per_day")
    assert (day["used"], day["remaining"], day["fraction"]) == (240, 760, 0.24)


async def test_limits_come_fullest_first_and_a_teams_once(house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(user="bob")])
    house.worker.used |= {"user:alice:*:tokens": 950, "team:research:*:cost_usd": 90 * 10**9}
    rows = (await house.get("/limits", at_least="0.5"))["limits"]
    assert [(one["name"], one["user"], one["fraction"]) for one in rows] == [
        ("defaults.tokens.per_day", "alice", 0.95),
        ("teams.research.cost_usd.per_month", None, 0.9),
    ]
    assert {one["user"] for one in (await house.get("/limits", ALICE))["limits"]} == {"alice", None}
    await house.ask("GET", "/limits", ALICE, status=403, params={"user": "bob"})


async def test_limits_say_null_while_no_worker_can_say(house: Any) -> None:
    house.worker.answer = lambda question: {"error": "starting"}
    day = (await house.get("/users/alice/limits"))["limits"][0]
    assert (day["amount"], day["used"], day["remaining"]) == (1000, None, None)


async def test_reprice_fills_what_was_unknown_and_moves_the_sums(house: Any, record: Any) -> None:
    unknown = record(cost_usd=None, input_cost_usd=None, output_cost_usd=None, price_source="unknown model")
    wrong = record(cost_usd="5", price_source="old")
    own = record(cost_usd="7", price_source="tracked", usage_source="tracked")
    await house.ledger.append([unknown, wrong, own])
    dry = await house.ask("POST", "/prices/reprice?dry_run=true")
    assert (dry["examined"], dry["changed"], dry["after_usd"]) == (1, 1, "0.0004")  # 100 × 2 + 20 × 10 a million
    assert (await house.get(f"/usage/records/{unknown.id}"))["cost_usd"] is None
    await house.ask("POST", "/prices/reprice")
    done = await house.ask("POST", "/prices/reprice?all=true")
    assert (done["changed"], done["before_usd"], done["after_usd"]) == (1, "5", "0.0004")
    assert (await house.get("/usage/summary"))["totals"]["cost_usd"] == "7.0008"
    assert (await house.get("/usage/summary"))["totals"]["unpriced"] == 0


async def test_the_price_list_can_be_searched_and_paged(house: Any) -> None:
    found = await house.get("/prices", model="TEST-model")
    assert [(one["provider"], one["model"], one["source"]) for one in found["prices"]] == [("openai", "test-model", "prices.yaml")]
    first = await house.get("/prices", provider="openai", limit="3")
    second = await house.get("/prices", provider="openai", limit="3", offset=str(first["next_offset"]))
    assert len({one["model"] for one in first["prices"] + second["prices"]}) == 6


async def test_only_the_admin_changes_anything(house: Any) -> None:
    calls = [
        ("POST", "/keys", {"user": "alice"}),
        ("DELETE", "/keys/abc", None),
        ("POST", "/keys/abc/rotate", None),
        ("PATCH", "/users/alice/limits", {"tokens": {"per_day": 10**9}}),
        ("DELETE", "/users/alice/limits", None),
        ("DELETE", "/users/alice/data", None),
        ("POST", "/switch", {"scope": "all"}),
        ("GET", "/switch", None),
        ("GET", "/audit", None),
        ("POST", "/prices/reprice", None),
    ]
    for method, path, body in calls:
        error = await house.ask(method, path, ALICE, status=403, json=body)
        assert error["error"]["code"] == "forbidden"
    assert await audit(house) == []
