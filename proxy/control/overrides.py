"""GET, PATCH and DELETE users/{id}/limits: limits set through the API, above the YAML, perhaps until a time."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.parameters import path_text, read_query
from proxy.control.people import user_limits
from proxy.control.periods import iso, midnight
from proxy.control.replies import ApiError, json_reply, not_found
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import CLOSED, Count, Moment, Money, Text, Unlimited

PREFIX = "override:"


class CountLimits(Body):
    """So many per calendar window; null takes this one away from the override."""

    per_minute: Count | Unlimited | None = None
    per_hour: Count | Unlimited | None = None
    per_day: Count | Unlimited | None = None
    per_month: Count | Unlimited | None = None
    total: Count | Unlimited | None = None


class MoneyLimits(Body):
    """US dollars per calendar window, as a number or a decimal string."""

    per_minute: Money | Unlimited | None = None
    per_hour: Money | Unlimited | None = None
    per_day: Money | Unlimited | None = None
    per_month: Money | Unlimited | None = None
    total: Money | Unlimited | None = None


class LimitWords(Body):
    """Limits in the words of limits.yaml."""

    tokens: CountLimits | None = None
    input_tokens: CountLimits | None = None
    output_tokens: CountLimits | None = None
    cost_usd: MoneyLimits | None = None
    requests: CountLimits | None = None
    concurrent_requests: Count | Unlimited | None = None


class HolderWords(LimitWords):
    """Limits, also for some models only."""

    per_model: Annotated[dict[Text, LimitWords], Field(max_length=200, json_schema_extra=CLOSED)] | None = None
    """By model pattern, e.g. `gpt-4o*`."""


class OverrideBody(HolderWords):
    """What to set; what is not named stays as it was overridden before."""

    until: Moment | Literal["midnight"] | None = None
    """`midnight`: the end of today, where limits.yaml says that days end."""
    reason: Text | None = None


async def override_of(context: Context, user: str) -> dict[str, object] | None:
    """The override in force, or None."""
    kept = await context.ledger.setting(PREFIX + user)
    if not isinstance(kept, dict) or (kept.get("until") and str(kept["until"]) <= iso(context.now())):
        return None
    return kept


async def get_limits(request: web.Request) -> web.Response:
    user = path_text(request, "id")
    identity_of(request).require(user)
    read_query(request, ())
    return json_reply(await _shown(context_of(request), user))


async def patch_limits(request: web.Request) -> web.Response:
    context, user = context_of(request), path_text(request, "id")
    body = await read_body(request, OverrideBody)
    before = await override_of(context, user)
    until = _until(context, body)
    if until is not None and until <= iso(context.now()):
        raise ApiError(409, "already_over", "`until` lies in the past")
    limits = _merged(_limits_in(before), body)
    kept = {"limits": limits, "until": until, "reason": body.reason, "by": identity_of(request).name, "at": iso(context.now())}
    await note(request, "override limits", f"user:{user}", before=before, after=kept)
    await context.ledger.put_setting(PREFIX + user, kept)
    await context.refresh()
    return json_reply(await _shown(context, user))


async def delete_limits(request: web.Request) -> web.Response:
    context, user = context_of(request), path_text(request, "id")
    before = await override_of(context, user)
    if before is None:
        raise not_found("override")
    await note(request, "remove override", f"user:{user}", before=before)
    await context.ledger.delete_setting(PREFIX + user)
    await context.refresh()
    return json_reply(await _shown(context, user))


async def _shown(context: Context, user: str) -> dict[str, object]:
    return {"user": user, "limits": await user_limits(context, user), "override": await override_of(context, user)}


def _until(context: Context, body: OverrideBody) -> str | None:
    if body.until == "midnight":
        return iso(midnight(context.now(), context.rules.timezone, 1))
    return iso(body.until) if body.until else None


def _limits_in(override: dict[str, object] | None) -> dict[str, object]:
    limits = override.get("limits") if override else None
    return dict(limits) if isinstance(limits, dict) else {}


def _merged(before: dict[str, object], body: OverrideBody) -> dict[str, object]:
    """Named windows replaced, null ones removed, the rest kept. Money as decimal strings."""
    return merge(before, body.model_dump(exclude_unset=True, exclude={"until", "reason"}))


def merge(before: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Mappings merged at every depth, as RFC 7396 has it: null takes away, and what is empty then goes too."""
    merged = dict(before)
    for name, change in changes.items():
        if isinstance(change, Mapping):
            earlier = merged.get(name)
            merged[name] = merge(earlier if isinstance(earlier, Mapping) else {}, change) or None
        else:
            merged[name] = format(change, "f") if isinstance(change, Decimal) else change
    return {name: limit for name, limit in merged.items() if limit is not None}


ROUTES = (
    Route("GET", "/users/{id}/limits", get_limits, "user", "Limits of a user, and the override in force", "UserLimits"),
    Route(
        "PATCH",
        "/users/{id}/limits",
        patch_limits,
        "admin",
        "Set an override above the YAML",
        "UserLimits",
        body=OverrideBody,
        also=(409,),
    ),
    Route("DELETE", "/users/{id}/limits", delete_limits, "admin", "Take the override away", "UserLimits", also=(404,)),
)
