"""Exact money in a database that has no decimals.

A record's money is decimal TEXT, summed by a Python aggregate. A roll-up's is an integer of 1e-12 USD, summed by SQLite itself
(ten times as fast), and a decimal TEXT beside it for what such an integer cannot hold: finer fractions (a price per minute
charged by the second) and amounts above 1,000 USD, so that no cell overflows. A sum adds whole dollars and the rest of the
units apart, which keeps it from overflowing as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import orjson

from proxy.ledger.rollup import EXACT
from proxy.ledger.rows import time_text
from proxy.ledger.statements import Dialect, Parameters

UNITS_PER_USD = 10**12
MAX_UNITS = 1000 * UNITS_PER_USD


def units_and_rest(amount: Decimal) -> tuple[int, str | None]:
    """The amount as integer units of 1e-12 USD and what these cannot hold."""
    if not amount:
        return 0, None
    scaled = EXACT.scaleb(amount, 12)
    units = int(scaled)
    if units == scaled and abs(units) <= MAX_UNITS:
        return units, None
    return 0, f"{amount:f}"


def amount_of(parts: Sequence[object]) -> Decimal:
    """The sum of money in the columns of `DIALECT.record_money` or `.rollup_money`."""
    if len(parts) == 1:
        return Decimal(str(parts[0] or 0))
    dollars, units, rest = parts
    whole = Decimal(int(dollars or 0)) + Decimal(int(units or 0)).scaleb(-12, EXACT)  # type: ignore[call-overload]
    return EXACT.add(whole, Decimal(str(rest or 0)))


def register_decimals(connection: sqlite3.Connection) -> None:
    """Give the connection `decimal_add(a, b)` and the aggregate `decimal_sum(text)`."""
    connection.create_function("decimal_add", 2, _add, deterministic=True)
    connection.create_aggregate("decimal_sum", 1, _DecimalSum)  # type: ignore[arg-type]


class _DecimalSum:
    def __init__(self) -> None:
        self._sum = Decimal(0)

    def step(self, text: str | None) -> None:
        if text is not None:
            self._sum = EXACT.add(self._sum, Decimal(text))

    def finalize(self) -> str:
        return f"{self._sum:f}"


def _add(one: str | None, other: str | None) -> str | None:
    if one is None or other is None:
        return other if one is None else one
    return f"{EXACT.add(Decimal(one), Decimal(other)):f}"


def _rollup_money(name: str) -> Sequence[str]:
    units, rest = f'r."{name}_units"', f'r."{name}_rest"'
    return (
        f"SUM({units} / {UNITS_PER_USD})",
        f"SUM({units} % {UNITS_PER_USD})",
        f"decimal_sum({rest}) FILTER (WHERE {rest} IS NOT NULL)",
    )


def _record_money(name: str) -> Sequence[str]:
    return (f'decimal_sum(r."{name}") FILTER (WHERE r."{name}" IS NOT NULL)',)


def _span(values: Parameters, time: str, first: int, edges: Sequence[object]) -> tuple[str, str, str]:
    """The intervals as a table that is joined from the left, so that each is one range of the index."""
    spans = [(first + at, low, high) for at, (low, high) in enumerate(pairwise(edges))]
    table = f"json_each({values.add(orjson.dumps(spans).decode())}) AS span CROSS JOIN "
    low, high = "json_extract(span.value, '$[1]')", "json_extract(span.value, '$[2]')"
    return table, f"{time} >= {low} AND {time} < {high}", "json_extract(span.value, '$[0]')"


DIALECT = Dialect(
    mark="?",
    record_instant=time_text,
    bucket_instant=lambda at: int(at.timestamp()),
    record_money=_record_money,
    rollup_money=_rollup_money,
    span=_span,
    tags='json_each(r."tags")',
)
