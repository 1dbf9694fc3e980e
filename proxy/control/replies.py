"""Answers of the API: JSON bodies, and errors as `{"error": {"code", "message", "docs"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus

import orjson
from aiohttp import web

COMPRESS_FROM_BYTES = 2048
DOCS = "/api/v1/openapi.json"


class ApiError(Exception):
    """A request that cannot be served as sent; becomes an error answer."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def bad_parameter(name: str, allowed: str) -> ApiError:
    """400 that names the parameter and what it may be."""
    return ApiError(400, "bad_parameter", f"parameter `{name}` must be {allowed}")


def not_found(what: str) -> ApiError:
    return ApiError(404, "not_found", f"there is no such {what}, or it is not yours to see")


def json_reply(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer; decimals become strings in plain notation."""
    return json_body_reply(orjson.dumps(document, default=_as_json, option=orjson.OPT_NON_STR_KEYS), status, headers)


def json_body_reply(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """The same of a body that is written already."""
    reply = web.Response(body=body, status=status, content_type="application/json", headers=headers)
    if len(body) >= COMPRESS_FROM_BYTES:
        reply.enable_compression()
    return reply


def error_reply(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return json_reply({"error": {"code": code, "message": message, "docs": DOCS}}, status, headers)


def error_of_status(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """The error answer for what aiohttp itself refuses (no such path, wrong method, body too large)."""
    phrase = HTTPStatus(status).phrase
    return error_reply(status, phrase.lower().replace(" ", "_"), phrase, headers)


def _as_json(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no JSON form here")
