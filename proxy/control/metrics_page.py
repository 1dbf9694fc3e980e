"""GET /metrics, /healthz and /readyz of the control process."""

from __future__ import annotations

from aiohttp import web

from proxy.control.auth import identify
from proxy.control.context import Context, context_of
from proxy.control.replies import ApiError, json_reply
from proxy.errors import LedgerError


async def show_metrics(request: web.Request) -> web.Response:
    """All metrics. Open to whoever reaches it, except where users' names are among the labels."""
    context = context_of(request)
    if context.rules.settings.metrics_user_label and not (await identify(request, context)).sees_all:
        raise ApiError(403, "forbidden", "metrics that name users are for the admin key")
    await _pull(context)
    body, content_type = context.metrics.exposition(request.headers.get("accept", ""))
    reply = web.Response(body=body, headers={"content-type": content_type})
    reply.enable_compression()
    return reply


async def _pull(context: Context) -> None:
    context.metrics.workers.update(await context.workers.stats())
    context.metrics.drain.update(context.drain_stats())


async def say_alive(request: web.Request) -> web.Response:
    return json_reply({"status": "ok", "version": context_of(request).version})


async def say_ready(request: web.Request) -> web.Response:
    """503 while the ledger is away: answers of the API need it. Calls go on without."""
    try:
        await context_of(request).ledger.change_marker()
    except LedgerError as failure:
        raise ApiError(503, "ledger_away", str(failure)) from None
    spool = context_of(request).drain_stats()
    return json_reply({"status": "ready", "spool": {name: figure for name, figure in spool.items() if name.startswith("backlog_")}})
