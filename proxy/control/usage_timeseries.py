"""GET usage/timeseries: points for charts, in the intervals of a time zone."""

from __future__ import annotations

from aiohttp import web

from proxy.control.context import Context, context_of
from proxy.control.figures import averages, totals
from proxy.control.filters import FILTERS, GROUP_BY, group_as_json, ledger_groups, read_request
from proxy.control.parameters import Choice
from proxy.control.periods import PERIOD, Period, iso
from proxy.control.replies import ApiError, json_reply
from proxy.control.routes import Route
from proxy.ledger.ledger import INTERVALS, RecordFilter

_INTERVAL = Choice("interval", "Width of a point.", "day", choices=INTERVALS)
_KNOWN = (_INTERVAL, *PERIOD, *FILTERS, GROUP_BY)


async def chart(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    points = await points_of(context, which, values["interval"], period, values["group_by"])
    return json_reply({**period.as_json(), "interval": values["interval"], "group_by": list(values["group_by"]), "points": points})


async def points_of(
    context: Context, which: RecordFilter, interval: str, period: Period, names: tuple[str, ...] = ()
) -> list[dict[str, object]]:
    """Oldest first; intervals in which nothing happened are left out."""
    try:
        points = await context.ledger.timeseries(which, interval, period.zone.key, ledger_groups(names))
    except ValueError as refusal:
        raise ApiError(422, "too_many_points", f"{refusal}: ask for a wider interval or a shorter period") from None
    return [
        {"at": iso(point.start_at), **group_as_json(point.group), **totals(point.sums), "averages": averages(point.sums)}
        for point in points
    ]


ROUTES = (Route("GET", "/usage/timeseries", chart, "user", "Points for charts", "Timeseries", _KNOWN, also=(422,), is_shared=True),)
