"""Deliveries: alerts on their way to destinations; tried again, and kept as dead letters where they do not arrive.

A delivery stands in the journal from its first alert on, with the time of its next step. One whose step is long overdue
has lost its process, and is taken up by whichever replica claims it first; the receiver may then see it twice, under the
same delivery id. Alerts are never on a call's way: what is slow here waits here.
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
CLAIMS = "delivery_claim"
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0)
"""Waits between tries; after the last one a delivery is a dead letter."""
OVERDUE_SECONDS = 60.0
"""A step this late has lost its process."""
QUIET_STEP_SECONDS = 30.0
"""How often a group that waits for the end of quiet hours says that its process lives; well below OVERDUE_SECONDS."""
SCANNED = 200
"""Newest deliveries that are looked through for lost ones."""
MAX_WAITING = 1000
"""Alerts held for one destination; more are dropped, loudly."""

_log = structlog.get_logger("control.alerts.delivery")


@dataclass
class _Group:
    """Alerts that go out together."""

    id: str
    due_at: float
    alerts: list[Alert] = field(default_factory=list)


class Deliveries:
    """Collects alerts per destination and sends them off in groups."""

    def __init__(self, context: Context, tasks: Tasks, retry_seconds: Sequence[float] = RETRY_SECONDS) -> None:
        self._context = context
        self._tasks = tasks
        self._retry_seconds = tuple(retry_seconds)
        self._groups: dict[str, _Group] = {}
        self._on_their_way: set[str] = set()

    async def destinations(self) -> list[Destination]:
        """Those of alerts.yaml, and those made through the API whose names are not taken there."""
        configured = self._context.alert_rules.destinations
        names = {destination.name for destination in configured}
        made = read_destinations(await self._context.ledger.setting(SETTING))
        return [*configured, *(destination for destination in made if destination.name not in names)]

    async def hand_over(self, alerts: Sequence[Alert]) -> None:
        """Alerts that were raised just now, to whoever wants to hear of them."""
        if not alerts:
            return
        now = self._context.clock()
        for destination in await self.destinations():
            wanted = [alert for alert in alerts if wants(destination, alert)]
            if not wanted:
                continue
            group = self._groups.get(destination.name)
            if group is None:
                group = self._groups[destination.name] = _Group(make_uuid7(now), now + destination.group_seconds)
            room = MAX_WAITING - len(group.alerts)
            if len(wanted) > room:
                _log.error("alerts dropped", destination=destination.name, count=len(wanted) - room)
            group.alerts += wanted[:room]
            if any(alert.severity == "critical" for alert in wanted):
                group.due_at = min(group.due_at, now + destination.group_seconds)
            await self._note(group.id, destination, group.alerts, "pending", 0, None, group.due_at)

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
            elif now >= group.due_at:
                await self._send_group(destination, group, now)

    async def _send_group(self, destination: Destination, group: _Group, now: float) -> None:
        """In quiet hours only what is critical goes, as a delivery of its own; the rest waits."""
        if not is_quiet(destination, datetime.fromtimestamp(now, UTC)):
            del self._groups[destination.name]
            await self._start(group.id, destination, group.alerts)
            return
        urgent = [alert for alert in group.alerts if alert.severity == "critical"]
        group.alerts = [alert for alert in group.alerts if alert.severity != "critical"]
        if urgent:
            await self._start(make_uuid7(now), destination, urgent)
        if not group.alerts:
            del self._groups[destination.name]
            return
        group.due_at = now + QUIET_STEP_SECONDS
        await self._note(group.id, destination, group.alerts, "pending", 0, None, group.due_at)

    async def resume(self) -> int:
        """Take up deliveries whose process is gone; how many."""
        page = await self._context.ledger.entries(JOURNAL, SCANNED, None)
        known = {destination.name: destination for destination in await self.destinations()}
        count = 0
        own = self._on_their_way.union(group.id for group in self._groups.values())  # a machine may have slept, and be late itself
        for entry in page.entries:
            destination, due_at = known.get(str(entry.body.get("destination"))), entry.body.get("due_at")
            if entry.id in own or entry.body.get("state") != "pending":
                continue
            if destination is None or not isinstance(due_at, (int, float)):
                continue
            if due_at + OVERDUE_SECONDS < self._context.clock() and await self._claim(entry, due_at):
                await self._start(entry.id, destination, alerts_in(entry))
                count += 1
        return count

    async def _claim(self, entry: Entry, due_at: float) -> bool:
        """Of several replicas that see a lost delivery, exactly one gets True."""
        claim = Entry(CLAIMS, f"{entry.id}:{due_at:.0f}", iso(self._context.now()), {})
        return await self._context.ledger.put_entry(claim)

    async def _start(self, delivery_id: str, destination: Destination, alerts: Sequence[Alert]) -> None:
        now = self._context.clock()
        await self._note(delivery_id, destination, alerts, "pending", 0, None, now)
        self._on_their_way.add(delivery_id)
        task = self._tasks.start(self._deliver(delivery_id, destination, alerts), name="alert-delivery")
        task.add_done_callback(lambda _: self._on_their_way.discard(delivery_id))

    async def _deliver(self, delivery_id: str, destination: Destination, alerts: Sequence[Alert]) -> None:
        for attempts, wait in enumerate((*self._retry_seconds, None), start=1):
            try:
                await send(self._context.http(), destination, delivery_id, alerts, self._context.clock())
            except DeliveryFailed as failure:
                reason, is_over = str(failure), failure.is_final or wait is None
            else:
                self._context.metrics.deliveries.labels(destination.channel, "sent").inc()
                await self._note(delivery_id, destination, alerts, "sent", attempts, None, None)
                return
            self._context.metrics.deliveries.labels(destination.channel, "failed").inc()
            _log.warning("alert not delivered", destination=destination.name, attempt=attempts, reason=reason, is_over=is_over)
            due_at = None if is_over or wait is None else self._context.clock() + wait
            await self._note(delivery_id, destination, alerts, "dead" if is_over else "pending", attempts, reason, due_at)
            if is_over or wait is None:
                return
            await asyncio.sleep(wait)

    async def _note(
        self,
        delivery_id: str,
        destination: Destination,
        alerts: Sequence[Alert],
        state: str,
        attempts: int,
        error: str | None,
        due_at: float | None,
    ) -> None:
        body: dict[str, object] = {
            "destination": destination.name,
            "channel": destination.channel,
            "state": state,
            "attempts": attempts,
            "error": error,
            "due_at": due_at,
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
            team=row.get("team"),
            ends_at=row.get("ends_at"),
        )
        for row in (rows if isinstance(rows, list) else [])
    ]
