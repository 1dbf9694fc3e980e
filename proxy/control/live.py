"""GET live: server-sent events, calls and tokens as they happen; a user's key sees that user's calls.

`event: call` is one record; `event: calls` sums those of a busy moment that are not shown one by one; `event: dropped` says how
many a viewer was too slow for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import orjson
from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.feed import Viewer
from proxy.control.parameters import Parameter, read_query
from proxy.control.replies import ApiError
from proxy.control.routes import Route
from proxy.ledger.ledger import RecordFilter
from proxy.pricing.money import usd_text
from proxy.records import UsageRecord, as_dict

HEARTBEAT_SECONDS = 15.0
BEAT_SECONDS = 0.25
"""Between two writes to a viewer: what happens meanwhile goes out together."""
CALLS_PER_BEAT = 10
"""Calls shown one by one in a beat; more than these nobody can read."""
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
            await asyncio.sleep(BEAT_SECONDS)
    except ConnectionError:
        return reply  # the viewer left
    finally:
        context.feed.leave(viewer)


async def _next(viewer: Viewer) -> bytes:
    """The next events, or a comment when nothing happened for a while, which finds viewers that are gone."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            records = [await viewer.queue.get()]
    except TimeoutError:
        return b": nothing new\n\n"
    while not viewer.queue.empty():
        records.append(viewer.queue.get_nowait())
    events = _events(records)
    if viewer.dropped:
        events = b"event: dropped\ndata: %d\n\n" % viewer.dropped + events
        viewer.dropped = 0
    return events


def _events(records: Sequence[UsageRecord]) -> bytes:
    """The newest calls one by one, those before them as one sum: fifty viewers of a busy house must not cost a core."""
    summed, shown = records[:-CALLS_PER_BEAT], records[-CALLS_PER_BEAT:]
    events = [b"event: call\nid: %s\ndata: %s\n\n" % (one.id.encode(), orjson.dumps(as_dict(one))) for one in shown]
    if summed:
        sums = {
            "calls": len(summed),
            "total_tokens": sum(one.total_tokens or 0 for one in summed),
            "cost_usd": usd_text(sum((Decimal(one.cost_usd) for one in summed if one.cost_usd), Decimal(0))),
        }
        events.insert(0, b"event: calls\ndata: %s\n\n" % orjson.dumps(sums))
    return b"".join(events)


ROUTES = (Route("GET", "/live", watch, "user", "Calls as they happen", "events", (_USER,)),)
