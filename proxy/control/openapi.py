"""The API's description: OpenAPI 3.1, put together from what the resources declare and the schemas of `schemas.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import orjson
from aiohttp import web

from proxy.control import sessions
from proxy.control.parameters import describe
from proxy.control.routes import PREFIX, Call, Route
from proxy.control.schemas import SCHEMAS

_BODY_REFERENCE = "#/components/schemas/{model}"
_PLACES = re.compile(r"\{(\w+)\}")
_REASONS = {
    400: "A parameter or the body is not allowed; the message says what is.",
    401: "No key, or one that is not known.",
    403: "The key may not do or see this.",
    404: "There is no such thing, or it is not yours to see.",
    409: "It contradicts what is there.",
    422: "Well-formed, and yet it cannot be.",
    429: "Too many attempts; `retry-after` says when to try again.",
    502: "The identity provider does not answer as it should.",
    500: "A mistake of the program.",
    503: "The ledger is away; try again.",
}
_STREAMS = {
    "csv+jsonl": ("text/csv", "application/x-ndjson"),
    "files": ("text/csv", "application/x-ndjson", "application/zip"),
    "events": ("text/event-stream",),
}


def document(routes: Iterable[Route], version: str) -> dict[str, object]:
    """The whole OpenAPI document."""
    schemas: dict[str, object] = dict(SCHEMAS)
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, schemas)
    paths[f"{PREFIX}/openapi.json"] = {"get": _own_operation()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Weighbridge control API",
            "version": version,
            "description": "Usage, costs, limits, keys and switches of the proxy. Money is a decimal string in US dollars; "
            "instants are UTC. A user's key sees only that user's data.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {"session": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "The admin key, or a user's own."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": sessions.COOKIE,
                    "description": f"Of POST /api/v1/session; changes also need `{sessions.CSRF_HEADER}`.",
                },
            },
        },
    }


def show(routes: Callable[[], Iterable[Route]], version: str) -> Call:
    """The call that answers with the document; made up once, when somebody first asks, so that no start waits for it."""
    body = b""

    async def call(request: web.Request) -> web.Response:
        nonlocal body
        body = body or orjson.dumps(document(routes(), version))
        reply = web.Response(body=body, content_type="application/json")
        reply.enable_compression()
        return reply

    return call


def _operation(route: Route, schemas: dict[str, object]) -> dict[str, object]:
    names = _PLACES.findall(route.path)
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 512}}
        for name in names
    ]
    operation: dict[str, object] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.path.split("/")[1]],
        "x-role": route.role,
        "parameters": [*in_path, *describe(route.parameters)],
        "responses": {str(route.success): _answer(route), **_errors(route)},
    }
    if route.role == "public":
        operation["security"] = []
    if route.body is not None:
        shape = route.body.model_json_schema(ref_template=_BODY_REFERENCE, mode="validation")
        schemas |= shape.pop("$defs", {})
        schemas[route.body.__name__] = shape
        reference = {"schema": {"$ref": _BODY_REFERENCE.format(model=route.body.__name__)}}
        operation["requestBody"] = {"required": not route.is_body_optional, "content": {"application/json": reference}}
    return operation


def _operation_id(route: Route) -> str:
    words = [word.strip("{}") for word in route.path.split("/") if word]
    return "_".join((route.method.lower(), *words))


def _answer(route: Route) -> dict[str, object]:
    if route.answer == "redirect":
        return {"description": route.summary, "headers": {"location": {"schema": {"type": "string"}}}}
    if route.answer in _STREAMS:
        content = {kind: {"schema": {"type": "string"}} for kind in _STREAMS[route.answer]}
        return {"description": route.summary, "content": content}
    schema = {"$ref": f"#/components/schemas/{route.answer}"}
    return {"description": route.summary, "content": {"application/json": {"schema": schema}}}


def _errors(route: Route) -> dict[str, object]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    codes = sorted({400, 401, 403, 500, 503, *route.also})
    return {str(code): {"description": _REASONS[code], "content": content} for code in codes}


def _own_operation() -> dict[str, object]:
    shown = {"description": "This document", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "operationId": "get_openapi.json",
        "summary": "This document",
        "tags": ["openapi"],
        "security": [],
        "x-role": "public",
        "responses": {"200": shown},
    }
