"""GET and POST switch: the emergency stop for all, a provider, a model, a team or a user, on every replica within a second."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, RootModel

from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.parameters import read_query
from proxy.control.periods import iso
from proxy.control.replies import json_reply
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Name, Text

PREFIX = "stop:"


class _Turn(Body):
    stopped: bool = True
    """false lets go again."""
    reason: Text | None = None
    cut_streams: bool = False
    """Also end answers that are on their way."""


class TurnAll(_Turn):
    """Everything."""

    scope: Literal["all"]
    value: Literal[""] = ""


class TurnOne(_Turn):
    """One provider, team, user or key (by key_id), or the models of a shell pattern."""

    scope: Literal["provider", "model", "team", "user", "key"]
    value: Name


class SwitchBody(RootModel[Annotated[TurnAll | TurnOne, Field(discriminator="scope")]]):
    """What to stop, or to let go again."""


async def show_switch(request: web.Request) -> web.Response:
    read_query(request, ())
    return json_reply({"stops": await _stops(context_of(request))})


async def turn_switch(request: web.Request) -> web.Response:
    context = context_of(request)
    body = (await read_body(request, SwitchBody)).root
    value = context.rules.user_name(body.value) if body.scope == "user" else body.value
    name = f"{PREFIX}{body.scope}:{value}"
    stop = {
        "scope": body.scope,
        "value": value,
        "reason": body.reason or "",
        "cut_streams": body.cut_streams,
        "by": identity_of(request).name,
        "at": iso(context.now()),
    }
    await note(request, "stop" if body.stopped else "let go", f"{body.scope}:{value}", after=stop)
    if body.stopped:
        await context.ledger.put_setting(name, stop)
    else:
        await context.ledger.delete_setting(name)
    await context.refresh()
    return json_reply({"stops": await _stops(context)})


async def _stops(context: Context) -> list[object]:
    return list((await context.ledger.settings(PREFIX)).values())


ROUTES = (
    Route("GET", "/switch", show_switch, "admin", "Emergency stops in force", "Switch"),
    Route("POST", "/switch", turn_switch, "admin", "Stop, or let go again", "Switch", body=SwitchBody),
)
