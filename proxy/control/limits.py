"""GET limits: who is at or near which limit."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.parameters import Fraction, Integer, Parameter, read_query
from proxy.control.people import caller_of_user, limits_of
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.ledger.ledger import RecordFilter

ACTIVE_DAYS = 31
MAX_USERS = 2000
_NEAR = Fraction("at_least", "Only limits filled to this fraction or more.", 0.0)
_USER = Parameter("user", "Only this user's.")
_LIMIT = Integer("limit", "Rows at most, fullest first.", 1000, minimum=1, maximum=10_000)
_KNOWN = (_NEAR, _USER, _LIMIT)


async def list_limits(request: web.Request) -> web.Response:
    context, identity = context_of(request), identity_of(request)
    values = read_query(request, _KNOWN)
    which = identity.narrow(RecordFilter(user=values["user"]))
    users = [which.user] if which.user is not None else await active_users(context)
    rows = await fullest(context, users, values["at_least"])
    return json_reply({"at_least": values["at_least"], "limits": rows[: values["limit"]]})


async def fullest(context: Context, users: list[str], at_least: float = 0.0) -> list[dict[str, object]]:
    """Limits of these users, fullest first. One that counts several users together (a team's) stands once."""
    callers = [caller_of_user(context.rules, user) for user in users]
    rows: dict[tuple[object, object], dict[str, object]] = {}
    for caller, limits in zip(callers, await limits_of(context, callers), strict=True):
        for limit in limits:
            is_own = str(limit["counter"]).startswith(("user:", "key:"))
            rows.setdefault((limit["counter"], limit["name"]), {"user": caller.user if is_own else None, **limit})
    chosen = [row for row in rows.values() if _fraction(row) >= at_least]
    return sorted(chosen, key=_fraction, reverse=True)


async def active_users(context: Context) -> list[str]:
    """Users who called in the last month, and those that are configured."""
    since = context.now() - timedelta(days=ACTIVE_DAYS)
    active = await context.ledger.sums(
        RecordFilter(start_at=since.replace(minute=0, second=0, microsecond=0)), ("user",), MAX_USERS
    )
    known = [row.group["user"] for row in active] + [caller.user for caller in context.rules.callers.values()]
    return list(dict.fromkeys(user for user in known if user))[:MAX_USERS]


def _fraction(row: dict[str, object]) -> float:
    fraction = row["fraction"]
    return fraction if isinstance(fraction, float) else 0.0


ROUTES = (Route("GET", "/limits", list_limits, "user", "Who is at or near which limit", "Limits", _KNOWN),)
