"""Cost: what one call came to, and where the price came from; unknown is a value, not an error and not a zero."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class Cost(NamedTuple):
    """US dollars of one call.

    `cost_usd` is input + output + what belongs to neither side (searches, sessions, per-request fees), so it may exceed
    their sum. A side may be known while the whole is not; the whole is never known while a part of it is not.
    """

    input_cost_usd: Decimal | None
    output_cost_usd: Decimal | None
    cost_usd: Decimal | None
    source: str | None
    """Where the price came from and its date, then `; ` and what was odd; why, where the cost is unknown;
    None where there was nothing to price."""


NOTHING_TO_PRICE = Cost(None, None, None, None)
"""An answer without usage that is not expected to have any (an error, a list of models, a file)."""


def unknown(reason: str) -> Cost:
    """A cost that is not known, with the reason."""
    return Cost(None, None, None, reason)


def together(first: Cost, second: Cost) -> Cost:
    """The sum of two costs inside one call; a part that is unknown makes the sum unknown, and its reason is kept."""
    unpriced = [cost for cost in (first, second) if cost.cost_usd is None]
    reasons = unpriced or [first, second]
    return Cost(
        _plus(first.input_cost_usd, second.input_cost_usd),
        _plus(first.output_cost_usd, second.output_cost_usd),
        _plus(first.cost_usd, second.cost_usd),
        "; ".join(dict.fromkeys(cost.source for cost in reasons if cost.source)) or None,
    )


def _plus(left: Decimal | None, right: Decimal | None) -> Decimal | None:
    return None if left is None or right is None else left + right
