"""The largest groups of a period, added up and ranked by PostgreSQL in one statement.

The pieces of a period (digests, roll-ups, records) are partial sums of the same groups. Adding them up here would mean to fetch
them all: for the ten top of 500 users four times 500 rows of 22 numbers, which took longer than the sums.

Where few are asked for, they are found by the three sums that rank them (PostgreSQL leaves out what the outer statement does not
name), and only theirs are added up whole: what is named like one of the first groups, or has no name, is ranked once more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.ledger.rows import MONEY_FIELDS
from proxy.ledger.statements import Statement
from proxy.ledger.summing import COUNT_NAMES

FEW = 50
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
    pieces = f"({' UNION ALL '.join(texts)}) AS p ({', '.join((*groups, *counts, *money))})"
    names = [f"p.{name}" for name in groups]
    values.append(limit)
    order = ", ".join((f"{_COST} DESC, {_TOKENS} DESC", *(f"COALESCE({name}, 'None') COLLATE \"C\"" for name in names)))
    ranking = f"GROUP BY {', '.join(names)} HAVING SUM(p.c0) > 0 ORDER BY {order} LIMIT ${len(values)}"
    select = f"SELECT {', '.join(columns)} FROM {pieces}"  # noqa: S608 -- our own names
    if limit > FEW:
        return Statement(f"{select} {ranking}", values)
    among = [f"(p.{name} = ANY(ARRAY(SELECT top.{name} FROM top)) OR p.{name} IS NULL)" for name in groups]  # noqa: S608
    top = f"WITH top ({', '.join(groups)}) AS MATERIALIZED (SELECT {', '.join(names)} FROM {pieces} {ranking})"  # noqa: S608
    return Statement(f"{top} {select} WHERE {' AND '.join(among)} {ranking}", values)


def _behind(text: str, count: int) -> str:
    """The same text with its place-holders behind so many others."""
    return _PLACE_HOLDER.sub(lambda found: f"${int(found[1]) + count}", text)
