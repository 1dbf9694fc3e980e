"""GET live: server-sent events, calls and tokens as they happen; a user's key sees that user's calls.

`event: call` is one record; `event: calls` sums those of a busy moment that are not shown one by one; `event: rate` says once a
second what happened in it: calls, tokens and cost, tokens a second, refusals, failures; `event: dropped` how many a viewer was too
slow for.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.feed import Viewer
from proxy.control.parameters import Parameter, read_query
from proxy.control.replies import ApiError
from proxy.control.routes import Route
from proxy.ledger.ledger import RecordFilter

HEARTBEAT_SECONDS = 15.0
_USER = Parameter("user", "Only this user's calls.")


async def watch(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    values = read_query(request, (_USER,))
    user = identity_of(request).narrow(RecordFilter(user=values["user"])).user
    viewer = context.feed.join(user)
    if viewer is None:
        raise ApiError(503, "too_many_viewers", "too many live viewers; try again later", {"retry-after": "30"})
    reply = web.StreamResponse(headers={"content-type": "text/event-stream", "x-accel-buffering": "no"})
    try:
        await reply.prepare(request)
        await reply.write(b"retry: 2000\n: connected\n\n")
        while True:
            await reply.write(await _next(viewer))
    except ConnectionError:
        return reply  # the viewer left
    finally:
        context.feed.leave(viewer)


async def _next(viewer: Viewer) -> bytes:
    """The next events, or a comment when nothing happened for a while, which finds viewers that are gone."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            events = [(await viewer.queue.get()).events]
    except TimeoutError:
        return b": nothing new\n\n"
    while not viewer.queue.empty():
        events.append(viewer.queue.get_nowait().events)
    if viewer.dropped:
        events.insert(0, b"event: dropped\ndata: %d\n\n" % viewer.dropped)
        viewer.dropped = 0
    return b"".join(events)


ROUTES = (Route("GET", "/live", watch, "user", "Calls as they happen", "events", (_USER,)),)
