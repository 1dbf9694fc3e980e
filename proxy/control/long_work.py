"""Answers that take long: a blank now and then keeps proxies and clients waiting (RFC 8259 §2: whitespace before a value)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import structlog
from aiohttp import web

from proxy.control.replies import ApiError, json_reply
from proxy.errors import LedgerError

BLANK_SECONDS = 10.0

_log = structlog.get_logger("control.long_work")


async def reply_when_done(request: web.Request, work: Coroutine[object, object, object]) -> web.StreamResponse:
    """The JSON of what `work` returns, however long it takes; it is given up where the client leaves.

    A failure within the first seconds is an error answer like any other. A later one can only be told by a connection that ends
    before the answer is whole.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=BLANK_SECONDS)
        if task.done():
            return json_reply(task.result())
        reply = web.StreamResponse(headers={"content-type": "application/json"})
        await reply.prepare(request)
        while not task.done():
            await reply.write(b" ")
            await asyncio.wait({task}, timeout=BLANK_SECONDS)
        try:
            body = json_reply(task.result()).body
        except (ApiError, LedgerError) as failure:
            _log.warning("long work failed after its answer had begun", path=request.path, reason=str(failure))
            raise ConnectionResetError("the answer cannot be finished") from failure
        assert isinstance(body, bytes)
        await reply.write(body)
        await reply.write_eof()
        return reply
    finally:
        if not task.done():
            task.cancel()
