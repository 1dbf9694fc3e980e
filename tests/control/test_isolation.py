"""A user's key never yields another's data: generated from the OpenAPI document, so that a new operation is tested the
day it is documented.

Everything of Bob's carries a mark. Alice asks every operation, with every filter and path she could think of for Bob's
things; none of her answers holds the mark.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from proxy.control import openapi
from proxy.control.alerts.alert import Alert
from proxy.control.app import routes
from proxy.control.filters import GROUP_NAMES

ADMIN, ALICE = "admin-key-of-the-tests", "wb-alice-key-of-the-tests"
MARK = "bobsecret"
BOBS_RECORD = "bobs-record-id"
BOBS_ALERT = "bobs-alert-id"
STREAMS = ("/api/v1/live",)  # has a test of its own in test_app.py

OPERATIONS = [
    pytest.param(method.upper(), path, operation, id=f"{method} {path}")
    for path, operations in openapi.document(routes(), "test")["paths"].items()  # type: ignore[attr-defined]
    for method, operation in operations.items()
    if path not in STREAMS
]


@pytest.fixture
async def bobs(house: Any, record: Any) -> Any:
    marked = {
        "user": "bob", "team": f"{MARK}-team", "session": f"{MARK}-session", "operation": f"{MARK}-operation",
        "key_id": "b0b0b0b0b0b0",
        "request_model": f"{MARK}-model", "response_model": f"{MARK}-model", "tags": {"t": MARK}, "path": f"/{MARK}", "error": MARK,
        "key_name": f"{MARK}-key", "cost_usd": "777.25", "price_source": MARK,
    }  # fmt: skip
    await house.ledger.append([record(**marked, id=BOBS_RECORD), record(**marked), record()])
    await house.ask("POST", "/keys", json={"user": "bob", "name": f"{MARK}-laptop"})
    await house.ask("PATCH", "/users/bob/limits", json={"tokens": {"per_day": 100}, "reason": f"{MARK}-reason"})
    alert = Alert(BOBS_ALERT, "daily", "warning", "2026-11-18T11:00:00.000000Z", f"{MARK} title", MARK, "bob")
    await house.context.ledger.put_entry(alert.as_entry())
    return house


def queries(operation: dict[str, Any]) -> list[dict[str, str]]:
    """No filter, every filter that could mean Bob, every grouping."""
    known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    about_bob = {
        "user": "bob", "team": f"{MARK}-team", "key": "b0b0b0b0b0b0", "model": f"{MARK}-model", "operation": f"{MARK}-operation",
        "session": f"{MARK}-session", "tag": f"t={MARK}", "request_id": BOBS_RECORD,
    }  # fmt: skip
    asked: list[dict[str, str]] = [{}]
    asked += [{name: value} for name, value in about_bob.items() if name in known]
    if "group_by" in known:
        asked += [{"group_by": name} for name in GROUP_NAMES if f"({name}|" in str(operation) or f"|{name}" in str(operation)]
    if "range" in known:
        asked.append({"range": "all"})
    return asked


BODIES: dict[str, Any] = {
    "/api/v1/usage/track": {"user": "bob", "provider": "openai", "model": "m", "input_tokens": 5},
    "/api/v1/keys": {"user": "bob"},
    "/api/v1/switch": {"scope": "user", "value": "bob"},
    "/api/v1/users/{id}/limits": {"tokens": {"per_day": 1}},
}


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
async def test_alice_learns_nothing_of_bob(bobs: Any, method: str, path: str, operation: dict[str, Any]) -> None:
    ids = ("bob", BOBS_RECORD, BOBS_ALERT, "b0b0b0b0b0b0") if "{id}" in path else ("",)
    for subject in ids:
        for query in queries(operation):
            reply = await bobs.client.request(
                method, path.replace("{id}", subject), params=query, headers={"x-api-key": ALICE}, json=BODIES.get(path)
            )
            shown = await reply.text()
            assert MARK not in shown, f"{method} {path} {query}: {shown[:300]}"
            assert "777.25" not in shown
            assert BOBS_RECORD not in shown
            if subject or query.get("user") == "bob" or operation["x-role"] == "admin":
                assert reply.status in (403, 404), f"{method} {path} {query}: {reply.status}"


async def test_the_marks_are_there_for_the_admin(bobs: Any) -> None:
    """Were they not, the test above would prove nothing."""
    for path in ("/usage/records", "/usage/summary?group_by=session", "/users/bob", "/keys", "/alerts", "/stats", "/limits"):
        answer = str(await bobs.get(path))
        assert MARK in answer or "bob" in answer
    assert len(re.findall(MARK, str(await bobs.get("/usage/records")))) >= 2 * 8


async def test_nothing_of_bobs_was_changed(bobs: Any) -> None:
    for method, path in (("DELETE", "/users/bob/data"), ("DELETE", "/users/bob/limits"), ("POST", f"/alerts/{BOBS_ALERT}/dismiss")):
        await bobs.client.request(method, f"/api/v1{path}", headers={"x-api-key": ALICE})
    assert (await bobs.get("/users/bob"))["totals"]["requests"] == 2
    assert (await bobs.get("/users/bob"))["override"]["reason"] == f"{MARK}-reason"
    assert (await bobs.get("/alerts"))["alerts"][0]["state"] == "open"
