"""Admin keys with names: GET and POST admin/keys, their rotation, DELETE. Shown in clear once, kept as a digest."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Literal

from aiohttp import web

from proxy.control.audit import note
from proxy.control.auth import ADMIN_KEY_SETTING, digests_in_force, identity_of
from proxy.control.context import Context, context_of
from proxy.control.credentials import (
    KEY_ID_LENGTH,
    AdminKey,
    admin_key,
    admin_keys,
    logins,
    make_admin_key,
    put_admin_key,
)
from proxy.control.keys import RotateBody
from proxy.control.parameters import Flag, path_text, read_query
from proxy.control.periods import iso
from proxy.control.replies import ApiError, json_reply, not_found
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Moment, Name

_ALL = Flag("include_revoked", "Also keys that are revoked or have expired.")


class AdminKeyBody(Body):
    """A key to the control API."""

    name: Name
    """Whose it is, or what for: the audit log names changes by it."""
    role: Literal["admin", "auditor"] = "admin"
    expires_at: Moment | None = None


async def list_admin_keys(request: web.Request) -> web.Response:
    context = context_of(request)
    values = read_query(request, (_ALL,))
    now = iso(context.now())
    shown = await _first_keys(context) + [{**key.as_json(now), "origin": "api"} for key in await admin_keys(context.ledger)]
    return json_reply({"keys": [key for key in shown if values["include_revoked"] or key["state"] == "active"]})


async def _first_keys(context: Context) -> list[dict[str, object]]:
    """The key of the environment, or the one made at the first start."""
    origin = "environment" if context.is_admin_key_given else "first start"
    return [
        {
            "key_id": digest[:KEY_ID_LENGTH],
            "name": "admin",
            "role": "admin",
            "state": "active",
            "origin": origin,
            "created_at": None,
            "created_by": None,
            "expires_at": None,
            "revoked_at": None,
        }
        for digest in await digests_in_force(context)
    ]


async def create_admin_key(request: web.Request) -> web.Response:
    context = context_of(request)
    body = await read_body(request, AdminKeyBody)
    now = iso(context.now())
    if any(key.name == body.name and key.state(now) == "active" for key in await admin_keys(context.ledger)):
        raise ApiError(409, "name_taken", "there is an active admin key of this name; rotate it, or take another name")
    clear, digest = make_admin_key()
    expires_at = iso(body.expires_at) if body.expires_at else None
    key = AdminKey(digest[:KEY_ID_LENGTH], digest, body.name, body.role, now, identity_of(request).name, expires_at)
    await note(request, "create admin key", f"admin-key:{key.key_id}", after=key.as_json(now))
    await put_admin_key(context.ledger, key)
    return json_reply({"key": clear, **key.as_json(now), "origin": "api"}, status=201)


async def rotate_admin_key(request: web.Request) -> web.Response:
    context = context_of(request)
    body = await read_body(request, RotateBody, is_optional=True)
    old = await _find(context, path_text(request, "id"))
    now = iso(context.now())
    if old.state(now) != "active":
        raise ApiError(409, "not_active", "this key is revoked or has expired; make a new one")
    clear, digest = make_admin_key()
    new = replace(old, key_id=digest[:KEY_ID_LENGTH], key_sha256=digest, created_at=now, created_by=identity_of(request).name)
    ends_at = iso(context.now() + timedelta(seconds=body.grace_seconds))
    old = replace(old, expires_at=min(old.expires_at or ends_at, ends_at), name=f"{old.name} (rotated)"[:200])
    after = {"key_id": new.key_id, "old_expires_at": old.expires_at}
    await note(request, "rotate admin key", f"admin-key:{old.key_id}", after=after)
    await put_admin_key(context.ledger, new)
    await put_admin_key(context.ledger, old)
    return json_reply({"key": clear, **new.as_json(now), "origin": "api", "replaces": old.as_json(now)}, status=201)


async def revoke_admin_key(request: web.Request) -> web.Response:
    context, key_id = context_of(request), path_text(request, "id")
    now = iso(context.now())
    for first in await _first_keys(context):
        if first["key_id"] == key_id:
            return await _revoke_first_key(request, context, first)
    key = await _find(context, key_id)
    if key.role == "admin" and key.state(now) == "active":
        await _keep_one(context, key_id)
    revoked = replace(key, revoked_at=key.revoked_at or now)
    await note(request, "revoke admin key", f"admin-key:{key.key_id}", before=key.as_json(now))
    await put_admin_key(context.ledger, revoked)
    return json_reply({**revoked.as_json(now), "origin": "api"})


async def _revoke_first_key(request: web.Request, context: Context, first: dict[str, object]) -> web.Response:
    if context.is_admin_key_given:
        raise ApiError(409, "given_by_environment", "this key stands in WEIGHBRIDGE_ADMIN_KEY; take it out there and restart")
    await _keep_one(context, str(first["key_id"]))
    await note(request, "revoke admin key", f"admin-key:{first['key_id']}", before=first)
    # An empty document stays: were it gone, the next start would make a new key.
    await context.ledger.put_setting(ADMIN_KEY_SETTING, {})
    context.admin_key_sha256 = ()
    return json_reply({**first, "state": "revoked", "revoked_at": iso(context.now())})


async def _keep_one(context: Context, key_id: str) -> None:
    """Raises ApiError where nobody could administer the house without this key."""
    now = iso(context.now())
    others = [digest for digest in await digests_in_force(context) if digest[:KEY_ID_LENGTH] != key_id]
    others += [
        key.key_id
        for key in await admin_keys(context.ledger)
        if key.role == "admin" and key.state(now) == "active" and key.key_id != key_id
    ]
    if not others and not any(account.role == "admin" for account in await logins(context.ledger)):
        raise ApiError(409, "last_admin_key", "this is the last key that may change anything; make another one first")


async def _find(context: Context, key_id: str) -> AdminKey:
    found = await admin_key(context.ledger, key_id)
    if found is None:
        raise not_found("admin key")
    return found


ROUTES = (
    Route("GET", "/admin/keys", list_admin_keys, "admin", "Keys to this API, without their secrets", "AdminKeys", (_ALL,)),
    Route(
        "POST",
        "/admin/keys",
        create_admin_key,
        "admin",
        "Make a key to this API; it is shown this once",
        "NewAdminKey",
        body=AdminKeyBody,
        success=201,
        also=(409,),
    ),
    Route("DELETE", "/admin/keys/{id}", revoke_admin_key, "admin", "Revoke a key to this API", "AdminKey", also=(404, 409)),
    Route(
        "POST",
        "/admin/keys/{id}/rotate",
        rotate_admin_key,
        "admin",
        "A new key in an old one's place, with a time of grace",
        "NewAdminKey",
        body=RotateBody,
        is_body_optional=True,
        success=201,
        also=(404, 409),
    ),
)
