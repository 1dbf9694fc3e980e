"""GET and POST switch: the emergency stop for all, a provider, a model, a team or a user, on every replica within a second."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.overrides import Text
from proxy.control.parameters import read_query
from proxy.control.periods import iso
from proxy.control.replies import ApiError, json_reply
from proxy.control.routes import Body, Route, read_body

PREFIX = "stop:"


class SwitchBody(Body):
    """What to stop or to let go again. `value` names the provider, model pattern, team or user; for `all` it is left out."""

    scope: Literal["all", "provider", "model", "team", "user"]
    value: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] = ""
    stopped: bool = True
    reason: Text | None = None
    cut_streams: bool = False


async def show_switch(request: web.Request) -> web.Response:
    read_query(request, ())
    return json_reply({"stops": await _stops(context_of(request))})


async def turn_switch(request: web.Request) -> web.Response:
    context = context_of(request)
    body = await read_body(request, SwitchBody)
    if (body.scope == "all") == bool(body.value):
        raise ApiError(409, "bad_scope", "`value` names what to stop; it is left out for the scope `all` and needed for others")
    name = f"{PREFIX}{body.scope}:{body.value}"
    stop = {
        "scope": body.scope,
        "value": body.value,
        "reason": body.reason or "",
        "cut_streams": body.cut_streams,
        "by": identity_of(request).name,
        "at": iso(context.now()),
    }
    await note(request, "stop" if body.stopped else "let go", f"{body.scope}:{body.value}", after=stop)
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
    Route("POST", "/switch", turn_switch, "admin", "Stop, or let go again", "Switch", body=SwitchBody, also=(409,)),
)
