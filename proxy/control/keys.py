"""GET, POST and DELETE keys, and their rotation: virtual keys, shown in clear once, kept as a digest."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field

from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.overrides import HolderWords
from proxy.control.parameters import Flag, Parameter, path_text, read_query
from proxy.control.periods import iso
from proxy.control.replies import ApiError, json_reply, not_found
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Moment, Name, whole
from proxy.ledger.ledger import StoredKey
from proxy.routing.callers import VIRTUAL_KEY_PREFIX, key_digest

GRACE_SECONDS = 86_400
MAX_GRACE_SECONDS = 90 * 86_400


class KeyBody(Body):
    """A key to be made. What it may do is said in the words of limits.yaml."""

    user: Name
    team: Name | None = None
    tier: Name | None = None
    name: Name | None = None
    expires_at: Moment | None = None
    models: Annotated[list[Name], Field(max_length=200)] | None = None
    limits: HolderWords | None = None
    may_speak_for_others: bool = False
    labels: Annotated[list[Literal["session", "operation", "operation_id", "tags"]], Field(max_length=4)] | None = None
    """Labels that the key may send; all where not given."""


class RotateBody(Body):
    """How long the old key goes on beside the new one."""

    grace_seconds: Annotated[int, Field(ge=0, le=MAX_GRACE_SECONDS), BeforeValidator(whole)] = GRACE_SECONDS


_USER = Parameter("user", "Only this user's keys.")
_ALL = Flag("include_revoked", "Also keys that are revoked or have expired.")


async def list_keys(request: web.Request) -> web.Response:
    context, identity = context_of(request), identity_of(request)
    values = read_query(request, (_USER, _ALL))
    if values["user"] is not None:
        identity.require(values["user"])
    user = values["user"] if identity.sees_all else identity.user
    stored = await context.ledger.keys()
    shown = [_as_json(key, context) for key in stored] + _configured(context, {key.key_sha256 for key in stored})
    chosen = [
        key for key in shown if (user is None or key["user"] == user) and (values["include_revoked"] or key["state"] == "active")
    ]
    return json_reply({"keys": chosen})


async def create_key(request: web.Request) -> web.Response:
    context = context_of(request)
    body = await read_body(request, KeyBody)
    settings = body.model_dump(mode="json", include={"models", "may_speak_for_others", "limits", "labels"}, exclude_none=True)
    clear, key = _make(
        context,
        StoredKey(
            key_id="",
            key_sha256="",
            user=context.rules.user_name(body.user),
            team=body.team,
            tier=body.tier,
            name=body.name,
            created_by=identity_of(request).name,
            expires_at=iso(body.expires_at) if body.expires_at else None,
            settings=settings,
        ),
    )
    await note(request, "create key", f"key:{key.key_id}", after=_as_json(key, context))
    await context.ledger.put_key(key)
    await context.refresh()
    return json_reply({"key": clear, **_as_json(key, context)}, status=201)


async def revoke_key(request: web.Request) -> web.Response:
    context = context_of(request)
    key = await _find(context, path_text(request, "id"))
    await note(request, "revoke key", f"key:{key.key_id}", before=_as_json(key, context))
    revoked = replace(key, revoked_at=key.revoked_at or iso(context.now()))
    await context.ledger.put_key(revoked)
    await context.refresh()
    return json_reply(_as_json(revoked, context))


async def rotate_key(request: web.Request) -> web.Response:
    context = context_of(request)
    body = await read_body(request, RotateBody, is_optional=True)
    old = await _find(context, path_text(request, "id"))
    if _state(old, context) != "active":
        raise ApiError(409, "not_active", "this key is revoked or has expired; make a new one")
    clear, new = _make(context, replace(old, created_by=identity_of(request).name))
    ends_at = iso(context.now() + timedelta(seconds=body.grace_seconds))
    old = replace(old, expires_at=min(old.expires_at or ends_at, ends_at))
    await note(request, "rotate key", f"key:{old.key_id}", after={"key_id": new.key_id, "old_expires_at": old.expires_at})
    await context.ledger.put_key(new)
    await context.ledger.put_key(old)
    await context.refresh()
    return json_reply({"key": clear, **_as_json(new, context), "replaces": _as_json(old, context)}, status=201)


def _make(context: Context, key: StoredKey) -> tuple[str, StoredKey]:
    clear = VIRTUAL_KEY_PREFIX + secrets.token_urlsafe(32)
    digest = key_digest(clear)
    return clear, replace(key, key_id=digest[:12], key_sha256=digest, created_at=iso(context.now()), revoked_at=None)


async def _find(context: Context, key_id: str) -> StoredKey:
    for key in await context.ledger.keys():
        if key.key_id == key_id:
            return key
    if any(caller.key_id == key_id for caller in context.rules.callers.values()):
        raise ApiError(409, "configured_key", "this key stands in limits.yaml; change it there")
    raise not_found("key")


def _state(key: StoredKey, context: Context) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= iso(context.now()) else "active"


def _as_json(key: StoredKey, context: Context) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "user": key.user,
        "team": key.team,
        "tier": key.tier,
        "name": key.name,
        "state": _state(key, context),
        "origin": "api",
        "created_at": key.created_at or None,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "settings": key.settings,
    }


def _configured(context: Context, known: set[str]) -> list[dict[str, object]]:
    return [
        {
            "key_id": caller.key_id,
            "user": caller.user,
            "team": caller.team,
            "tier": caller.tier,
            "name": caller.key_name,
            "state": "active" if caller.expires_at is None or caller.expires_at > context.clock() else "expired",
            "origin": "limits.yaml",
            "settings": {},
        }
        for digest, caller in context.rules.callers.items()
        if digest not in known
    ]


ROUTES = (
    Route("GET", "/keys", list_keys, "user", "Virtual keys, without their secrets", "Keys", (_USER, _ALL)),
    Route("POST", "/keys", create_key, "admin", "Make a key; it is shown this once", "NewKey", body=KeyBody, success=201),
    Route("DELETE", "/keys/{id}", revoke_key, "admin", "Revoke a key", "Key", also=(404, 409)),
    Route(
        "POST",
        "/keys/{id}/rotate",
        rotate_key,
        "admin",
        "A new key in an old one's place, with a time of grace",
        "NewKey",
        body=RotateBody,
        is_body_optional=True,
        success=201,
        also=(404, 409),
    ),
)
