"""The alert engine: looks at new records, limits, days and the house itself, and raises what is worth telling, once.

Raising is `put_entry` in the ledger's journal: of all replicas and all ticks exactly one gets True for an id, and that one
hands the alert to its deliveries. While the ledger is away nothing is raised; the next tick looks again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal

import structlog

from proxy.control.alerts.alert import Alert
from proxy.control.alerts.call_watch import CallWatch
from proxy.control.alerts.delivery import Deliveries
from proxy.control.alerts.house_alerts import house_alerts
from proxy.control.alerts.limit_alerts import empty_again, limit_alerts
from proxy.control.alerts.standing import Standing
from proxy.control.context import Context
from proxy.control.figures import money
from proxy.control.filters import ledger_groups
from proxy.control.limits import active_users
from proxy.control.people import caller_of_user
from proxy.control.periods import iso, midnight
from proxy.control.spikes import BASELINE_DAYS, Spike, find_spikes
from proxy.errors import LedgerError
from proxy.ledger.ledger import RecordFilter, Sums
from proxy.limits.limit import Limit, LimitStatus
from proxy.records import UsageRecord

TICK_SECONDS = 1.0
LIMITS_EVERY_SECONDS = 10.0
ANOMALIES_EVERY_SECONDS = 600.0
RESUME_EVERY_SECONDS = 60.0
MAX_USERS = 5000
"""Users whose limits are looked at in one round; the rest wait for the next."""
USERS_AT_ONCE = 200
"""Between so many the API and the drain get their turn: some milliseconds."""
MAX_TOLD = 50_000
"""Ids remembered so that the ledger is not asked again for what was raised already."""
MAX_PENDING = 1000
"""Alerts that wait for a ledger that is away."""

_log = structlog.get_logger("control.alerts")


class AlertEngine:
    """One per control process."""

    def __init__(self, context: Context, deliveries: Deliveries) -> None:
        self._context = context
        self._deliveries = deliveries
        self._watch = CallWatch()
        self._pending: dict[str, Alert] = {}
        self._users: dict[str, None] = {}
        self._told: dict[str, None] = {}
        self._standing = Standing(context)
        self._is_ledger_away = False
        self._limits_at = self._anomalies_at = self._resumed_at = float("-inf")

    def see(self, records: Sequence[UsageRecord]) -> None:
        """A listener of `Context.announce`: only notes; the work is done by the tick."""
        for alert in self._watch.see(records, self._context.now()):
            if len(self._pending) < MAX_PENDING:
                self._pending.setdefault(alert.id, alert)
        self._users.update(dict.fromkeys({record.user for record in records}))

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.tick()

    async def tick(self) -> None:
        """One round; never raises for a ledger that is away."""
        try:
            await self._look()
            await self._deliveries.send_due()
            self._is_ledger_away = False
        except LedgerError as failure:
            if not self._is_ledger_away:
                _log.warning("alerts wait for the ledger", reason=str(failure))
            self._is_ledger_away = True

    async def _look(self) -> None:
        now = self._context.clock()
        seen = list(self._pending.values())
        await self.raise_all(seen)
        for alert in seen:  # not clear(): others may have come in the meantime
            self._pending.pop(alert.id, None)
        if now - self._limits_at >= LIMITS_EVERY_SECONDS:
            if self._limits_at == float("-inf"):
                self._users.update(dict.fromkeys(await active_users(self._context)))  # what happened before this start
            standing = await self._of_the_house()
            await self.raise_all([*standing, *await self._of_limits()])
            await self._standing.settle(standing)
            self._limits_at = now
        if now - self._anomalies_at >= ANOMALIES_EVERY_SECONDS:
            await self.raise_all(await self._of_days())
            self._anomalies_at = now
        if now - self._resumed_at >= RESUME_EVERY_SECONDS:
            await self._deliveries.resume()
            await self._standing.settle_over()
            self._resumed_at = now

    async def raise_all(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Raise those that nobody raised before. Returns them."""
        raised = []
        for alert in alerts:
            if alert.id in self._told:
                continue
            if await self._context.ledger.put_entry(alert.as_entry()):
                raised.append(alert)
                self._context.metrics.alerts_raised.labels(alert.kind).inc()
                _log.info("alert", kind=alert.kind, severity=alert.severity, title=alert.title, user=alert.user)
            if len(self._told) >= MAX_TOLD:
                self._told.clear()
            self._told[alert.id] = None
        await self._deliveries.hand_over(raised)
        return raised

    async def _of_the_house(self) -> list[Alert]:
        context = self._context
        workers = await context.workers.stats()
        return house_alerts(context.drain_stats(), workers, context.config_mistakes(), context.now())

    async def _of_limits(self) -> list[Alert]:
        """Limits of the users who called since the last round."""
        users = list(self._users)[:MAX_USERS]
        for user in users:
            del self._users[user]
        context = self._context
        owners: dict[Limit, str] = {}
        statuses: list[LimitStatus] = []
        for start in range(0, len(users), USERS_AT_ONCE):
            fresh: dict[Limit, str] = {}
            for user in users[start : start + USERS_AT_ONCE]:
                for limit in context.rules.resolve_all_limits(caller_of_user(context.rules, user)):
                    if limit not in owners:
                        fresh[limit] = owners[limit] = user
            found = await context.workers.quota(list(fresh))
            if found is None:
                self._users.update(dict.fromkeys(users))  # no worker answers: look again
                return []
            statuses += found
        now, thresholds = context.now(), context.rules.alert_at
        has_room = [alert_id for alert_id in empty_again(statuses, thresholds) if alert_id in self._told]
        await self._standing.resolve(has_room)
        return [
            alert
            for status in statuses
            for user in (owners[status.limit],)
            for alert in limit_alerts([status], thresholds, user, now, caller_of_user(context.rules, user).team)
        ]

    async def _of_days(self) -> list[Alert]:
        """Users, keys, models (or what alerts.yaml says) whose day stands out against their week."""
        found: list[Alert] = []
        for name in self._context.alert_rules.spike_groups:
            found += await self._of_days_by(name)
        return found

    async def _of_days_by(self, name: str) -> list[Alert]:
        context, zone = self._context, self._context.rules.timezone
        now = context.now()
        which = RecordFilter(start_at=midnight(now, zone, -BASELINE_DAYS), end_at=now + timedelta(hours=1))
        (group,) = ledger_groups((name,))
        points = await context.ledger.timeseries(which, "day", zone.key, (group,))
        days: dict[str, dict[date, Sums]] = defaultdict(dict)
        for point in points:
            if point.group[group] is not None:  # calls without a key, without a team: nobody's day
                days[str(point.group[group])][point.start_at.astimezone(zone).date()] = point.sums
        today, rules = now.astimezone(zone).date(), context.alert_rules.spikes
        return [
            self._of_spike(name, subject, spike)
            for subject, by_day in days.items()
            for spike in find_spikes(by_day, [today], rules)
        ]

    def _of_spike(self, name: str, subject: str, spike: Spike) -> Alert:
        amount, average = _shown(spike.resource, spike.amount), _shown(spike.resource, spike.average)
        user = subject if name == "user" else None
        team = caller_of_user(self._context.rules, subject).team if user else subject if name == "team" else None
        whose = subject[:100] if name == "user" else f"{name} {subject[:100]}"
        return Alert(
            f"anomaly:{'' if name == 'user' else name + ':'}{subject}:{spike.resource}:{spike.day}",
            "anomaly",
            "warning",
            iso(self._context.now()),
            f"{whose} uses {spike.factor:.1f} times the usual {spike.resource}",
            f"{amount} today; {average} a day is usual in the week before.",
            user,
            {name: subject, "resource": spike.resource, "day": str(spike.day), "amount": amount, "average": average},
            team,
            iso(midnight(self._context.now(), self._context.rules.timezone, 1)),
        )


def _shown(resource: str, amount: Decimal) -> str:
    return money(amount) if resource == "cost_usd" else f"{amount:.0f}"
