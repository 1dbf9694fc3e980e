"""Limits that fill up: one alert per limit, window and threshold (`alert_at` in limits.yaml). Pure.

Where several thresholds are passed at once, only the highest is told. What is settled counts; holds come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from proxy.control.alerts.alert import Alert
from proxy.control.periods import iso
from proxy.limits.limit import NANO_USD, LimitStatus
from proxy.pricing.money import usd_text

WARNING_FROM = 0.8
CRITICAL_FROM = 1.0
_BUDGET_WINDOWS = ("month", "total")
_KIND_OF_WINDOW = {"day": "daily", "month": "monthly", "total": "monthly"}


def limit_alerts(
    statuses: Iterable[LimitStatus], thresholds: Sequence[float], user: str | None, at: datetime, team: str | None = None
) -> list[Alert]:
    """Alerts that these limits deserve now. `user`: whose limits they are, for those that are one user's own; `team`: theirs."""
    found = []
    for status in statuses:
        limit = status.limit
        if limit.window is None or limit.window in ("minute", "hour") or limit.amount <= 0:
            continue  # short windows fill all the time; bursts have an alert of their own
        fraction = status.used / limit.amount
        passed = [threshold for threshold in thresholds if fraction >= threshold]
        if passed:
            found.append(_alert(status, max(passed), fraction, user, at, team))
    return found


def empty_again(statuses: Iterable[LimitStatus], thresholds: Sequence[float]) -> list[str]:
    """Ids of alerts that are not true (any more) of these limits: somebody made room, or the day is repriced."""
    return [
        _id(status, threshold)
        for status in statuses
        for threshold in thresholds
        if status.limit.amount > 0 and status.used < threshold * status.limit.amount
    ]


def _id(status: LimitStatus, threshold: float) -> str:
    """The counter is part of it: limits of `defaults` share their name, and count per user."""
    return f"limit:{status.limit.counter}:{status.limit.name}:{status.window_id}:{threshold:g}"


def _alert(status: LimitStatus, threshold: float, fraction: float, user: str | None, at: datetime, team: str | None) -> Alert:
    limit = status.limit
    owner = user if limit.counter.startswith(("user:", "key:")) else None
    whose = owner or limit.counter.split(":")[1]
    used, amount = _shown(limit.resource, status.used), _shown(limit.resource, limit.amount)
    resets = "" if status.resets_at is None else f"; it begins anew at {iso(datetime.fromtimestamp(status.resets_at, UTC))[:16]}Z"
    return Alert(
        id=_id(status, threshold),
        kind=_kind(limit.resource, str(limit.window)),
        severity=_severity(threshold),
        at=iso(at),
        title=f"{whose} has used {fraction:.0%} of {limit.name}",
        text=f"{used} of {amount} {limit.resource} are used in this {limit.window} window{resets}.",
        user=owner,
        team=whose if limit.counter.startswith("team:") else team if owner else None,
        ends_at=None if status.resets_at is None else iso(datetime.fromtimestamp(status.resets_at, UTC)),
        facts={
            "limit": limit.name,
            "counter": limit.counter,
            "resource": limit.resource,
            "window": limit.window,
            "window_id": status.window_id,
            "threshold": threshold,
            "used": used,
            "amount": amount,
        },
    )


def _kind(resource: str, window: str) -> str:
    if resource == "cost_usd":
        return "budget" if window in _BUDGET_WINDOWS else "cost"
    return _KIND_OF_WINDOW[window]


def _severity(threshold: float) -> str:
    return "critical" if threshold >= CRITICAL_FROM else "warning" if threshold >= WARNING_FROM else "info"


def _shown(resource: str, amount: int) -> int | str:
    return usd_text(Decimal(amount) / NANO_USD) if resource == "cost_usd" else amount
