"""The reading half of every SQL ledger: pages, exports, sums, series. An adapter says how a statement is run and a row is read.

Not here: SQL (statements.py), sums of rows (summing.py), anything that writes (the adapters).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from proxy.ledger.cursors import from_cursor, to_cursor
from proxy.ledger.intervals import interval_starts, zone_of
from proxy.ledger.ledger import Entry, EntryPage, GroupSums, Page, Point, RecordFilter, StoredKey
from proxy.ledger.rollup import BUCKET_SECONDS
from proxy.ledger.rows import json_text, time_text
from proxy.ledger.statements import (
    Dialect,
    Piece,
    Statement,
    checked_groups,
    entries_statement,
    page_statement,
    pieces,
    sums_statement,
)
from proxy.ledger.summing import Totals
from proxy.records import UsageRecord

PAGE_RECORDS = 1000
AT_ONCE = 3
"""Statements of one sum that run side by side: some connections must be left to others."""
USED_GROUPS = ("user", "team", "key_id", "provider", "request_model")
KEY_COLUMNS = tuple(field.name for field in fields(StoredKey))
SESSION_COLUMNS = ("session", "requests", "total_tokens", "cost_usd", "first_at", "last_at")

Row = Sequence[Any]


class SqlReading:
    """What both adapters inherit; see `Ledger` for what each call promises."""

    _dialect: Dialect
    _sql: Mapping[str, str]

    @abstractmethod
    async def _fetch(self, statement: Statement) -> Sequence[Row]:
        """Run a statement that only reads. Raises LedgerError."""

    @staticmethod
    @abstractmethod
    def _record(row: Row) -> UsageRecord:
        """The record in a row of statements.COLUMNS."""

    @staticmethod
    @abstractmethod
    def _amount(parts: Sequence[object]) -> Decimal:
        """The sum of money in the columns of one `Dialect.record_money` or `.rollup_money`."""

    @staticmethod
    @abstractmethod
    def _bucket(value: Any) -> datetime:
        """A bucket_at as it comes from the database."""

    async def record(self, record_id: str) -> UsageRecord | None:
        rows = await self._fetch(page_statement(self._dialect, RecordFilter(request_id=record_id), 1, None))
        return self._record(rows[0]) if rows else None

    async def records(self, which: RecordFilter, limit: int, cursor: str | None) -> Page:
        behind = None if cursor is None else from_cursor(cursor)
        rows = await self._fetch(page_statement(self._dialect, which, limit + 1, behind))
        found = [self._record(row) for row in rows[:limit]]
        return Page(found, to_cursor(found[-1].started_at, found[-1].id) if len(rows) > limit and found else None)

    async def export(self, which: RecordFilter) -> AsyncIterator[UsageRecord]:
        behind: tuple[datetime, str] | None = None
        while True:
            rows = await self._fetch(page_statement(self._dialect, which, PAGE_RECORDS, behind, is_oldest_first=True))
            record = None
            for row in rows:
                record = self._record(row)
                yield record
            if record is None or len(rows) < PAGE_RECORDS:
                return
            behind = (datetime.fromisoformat(record.started_at), record.id)

    async def sums(self, which: RecordFilter, group_by: Sequence[str] = (), limit: int = 1000) -> list[GroupSums]:
        groups = checked_groups(group_by)
        totals = Totals(len(groups), self._amount)
        await self._add_sums(totals, which, groups)
        return totals.ranked(groups, limit)

    async def timeseries(self, which: RecordFilter, interval: str, timezone: str, group_by: Sequence[str] = ()) -> list[Point]:
        groups = checked_groups(group_by)
        zone = zone_of(timezone)
        bounded = await self._bounded(which)
        if bounded is None:
            interval_starts(0, 0, interval, zone)  # says what is wrong with the interval even where there is nothing
            return []
        assert bounded.start_at is not None
        assert bounded.end_at is not None
        starts = interval_starts(bounded.start_at.timestamp(), bounded.end_at.timestamp(), interval, zone)
        totals = Totals(1 + len(groups), self._amount)
        await self._add_sums(totals, bounded, groups, starts)
        return totals.points(groups, starts)

    async def _add_sums(self, totals: Totals, which: RecordFilter, groups: Sequence[str], starts: Sequence[int] = ()) -> None:
        for piece in pieces(which, groups):
            statements = await self._statements(piece, which, groups, starts)
            for first in range(0, len(statements), AT_ONCE):
                for rows in await asyncio.gather(*map(self._fetch, statements[first : first + AT_ONCE])):
                    totals.add(rows)

    async def _statements(
        self, piece: Piece, which: RecordFilter, groups: Sequence[str], starts: Sequence[int]
    ) -> Sequence[Statement]:
        """What adds up to the sums of a piece."""
        return [sums_statement(self._dialect, piece, which, groups, starts)]

    async def last_sessions(self, user: str, limit: int = 50) -> list[dict[str, object]]:
        rows = await self._fetch(Statement(self._sql["last_sessions"], [user, limit]))
        return [dict(zip(SESSION_COLUMNS, map(_plain, row), strict=True)) for row in rows]

    async def used_since(self, start_at: datetime) -> list[GroupSums]:
        totals = Totals(len(USED_GROUPS) + 1, self._amount)
        which = RecordFilter(start_at=start_at)
        for piece in pieces(which, USED_GROUPS):
            rows = await self._fetch(sums_statement(self._dialect, piece, which, (*USED_GROUPS, "outcome")))
            totals.add(row for row in rows if row[len(USED_GROUPS)] != "denied")
        return totals.merged_groups((*USED_GROUPS[:-1], "model"))

    async def keys(self) -> list[StoredKey]:
        rows = await self._fetch(Statement(self._sql["keys"]))
        return [StoredKey(**dict(zip(KEY_COLUMNS, [*row[:-1], orjson.loads(row[-1])], strict=True))) for row in rows]

    async def setting(self, name: str) -> object | None:
        rows = await self._fetch(Statement(self._sql["setting"], [name]))
        return orjson.loads(rows[0][0]) if rows else None

    async def settings(self, prefix: str) -> dict[str, object]:
        rows = await self._fetch(Statement(self._sql["settings"], [prefix]))
        return {name: orjson.loads(value) for name, value in rows}

    async def entry(self, kind: str, entry_id: str) -> Entry | None:
        rows = await self._fetch(Statement(self._sql["entry"], [kind, entry_id]))
        return _entry(kind, rows[0]) if rows else None

    async def entries(
        self, kind: str, limit: int, cursor: str | None, *, start_at: datetime | None = None, end_at: datetime | None = None
    ) -> EntryPage:
        behind = None if cursor is None else from_cursor(cursor)
        rows = await self._fetch(entries_statement(self._dialect, kind, limit + 1, behind, start_at, end_at))
        found = [_entry(kind, row) for row in rows[:limit]]
        return EntryPage(found, to_cursor(found[-1].at, found[-1].id) if len(rows) > limit and found else None)

    async def change_marker(self) -> str:
        return str((await self._fetch(Statement(self._sql["change_marker"])))[0][0])

    async def _bounded(self, which: RecordFilter) -> RecordFilter | None:
        """The filter with both ends set, to what there is; None where there is nothing."""
        start, end = which.start_at, which.end_at
        if start is None or end is None:
            first, last = (await self._fetch(Statement(self._sql["first_and_last_bucket"])))[0]
            if first is None:
                return None
            start = start or self._bucket(first)
            end = end or self._bucket(last) + timedelta(seconds=BUCKET_SECONDS)
        return replace(which, start_at=start, end_at=end) if start < end else None


def key_values(key: StoredKey) -> list[object]:
    """The values of `put_key`."""
    return [*(getattr(key, name) for name in KEY_COLUMNS[:-1]), json_text(key.settings)]


def _entry(kind: str, row: Row) -> Entry:
    entry_id, at, body = row
    return Entry(kind, entry_id, str(_plain(at)), orjson.loads(body))


def _plain(value: Any) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return time_text(value) if isinstance(value, datetime) else value
