"""Deliveries: alerts on their way to destinations; tried again, and kept as dead letters where they do not arrive.

A delivery stands in the journal before it is first tried, so that one whose process dies is taken up by the next start;
the receiver may then see it twice, under the same delivery id. Alerts are never on a call's way: what is slow here
waits here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from proxy.control.alerts.alert import Alert
from proxy.control.alerts.channels import DeliveryFailed, send
from proxy.control.alerts.destinations import SETTING, Destination, is_quiet, read_destinations, wants
from proxy.control.context import Context
from proxy.control.identifiers import make_uuid7
from proxy.control.periods import iso
from proxy.ledger.ledger import Entry
from proxy.telemetry.tasks import Tasks

JOURNAL = "delivery"
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0)
"""Waits between tries; after the last one a delivery is a dead letter."""
MAX_WAITING = 1000
"""Alerts held for one destination; more are dropped, loudly."""

_log = structlog.get_logger("control.alerts.delivery")


@dataclass
class _Group:
    opened_at: float
    alerts: list[Alert] = field(default_factory=list)


class Deliveries:
    """Collects alerts per destination and sends them off in groups."""

    def __init__(self, context: Context, tasks: Tasks, retry_seconds: Sequence[float] = RETRY_SECONDS) -> None:
        self._context = context
        self._tasks = tasks
        self._retry_seconds = tuple(retry_seconds)
        self._groups: dict[str, _Group] = {}

    async def destinations(self) -> list[Destination]:
        return read_destinations(await self._context.ledger.setting(SETTING))

    async def hand_over(self, alerts: Sequence[Alert]) -> None:
        """Alerts that were raised just now, to whoever wants to hear of them."""
        if not alerts:
            return
        for destination in await self.destinations():
            wanted = [alert for alert in alerts if wants(destination, alert)]
            if wanted:
                group = self._groups.setdefault(destination.name, _Group(self._context.clock()))
                room = MAX_WAITING - len(group.alerts)
                if len(wanted) > room:
                    _log.error("alerts dropped", destination=destination.name, count=len(wanted) - room)
                group.alerts += wanted[:room]

    async def send_due(self) -> None:
        """Send the groups whose time has come; called every second or so."""
        if not self._groups:
            return
        now = self._context.clock()
        known = {destination.name: destination for destination in await self.destinations()}
        for name, group in list(self._groups.items()):
            destination = known.get(name)
            if destination is None:
                del self._groups[name]  # it was taken away while these waited
                continue
            if now - group.opened_at < destination.group_seconds:
                continue
            quiet = is_quiet(destination, datetime.fromtimestamp(now, UTC))
            due = [alert for alert in group.alerts if not quiet or alert.severity == "critical"]
            group.alerts = [alert for alert in group.alerts if alert not in due]
            if not group.alerts:
                del self._groups[name]
            if due:
                await self.start(destination, due)

    async def start(self, destination: Destination, alerts: Sequence[Alert], delivery_id: str | None = None) -> str:
        """Write a delivery down and begin to try. Returns its id."""
        delivery_id = delivery_id or make_uuid7(self._context.clock())
        await self._note(delivery_id, destination, alerts, "pending", 0, None)
        self._tasks.start(self._deliver(delivery_id, destination, alerts), name="alert-delivery")
        return delivery_id

    async def resume(self) -> int:
        """Take up deliveries that an earlier process left unfinished; how many."""
        page = await self._context.ledger.entries(JOURNAL, 1000, None)
        known = {destination.name: destination for destination in await self.destinations()}
        count = 0
        for entry in page.entries:
            destination = known.get(str(entry.body.get("destination")))
            if entry.body.get("state") == "pending" and destination is not None:
                await self.start(destination, alerts_in(entry), entry.id)
                count += 1
        return count

    async def _deliver(self, delivery_id: str, destination: Destination, alerts: Sequence[Alert]) -> None:
        for attempts, wait in enumerate((*self._retry_seconds, None), start=1):
            try:
                await send(self._context.http(), destination, delivery_id, alerts, self._context.clock())
            except DeliveryFailed as failure:
                reason, is_over = str(failure), failure.is_final or wait is None
            else:
                self._context.metrics.deliveries.labels(destination.channel, "sent").inc()
                await self._note(delivery_id, destination, alerts, "sent", attempts, None)
                return
            self._context.metrics.deliveries.labels(destination.channel, "failed").inc()
            _log.warning("alert not delivered", destination=destination.name, attempt=attempts, reason=reason, is_over=is_over)
            await self._note(delivery_id, destination, alerts, "dead" if is_over else "pending", attempts, reason)
            if is_over or wait is None:
                return
            await asyncio.sleep(wait)

    async def _note(
        self, delivery_id: str, destination: Destination, alerts: Sequence[Alert], state: str, attempts: int, error: str | None
    ) -> None:
        body: dict[str, object] = {
            "destination": destination.name,
            "channel": destination.channel,
            "state": state,
            "attempts": attempts,
            "error": error,
            "alerts": [{"id": alert.id, "at": alert.at, **alert.as_entry().body} for alert in alerts],
        }
        await self._context.ledger.put_entry(Entry(JOURNAL, delivery_id, iso(self._context.now()), body), replace=True)


def alerts_in(entry: Entry) -> list[Alert]:
    """The alerts of a delivery that was written down."""
    rows = entry.body.get("alerts")
    return [
        Alert(
            id=str(row["id"]),
            kind=str(row["kind"]),
            severity=str(row["severity"]),
            at=str(row["at"]),
            title=str(row["title"]),
            text=str(row["text"]),
            user=row.get("user"),
            facts=row.get("facts") or {},
        )
        for row in (rows if isinstance(rows, list) else [])
    ]
