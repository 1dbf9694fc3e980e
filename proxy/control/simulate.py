"""POST limits/simulate: another limits.yaml against what was called lately; nothing is changed, nobody is refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from aiohttp import web
from pydantic import BeforeValidator, Field

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.config.mistakes import ConfigErrors
from proxy.control.context import Context, context_of
from proxy.control.long_work import reply_when_done
from proxy.control.overlay import read_overlay
from proxy.control.periods import iso, month_of
from proxy.control.replay import Replay
from proxy.control.replies import ApiError
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Name, whole
from proxy.ledger.ledger import RecordFilter
from proxy.rules import Rules

DAYS = 30
MAX_DAYS = 366
MAX_YAML = 2 * 1024 * 1024
_NOTES = (
    "Each call asks for what it really used; estimates and worst cases, which refuse a little earlier, are left out.",
    "Counters begin with the calendar month in which the span begins; `total` limits count from there on.",
    "Calls that were refused in their time used nothing, and ask for one request here.",
)


class SimulateBody(Body):
    """Limits to be tried."""

    limits_yaml: Annotated[str, Field(max_length=MAX_YAML)]
    """The whole text of the limits.yaml to be tried."""
    days: Annotated[int, Field(ge=1, le=MAX_DAYS), BeforeValidator(whole)] = DAYS
    user: Name | None = None
    """Only this user's calls; limits that several users share then see too few."""


async def simulate(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    body = await read_body(request, SimulateBody)
    return await reply_when_done(request, run(context, body.limits_yaml, body.days, body.user))


async def run(context: Context, limits_yaml: str, days: int, user: str | None) -> dict[str, object]:
    """The whole simulation. Raises ApiError where the text is not a valid limits.yaml."""
    now = context.now()
    start_at = now - timedelta(days=days)
    overlay, _ = await read_overlay(context.ledger, iso(now))
    rules = _rules(context, limits_yaml, overlay, start_at)
    user = None if user is None else rules.user_name(user)
    warm_up_at = min(month_of(start_at, rules.timezone)[0], start_at)
    replay = Replay(rules, start_at.timestamp())
    async for record in context.ledger.export(RecordFilter(start_at=warm_up_at, end_at=now, user=user)):
        replay.see(record)
    return {"from": iso(start_at), "to": iso(now), "examined": replay.seen, **replay.result(), "notes": list(_NOTES)}


def _rules(context: Context, limits_yaml: str, overlay: Mapping[str, object], start_at: datetime) -> Rules:
    """The rules of that file, with the keys and overrides in force; no provider is needed to count."""
    try:
        documents = load_texts({"limits.yaml": limits_yaml, "providers.yaml": _NO_PROVIDER}, {}).as_dict()
    except ConfigErrors as errors:
        told = "; ".join(str(mistake) for mistake in list(errors.mistakes)[:20])
        raise ApiError(422, "bad_limits", f"this is no valid limits.yaml: {told}"[:4000]) from None
    return build_rules(
        {"documents": documents, "overlay": {**overlay, "stops": []}},
        {},
        pricebook=context.rules.pricebook,
        now=start_at.astimezone(UTC).timestamp(),
        user_name=context.rules.user_name,
    )


_NO_PROVIDER = "providers: {none: {base_url: 'http://127.0.0.1:9', api: openai, auth: none}}\n"

ROUTES = (
    Route(
        "POST",
        "/limits/simulate",
        simulate,
        "admin",
        "Who would have been refused under another limits.yaml",
        "Simulation",
        body=SimulateBody,
        also=(422,),
        is_read=True,
    ),
)
