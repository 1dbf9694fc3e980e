"""Several tables of the same calls (by provider, by model, by user …) from one look at the ledger where combinations are few."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from proxy.control.context import Context
from proxy.control.figures import add_up
from proxy.ledger.ledger import GroupSums, RecordFilter, Sums

LONG = timedelta(days=2)
MAX_COMBINATIONS = 1500
"""More are not worth adding up here: each table is asked for on its own then."""


async def tables(
    context: Context, which: RecordFilter, names: Sequence[str], limit: int
) -> tuple[Sums, dict[str, list[GroupSums]]]:
    """The sum of all, and by each name its largest groups, ranked as the ledger ranks them.

    Args:
        names: the ledger's words, in an order that only the caller's kind decides: what was too much once is not tried again.
    """
    kind = tuple(names)
    if kind not in context.wide_tables and not _is_digested(context, which):
        rows = await context.ledger.sums(which, names, MAX_COMBINATIONS + 1)
        if len(rows) <= MAX_COMBINATIONS:
            return add_up(row.sums for row in rows), {name: _table(rows, name)[:limit] for name in names}
        context.wide_tables.add(kind)
    whole, *found = await asyncio.gather(
        context.ledger.sums(which), *(context.ledger.sums(which, (name,), limit) for name in names)
    )
    return whole[0].sums, dict(zip(names, found, strict=True))


def _is_digested(context: Context, which: RecordFilter) -> bool:
    """Long periods of everybody: each table alone is summed already, and all of them together are not."""
    if not context.ledger.has_digests or which != RecordFilter(start_at=which.start_at, end_at=which.end_at):
        return False
    return which.start_at is None or (which.end_at or context.now()) - which.start_at > LONG


def _table(rows: Sequence[GroupSums], name: str) -> list[GroupSums]:
    parts: dict[str | None, list[Sums]] = defaultdict(list)
    for row in rows:
        parts[row.group[name]].append(row.sums)
    found = [GroupSums({name: value}, add_up(sums)) for value, sums in parts.items()]
    return sorted(found, key=lambda row: (-row.sums.cost_usd, -row.sums.total_tokens, str(row.group[name])))
