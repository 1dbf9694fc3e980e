"""Alerts resolve by themselves: those about a state of the house (the ledger is behind, the store is away …) when that is over,
those of a window, an hour or a day when its end has come, those of a limit when there is room in it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from proxy.control.alerts.alert import JOURNAL, Alert
from proxy.control.context import Context
from proxy.control.periods import iso
from proxy.ledger.ledger import Entry

HOURLY_KINDS = ("ledger_behind", "store_away")
"""As long as these stand, somebody raises one every hour."""
LOST_AFTER = timedelta(hours=2)
"""An hourly alert this old that still stands belongs to a process that is gone."""
_LOOKED_BACK = timedelta(days=7)
_LOOKED_AT = 500
_PAGES = 4
"""The newest 2,000 alerts: what is older and still open is over in anybody's eyes but its own."""
_LOOK_EVERY_SECONDS = 3600.0
_UNDECIDED = ("open", "acknowledged")


class Standing:
    """Which of these alerts stand: those that this process saw, and those whose process is gone. Other replicas' are theirs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ids: set[str] = set()
        self._looked_at = float("-inf")

    async def settle(self, now_true: Iterable[Alert]) -> None:
        """Resolve the alerts that stand and are no longer true.

        Raises:
            LedgerError: the ledger is away; the next call does it.
        """
        current = {alert.id for alert in now_true}
        if self._context.clock() - self._looked_at >= _LOOK_EVERY_SECONDS:
            self._ids |= await self._lost()
            self._looked_at = self._context.clock()
        self._ids |= current
        kinds = {_about(alert_id) for alert_id in current}
        for alert_id in sorted(self._ids - current):
            if _about(alert_id) in kinds:
                continue  # it goes on, in another hour's name
            await self._resolve(alert_id)
            self._ids.discard(alert_id)

    async def settle_over(self) -> int:
        """Resolve the alerts whose time is over, whoever raised them; how many.

        Raises:
            LedgerError: the ledger is away; the next call does it.
        """
        now, cursor, count = iso(self._context.now()), None, 0
        for _ in range(_PAGES):
            page = await self._context.ledger.entries(JOURNAL, _LOOKED_AT, cursor)
            over = [entry for entry in page.entries if entry.body.get("state") in _UNDECIDED and _is_over(entry, now)]
            for entry in over:
                count += await self._resolve(entry.id)
            cursor = page.next_cursor
            if cursor is None:
                break
        return count

    async def resolve(self, alert_ids: Iterable[str]) -> None:
        """Resolve these, where they stand. Raises LedgerError."""
        for alert_id in alert_ids:
            await self._resolve(alert_id)

    async def _lost(self) -> set[str]:
        now = self._context.now()
        page = await self._context.ledger.entries(JOURNAL, _LOOKED_AT, None, start_at=now - _LOOKED_BACK, end_at=now - LOST_AFTER)
        return {
            entry.id for entry in page.entries if entry.body.get("kind") in HOURLY_KINDS and entry.body.get("state") in _UNDECIDED
        }

    async def _resolve(self, alert_id: str) -> bool:
        """False where it does not stand."""
        entry = await self._context.ledger.entry(JOURNAL, alert_id)
        if entry is None or entry.body.get("state") not in _UNDECIDED:
            return False
        changed = {**entry.body, "state": "resolved", "changed_by": "weighbridge", "changed_at": iso(self._context.now())}
        await self._context.ledger.put_entry(replace(entry, body=changed), replace=True)
        return True


def _is_over(entry: Entry, now: str) -> bool:
    ends_at = entry.body.get("ends_at")
    return isinstance(ends_at, str) and ends_at <= now


def _about(alert_id: str) -> str:
    """The id without its hour."""
    return alert_id.rpartition(":")[0]
