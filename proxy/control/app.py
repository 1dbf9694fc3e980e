"""The control plane's web application: who asks, what for, and how it is answered when something is wrong.

Rules of this file: whatever a client sends, the answer is a JSON error that says what to do, and never a 500 for what is
the client's own mistake; whatever fails here is logged with the request's id and told without details.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import chain
from pathlib import Path

import structlog
from aiohttp import web

from proxy.control import (
    admin_keys,
    audit,
    config_in_force,
    keys,
    limits,
    live,
    log_in,
    logins,
    metrics_page,
    oidc,
    openapi,
    overrides,
    price_drift,
    prices,
    recommendations,
    reconcile,
    simulate,
    stats,
    switch,
    usage_anomalies,
    usage_export,
    usage_performance,
    usage_projection,
    usage_records,
    usage_sessions,
    usage_summary,
    usage_timeseries,
    usage_track,
    user_data,
    users,
)
from proxy.control.alerts import resource as alerts
from proxy.control.alerts import settings_resource as alert_settings
from proxy.control.alerts.delivery import Deliveries
from proxy.control.alerts.engine import AlertEngine
from proxy.control.auth import IDENTITY, Identity, identify
from proxy.control.context import CONTEXT, Context, context_of
from proxy.control.identifiers import make_uuid7
from proxy.control.kept_answers import accepted_age
from proxy.control.replies import ApiError, error_of_status, error_reply
from proxy.control.routes import PREFIX, Call, Route
from proxy.errors import LedgerError
from proxy.telemetry.tasks import Tasks

MAX_BODY_BYTES = 8 * 1024 * 1024
DASHBOARD = Path(__file__).parent / "dashboard"
_RESOURCES = (
    usage_records, usage_summary, usage_timeseries, usage_projection, usage_anomalies, usage_export, usage_track,
    usage_performance, usage_sessions, users, overrides,
    user_data, limits, keys, alert_settings, alerts, switch, stats, prices, recommendations, audit, live,
    config_in_force, log_in, oidc, admin_keys, logins, simulate, reconcile, price_drift,
)  # fmt: skip
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
}

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_log = structlog.get_logger("control.app")


def routes() -> Iterable[Route]:
    """Every operation below /api/v1."""
    return chain.from_iterable(resource.ROUTES for resource in _RESOURCES)


def build_app(context: Context, *, has_alerts: bool = True) -> web.Application:
    """The application over a context; the caller runs it. With it runs the alert engine, unless it is not wanted."""
    app = web.Application(middlewares=[_answer_errors], client_max_size=MAX_BODY_BYTES)
    app[CONTEXT] = context
    for route in routes():
        app.router.add_route(route.method, PREFIX + route.path, _guarded(route))
    app.router.add_get(f"{PREFIX}/openapi.json", openapi.show(routes, context.version))
    app.router.add_get("/metrics", metrics_page.show_metrics)
    app.router.add_get("/healthz", metrics_page.say_alive)
    app.router.add_get("/readyz", metrics_page.say_ready)
    if DASHBOARD.is_dir():
        app.router.add_get("/dashboard", _dashboard_page)
        app.router.add_get("/dashboard/", _dashboard_page)
        app.router.add_static("/dashboard/", DASHBOARD)
    app.on_response_prepare.append(_add_headers)
    app.cleanup_ctx.append(_run_alerts if has_alerts else _close_context)
    return app


async def _run_alerts(app: web.Application) -> AsyncIterator[None]:
    context = app[CONTEXT]
    tasks = Tasks(context.metrics.task_failed)
    engine = AlertEngine(context, Deliveries(context, tasks))
    context.feed.listeners.append(engine.see)
    tasks.start(engine.run(), name="alerts")
    yield
    context.feed.listeners.remove(engine.see)
    await tasks.close()
    await context.close()


async def _close_context(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[CONTEXT].close()


def _guarded(route: Route) -> Call:
    """The operation behind its role."""

    async def call(request: web.Request) -> web.StreamResponse:
        if route.role != "public":
            identity = await identify(request, context_of(request))
            is_change = route.method not in ("GET", "HEAD") and not route.is_read
            if route.role == "admin" and not (identity.sees_all if not is_change else identity.is_admin):
                raise ApiError(403, "forbidden", "this needs the admin key")
            if is_change and identity.role == "auditor" and not route.is_own:
                raise ApiError(403, "forbidden", "an auditor sees everything and changes nothing")
            request[IDENTITY] = identity
            if route.path.startswith("/users/{id}"):
                request.match_info["id"] = context_of(request).rules.user_name(request.match_info["id"])
            if is_change:
                try:
                    return await route.call(request)
                finally:
                    context_of(request).kept_answers.forget()
            if route.is_shared:
                return await _answer_again(route.call, request, identity)
        return await route.call(request)

    return call


async def _answer_again(call: Call, request: web.Request, identity: Identity) -> web.StreamResponse:
    """An answer made a moment ago, where the client takes one; else a new one."""
    age_seconds = accepted_age(request.headers)
    context, question = context_of(request), (identity.role, identity.user, request.path_qs)
    kept, now = context.kept_answers, context.clock()
    reply = None if age_seconds is None else kept.find(question, age_seconds, now)
    if reply is not None:
        return reply
    generation = kept.generation
    made = await call(request)
    if age_seconds is not None or question in kept:
        kept.keep(question, made, now, generation)
    return made


@web.middleware
async def _answer_errors(request: web.Request, handler: Call) -> web.StreamResponse:
    request[REQUEST_ID] = make_uuid7(context_of(request).clock())
    try:
        return await handler(request)
    except ApiError as error:
        return error_reply(error.status, error.code, error.message, error.headers)
    except LedgerError as failure:
        if request.writer.output_size:
            raise
        _log.warning("ledger is away", request_id=request[REQUEST_ID], path=request.path, reason=str(failure))
        return error_reply(503, "ledger_away", "the ledger cannot be reached; calls go on, try again", {"retry-after": "5"})
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        allow = refusal.headers.get("allow")
        return error_of_status(refusal.status, {"allow": allow} if allow else None)
    except Exception:  # the last door: logged with its trace, answered without it
        _log.exception("request failed", request_id=request[REQUEST_ID], method=request.method, path=request.path)
        if request.writer.output_size:
            raise  # part of an answer is out: only closing the connection tells the client that it is not whole
        return error_reply(500, "internal", f"something is wrong here; the log has it under request {request[REQUEST_ID]}")


async def _add_headers(request: web.Request, reply: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        reply.headers.setdefault(name, value)
    request_id = request.get(REQUEST_ID)
    if request_id:
        reply.headers["x-request-id"] = request_id
    reply.headers.setdefault("cache-control", "no-store" if not request.path.startswith("/dashboard/") else "no-cache")


async def _dashboard_page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(DASHBOARD / "index.html")
