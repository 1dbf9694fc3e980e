"""GET stats: what the dashboard's first screen shows, in one call."""

from __future__ import annotations

import asyncio

from aiohttp import web

from proxy.control.alerts.alert import JOURNAL
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.figures import averages, totals
from proxy.control.filters import FILTERS, read_request
from proxy.control.limits import fullest
from proxy.control.periods import FROM, TIMEZONE, TO, Period, RangeParameter
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.tables import tables
from proxy.control.usage_summary import previous_totals, shown_groups
from proxy.control.usage_timeseries import points_of
from proxy.records import as_dict

TOP = 10
HOURLY_DAYS = 3
DAILY_DAYS = 400
_RANGE = RangeParameter("range", "The stretch of time, back from now or a calendar period.", "30d")
_KNOWN = (_RANGE, FROM, TO, TIMEZONE, *FILTERS)


async def show_stats(request: web.Request) -> web.Response:
    context, identity = context_of(request), identity_of(request)
    _, period, which = read_request(request, _KNOWN)
    interval = _interval(context, period)
    names = ("provider", "model", "team", "operation", *(("user",) if identity.sees_all else ()))
    (whole, found), points, recent, alerts = await asyncio.gather(
        tables(context, which, names, TOP),
        points_of(context, which, interval, period),
        context.ledger.records(which, TOP, None),
        _open_alerts(context, identity.user),
    )
    by = {name: shown_groups(rows, whole) for name, rows in found.items()}
    previous = await previous_totals(context, which, period, whole)
    users = [str(row["user"]) for row in by["user"] if row["user"]] if identity.sees_all else [str(identity.user)]
    return json_reply(
        {
            **period.as_json(),
            "interval": interval,
            "totals": totals(whole),
            "averages": averages(whole),
            "previous": previous,
            "points": points,
            "by": by,
            "limits": (await fullest(context, users))[:TOP],
            "alerts": alerts,
            "recent": [as_dict(record) for record in recent.records],
            "health": await _health(context) if identity.sees_all else None,
        }
    )


def _interval(context: Context, period: Period) -> str:
    """Some ten to a few hundred points, whatever the period."""
    if period.start_at is None:
        return "month"
    days = ((period.end_at or context.now()) - period.start_at).days
    return "hour" if days <= HOURLY_DAYS else "day" if days <= DAILY_DAYS else "month"


async def _open_alerts(context: Context, user: str | None) -> list[dict[str, object]]:
    page = await context.ledger.entries(JOURNAL, 100, None)
    shown = [
        {"id": entry.id, "at": entry.at, **entry.body}
        for entry in page.entries
        if entry.body.get("state") == "open" and user in (None, entry.body.get("user"))
    ]
    return shown[:TOP]


async def _health(context: Context) -> dict[str, object]:
    workers = await context.workers.stats()
    return {
        "version": context.version,
        "rules_version": context.rules.version,
        "workers": workers,
        "spool": dict(context.drain_stats()),
        "config_mistakes": context.config_mistakes(),
        "disabled_providers": dict(context.rules.disabled),
    }


ROUTES = (Route("GET", "/stats", show_stats, "user", "The first screen in one call", "Stats", _KNOWN, also=(422,), is_shared=True),)
