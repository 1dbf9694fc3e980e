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
_COST_AT, _TOKENS_AT = MONEY_FIELDS.index("cost_usd"), COUNT_NAMES.index("total_tokens")
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
            counts: list[int] = [count or 0 for count in row[self._group_count : behind_counts]]  # type: ignore[misc]
            columns = row[behind_counts:]
            width = len(columns) // len(MONEY_FIELDS)
            money = [self._read_money(columns[at : at + width]) for at in range(0, len(columns), width)]
            self._merge(key, counts, money)

    def ranked(self, names: Sequence[str], limit: int | None) -> list[GroupSums]:
        """Largest cost first, then tokens, then name. Without names exactly one."""
        if not names:
            self._merge((), [0] * len(COUNT_NAMES), NO_MONEY)
        found = [key for key, counts in self._counts.items() if counts[0] or not names]
        found.sort(key=lambda key: (-self._money[key][_COST_AT], -self._counts[key][_TOKENS_AT], tuple(map(str, key))))
        return [GroupSums(_group(names, key), self._sums(key)) for key in found[:limit]]

    def merged_groups(self, names: Sequence[str]) -> list[GroupSums]:
        """By the first columns only; what the others told apart is added up."""
        merged = Totals(len(names), self._read_money)
        for key, counts in self._counts.items():
            merged._merge(key[: len(names)], counts, self._money[key])
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

    def _merge(self, key: tuple[object, ...], counts: list[int], money: list[Decimal]) -> None:
        if key in self._counts:
            self._counts[key] = [*map(add, self._counts[key], counts)]
            self._money[key] = [*map(EXACT.add, self._money[key], money)]
        else:
            self._counts[key], self._money[key] = counts, money

    def _sums(self, key: tuple[object, ...]) -> Sums:
        counts = dict(zip(COUNT_NAMES, self._counts[key], strict=True))
        duration_us, first_byte_us = (counts.pop(name) for name in MICROSECONDS)
        money = {name: _plain(amount) for name, amount in zip(MONEY_FIELDS, self._money[key], strict=True)}
        return Sums(**counts, **money, duration_ms=duration_us / 1000, time_to_first_byte_ms=first_byte_us / 1000)  # type: ignore[arg-type]


def _group(names: Sequence[str], key: Sequence[object]) -> dict[str, str | None]:
    return {name: None if value is None else str(value) for name, value in zip(names, key, strict=True)}


def _plain(amount: Decimal) -> Decimal:
    """Without zeros at the end, which say in what units it was summed, not what it is."""
    text = f"{amount:f}"
    return Decimal(text.rstrip("0").rstrip(".")) if "." in text else amount
