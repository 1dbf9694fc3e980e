"""GET users and users/{id}: who uses how much, and what is left to each."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.figures import averages, totals
from proxy.control.filters import FILTERS, read_request
from proxy.control.overrides import override_of
from proxy.control.parameters import Integer, path_text
from proxy.control.people import caller_of_user, user_limits
from proxy.control.periods import PERIOD, Period, midnight
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.usage_summary import grouped, total_of
from proxy.control.usage_timeseries import points_of
from proxy.ledger.ledger import RecordFilter, Sums

_LIMIT = Integer("limit", "Users at most, largest cost first.", 1000, minimum=1, maximum=10_000)
_KNOWN = (*PERIOD, *FILTERS, _LIMIT)
_ONE_KNOWN = PERIOD
DAYS = 31
MONTHS_DAYS = 365
SESSIONS = 50


async def list_users(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    whole = await total_of(context, which)
    users = await grouped(context, which, ("user",), values["limit"], whole)
    seen = {row["user"] for row in users}
    for caller in {caller.user: caller for caller in context.rules.callers.values()}.values():
        if caller.user not in seen and which.user in (None, caller.user) and len(users) < values["limit"]:
            users.append({"user": caller.user, **totals(Sums()), "averages": None, "share": None})
    for row in users:
        caller = caller_of_user(context.rules, str(row["user"]))
        row |= {"team": caller.team, "tier": caller.tier}
    return json_reply({**period.as_json(), "totals": totals(whole), "users": users})


async def get_user(request: web.Request) -> web.Response:
    context = context_of(request)
    user = path_text(request, "id")
    identity_of(request).require(user)
    _, period, which = read_request(request, _ONE_KNOWN)
    return json_reply({**period.as_json(), **await _portrait(context, user, period, replace(which, user=user))})


async def _portrait(context: Context, user: str, period: Period, which: RecordFilter) -> dict[str, object]:
    now = context.now()
    caller = caller_of_user(context.rules, user)
    tomorrow = midnight(now, period.zone, 1)
    days = RecordFilter(start_at=midnight(now, period.zone, 1 - DAYS), end_at=tomorrow, user=user)
    months = RecordFilter(start_at=midnight(now, period.zone, -MONTHS_DAYS), end_at=tomorrow, user=user)
    whole = await total_of(context, which)
    per_day, per_month, sessions, models, limits, override = await asyncio.gather(
        points_of(context, days, "day", period),
        points_of(context, months, "month", period),
        context.ledger.last_sessions(user, SESSIONS),
        grouped(context, which, ("model",), 50, whole),
        user_limits(context, user),
        override_of(context, user),
    )
    return {
        "user": user,
        "team": caller.team,
        "tier": caller.tier,
        "totals": totals(whole),
        "averages": averages(whole),
        "per_day": per_day,
        "per_month": per_month,
        "models": models,
        "sessions": sessions,
        "limits": limits,
        "allowed_models": context.rules.resolve_models(caller),
        "override": override,
    }


ROUTES = (
    Route("GET", "/users", list_users, "user", "Who uses how much", "Users", _KNOWN, is_shared=True),
    Route("GET", "/users/{id}", get_user, "user", "One user: use, sessions, limits", "User", _ONE_KNOWN, is_shared=True),
)
