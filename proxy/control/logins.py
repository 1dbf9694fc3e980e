"""Accounts of the dashboard and their sessions: GET, PUT and DELETE admin/logins, GET and DELETE admin/sessions."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from proxy.control import sessions
from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.credentials import LOGIN_PREFIX, Login, hash_password, login, logins, put_login
from proxy.control.log_in import NewPassword
from proxy.control.parameters import path_text, read_query
from proxy.control.periods import iso
from proxy.control.replies import ApiError, json_reply, not_found
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Name

MAX_NAME = 200


class LoginBody(Body):
    """An account. Without a password the one it has stays. Any change ends its sessions."""

    role: Literal["admin", "auditor", "user"] = "admin"
    user: Name | None = None
    """Whose usage an account with the role `user` sees; its own name where not given."""
    password: NewPassword | None = None


async def list_logins(request: web.Request) -> web.Response:
    read_query(request, ())
    return json_reply({"logins": [account.as_json() for account in await logins(context_of(request).ledger)]})


async def put_account(request: web.Request) -> web.Response:
    context, name = context_of(request), path_text(request, "id")
    body = await read_body(request, LoginBody)
    if len(name) > MAX_NAME:
        raise ApiError(422, "name_too_long", f"a name has at most {MAX_NAME} characters")
    before = await login(context.ledger, name)
    if before is None and body.password is None:
        raise ApiError(422, "password_missing", "a new account needs a password")
    if body.user is not None and body.role != "user":
        raise ApiError(422, "contradiction", "`user` is for accounts with the role `user`: the others see everybody")
    worked = await hash_password(body.password) if body.password is not None else before.scrypt if before else ""
    user = (body.user or name) if body.role == "user" else None
    account = Login(name, body.role, worked, iso(context.now()), identity_of(request).name, user)
    shown = account.as_json()
    details = {"before": before.as_json() if before else None, "after": shown, "new_password": body.password is not None}
    await note(request, "set login", LOGIN_PREFIX + name, **details)
    await put_login(context.ledger, account)
    return json_reply(shown)


async def remove_account(request: web.Request) -> web.Response:
    context, name = context_of(request), path_text(request, "id")
    account = await login(context.ledger, name)
    if account is None:
        raise not_found("login")
    await note(request, "remove login", LOGIN_PREFIX + name, before=account.as_json())
    await context.ledger.delete_setting(LOGIN_PREFIX + name)
    return json_reply(account.as_json())


async def list_sessions(request: web.Request) -> web.Response:
    read_query(request, ())
    context = context_of(request)
    return json_reply({"sessions": [one.as_json() for one in await sessions.in_force(context.ledger, context.now())]})


async def end_session(request: web.Request) -> web.Response:
    context, session_id = context_of(request), path_text(request, "id")
    found = [one for one in await sessions.in_force(context.ledger, context.now()) if one.id == session_id]
    if not found:
        raise not_found("session")
    await note(request, "end session", f"session:{session_id}", before=found[0].as_json())
    await sessions.end(context.ledger, session_id, context.now())
    return json_reply(found[0].as_json())


ROUTES = (
    Route("GET", "/admin/logins", list_logins, "admin", "Accounts of the dashboard", "Logins"),
    Route("PUT", "/admin/logins/{id}", put_account, "admin", "Make or change an account", "Login", body=LoginBody, also=(422,)),
    Route("DELETE", "/admin/logins/{id}", remove_account, "admin", "Remove an account and end its sessions", "Login", also=(404,)),
    Route("GET", "/admin/sessions", list_sessions, "admin", "Sessions in force", "Sessions"),
    Route("DELETE", "/admin/sessions/{id}", end_session, "admin", "End a session", "SessionLine", also=(404,)),
)
