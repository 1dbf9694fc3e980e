"""Whom a user's name stands for: team and tier from the rules, limits and where they stand. Shared by users, limits, track."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from proxy.control.context import Context
from proxy.control.periods import iso
from proxy.limits.limit import NANO_USD, Limit, LimitStatus
from proxy.pricing.money import usd_text
from proxy.routing.callers import Caller
from proxy.rules import Rules


def caller_of_user(rules: Rules, user: str) -> Caller:
    """The caller that limits are looked up for where only a user's name is known: by `users:`, else by one of its keys."""
    standing = rules.standing_of(user)
    team, tier = standing.team, standing.tier
    keyed = rules.callers_of(user)
    if keyed:
        team, tier = team or keyed[0].team, tier or keyed[0].tier
    return Caller(user, team, tier)


async def limits_of(context: Context, callers: Sequence[Caller]) -> list[list[dict[str, object]]]:
    """Every limit of each caller, with where it stands now."""
    per_caller = [context.rules.resolve_all_limits(caller) for caller in callers]
    distinct = list(dict.fromkeys(limit for limits in per_caller for limit in limits))
    statuses = await context.workers.quota(distinct)
    shown = {limit: describe_limit(limit, statuses[index] if statuses else None) for index, limit in enumerate(distinct)}
    return [[shown[limit] for limit in limits] for limits in per_caller]


async def user_limits(context: Context, user: str) -> list[dict[str, object]]:
    """Every limit that calls of this user must fit into, those of the user's keys included; each once."""
    found = await limits_of(context, [caller_of_user(context.rules, user), *context.rules.callers_of(user)])
    return list({(limit["counter"], limit["name"]): limit for limits in found for limit in limits}.values())


def describe_limit(limit: Limit, status: LimitStatus | None) -> dict[str, object]:
    """A limit as the API shows it; used and its kin are null while no worker can say."""
    shown: dict[str, object] = {
        "name": limit.name,
        "counter": limit.counter,
        "resource": limit.resource,
        "window": limit.window,
        "mode": limit.mode,
        "origin": limit.origin,
        "amount": _amount(limit, limit.amount),
        "used": None,
        "reserved": None,
        "remaining": None,
        "fraction": None,
        "resets_at": None,
    }
    if status is not None:
        taken = status.used + status.reserved
        shown |= {
            "used": _amount(limit, status.used),
            "reserved": _amount(limit, status.reserved),
            "remaining": _amount(limit, max(0, limit.amount - taken)),
            "fraction": round(taken / limit.amount, 6) if limit.amount else 1.0,
            "resets_at": None if status.resets_at is None else iso(datetime.fromtimestamp(status.resets_at, UTC)),
        }
    return shown


def _amount(limit: Limit, amount: int) -> int | str:
    return usd_text(Decimal(amount) / NANO_USD) if limit.resource == "cost_usd" else amount
