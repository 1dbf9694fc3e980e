"""What the control plane asks of a ledger beyond the records: a journal (audit, alerts), and settings by prefix.

A journal's line is written once; `put_entry` without `replace` is how several replicas agree who raises an alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from proxy.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal."""

    kind: str
    """audit, alert, delivery."""
    id: str
    """Unique within its kind."""
    at: str
    """As `started_at` of records."""
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries newest first (at, id descending) and the cursor of the next page, None at the end."""

    entries: list[Entry]
    next_cursor: str | None


class ControlLedger(Ledger, Protocol):
    """The ledger with a journal."""

    async def put_entry(self, entry: Entry, *, replace: bool = False) -> bool:
        """Insert; False where (kind, id) is there already and `replace` is False: of several replicas exactly one gets True."""

    async def entry(self, kind: str, entry_id: str) -> Entry | None: ...

    async def entries(
        self, kind: str, limit: int, cursor: str | None, *, start_at: datetime | None = None, end_at: datetime | None = None
    ) -> EntryPage:
        """Raises ValueError for a cursor that is not one of ours."""

    async def delete_entries(self, kind: str, before: datetime) -> int:
        """Retention; how many went."""

    async def settings(self, prefix: str) -> dict[str, object]:
        """All documents whose name begins with the prefix."""

    async def add_setting(self, name: str, value: object) -> bool:
        """Insert only; False where the name exists."""

    async def delete_setting(self, name: str) -> bool: ...
