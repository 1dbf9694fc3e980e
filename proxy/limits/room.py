"""Whether a limit has room, how long to wait where it has none, what a call is counted as. Pure: every store asks here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from proxy.limits.limit import Held, Limit, Refusal

SHORT_WAIT_SECONDS = 1.0
"""Guess of the time until running calls give something back: for concurrency, and where only holds are in the way."""
STRICT_KEYS = {resource: f"{resource}@strict" for resource in ("tokens", "input_tokens", "output_tokens", "cost_usd", "requests")}
"""`actual` may name what strict limits count of a resource, where that is more than the plain figure (an estimate)."""
MODE_RANKS = {"soft": 0, "balanced": 1, "strict": 2}


def fits(limit: Limit, settled: int, held: int, wanted: int) -> bool:
    """Whether a limit has room for `wanted` more."""
    if limit.window is None:
        return held + wanted <= limit.amount
    if limit.mode == "soft":
        return settled < limit.amount
    return wanted <= 0 or settled + held + wanted <= limit.amount


def refuse(limit: Limit, settled: int, held: int, wanted: int, ends_at: float | None, now: float) -> Refusal:
    """Why a limit without room refuses, and how long it is worth waiting (seconds; None where waiting does not help)."""
    if limit.mode == "soft" and limit.window is not None:
        can_ever_fit = limit.amount > 0
        wait = None if ends_at is None else ends_at - now
    else:
        can_ever_fit = wanted <= limit.amount
        wait = None if ends_at is None else ends_at - now
        if limit.window is None or settled + wanted <= limit.amount:
            wait = SHORT_WAIT_SECONDS if wait is None else min(wait, SHORT_WAIT_SECONDS)
    return Refusal(limit, settled, held, wanted, wait if can_ever_fit else None, can_ever_fit)


def longest_wait(refusals: Iterable[Refusal]) -> Refusal:
    """The refusal to answer with: the one that lasts longest (the first of equals)."""
    return max(refusals, key=lambda refusal: inf if refusal.retry_after_seconds is None else refusal.retry_after_seconds)


def counted(held: Held, actual: Mapping[str, int]) -> int:
    """What one counter is settled to: never negative; `requests` is 1 and all else 0 where `actual` does not say."""
    resource = held.resource
    amount = actual.get(resource)
    if held.mode == "strict":
        amount = actual.get(STRICT_KEYS.get(resource, resource), amount)
    if amount is None:
        return 1 if resource == "requests" else 0
    return amount if amount > 0 else 0
