"""A person's data: all of it in one archive; deleted, or kept without the person; written down without naming them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import orjson

from proxy.control.alerts.alert import Alert
from proxy.control.anonymise import under_alias
from proxy.errors import LedgerError
from proxy.ledger.ledger import RecordFilter

ADMIN, ALICE = "admin-key-of-the-tests", "wb-alice-key-of-the-tests"
AT = "2026-11-18T11:00:00.000000Z"


async def fill(house: Any, record: Any) -> Any:
    """Alice has called, has a key, an override, an alert; so has Bob."""
    for user in ("alice", "bob"):
        labels = {"session": f"{user}-s", "tags": {"who": user}, "key_id": "abc", "key_name": f"{user}-laptop", "billing_key": user}
        denied = record(user=user, outcome="denied", limit=f"users.{user}.tokens.per_day", error=f"limit users.{user} is full")
        priced = record(user=user, **labels, operation_id=f"{user}-op", provider_request_id=f"req-{user}")
        await house.ledger.append([priced, record(user=user), denied, record(user=user, started_at="2026-10-02T00:00:00.000000Z")])
        await house.ask("POST", "/keys", json={"user": user, "name": f"{user}-second"})
        await house.ask("PATCH", f"/users/{user}/limits", json={"tokens": {"per_day": 5}})
        await house.context.ledger.put_entry(Alert(f"daily:{user}", "daily", "info", AT, f"{user} told", user, user).as_entry())
    return house


async def test_everything_of_a_person_is_in_one_archive(house: Any, record: Any) -> None:
    await fill(house, record)
    await house.ledger.append([record(id=f"many-{number}") for number in range(1500)])
    reply = await house.client.get("/api/v1/users/alice/export?format=zip", headers={"x-api-key": ALICE})
    assert (reply.status, reply.content_type) == (200, "application/zip")
    archive = zipfile.ZipFile(io.BytesIO(await reply.read()))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == ["alerts.jsonl", "keys.json", "records.jsonl", "summary.json"]
    records = [orjson.loads(line) for line in archive.read("records.jsonl").splitlines()]
    assert (len(records), {one["user"] for one in records}) == (1504, {"alice"})
    summary = orjson.loads(archive.read("summary.json"))
    assert (summary["totals"]["requests"], summary["sessions"][0]["session"]) == (1504, "alice-s")
    assert summary["override"]["limits"] == {"tokens": {"per_day": 5}}
    assert [one["name"] for one in orjson.loads(archive.read("keys.json"))] == ["alice-second"]
    assert "sha256" not in archive.read("keys.json").decode()
    assert [orjson.loads(line)["title"] for line in archive.read("alerts.jsonl").splitlines()] == ["alice told"]


async def test_anonymised_records_stay_and_so_do_all_sums(house: Any, record: Any) -> None:
    await fill(house, record)
    groups = ("team", "provider", "model", "outcome")
    before = {name: await house.ledger.sums(RecordFilter(), (name,)) for name in groups}
    months = await house.ledger.timeseries(RecordFilter(), "month", "UTC")
    done = await house.ask("DELETE", "/users/alice/data?mode=anonymise")
    assert (done["mode"], done["records"], done["keys_revoked"]) == ("anonymise", 4, 1)
    assert {name: await house.ledger.sums(RecordFilter(), (name,)) for name in groups} == before
    assert await house.ledger.timeseries(RecordFilter(), "month", "UTC") == months
    everything = [one async for one in house.ledger.export(RecordFilter())]
    theirs = [one for one in everything if one.user == done["alias"]]
    assert (len(everything), len(theirs)) == (8, 4)
    assert "alice" not in str(theirs)
    assert {(one.key_id, one.session, one.tags) for one in theirs} == {(None, None, None)}
    shown = str(await house.get("/alerts")) + str(await house.get("/audit")).replace("user:alice", "")
    assert "alice told" not in shown
    assert await house.ledger.last_sessions("alice") == []
    assert [one["user"] for one in (await house.get("/usage/sessions", range="day"))["sessions"]] == ["bob"]
    assert (await house.get("/users/alice"))["totals"]["requests"] == 0


async def test_what_was_broken_off_is_done_again_and_counts_once(house: Any, record: Any, monkeypatch: Any) -> None:
    await fill(house, record)
    before = await house.ledger.sums(RecordFilter())

    async def away(*_: object) -> int:
        raise LedgerError("away")

    with monkeypatch.context() as outage:
        outage.setattr(house.ledger, "forget_user", away)
        await house.ask("DELETE", "/users/alice/data?mode=anonymise", status=503)
    done = await house.ask("DELETE", "/users/alice/data?mode=anonymise")
    assert done["records"] == 4
    assert await house.ledger.sums(RecordFilter()) == before
    assert len({one.user async for one in house.ledger.export(RecordFilter())}) == 2
    assert await house.ledger.settings("anonymising:") == {}


async def test_deleting_takes_all_of_one_person_and_nothing_of_another(house: Any, record: Any) -> None:
    await fill(house, record)
    done = await house.ask("DELETE", "/users/alice/data")
    assert (done["mode"], done["alias"], done["records"]) == ("delete", None, 4)
    assert {one.user async for one in house.ledger.export(RecordFilter())} == {"bob"}
    assert (await house.get("/usage/summary", range="all"))["totals"]["requests"] == 4
    (line,) = [one for one in (await house.get("/audit"))["audit"] if one["action"] == "erase user data"]
    assert (line["mode"], "alice" in line["subject"]) == ("delete", False)
    states = {
        one["user"]: one["state"] for one in (await house.get("/keys", include_revoked="true"))["keys"] if one["origin"] == "api"
    }
    assert states == {"erased": "revoked", "bob": "active"}


def test_the_same_record_gets_the_same_new_id_of_its_own_time(record: Any) -> None:
    one = record(id="0199f3b2-0000-7000-8000-000000000001")
    first, again, other = under_alias(one, "anon-1"), under_alias(one, "anon-1"), under_alias(one, "anon-2")
    assert first.id == again.id != other.id
    assert int(first.id.replace("-", "")[:12], 16) == 1_794_996_000_000  # 2026-11-18T10:00 in milliseconds
    assert first.cost_usd == one.cost_usd
