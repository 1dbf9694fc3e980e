"""The application around the resources: credentials, errors, headers, metrics, the live feed, the first screen."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import orjson
import pytest

from proxy.control.auth import admin_digests, ensure_admin_key
from proxy.errors import LedgerError
from proxy.routing.callers import key_digest, own_key_user

ADMIN, ALICE = "admin-key-of-the-tests", "wb-alice-key-of-the-tests"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Basic YWRtaW46YWRtaW4="}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer wb-unknown-virtual-key"}, 401),
        ({"x-api-key": "x" * 5000}, 401),
        ({"authorization": f"bearer {ADMIN}"}, 200),
        ({"x-api-key": ADMIN}, 200),
        ({"x-api-key": ALICE}, 200),
    ],
)
async def test_credentials(house: Any, headers: dict[str, str], status: int) -> None:
    reply = await house.client.get("/api/v1/usage/records", headers=headers)
    assert reply.status == status
    if status == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert set(orjson.loads(await reply.read())["error"]) == {"code", "message", "docs"}


async def test_an_own_provider_key_sees_its_fingerprints_usage(house: Any, record: Any) -> None:
    key = "sk-proj-of-somebody"
    await house.ledger.append([record(user=own_key_user(key)), record()])
    assert [one["user"] for one in (await house.get("/usage/records", key))["records"]] == [own_key_user(key)]


async def test_an_admin_key_is_made_once_and_kept_as_a_digest(house: Any) -> None:
    first = await ensure_admin_key(house.ledger, {})
    assert first is not None
    assert await ensure_admin_key(house.ledger, {}) is None  # the second start, or a second replica
    assert await admin_digests(house.ledger, {}) == (key_digest(first),)
    assert first not in str(await house.context.ledger.setting("admin_key"))
    assert await ensure_admin_key(house.ledger, {"WEIGHBRIDGE_ADMIN_KEY": "mine"}) is None
    assert await admin_digests(house.ledger, {"WEIGHBRIDGE_ADMIN_KEY": "mine"}) == (key_digest("mine"),)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/", 404),
        ("PUT", "/api/v1/keys", 405),
        ("POST", "/api/v1/usage/records", 405),
        ("GET", "/api/v1/usage/records?from=%ff", 400),
        ("GET", "/api/v1/usage/records?user=%00", 400),
        ("GET", "/api/v1/users/%00", 400),
    ],
)
async def test_errors_are_json_and_never_a_500(house: Any, method: str, path: str, status: int) -> None:
    reply = await house.client.request(method, path, headers={"x-api-key": ADMIN})
    assert reply.status == status
    assert set(orjson.loads(await reply.read())["error"]) == {"code", "message", "docs"}


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"user": "\\ud800"}', b'{"user": 5}'])
async def test_bodies_that_are_no_bodies(house: Any, body: bytes) -> None:
    for path in ("/keys", "/usage/track", "/switch"):
        error = await house.ask("POST", path, status=400, data=body)
        assert error["error"]["code"] == "bad_body"


async def test_a_body_too_large_is_refused(house: Any) -> None:
    await house.ask("POST", "/usage/track", status=413, data=io.BytesIO(b" " * (9 * 1024 * 1024)))


async def test_answers_carry_safe_headers_and_a_request_id(house: Any) -> None:
    reply = await house.client.get("/api/v1/users", headers={"x-api-key": ADMIN, "accept-encoding": "gzip"})
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert len(reply.headers["x-request-id"]) == 36


async def test_long_answers_are_compressed(house: Any, record: Any) -> None:
    await house.ledger.append([record() for _ in range(20)])
    headers = {"x-api-key": ADMIN, "accept-encoding": "gzip"}
    reply = await house.client.get("/api/v1/usage/records", headers=headers)
    assert reply.headers["content-encoding"] == "gzip"
    assert len(orjson.loads(await reply.read())["records"]) == 20


async def test_a_ledger_that_is_away_is_a_503(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise LedgerError("no route to the database at db.internal")

    monkeypatch.setattr(house.ledger, "records", away)
    monkeypatch.setattr(house.ledger, "change_marker", away)
    error = await house.ask("GET", "/usage/records", status=503)
    assert error["error"]["code"] == "ledger_away"
    assert "db.internal" not in error["error"]["message"]
    assert (await house.client.get("/readyz")).status == 503
    assert (await house.client.get("/healthz")).status == 200
    await house.keeper.poll()  # does not raise: the overlay stays as it is


async def test_a_mistake_of_ours_is_a_500_without_details(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(house.ledger, "records", broken)
    error = await house.ask("GET", "/usage/records", status=500)
    assert "secret detail" not in str(error)


async def test_metrics_hold_records_workers_and_the_drain(house: Any, record: Any) -> None:
    house.context.announce([record()])
    house.context.drain_stats = lambda: {"backlog_records": 7}
    text = await (await house.client.get("/metrics")).text()
    assert 'weighbridge_tokens_total{kind="input",model="test-model",provider="openai"} 100.0' in text
    assert 'weighbridge_in_flight_requests{worker="0"} 2.0' in text
    assert "weighbridge_spool_backlog_records 7.0" in text
    assert (await (await house.client.get("/readyz")).json())["spool"] == {"backlog_records": 7}
    assert "weighbridge_workers 1.0" in text


async def test_the_live_feed_shows_each_viewer_what_is_theirs(house: Any, record: Any) -> None:
    async def open_feed(key: str) -> Any:
        reply = await house.client.get("/api/v1/live", headers={"x-api-key": key})
        assert reply.headers["content-type"] == "text/event-stream"
        assert b"connected" in await reply.content.readuntil(b"\n\n")
        return reply

    everything, alices = await open_feed(ADMIN), await open_feed(ALICE)
    made = [record(user="bob"), record()]
    house.context.announce(made)
    shown = [await asyncio.wait_for(everything.content.readuntil(b"\n\n"), 30) for _ in made]
    mine = await asyncio.wait_for(alices.content.readuntil(b"\n\n"), 30)
    assert [orjson.loads(event.split(b"data: ")[1])["user"] for event in shown] == ["bob", "alice"]
    assert orjson.loads(mine.split(b"data: ")[1])["id"] == made[1].id
    name, data = (await asyncio.wait_for(everything.content.readuntil(b"\n\n"), 3)).split(b"\n", 1)
    rate = orjson.loads(data.removeprefix(b"data: "))
    assert name == b"event: rate"
    assert {one: rate[one] for one in ("calls", "total_tokens", "cost_usd", "denied", "failed")} == {
        "calls": 2, "total_tokens": 240, "cost_usd": "0.0008", "denied": 0, "failed": 0,
    }  # fmt: skip
    assert 60 <= rate["tokens_per_second"] <= 240
    assert b'"calls":1' in await asyncio.wait_for(alices.content.readuntil(b"\n\n"), 3)
    everything.close()
    alices.close()


async def test_the_first_screen_comes_in_one_call(house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(user="bob", cost_usd="3")])
    house.worker.used["user:alice:*:tokens"] = 900
    whole = await house.get("/stats", range="30d")
    assert whole["totals"]["cost_usd"] == "3.0004"
    assert [one["user"] for one in whole["by"]["user"]] == ["bob", "alice"]
    assert whole["limits"][0]["fraction"] == 0.9
    assert len(whole["recent"]) == 2
    assert whole["health"]["workers"][0]["in_flight"] == 2
    own = await house.get("/stats", ALICE, range="day")
    assert (own["totals"]["requests"], own["health"], "user" in own["by"]) == (1, None, False)
    assert own["interval"] == "hour"
    assert {one["user"] for one in own["recent"]} == {"alice"}


async def test_a_change_by_another_replica_comes_into_force_by_polling(house: Any) -> None:
    await house.keeper.poll()
    before = len(house.overlays)
    await house.keeper.poll()
    assert len(house.overlays) == before  # nothing changed, nothing published
    await house.context.ledger.put_setting("stop:all:", {"scope": "all", "value": "", "reason": "elsewhere", "cut_streams": False})
    await house.keeper.poll()
    assert len(house.overlays) == before + 1
    assert house.context.rules.stops[0]["reason"] == "elsewhere"
