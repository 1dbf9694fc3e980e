"""Several admin keys with names: made, used, rotated, revoked; the last one stays."""

from __future__ import annotations

from typing import Any

from proxy.control.auth import admin_digests, ensure_admin_key


async def test_a_named_key_works_and_the_audit_log_names_it(house: Any) -> None:
    made = await house.ask("POST", "/admin/keys", json={"name": "ann"}, status=201)
    assert made["key"].startswith("wb-admin-")
    house.clock.at += 1  # the audit log is in order of time
    await house.ask("POST", "/keys", made["key"], json={"user": "carol"})
    last = (await house.get("/audit"))["audit"][0]
    assert (last["by"], last["action"], last["address"]) == ("admin:ann", "create key", "127.0.0.1")
    listed = (await house.get("/admin/keys"))["keys"]
    assert [(one["name"], one["role"], one["origin"]) for one in listed] == [
        ("admin", "admin", "environment"),
        ("ann", "admin", "api"),
    ]
    assert made["key"] not in str(listed) + str(await house.get("/audit"))
    assert made["key"] not in str(await house.ledger.settings(""))


async def test_a_key_of_an_auditor_reads_only(house: Any) -> None:
    key = (await house.ask("POST", "/admin/keys", json={"name": "vera", "role": "auditor"}))["key"]
    assert (await house.get("/session", key))["name"] == "auditor:vera"
    await house.get("/audit", key)
    refusal = await house.ask("POST", "/keys", key, json={"user": "x"}, status=403)
    assert refusal["error"]["code"] == "forbidden"
    refusal = await house.ask("POST", "/usage/track", key, json={"user": "x", "provider": "p", "model": "m"}, status=403)
    assert "changes nothing" in refusal["error"]["message"]


async def test_rotation_leaves_a_time_of_grace(house: Any) -> None:
    old = await house.ask("POST", "/admin/keys", json={"name": "ann"})
    new = await house.ask("POST", f"/admin/keys/{old['key_id']}/rotate", json={"grace_seconds": 60})
    assert (new["name"], new["replaces"]["key_id"]) == ("ann", old["key_id"])
    for key in (old, new):
        await house.get("/users", key["key"])
    house.clock.at += 61
    await house.get("/users", new["key"])
    refusal = await house.ask("GET", "/users", old["key"], status=401)
    assert "expired" in refusal["error"]["message"]
    await house.ask("POST", f"/admin/keys/{old['key_id']}/rotate", status=409)


async def test_a_revoked_key_is_refused_at_once(house: Any) -> None:
    made = await house.ask("POST", "/admin/keys", json={"name": "ann"})
    await house.ask("DELETE", f"/admin/keys/{made['key_id']}")
    refusal = await house.ask("GET", "/users", made["key"], status=401)
    assert "revoked" in refusal["error"]["message"]
    assert [one["name"] for one in (await house.get("/admin/keys"))["keys"]] == ["admin"]
    assert (await house.get("/admin/keys", include_revoked="true"))["keys"][1]["state"] == "revoked"
    await house.ask("DELETE", "/admin/keys/000000000000", status=404)


async def test_a_key_ends_when_it_should(house: Any) -> None:
    made = await house.ask("POST", "/admin/keys", json={"name": "temp", "expires_at": "2026-11-18T12:00:30Z"})
    await house.get("/users", made["key"])
    house.clock.at += 31
    await house.ask("GET", "/users", made["key"], status=401)


async def test_two_active_keys_cannot_have_one_name(house: Any) -> None:
    await house.ask("POST", "/admin/keys", json={"name": "ann"})
    assert (await house.ask("POST", "/admin/keys", json={"name": "ann"}, status=409))["error"]["code"] == "name_taken"


async def test_an_admin_key_is_never_taken_for_a_users_own(house: Any) -> None:
    await house.ask("GET", "/users", "wb-admin-made-up-by-somebody", status=401)


async def test_the_environments_key_is_changed_in_the_environment(house: Any) -> None:
    first = (await house.get("/admin/keys"))["keys"][0]
    refusal = await house.ask("DELETE", f"/admin/keys/{first['key_id']}", status=409)
    assert "WEIGHBRIDGE_ADMIN_KEY" in refusal["error"]["message"]


async def test_the_key_of_the_first_start_can_be_replaced_and_the_last_one_stays(house: Any) -> None:
    first = await ensure_admin_key(house.ledger, {})
    house.context.is_admin_key_given = False
    house.context.admin_key_sha256 = await admin_digests(house.ledger, {})
    (shown,) = (await house.get("/admin/keys", first))["keys"]
    assert shown["origin"] == "first start"
    refusal = await house.ask("DELETE", f"/admin/keys/{shown['key_id']}", first, status=409)
    assert refusal["error"]["code"] == "last_admin_key"
    made = await house.ask("POST", "/admin/keys", first, json={"name": "ann"})
    other_replica = house.context.admin_key_sha256
    await house.ask("DELETE", f"/admin/keys/{shown['key_id']}", made["key"])
    house.context.admin_key_sha256 = other_replica  # as it still stands in the memory of another one
    await house.ask("GET", "/users", first, status=401)
    assert await ensure_admin_key(house.ledger, {}) is None  # the next start makes no new one
    refusal = await house.ask("DELETE", f"/admin/keys/{made['key_id']}", made["key"], status=409)
    assert refusal["error"]["code"] == "last_admin_key"
