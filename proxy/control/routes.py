"""What a resource declares: its paths, who may call them, what they take and give. `app.py` serves it, `openapi.py` shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from proxy.control.parameters import Parameter
from proxy.control.replies import ApiError
from proxy.control.values import Body

__all__ = ["PREFIX", "Body", "Call", "Route", "read_body"]

PREFIX = "/api/v1"
Call = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    """Below /api/v1, e.g. `/users/{id}`."""
    call: Call
    role: str
    """public, user (sees only their own) or admin."""
    summary: str
    answer: str
    """Name of the answer's schema in `schemas.py`; `csv+jsonl`, `files` and `events` for streams, `redirect` for none."""
    parameters: Sequence[Parameter] = ()
    body: type[BaseModel] | None = None
    is_body_optional: bool = False
    success: int = 200
    also: tuple[int, ...] = ()
    """Further status codes that this operation may answer with, beside 400, 401, 403, 500 and 503."""
    is_read: bool = False
    """A POST that changes nothing: auditors may call it."""
    is_own: bool = False
    """Changes nothing but the caller's own session or password: auditors may call it."""
    is_shared: bool = False
    """A JSON answer that follows from the caller's role and user and from the question alone (`kept_answers.py`)."""


SomeBody = TypeVar("SomeBody", bound=BaseModel)


async def read_body(request: web.Request, shape: type[SomeBody], *, is_optional: bool = False) -> SomeBody:
    """The request's JSON body in the given shape.

    Raises:
        ApiError: not JSON, or not of that shape; says which field and why.
    """
    raw = await request.read()
    if not raw and is_optional:
        raw = b"{}"
    try:
        return shape.model_validate_json(raw)
    except ValidationError as mistakes:
        raise ApiError(400, "bad_body", "; ".join(_mistake(one) for one in mistakes.errors()[:10])) from None


def _mistake(mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"]) or "body"
    return f"{where}: {mistake['msg']}"[:300]
