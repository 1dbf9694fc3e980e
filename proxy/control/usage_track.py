"""POST usage/track: usage that did not pass the proxy; one or a batch, idempotent by id, priced, counted in the limits."""

from __future__ import annotations

from datetime import timedelta

import orjson
import structlog
from aiohttp import web

from proxy.control.auth import Identity, identity_of
from proxy.control.context import Context, context_of
from proxy.control.replies import ApiError, json_reply
from proxy.control.routes import Route, read_body
from proxy.control.tracked import TrackBody, TrackedBatch, TrackedUsage, counts_of, make_record
from proxy.errors import QuotaStoreError
from proxy.records import UsageRecord

_log = structlog.get_logger("control.track")


async def track(request: web.Request) -> web.Response:
    context, identity = context_of(request), identity_of(request)
    if identity.kind == "own":
        raise ApiError(403, "forbidden", "usage is tracked with the admin key or a virtual key")
    batch = await _read(request)
    records = [make_record(context, sent, _user_of(context, sent, identity, index)) for index, sent in enumerate(batch)]
    new = await context.ledger.append(records)
    context.announce(new)
    new_ids = {record.id for record in new}
    return json_reply(
        {
            "accepted": len(new),
            "duplicates": len(records) - len(new),
            "counted_in_limits": await _count(context, new),
            "records": [
                {"id": record.id, "is_new": record.id in new_ids, "cost_usd": record.cost_usd, "price_source": record.price_source}
                for record in records
            ],
        }
    )


async def _read(request: web.Request) -> list[TrackedUsage]:
    latest = context_of(request).now() + timedelta(days=1)
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as mistake:
        raise ApiError(400, "bad_body", f"not JSON: {mistake}") from None
    # Told apart before reading, so that mistakes are said of the one shape that was meant.
    if isinstance(document, dict) and "records" in document:
        batch = (await read_body(request, TrackedBatch)).records
    else:
        batch = [await read_body(request, TrackedUsage)]
    for index, sent in enumerate(batch):
        contradiction = sent.contradiction()
        if contradiction:
            raise ApiError(422, "contradiction", f"records.{index}: {contradiction}")
        if sent.started_at is not None and sent.started_at > latest:
            raise ApiError(422, "in_the_future", f"records.{index}.started_at: more than a day in the future")
    return batch


def _user_of(context: Context, sent: TrackedUsage, identity: Identity, index: int) -> str:
    if sent.user is None and identity.user is None:
        raise ApiError(422, "user_missing", f"records.{index}.user: needed with the admin key")
    user = context.rules.user_name(sent.user or str(identity.user))
    identity.require(user)
    return user


async def _count(context: Context, new: list[UsageRecord]) -> bool:
    """The ledger has them already; counters that are away catch up when they are next seeded from it."""
    try:
        await context.workers.add(counts_of(context, new))
    except QuotaStoreError as failure:
        _log.warning("tracked usage is not in the limits yet", reason=str(failure), records=len(new))
        return False
    return True


ROUTES = (
    Route("POST", "/usage/track", track, "user", "Usage that did not pass the proxy", "Tracked", body=TrackBody, also=(422,)),
)
