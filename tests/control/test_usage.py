"""usage/…: what the ledger holds, in pages, sums, points, files; filters, periods, and who sees what."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest

ADMIN, ALICE, BOB = "admin-key-of-the-tests", "wb-alice-key-of-the-tests", "wb-bob-key-of-the-tests"


async def test_records_come_newest_first_in_pages(house: Any, record: Any) -> None:
    made = [record(started_at=f"2026-11-18T10:0{n}:00.000000Z") for n in range(5)]
    await house.ledger.append(made)
    first = await house.get("/usage/records", limit="2")
    second = await house.get("/usage/records", limit="2", cursor=first["next_cursor"])
    third = await house.get("/usage/records", limit="2", cursor=second["next_cursor"])
    pages = [*first["records"], *second["records"], *third["records"]]
    assert [one["id"] for one in pages] == [one.id for one in reversed(made)]
    assert third["next_cursor"] is None
    assert pages[0]["cost_usd"] == "0.0004"


async def test_a_record_by_its_id_and_by_filter(house: Any, record: Any) -> None:
    mine, other = record(user="bob", operation="sum"), record()
    await house.ledger.append([mine, other])
    assert (await house.get(f"/usage/records/{mine.id}"))["user"] == "bob"
    for query in (
        {"user": "bob"},
        {"operation": "sum"},
        {"request_id": mine.id},
        {"user": "bob", "outcome": "ok", "model": "test-model"},
    ):
        assert [one["id"] for one in (await house.get("/usage/records", **query))["records"]] == [mine.id]
    assert (await house.get("/usage/records", provider="nobody"))["records"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"outcome": "fine"}, "outcome"),
        ({"cursor": "made up"}, "cursor"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"range": "fortnight"}, "range"),
        ({"usr": "alice"}, "usr"),
        ({"user": "a\0b"}, "user"),
        ({"user": ""}, "user"),
    ],
)
async def test_bad_parameters_are_named_and_what_is_allowed_is_said(house: Any, query: dict[str, str], named: str) -> None:
    error = (await house.ask("GET", "/usage/records", status=400, params=query))["error"]
    assert f"`{named}`" in error["message"]
    assert error["code"] in ("bad_parameter", "unknown_parameter")
    assert error["docs"].startswith("/api/v1/")


async def test_summary_adds_up_by_several_names_with_averages_and_shares(house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(), record(user="bob", team=None, cost_usd="0.0012", total_tokens=240)])
    whole = await house.get("/usage/summary", range="day", group_by="user,model")
    assert whole["totals"]["requests"] == 3
    assert whole["totals"]["total_tokens"] == 120 + 120 + 240
    assert whole["totals"]["cost_usd"] == "0.002"
    assert whole["averages"]["total_tokens"] == pytest.approx(480 / 3)
    bob, alice = whole["groups"]
    assert (bob["user"], bob["model"], bob["cost_usd"]) == ("bob", "test-model", "0.0012")
    assert bob["share"] == {"requests": pytest.approx(1 / 3, abs=1e-6), "total_tokens": 0.5, "cost_usd": 0.6}
    assert (alice["user"], alice["requests"], alice["averages"]["duration_ms"]) == ("alice", 2, 1500.0)


async def test_summary_takes_repeated_group_by_and_compares_with_the_period_before(house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(started_at="2026-11-17T09:00:00.000000Z", cost_usd="1")])
    reply = await house.client.get(
        "/api/v1/usage/summary?from=2026-11-18&to=2026-11-19&group_by=user&group_by=key&compare=true",
        headers={"x-api-key": ADMIN},
    )
    whole = orjson.loads(await reply.read())
    assert whole["group_by"] == ["user", "key"]
    assert whole["groups"][0]["key"] is None
    assert whole["totals"]["cost_usd"] == "0.0004"
    assert whole["previous"]["totals"]["cost_usd"] == "1"
    assert whole["previous"]["from"] == "2026-11-17T00:00:00.000000Z"


async def test_tags_are_grouped_by_pair_and_filtered(house: Any, record: Any) -> None:
    await house.ledger.append(
        [
            record(tags={"env": "prod", "app": "bot"}),
            record(tags={"env": "prod"}, started_at="2026-11-17T10:00:00.000000Z"),
            record(tags={"env": "test=1"}),
            record(),
        ]
    )
    answer = await house.get("/usage/summary", range="week", group_by="tag")
    found = {row["tag"]: row["requests"] for row in answer["groups"]}
    assert found == {"env=prod": 2, "app=bot": 1, "env=test=1": 1, None: 1}
    assert answer["totals"]["requests"] == 4
    assert (await house.get("/usage/summary", range="week", tag="env=prod"))["totals"]["requests"] == 2
    assert (await house.get("/usage/summary", range="week", tag="env=prod", group_by="tag,user"))["groups"][0]["user"] == "alice"
    points = (await house.get("/usage/timeseries", range="week", tag="env=prod"))["points"]
    assert [point["requests"] for point in points] == [1, 1]
    points = (await house.get("/usage/timeseries", range="week", group_by="tag"))["points"]
    assert [point["requests"] for point in points if point["tag"] == "env=prod"] == [1, 1]
    records = (await house.get("/usage/records", tag="env=test=1"))["records"]
    assert [one["tags"] for one in records] == [{"env": "test=1"}]
    assert (await house.get("/usage/records", tag="env"))["records"] == []


async def test_points_begin_where_the_zone_says(house: Any, record: Any) -> None:
    await house.ledger.append([record(started_at="2026-11-17T23:30:00.000000Z"), record(started_at="2026-11-18T10:00:00.000000Z")])
    in_berlin = await house.get("/usage/timeseries", interval="day", range="week", timezone="Europe/Berlin")
    assert [(one["at"], one["requests"]) for one in in_berlin["points"]] == [("2026-11-17T23:00:00.000000Z", 2)]
    in_utc = await house.get("/usage/timeseries", interval="day", range="week", group_by="user")
    assert [(one["at"][:10], one["user"]) for one in in_utc["points"]] == [("2026-11-17", "alice"), ("2026-11-18", "alice")]


async def test_the_month_is_projected_from_its_last_full_days(house: Any, record: Any) -> None:
    days = [record(started_at=f"2026-11-{day:02d}T10:00:00.000000Z", cost_usd="2", total_tokens=100) for day in range(1, 18)]
    await house.ledger.append(days)
    month = await house.get("/usage/projection", group_by="user")
    # 17 days at 2 dollars so far; 12.5 days to come from Wednesday noon, at the mean of the last seven: 2
    assert month["cost_usd"] == {"so_far": "34", "expected": "59", "low": "59", "high": "59"}
    assert month["days_left"] == 12.5
    assert month["groups"][0]["user"] == "alice"
    assert month["groups"][0]["total_tokens"]["expected"] == 17 * 100 + 1250


async def test_anomalies_are_days_that_stand_out_against_the_week_before(house: Any, record: Any) -> None:
    usual = [record(started_at=f"2026-11-{day:02d}T10:00:00.000000Z", cost_usd="1", total_tokens=5000) for day in range(8, 17)]
    spike = record(started_at="2026-11-17T10:00:00.000000Z", cost_usd="2.5", total_tokens=9000)
    steady = [record(started_at=f"2026-11-{day:02d}T10:00:00.000000Z", user="bob", cost_usd="1") for day in range(8, 18)]
    await house.ledger.append([*usual, spike, *steady])
    found = (await house.get("/usage/anomalies"))["anomalies"]
    assert [(one["user"], one["day"], one["resource"], one["amount"], one["average"], one["factor"]) for one in found] == [
        ("alice", "2026-11-17", "cost_usd", "2.5", "1", 2.5)
    ]


async def test_export_is_complete_in_both_forms(house: Any, record: Any) -> None:
    made = [record(user="=cmd()", tags={"a": "b"}) for _ in range(1500)]
    await house.ledger.append(made)
    headers = {"authorization": f"Bearer {ADMIN}"}
    lines = (await (await house.client.get("/api/v1/usage/export?format=jsonl", headers=headers)).text()).splitlines()
    assert sorted(orjson.loads(line)["id"] for line in lines) == sorted(one.id for one in made)
    reply = await house.client.get("/api/v1/usage/export?format=csv&user=%3Dcmd()", headers=headers)
    rows = list(csv.DictReader(io.StringIO(await reply.text())))
    assert len(rows) == 1500
    assert rows[0]["user"] == "'=cmd()"  # no formula for a spreadsheet to run
    assert (rows[0]["cost_usd"], rows[0]["streamed"], rows[0]["tags"]) == ("0.0004", "false", '{"a":"b"}')


async def test_a_user_sees_only_their_own(house: Any, record: Any) -> None:
    mine, other = record(), record(user="bob")
    await house.ledger.append([mine, other])
    assert [one["user"] for one in (await house.get("/usage/records", ALICE))["records"]] == ["alice"]
    assert (await house.get("/usage/summary", ALICE, group_by="user"))["totals"]["requests"] == 1
    await house.ask("GET", "/usage/records", ALICE, status=403, params={"user": "bob"})
    await house.ask("GET", f"/usage/records/{other.id}", ALICE, status=404)
    await house.ask("GET", "/users/bob", ALICE, status=403)
    assert (await house.get("/usage/records", BOB))["records"][0]["id"] == other.id


async def test_tracked_usage_is_priced_counted_and_taken_once(house: Any) -> None:
    sent = {"id": "job-1", "user": "alice", "provider": "openai", "model": "test-model", "input_tokens": 1000, "output_tokens": 500}
    first = await house.ask("POST", "/usage/track", json=sent)
    again = await house.ask("POST", "/usage/track", json=sent)
    # 1000 tokens at 2 dollars and 500 at 10 dollars a million
    assert first["records"] == [
        {"id": "job-1", "is_new": True, "cost_usd": "0.007", "price_source": first["records"][0]["price_source"]}
    ]
    assert (first["accepted"], first["counted_in_limits"], again["accepted"], again["duplicates"]) == (1, True, 0, 1)
    counted = {(one["counter"], one["window"]): one["amount"] for one in house.worker.added}
    assert counted == {
        ("user:alice:*:tokens", "day"): 1500,
        ("user:alice:*:tokens", "month"): 1500,
        ("user:alice:*:cost_usd", "month"): 7_000_000,
        ("team:research:*:cost_usd", "month"): 7_000_000,
    }
    kept = await house.get("/usage/records/job-1")
    assert (kept["usage_source"], kept["total_tokens"], kept["team"]) == ("tracked", 1500, "research")


async def test_a_batch_keeps_its_own_costs_and_says_what_is_wrong(house: Any) -> None:
    one = {"user": "bob", "provider": "elsewhere", "model": "m", "cost_usd": "0.25"}
    batch = await house.ask("POST", "/usage/track", json={"records": [one, {**one, "cost_usd": 0.1, "input_tokens": 5}]})
    assert [row["cost_usd"] for row in batch["records"]] == ["0.25", "0.1"]
    unknown = await house.ask("POST", "/usage/track", json={**one, "cost_usd": None, "input_tokens": 5})
    assert unknown["records"][0]["cost_usd"] is None  # unknown, not zero
    wrong = await house.ask("POST", "/usage/track", status=400, json={**one, "input_tokens": -1, "colour": "red"})
    assert "input_tokens" in wrong["error"]["message"]
    assert "colour" in wrong["error"]["message"]
    contradicted = await house.ask("POST", "/usage/track", status=422, json={**one, "input_tokens": 1, "cache_read_tokens": 2})
    assert "cache_read_tokens" in contradicted["error"]["message"]


async def test_who_may_track_for_whom(house: Any) -> None:
    sent = {"provider": "openai", "model": "test-model", "input_tokens": 1}
    await house.ask("POST", "/usage/track", ALICE, json=sent)
    assert [one["user"] for one in (await house.get("/usage/records"))["records"]] == ["alice"]
    await house.ask("POST", "/usage/track", ALICE, status=403, json={**sent, "user": "bob"})
    await house.ask("POST", "/usage/track", "sk-some-provider-key", status=403, json=sent)
    await house.ask("POST", "/usage/track", ADMIN, status=422, json=sent)
