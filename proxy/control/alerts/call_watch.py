"""What the stream of records gives away: bursts, failing providers, models without a price, answers without usage.

Plain state, no clock of its own, bounded: counts per minute of the last minutes for at most MAX_SUBJECTS users and
providers. A batch is added up before that state is touched, since this shares a core with the calls on a small machine:
0.3 µs a record. The same thing is told once an hour (bursts, failures) or once a day (prices, usage): the ids see to it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
_NOT_ASKED = ("denied", "proxy_error")
"""Outcomes of calls that no provider saw."""


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
class _Outcomes:
    """One provider's part of a batch."""

    calls: int = 0
    failed: int = 0
    last: UsageRecord | None = None
    """The last one that failed."""


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
        users: Counter[str] = Counter()
        providers: dict[str, _Outcomes] = {}
        odd: dict[tuple[str, str, str], UsageRecord] = {}
        for record in records:
            if record.cost_usd is None and record.total_tokens:
                odd["unpriced", record.provider, record.response_model or record.request_model or "unknown"] = record
            if record.usage_source == "tracked":
                continue
            users[record.user] += 1
            outcome = record.outcome
            if outcome in _NOT_ASKED:
                continue
            tally = providers.get(record.provider)
            if tally is None:
                tally = providers[record.provider] = _Outcomes()
            tally.calls += 1
            if outcome == "ok":
                if record.usage_details and record.usage_details.get("usage_missing"):
                    odd["missing", record.provider, record.api] = record
            elif is_providers_failure(record):
                tally.failed += 1
                tally.last = record
        minute = int(now.timestamp()) // 60
        found = [self._burst(user, count, minute, now) for user, count in users.items()]
        found += [self._failing(provider, tally, minute, now) for provider, tally in providers.items()]
        found += [_unpriced(key, one, now) if key[0] == "unpriced" else _missing(one, now) for key, one in odd.items()]
        return [alert for alert in found if alert is not None]

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
            ends_at=_end_of(now, "hour"),
        )

    def _failing(self, provider: str, tally: _Outcomes, minute: int, now: datetime) -> Alert | None:
        failures = self._failures.pop(provider, None) or _Failures(minute)
        self._failures[provider] = failures
        _forget_oldest(self._failures)
        failures.move_to(minute)
        failures.calls[-1] += tally.calls
        failures.failed[-1] += tally.failed
        if tally.last is not None:
            failures.last_error = (tally.last.error or f"status {tally.last.status}")[:200]
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
            ends_at=_end_of(now, "hour"),
        )


def is_providers_failure(record: UsageRecord) -> bool:
    """A 4xx is the caller's own mistake, but for the provider's 429."""
    if record.outcome == "upstream_aborted":
        return True
    return record.outcome == "upstream_error" and (record.status >= 500 or record.status in (0, 429))


def _unpriced(key: tuple[str, str, str], record: UsageRecord, now: datetime) -> Alert:
    model = key[2][:100]
    return Alert(
        f"unpriced_model:{record.provider}:{model}:{now:%Y-%m-%d}",
        "unpriced_model",
        "warning",
        iso(now),
        f"{record.provider}/{model} has no price",
        f"Calls to it count no cost: {record.price_source or 'no price'}. Give its price in prices.yaml, then reprice.",
        None,
        {"provider": record.provider, "model": key[2], "reason": record.price_source},
        ends_at=_end_of(now, "day"),
    )


def _missing(record: UsageRecord, now: datetime) -> Alert:
    return Alert(
        f"usage_missing:{record.provider}:{record.api}:{now:%Y-%m-%d}",
        "usage_missing",
        "warning",
        iso(now),
        f"{record.provider} answered {record.api} without usage",
        f"A successful answer should have carried usage and did not, e.g. in {record.id}; its tokens are not counted.",
        None,
        {"provider": record.provider, "api": record.api, "request_id": record.id},
        ends_at=_end_of(now, "day"),
    )


def _end_of(now: datetime, stretch: str) -> str:
    """The end of this hour or day: where it goes on, the next one has an alert of its own."""
    begin = now.replace(minute=0, second=0, microsecond=0)
    return iso(begin + timedelta(hours=1) if stretch == "hour" else begin.replace(hour=0) + timedelta(days=1))


def _forget_oldest(subjects: OrderedDict[str, _Rate] | OrderedDict[str, _Failures]) -> None:
    while len(subjects) > MAX_SUBJECTS:
        subjects.popitem(last=False)
