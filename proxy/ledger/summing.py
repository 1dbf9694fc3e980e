"""Rows of sums added up to `Sums`, exactly, and ranked. Pure; the rows are those that statements.py asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import add

from proxy.ledger.ledger import GroupSums, Point, Sums
from proxy.ledger.rollup import EXACT
from proxy.ledger.rows import MONEY_FIELDS

COUNT_NAMES = (
    "requests", "ok", "denied", "failed", "client_aborted", "input_tokens", "cache_read_tokens", "cache_write_tokens",
    "output_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "total_tokens", "estimated", "unpriced",
    "duration_us", "time_to_first_byte_us", "first_byte_count",
)  # fmt: skip
NO_MONEY = [Decimal(0)] * len(MONEY_FIELDS)
MICROSECONDS = ("duration_us", "time_to_first_byte_us")


class Totals:
    """Sums by group, added up from the rows of several statements."""

    def __init__(self, group_count: int, read_money: Callable[[Sequence[object]], Decimal]) -> None:
        """
        Args:
            group_count: columns before the counts.
            read_money: the amount in the columns of one sum of money.
        """
        self._group_count = group_count
        self._read_money = read_money
        self._counts: dict[tuple[object, ...], list[int]] = {}
        self._money: dict[tuple[object, ...], list[Decimal]] = {}

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        behind_counts = self._group_count + len(COUNT_NAMES)
        for row in rows:
            key = tuple(row[: self._group_count])
            counts = self._counts.setdefault(key, [0] * len(COUNT_NAMES))
            money = self._money.setdefault(key, [Decimal(0)] * len(MONEY_FIELDS))
            for at, count in enumerate(row[self._group_count : behind_counts]):
                counts[at] += int(count or 0)  # type: ignore[call-overload]
            columns = row[behind_counts:]
            width = len(columns) // len(MONEY_FIELDS)
            for at in range(len(MONEY_FIELDS)):
                money[at] = EXACT.add(money[at], self._read_money(columns[at * width : (at + 1) * width]))

    def ranked(self, names: Sequence[str], limit: int | None) -> list[GroupSums]:
        """Largest cost first, then tokens, then name. Without names exactly one."""
        if not names:
            self._counts.setdefault((), [0] * len(COUNT_NAMES))
        found = [GroupSums(_group(names, key), self._sums(key)) for key, counts in self._counts.items() if counts[0] or not names]
        found.sort(
            key=lambda each: (-each.sums.cost_usd, -each.sums.total_tokens, tuple(str(name) for name in each.group.values()))
        )
        return found[:limit]

    def merged_groups(self, names: Sequence[str]) -> list[GroupSums]:
        """By the first columns only; what the others told apart is added up."""
        merged = Totals(len(names), self._read_money)
        for key, counts in self._counts.items():
            money = self._money[key]
            into = merged._counts.setdefault(key[: len(names)], [0] * len(COUNT_NAMES))
            into[:] = map(add, into, counts)
            into_money = merged._money.setdefault(key[: len(names)], [Decimal(0)] * len(MONEY_FIELDS))
            into_money[:] = map(EXACT.add, into_money, money)
        return merged.ranked(names, None)

    def points(self, names: Sequence[str], starts: Sequence[int]) -> list[Point]:
        """Oldest first; the first column of each row was the number of its interval."""
        found = [
            Point(datetime.fromtimestamp(starts[int(key[0])], UTC), _group(names, key[1:]), self._sums(key))  # type: ignore[call-overload]
            for key, counts in self._counts.items()
            if counts[0]
        ]
        found.sort(key=lambda each: (each.start_at, -each.sums.cost_usd, -each.sums.total_tokens, str(each.group)))
        return found

    def _sums(self, key: tuple[object, ...]) -> Sums:
        counts = dict(zip(COUNT_NAMES, self._counts[key], strict=True))
        duration_us, first_byte_us = (counts.pop(name) for name in MICROSECONDS)
        money = {name: _plain(amount) for name, amount in zip(MONEY_FIELDS, self._money.get(key, NO_MONEY), strict=True)}
        return Sums(**counts, **money, duration_ms=duration_us / 1000, time_to_first_byte_ms=first_byte_us / 1000)  # type: ignore[arg-type]


def _group(names: Sequence[str], key: Sequence[object]) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in zip(names, key, strict=True)}


def _plain(amount: Decimal) -> Decimal:
    """Without zeros at the end, which say in what units it was summed, not what it is."""
    text = f"{amount:f}"
    return Decimal(text.rstrip("0").rstrip(".")) if "." in text else amount
