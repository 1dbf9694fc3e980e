"""Money: US dollars as Decimal, nano-dollars as int where counters need integers; never a binary float.

Rules of this file: a Decimal is exact as long as it has no more than 28 significant digits (the default context), which
a rate of up to 12 digits times a count of up to 16 never exceeds; only a division may round (see `rates.py`).
Not here: what anything costs.
"""

from __future__ import annotations

from decimal import Decimal
from math import ceil

ZERO = Decimal(0)
NANO_PER_USD = Decimal(1_000_000_000)


def to_nano_usd(usd: Decimal) -> int:
    """Nano-dollars, rounded up: a limit never gains by rounding.

    Args:
        usd: US dollars, any sign.
    """
    return ceil(usd * NANO_PER_USD)


def usd_text(usd: Decimal) -> str:
    """The amount as plain decimal digits: no exponent, no trailing zeros, `0` for nothing."""
    text = str(usd)
    if "." in text and "E" not in text and not text.endswith("0"):
        return text  # nearly always so, and a fifth of the time of what follows
    return format(usd.normalize(), "f")


def decimal_of(value: object) -> Decimal:
    """A number out of a configuration or a snapshot as Decimal; a float counts as the digits it is written with.

    Raises:
        ValueError: not a finite number that is at least zero.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError(f"a number is wanted, not {value!r}")
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except ArithmeticError:
        raise ValueError(f"a number is wanted, not {value!r}") from None
    if not number.is_finite() or number < 0:
        raise ValueError(f"a finite number of at least 0 is wanted, not {value!r}")
    return number
