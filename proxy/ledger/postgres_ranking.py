"""The largest groups of a period, added up and ranked by PostgreSQL in one statement.

The pieces of a period (digests, roll-ups, records) are partial sums of the same groups. Adding them up here would mean to fetch
them all: for the ten top of 500 users four times 500 rows of 22 numbers, which took longer than the sums.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.ledger.rows import MONEY_FIELDS
from proxy.ledger.statements import Statement
from proxy.ledger.summing import COUNT_NAMES

_PLACE_HOLDER = re.compile(r"\$(\d+)")
_COST = f"COALESCE(SUM(p.m{MONEY_FIELDS.index('cost_usd')}), 0)"
_TOKENS = f"COALESCE(SUM(p.c{COUNT_NAMES.index('total_tokens')}), 0)"


def ranked_statement(partial: Sequence[Statement], group_count: int, limit: int) -> Statement:
    """Groups in the order of `summing.Totals.ranked`, in the columns of `statements.sums_statement`.

    Args:
        partial: statements of those columns, at least one.
    """
    values: list[object] = []
    texts = []
    for statement in partial:
        texts.append(_behind(statement.text, len(values)))
        values += statement.values
    groups = [f"g{number}" for number in range(group_count)]
    counts = [f"c{number}" for number in range(len(COUNT_NAMES))]
    money = [f"m{number}" for number in range(len(MONEY_FIELDS))]
    columns = [
        *(f"p.{name}" for name in groups),
        *(f"CAST(SUM(p.{name}) AS BIGINT)" for name in counts),
        *(f"SUM(p.{name})" for name in money),
    ]
    names = ", ".join(f"COALESCE(p.{name}, 'None') COLLATE \"C\"" for name in groups)
    values.append(limit)
    text = (
        f"SELECT {', '.join(columns)} FROM ({' UNION ALL '.join(texts)}) AS p ({', '.join((*groups, *counts, *money))}) "  # noqa: S608 -- our own names
        f"GROUP BY {', '.join(f'p.{name}' for name in groups)} HAVING SUM(p.c0) > 0 "
        f"ORDER BY {_COST} DESC, {_TOKENS} DESC, {names} LIMIT ${len(values)}"
    )
    return Statement(text, values)


def _behind(text: str, count: int) -> str:
    """The same text with its place-holders behind so many others."""
    return _PLACE_HOLDER.sub(lambda found: f"${int(found[1]) + count}", text)
