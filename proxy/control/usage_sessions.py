"""GET usage/sessions and usage/sessions/{id}: what belongs together, as the application labelled it, and what it cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.figures import averages, totals
from proxy.control.filters import FILTERS, read_request
from proxy.control.parameters import Integer, path_text
from proxy.control.periods import PERIOD
from proxy.control.replies import json_reply, not_found
from proxy.control.routes import Route
from proxy.control.usage_summary import grouped, total_of
from proxy.records import as_dict

CALLS = 200
MAX_USERS_WITHOUT = 1000
"""Rows of calls without a session, one per user, that are left out of the list."""
_LIMIT = Integer("limit", "Sessions at most: the dearest of the period.", 50, minimum=1, maximum=1000)
_KNOWN = (*PERIOD, *FILTERS, _LIMIT)
_CALLS = Integer("calls", "How many of its calls to show, newest first.", 50, minimum=1, maximum=CALLS)


async def list_sessions(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    whole = await total_of(context, which)
    rows = await grouped(context, which, ("user", "session"), values["limit"] + MAX_USERS_WITHOUT, whole)
    sessions = [row for row in rows if row["session"] is not None][: values["limit"]]
    return json_reply({**period.as_json(), "sessions": sessions})


async def show_session(request: web.Request) -> web.Response:
    """One session over all time; of a user's key, that user's part of it."""
    context, session = context_of(request), path_text(request, "id")
    values, _, everything = read_request(request, (_CALLS,))
    which = replace(everything, session=session)
    whole = await total_of(context, which)
    if not whole.requests:
        raise not_found("session")
    users, models, operations, newest, first = await asyncio.gather(
        grouped(context, which, ("user",), 100, whole),
        grouped(context, which, ("provider", "model"), 100, whole),
        grouped(context, which, ("operation",), 100, whole),
        context.ledger.records(which, values["calls"], None),
        anext(context.ledger.export(which), None),
    )
    return json_reply(
        {
            "session": session,
            "first_at": first.started_at if first else None,
            "last_at": newest.records[0].started_at if newest.records else None,
            "totals": totals(whole),
            "averages": averages(whole),
            "users": users,
            "models": models,
            "operations": operations,
            "calls": [as_dict(record) for record in newest.records],
            "next_cursor": newest.next_cursor,
        }
    )


ROUTES = (
    Route("GET", "/usage/sessions", list_sessions, "user", "Sessions of a period, dearest first", "UsageSessions", _KNOWN),
    Route("GET", "/usage/sessions/{id}", show_session, "user", "A session: cost and calls", "UsageSession", (_CALLS,), also=(404,)),
)
