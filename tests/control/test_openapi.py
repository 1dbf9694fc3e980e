"""The description is valid OpenAPI 3.1, says what is there, and what is there answers as it says."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from proxy.control import openapi
from proxy.control.app import build_app, routes

ADMIN = "admin-key-of-the-tests"


@cache
def document() -> Any:
    return orjson.loads(orjson.dumps(openapi.document(routes(), "test")))


def test_the_document_is_valid() -> None:
    validate(document())


def test_every_route_is_documented_and_every_documented_route_is_there(house: Any) -> None:
    documented = {
        (method.upper(), path) for path, operations in document()["paths"].items() for method in operations if path != "/metrics"
    }
    served = {
        (route.method, route.resource.canonical)
        for route in build_app(house.context).router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/v1/") and route.method != "HEAD"
    }
    assert served == documented


def test_every_operation_has_a_name_of_its_own_and_words() -> None:
    operations = [one for path in document()["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] for one in operations)
    parameters = [one for operation in operations for one in operation.get("parameters", ()) if one["in"] == "query"]
    assert all(one["description"] for one in parameters)


async def test_it_is_served_to_anybody(house: Any) -> None:
    reply = await house.client.get("/api/v1/openapi.json")
    assert orjson.loads(await reply.read())["openapi"] == "3.1.0"


READS = [
    "/usage/records", "/usage/summary?group_by=user,model&compare=true", "/usage/timeseries?interval=week&group_by=provider",
    "/usage/projection?group_by=team", "/usage/anomalies", "/users", "/users/alice", "/users/alice/limits", "/limits", "/keys",
    "/switch", "/alerts", "/audit", "/prices?limit=50", "/stats?range=7d",
    "/recommendations", "/alerts/destinations", "/alerts/deliveries",
]  # fmt: skip


@pytest.mark.parametrize("path", READS)
async def test_answers_are_as_the_schemas_say(house: Any, record: Any, path: str) -> None:
    await house.ledger.append([record(session="s"), record(started_at="2026-11-03T10:00:00.000000Z", user="bob", cost_usd=None)])
    await house.ask("POST", "/keys", json={"user": "carol"})
    await house.ask("POST", "/switch", json={"scope": "user", "value": "mallory"})
    await house.ask("PATCH", "/users/alice/limits", json={"tokens": {"per_day": 10}})
    whole = document()
    template = re.sub(r"/users/alice", "/users/{id}", path.split("?")[0])
    answer = whole["paths"][f"/api/v1{template}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**answer, "components": whole["components"]}
    Draft202012Validator(schema).validate(await house.get(path))
