"""What the stream of records gives away: bursts, failing providers, models without a price, answers without usage.

Plain state, no clock of its own, bounded: counts per minute of the last minutes for at most MAX_SUBJECTS users and
providers. The same thing is told once an hour (bursts, failures) or once a day (prices, usage): the ids see to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from proxy.control.alerts.alert import Alert
from proxy.control.periods import iso
from proxy.records import UsageRecord

MAX_SUBJECTS = 10_000
MINUTES = 5
"""Width of the window that is looked at."""
BURST_FACTOR = 5.0
BURST_CALLS = 100
"""Fewer calls in the window are no burst, whatever was usual."""
BASELINE_MINUTES = 360.0
"""How far the usual rate reaches back: the weight of a minute halves in about four hours."""
HISTORY_MINUTES = 30
"""Somebody who is new has no usual rate yet."""
FAILING_SHARE = 0.5
FAILING_CALLS = 20


@dataclass(slots=True)
class _Rate:
    first_minute: int
    minute: int
    recent: list[int] = field(default_factory=lambda: [0] * MINUTES)
    usual: float = 0.0
    """Mean per minute, decayed; the recent minutes are not in it."""

    def move_to(self, minute: int) -> None:
        for _ in range(min(minute - self.minute, 10 * MINUTES)):
            self.usual += (self.recent.pop(0) - self.usual) / min(BASELINE_MINUTES, max(1, self.minute - self.first_minute + 1))
            self.recent.append(0)
            self.minute += 1
        if minute > self.minute:  # long silent: what was usual has faded
            self.usual *= 0.5 ** ((minute - self.minute) / (BASELINE_MINUTES * 0.7))
            self.minute = minute


@dataclass(slots=True)
class _Failures:
    minute: int
    calls: list[int] = field(default_factory=lambda: [0] * MINUTES)
    failed: list[int] = field(default_factory=lambda: [0] * MINUTES)
    last_error: str = ""

    def move_to(self, minute: int) -> None:
        for _ in range(min(max(0, minute - self.minute), MINUTES)):
            for counts in (self.calls, self.failed):
                counts.pop(0)
                counts.append(0)
        self.minute = max(minute, self.minute)


class CallWatch:
    """Fed with new records; says which alerts they deserve."""

    def __init__(self) -> None:
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def see(self, records: Iterable[UsageRecord], now: datetime) -> list[Alert]:
        """Count these records as of now; alerts may repeat, their ids do not."""
        minute = int(now.timestamp()) // 60
        users: dict[str, int] = {}
        providers: set[str] = set()
        alerts: dict[str, Alert] = {}
        for record in records:
            if record.usage_source != "tracked":
                users[record.user] = users.get(record.user, 0) + 1
                self._count_outcome(record, minute)
                providers.add(record.provider)
            for alert in _of_record(record, now):
                alerts.setdefault(alert.id, alert)
        found = [self._burst(user, count, minute, now) for user, count in users.items()]
        found += [self._failing(provider, now) for provider in providers]
        return [*alerts.values(), *(alert for alert in found if alert is not None)]

    def _burst(self, user: str, count: int, minute: int, now: datetime) -> Alert | None:
        rate = self._rates.pop(user, None) or _Rate(minute, minute)
        self._rates[user] = rate
        _forget_oldest(self._rates)
        rate.move_to(minute)
        rate.recent[-1] += count
        calls, usual = sum(rate.recent), rate.usual * MINUTES
        is_known = rate.minute - rate.first_minute >= HISTORY_MINUTES
        if not is_known or calls < BURST_CALLS or calls < BURST_FACTOR * usual:
            return None
        return Alert(
            f"burst:{user}:{now:%Y-%m-%dT%H}",
            "burst",
            "warning",
            iso(now),
            f"{user} makes unusually many calls",
            f"{calls} calls in the last {MINUTES} minutes; {usual:.1f} are usual.",
            user,
            {"calls": calls, "usual": round(usual, 2), "minutes": MINUTES},
        )

    def _count_outcome(self, record: UsageRecord, minute: int) -> None:
        if record.outcome in ("denied", "proxy_error"):
            return  # the provider was not asked
        failures = self._failures.pop(record.provider, None) or _Failures(minute)
        self._failures[record.provider] = failures
        _forget_oldest(self._failures)
        failures.move_to(minute)
        failures.calls[-1] += 1
        # A 4xx is the caller's own mistake, but for the provider's 429.
        is_failed = record.outcome == "upstream_aborted" or (
            record.outcome == "upstream_error" and (record.status >= 500 or record.status in (0, 429))
        )
        if is_failed:
            failures.failed[-1] += 1
            failures.last_error = (record.error or f"status {record.status}")[:200]

    def _failing(self, provider: str, now: datetime) -> Alert | None:
        failures = self._failures.get(provider)
        if failures is None:
            return None
        calls, failed = sum(failures.calls), sum(failures.failed)
        if calls < FAILING_CALLS or failed < FAILING_SHARE * calls:
            return None
        return Alert(
            f"provider_failing:{provider}:{now:%Y-%m-%dT%H}",
            "provider_failing",
            "critical",
            iso(now),
            f"{provider} fails {failed / calls:.0%} of calls",
            f"{failed} of {calls} calls in the last {MINUTES} minutes failed; the last one: {failures.last_error}",
            None,
            {"provider": provider, "calls": calls, "failed": failed, "minutes": MINUTES},
        )


def _of_record(record: UsageRecord, now: datetime) -> list[Alert]:
    found = []
    model = record.response_model or record.request_model or "unknown"
    day = f"{now:%Y-%m-%d}"
    if record.total_tokens and record.cost_usd is None:
        facts: dict[str, object] = {"provider": record.provider, "model": model, "reason": record.price_source}
        text = f"Calls to it count no cost: {record.price_source or 'no price'}. Give its price in prices.yaml, then reprice."
        title = f"{record.provider}/{model[:100]} has no price"
        found.append(
            Alert(
                f"unpriced_model:{record.provider}:{model[:100]}:{day}",
                "unpriced_model",
                "warning",
                iso(now),
                title,
                text,
                None,
                facts,
            )
        )
    if record.usage_details and record.usage_details.get("usage_missing"):
        title = f"{record.provider} answered {record.api} without usage"
        text = f"A successful answer should have carried usage and did not, e.g. in {record.id}; its tokens are not counted."
        facts = {"provider": record.provider, "api": record.api, "request_id": record.id}
        found.append(
            Alert(
                f"usage_missing:{record.provider}:{record.api}:{day}",
                "usage_missing",
                "warning",
                iso(now),
                title,
                text,
                None,
                facts,
            )
        )
    return found


def _forget_oldest(subjects: OrderedDict[str, _Rate] | OrderedDict[str, _Failures]) -> None:
    while len(subjects) > MAX_SUBJECTS:
        subjects.popitem(last=False)
