"""GET live: server-sent events, calls and tokens as they happen; a user's key sees that user's calls."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.feed import Viewer
from proxy.control.parameters import Parameter, read_query
from proxy.control.replies import ApiError
from proxy.control.routes import Route
from proxy.ledger.ledger import RecordFilter
from proxy.records import as_dict

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
    """The next event, or a comment when nothing happened for a while, which finds viewers that are gone."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            record = await viewer.queue.get()
    except TimeoutError:
        return b": nothing new\n\n"
    event = b"event: call\nid: %s\ndata: %s\n\n" % (record.id.encode(), orjson.dumps(as_dict(record)))
    if viewer.dropped:
        event = b"event: dropped\ndata: %d\n\n" % viewer.dropped + event
        viewer.dropped = 0
    return event


ROUTES = (Route("GET", "/live", watch, "user", "Calls as they happen", "events", (_USER,)),)
