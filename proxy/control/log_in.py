"""GET, POST and DELETE session: who am I, log in with a name and a password, log out; what sign-in the house offers.

A log-in gives a cookie that no script can read; changes made with it need the CSRF token that the answer carries.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Annotated

import structlog
from aiohttp import web
from pydantic import Field

from proxy.control import sessions
from proxy.control.audit import note
from proxy.control.auth import IDENTITY, Identity, identify, identity_of
from proxy.control.context import Context, context_of
from proxy.control.credentials import LOGIN_PREFIX, hash_password, is_password, login, put_login
from proxy.control.origin import address_of
from proxy.control.parameters import read_query
from proxy.control.people import caller_of_user
from proxy.control.periods import iso
from proxy.control.replies import ApiError, json_reply
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Name

Password = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]
NewPassword = Annotated[str, Field(min_length=12, max_length=1024, pattern=r"^[^\x00]+$")]
_log = structlog.get_logger("control.session")


class LogInBody(Body):
    """Who logs in."""

    name: Name
    password: Password


class PasswordBody(Body):
    """A new password for the account that is logged in. Every other session of it ends."""

    password: Password
    new_password: NewPassword


async def show_session(request: web.Request) -> web.Response:
    read_query(request, ())
    return json_reply(describe(identity_of(request), context_of(request)))


async def log_in(request: web.Request) -> web.Response:
    context = context_of(request)
    if request.content_type != "application/json":  # a form of another site can send no JSON without asking first
        raise ApiError(400, "bad_body", "send JSON, with the content type application/json")
    body = await read_body(request, LogInBody)
    address = address_of(request)
    wait = context.attempts.begin(address, body.name, context.clock())
    if wait is not None:
        seconds = str(ceil(wait))
        raise ApiError(429, "too_many_attempts", f"too many log-ins went wrong; try again in {seconds} s", {"retry-after": seconds})
    account = await login(context.ledger, body.name)
    if not await is_password(body.password, account.scrypt if account else None) or account is None:
        _log.warning("log-in refused", name=body.name, address=address)
        raise ApiError(401, "wrong_password", "name and password do not go together")
    context.attempts.forgive(address, body.name)
    return await begin_session(request, account.name, account.role, account.user, "password")


async def begin_session(request: web.Request, name: str, role: str, user: str | None, way: str) -> web.Response:
    """The answer to a log-in that succeeded, with its cookie; a line in the audit log."""
    token, found = await start_session(request, name, role, user, way)
    reply = json_reply(describe(_identity(found), context_of(request)), status=201)
    sessions.give_cookie(request, reply, token)
    return reply


async def start_session(request: web.Request, name: str, role: str, user: str | None, way: str) -> tuple[str, sessions.Session]:
    """A session for whoever has proved to be this, audited; its token."""
    context = context_of(request)
    token, found = await sessions.begin(context.ledger, context.now(), name, role, user, way, address_of(request))
    request[IDENTITY] = _identity(found)
    await note(request, "log in", f"session:{found.id}", role=role)
    return token, found


async def log_out(request: web.Request) -> web.Response:
    """Ends the session of the cookie; a cookie that stands for nothing is taken away all the same."""
    context = context_of(request)
    if sessions.token_of(request) is not None:
        try:
            identity = await identify(request, context)
        except ApiError as refusal:
            if refusal.status != 401:
                raise
        else:
            if identity.session is not None:
                request[IDENTITY] = identity
                await note(request, "log out", f"session:{identity.session.id}")
                await sessions.end(context.ledger, identity.session.id, context.now())
    reply = json_reply({"logged_out": True})
    sessions.take_cookie(reply)
    return reply


async def change_password(request: web.Request) -> web.Response:
    context, identity = context_of(request), identity_of(request)
    body = await read_body(request, PasswordBody)
    if identity.session is None or identity.session.way != "password":
        raise ApiError(409, "no_account", "only an account that is logged in with a password has one to change")
    name, address = identity.session.name, address_of(request)
    wait = context.attempts.begin(address, name, context.clock())
    if wait is not None:
        raise ApiError(429, "too_many_attempts", "too many attempts; wait a while", {"retry-after": str(ceil(wait))})
    account = await login(context.ledger, name)
    if account is None or not await is_password(body.password, account.scrypt):
        raise ApiError(403, "wrong_password", "this is not the account's password")
    context.attempts.forgive(address, name)
    await note(request, "change password", LOGIN_PREFIX + name)
    worked = await hash_password(body.new_password)
    await put_login(context.ledger, replace(account, scrypt=worked, changed_at=iso(context.now()), changed_by=identity.name))
    reply = await begin_session(request, name, account.role, account.user, "password")
    reply.set_status(200)
    return reply


async def show_options(request: web.Request) -> web.Response:
    read_query(request, ())
    context = context_of(request)
    has_accounts = bool(await context.ledger.settings(LOGIN_PREFIX))
    oidc = {"name": context.sign_in.title, "url": "/api/v1/session/oidc"} if context.sign_in is not None else None
    return json_reply({"password": has_accounts, "key": True, "oidc": oidc})


def describe(identity: Identity, context: Context) -> dict[str, object]:
    """Who the caller is and may do, as the API says it."""
    caller = caller_of_user(context.rules, identity.user) if identity.user is not None else None
    found = identity.session
    return {
        "role": identity.role,
        "name": identity.name,
        "user": identity.user,
        "team": caller.team if caller else None,
        "tier": caller.tier if caller else None,
        "key_id": identity.key_id,
        "kind": identity.kind,
        "timezone": context.rules.timezone.key,
        "version": context.version,
        "csrf_token": found.csrf_token if found else None,
        "ends_at": found.ends_at if found else None,
    }


def _identity(found: sessions.Session) -> Identity:
    return Identity(found.role, found.user, None, "session", found.name, found)


ROUTES = (
    Route("GET", "/session", show_session, "user", "Who am I, with whatever credential", "Session"),
    Route("GET", "/me", show_session, "user", "The same under a shorter name", "Session"),
    Route(
        "POST",
        "/session",
        log_in,
        "public",
        "Log in with a name and a password; sets a cookie",
        "Session",
        body=LogInBody,
        success=201,
        also=(429,),
    ),
    Route("DELETE", "/session", log_out, "public", "Log out", "LoggedOut"),
    Route("GET", "/session/options", show_options, "public", "Which ways of logging in there are", "SessionOptions"),
    Route(
        "POST",
        "/session/password",
        change_password,
        "user",
        "Change the password of the account that is logged in",
        "Session",
        body=PasswordBody,
        also=(409, 429),
        is_own=True,
    ),
)
