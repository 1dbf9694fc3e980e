"""What a month will probably come to: pure arithmetic on the sums of its days.

The days to come are taken to be like the mean of the last seven full days (fewer where there are not seven); the band is
one standard deviation of a day, times the root of the days to come. A month that has just begun borrows from the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import sqrt
from statistics import pstdev

BASIS_DAYS = 7
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Projection:
    """So far, and expected at the end with a band around it."""

    so_far: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal


def project(full_days: Sequence[Decimal], so_far: Decimal, now: datetime, end_at: datetime) -> Projection:
    """
    Args:
        full_days: amounts of the full days before today, oldest first, days without use as 0; the last seven count.
        so_far: the month's amount up to now.
        now, end_at: aware; end_at is the first instant of the next month.
    """
    basis = list(full_days)[-BASIS_DAYS:]
    days_left = Decimal(max(0.0, (end_at - now).total_seconds()) / _DAY_SECONDS)
    if not basis:
        return Projection(so_far, so_far, so_far, so_far)
    mean = sum(basis, Decimal(0)) / len(basis)
    band = Decimal(pstdev(basis)) * Decimal(sqrt(days_left))
    expected = so_far + mean * days_left
    return Projection(so_far, expected, max(so_far, expected - band), expected + band)
