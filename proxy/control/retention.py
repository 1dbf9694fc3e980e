"""Retention: once a day, what is older than `server.yaml` keeps goes out of the ledger; sums stay, and the audit log says so.

Of several replicas one does it: the one whose audit line for the day is new (`put_entry` inserts once). Like every change it is
written down before it is made, and again with its end. Where the ledger is away in the middle, the same replica goes on later.

Not here: how records are deleted (the ledgers: whole months by dropping partitions, small steps in SQLite).
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from proxy.control.alerts.alert import JOURNAL as ALERTS
from proxy.control.alerts.delivery import CLAIMS
from proxy.control.alerts.delivery import JOURNAL as DELIVERIES
from proxy.control.audit import KIND as AUDIT
from proxy.control.context import Context
from proxy.control.periods import iso
from proxy.errors import LedgerError
from proxy.ledger.ledger import Entry

LOOK_SECONDS = 60.0
LONGEST_DAYS = 36_500
"""A century, so that the instant before is one."""
_JOURNALS = {"audit": (AUDIT,), "alerts": (ALERTS,), "deliveries": (DELIVERIES, CLAIMS)}

_log = structlog.get_logger("control.retention")


class Retention:
    """One per control process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked_on = ""
        self._owed: Entry | None = None
        """The day's line, where this replica has the task and has not ended it."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.tick()

    async def tick(self) -> None:
        """Do what is due; never raises for a ledger that is away."""
        try:
            await self._claim()
            if self._owed is not None:
                await self._forget(self._owed)
                self._owed = None
        except LedgerError as failure:
            _log.warning("retention waits for the ledger", reason=str(failure))

    async def _claim(self) -> None:
        now = self._context.now()
        day = f"{now:%Y-%m-%d}"
        oldest = self._oldest(now)
        if not oldest or day == self._looked_on:
            return
        after = {name: iso(at) for name, at in oldest.items()}
        body: dict[str, object] = {
            "by": "retention", "action": "forget old data", "subject": "ledger", "address": None, "after": after
        }  # fmt: skip
        line = Entry(AUDIT, f"retention-{day}", iso(now), body)
        if await self._context.ledger.put_entry(line):
            self._owed = line
        self._looked_on = day

    async def _forget(self, line: Entry) -> None:
        ledger, oldest = self._context.ledger, self._oldest(datetime.fromisoformat(line.at))
        if "records" in oldest:
            await ledger.forget_before(oldest["records"])
        if "sessions" in oldest:
            await ledger.forget_sessions_before(oldest["sessions"])
        for name, journals in _JOURNALS.items():
            for journal in journals if name in oldest else ():
                await ledger.delete_entries(journal, oldest[name])
        ended = {**line.body, "ended_at": iso(self._context.now())}
        await ledger.put_entry(Entry(line.kind, line.id, line.at, ended), replace=True)
        _log.info("old data forgotten", **{name: iso(at) for name, at in oldest.items()})

    def _oldest(self, now: datetime) -> dict[str, datetime]:
        """What has a limit of age, and the instant before which it goes."""
        settings = self._context.rules.settings
        days = {
            "records": settings.keep_records_days,
            "sessions": settings.keep_sessions_days,
            "audit": settings.keep_audit_days,
            "alerts": settings.keep_alerts_days,
            "deliveries": settings.keep_deliveries_days,
        }
        return {name: now - timedelta(days=min(count, LONGEST_DAYS)) for name, count in days.items() if count}
