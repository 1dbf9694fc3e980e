"""Alerts about a state of the house (the ledger is behind, the store is away …) resolve by themselves when the state is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from proxy.control.alerts.alert import JOURNAL, Alert
from proxy.control.context import Context
from proxy.control.periods import iso

HOURLY_KINDS = ("ledger_behind", "store_away")
"""As long as these stand, somebody raises one every hour."""
LOST_AFTER = timedelta(hours=2)
"""An hourly alert this old that still stands belongs to a process that is gone."""
_LOOKED_BACK = timedelta(days=7)
_LOOKED_AT = 500
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

    async def _lost(self) -> set[str]:
        now = self._context.now()
        page = await self._context.ledger.entries(JOURNAL, _LOOKED_AT, None, start_at=now - _LOOKED_BACK, end_at=now - LOST_AFTER)
        return {
            entry.id for entry in page.entries if entry.body.get("kind") in HOURLY_KINDS and entry.body.get("state") in _UNDECIDED
        }

    async def _resolve(self, alert_id: str) -> None:
        entry = await self._context.ledger.entry(JOURNAL, alert_id)
        if entry is None or entry.body.get("state") not in _UNDECIDED:
            return
        changed = {**entry.body, "state": "resolved", "changed_by": "weighbridge", "changed_at": iso(self._context.now())}
        await self._context.ledger.put_entry(replace(entry, body=changed), replace=True)


def _about(alert_id: str) -> str:
    """The id without its hour."""
    return alert_id.rpartition(":")[0]
