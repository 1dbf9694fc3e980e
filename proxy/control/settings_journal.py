"""The journal over a ledger that has none of its own: kept in a few setting documents, the last lines only.

Read-modify-write under a lock of this process; a ledger with `put_entry` is used as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from proxy.control.journal import ControlLedger, Entry, EntryPage
from proxy.control.periods import iso
from proxy.ledger.ledger import Ledger

KEPT_ENTRIES = 2000
DOCUMENTS = "control_documents"


def journalled(ledger: Ledger) -> ControlLedger:
    """The ledger with a journal: itself, where it has one."""
    return cast(ControlLedger, ledger if hasattr(ledger, "put_entry") else _SettingsJournal(ledger))


class _SettingsJournal:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def put_entry(self, entry: Entry, *, replace: bool = False) -> bool:
        async with self._turn:
            lines = await self._lines(entry.kind)
            is_new = all(line["id"] != entry.id for line in lines)
            if not is_new and not replace:
                return False
            lines = [line for line in lines if line["id"] != entry.id]
            lines.append({"id": entry.id, "at": entry.at, "body": entry.body})
            await self._ledger.put_setting(f"journal_{entry.kind}", lines[-KEPT_ENTRIES:])
        return True

    async def entry(self, kind: str, entry_id: str) -> Entry | None:
        return next((_entry(kind, line) for line in await self._lines(kind) if line["id"] == entry_id), None)

    async def entries(
        self, kind: str, limit: int, cursor: str | None, *, start_at: datetime | None = None, end_at: datetime | None = None
    ) -> EntryPage:
        begin, end, offset = iso(start_at) if start_at else "", iso(end_at) if end_at else "~", int(cursor or 0)
        lines = [line for line in await self._lines(kind) if begin <= line["at"] < end]
        lines.sort(key=lambda line: (line["at"], line["id"]), reverse=True)
        page = [_entry(kind, line) for line in lines[offset : offset + limit]]
        return EntryPage(page, str(offset + limit) if len(lines) > offset + limit else None)

    async def delete_entries(self, kind: str, before: datetime) -> int:
        async with self._turn:
            lines = await self._lines(kind)
            kept = [line for line in lines if line["at"] >= iso(before)]
            await self._ledger.put_setting(f"journal_{kind}", kept)
        return len(lines) - len(kept)

    async def settings(self, prefix: str) -> dict[str, object]:
        return {name: value for name, value in (await self._documents()).items() if name.startswith(prefix)}

    async def setting(self, name: str) -> object | None:
        return (await self._documents()).get(name) or await self._ledger.setting(name)

    async def put_setting(self, name: str, value: object) -> None:
        async with self._turn:
            await self._ledger.put_setting(DOCUMENTS, {**await self._documents(), name: value})

    async def add_setting(self, name: str, value: object) -> bool:
        if await self.setting(name) is not None:
            return False
        await self.put_setting(name, value)
        return True

    async def delete_setting(self, name: str) -> bool:
        async with self._turn:
            documents = await self._documents()
            found = documents.pop(name, None)
            if found is not None:
                await self._ledger.put_setting(DOCUMENTS, documents)
        return found is not None

    async def _documents(self) -> dict[str, object]:
        kept = await self._ledger.setting(DOCUMENTS)
        return dict(kept) if isinstance(kept, Mapping) else {}

    async def _lines(self, kind: str) -> list[dict[str, Any]]:
        kept = await self._ledger.setting(f"journal_{kind}")
        return list(kept) if isinstance(kept, list) else []


def _entry(kind: str, line: Mapping[str, Any]) -> Entry:
    return Entry(kind, line["id"], line["at"], line["body"])
