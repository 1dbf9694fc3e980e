"""Sums as the API shows them: totals, averages per call, shares. Pure; money stays Decimal and leaves as decimal strings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal
from operator import attrgetter

from proxy.ledger.ledger import Sums
from proxy.pricing.money import usd_text

_HIDDEN = ("duration_ms", "time_to_first_byte_ms", "first_byte_count")
_SHOWN = tuple(one.name for one in fields(Sums) if one.name not in _HIDDEN)
_values = attrgetter(*(one.name for one in fields(Sums)))
_ZEROS = _values(Sums())
_NANO = Decimal("0.000000001")


def totals(sums: Sums) -> dict[str, object]:
    """Counts as integers, money as decimal strings."""
    return {name: _plain(getattr(sums, name)) for name in _SHOWN}


def averages(sums: Sums) -> dict[str, object]:
    """Per call, and shares; None where there are no calls. Tokens and costs per call that was answered."""
    answered = sums.requests - sums.denied
    return {
        "success_rate": _mean(sums.ok, sums.ok + sums.failed),
        "cache_share": _mean(sums.cache_read_tokens, sums.input_tokens),
        "output_per_input": _mean(sums.output_tokens, sums.input_tokens),
        "duration_ms": _mean(sums.duration_ms, sums.requests),
        "time_to_first_byte_ms": _mean(sums.time_to_first_byte_ms, sums.first_byte_count),
        "input_tokens": _mean(sums.input_tokens, answered),
        "output_tokens": _mean(sums.output_tokens, answered),
        "total_tokens": _mean(sums.total_tokens, answered),
        "cost_usd": money(sums.cost_usd / answered) if answered > 0 else None,
    }


def shares(part: Sums, whole: Sums) -> dict[str, float | None]:
    """The part's fraction of the whole, 0 to 1; None where the whole is nothing."""
    return {
        "requests": _mean(part.requests, whole.requests),
        "total_tokens": _mean(part.total_tokens, whole.total_tokens),
        "cost_usd": _mean(float(part.cost_usd), float(whole.cost_usd)),
    }


def growth(now: Sums, before: Sums) -> dict[str, float | None]:
    """By which fraction it grew, e.g. 0.25 for a quarter more; None where there was nothing before."""
    return {
        "requests": _mean(now.requests - before.requests, before.requests),
        "total_tokens": _mean(now.total_tokens - before.total_tokens, before.total_tokens),
        "cost_usd": _mean(float(now.cost_usd - before.cost_usd), float(before.cost_usd)),
    }


def add_up(parts: Iterable[Sums]) -> Sums:
    """The sum of sums."""
    rows = [_values(one) for one in parts]
    return Sums(*(sum(column, zero) for zero, column in zip(_ZEROS, zip(*rows, strict=True), strict=True))) if rows else Sums()


def money(amount: Decimal) -> str:
    """An amount that came out of a division or a forecast: plain decimal text, to the nano-dollar."""
    return usd_text(amount.quantize(_NANO))


def _plain(value: object) -> object:
    return usd_text(value) if isinstance(value, Decimal) else value


def _mean(total: float, count: float) -> float | None:
    return round(total / count, 6) if count else None
