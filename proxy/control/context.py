"""What the resources work on, handed to each through the application; the only state that they share.

`rules` is swapped whole by the overlay keeper; a request reads it once and keeps what it read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from proxy.control.alerts.alert_rules import AlertRules
from proxy.control.attempts import Attempts
from proxy.control.feed import LiveFeed
from proxy.control.kept_answers import KeptAnswers
from proxy.control.workers import WorkersLink
from proxy.errors import LedgerError
from proxy.ledger.ledger import Ledger
from proxy.records import UsageRecord
from proxy.rules import Rules
from proxy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from proxy.control.oidc import SignIn


async def _nothing_to_refresh() -> None:
    """Where no overlay keeper runs (tests of single resources)."""


@dataclass
class Context:
    """The house as the API sees it."""

    ledger: Ledger
    rules: Rules
    workers: WorkersLink
    metrics: Metrics
    clock: Callable[[], float]
    """Unix seconds."""
    version: str = "0"
    feed: LiveFeed = field(default_factory=LiveFeed)
    admin_key_sha256: tuple[str, ...] = ()
    """Digests of the keys that may do everything: the environment's, else the one made at the first start."""
    is_admin_key_given: bool = True
    """They come from the environment; else the ledger is asked whether they still hold."""
    admin_name: str | None = None
    """What the audit log calls whoever has such a key, beside `admin`."""
    sign_in: SignIn | None = None
    """Sign-in with an identity provider, where one is configured."""
    refresh: Callable[[], Awaitable[None]] = _nothing_to_refresh
    """Brings keys, overrides and stops from the ledger into force at once (`overlay.OverlayKeeper.refresh`)."""
    drain_stats: Callable[[], Mapping[str, object]] = dict
    """The drain's own figures (`spool.drain.DrainStats` as a mapping)."""
    config_mistakes: Callable[[], list[str]] = list
    """Why the files on disk are not in force; empty where they are."""

    alert_rules: AlertRules = field(default_factory=AlertRules)
    """alerts.yaml; swapped whole, as `rules`."""
    wide_tables: set[tuple[str, ...]] = field(default_factory=set)
    """Groupings with too many combinations for one look (`tables.py`)."""
    kept_answers: KeptAnswers = field(default_factory=KeptAnswers)
    attempts: Attempts = field(default_factory=Attempts)
    """Log-ins that went wrong lately, on this replica."""

    _session: aiohttp.ClientSession | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.feed.on_drop = self.metrics.live_dropped.inc

    async def append(self, records: Sequence[UsageRecord]) -> list[UsageRecord]:
        """`Ledger.append`, with its time and failures counted, and each record told when it came; what the drain is given.

        Raises:
            LedgerError: as the ledger.
        """
        began = monotonic()
        mark_recorded(records, self.clock())
        try:
            new = await self.ledger.append(records)
        except LedgerError:
            self.metrics.ledger_failures.inc()
            raise
        self.metrics.committed(len(records), len(new), monotonic() - began)
        return new

    def announce(self, records: Sequence[UsageRecord]) -> None:
        """Records that are new in the ledger: count them, show them to viewers and listeners."""
        self.metrics.observe(records)
        self.feed.publish(records)

    def http(self) -> aiohttp.ClientSession:
        """The session of calls that go out (alerts); made at the first one."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession()
        return self._session

    async def close(self) -> None:
        """Let go of what the context opened itself; the ledger is its opener's to close. Idempotent."""
        if self._session is not None:
            await self._session.close()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)


def context_of(request: web.Request) -> Context:
    return request.app[CONTEXT]


def mark_recorded(records: Sequence[UsageRecord], now: float) -> None:
    """Say in each record's timings when it goes into the ledger: milliseconds after its request arrived, as the other marks.

    By the clocks of two processes, the worker's and this one's: never before the last mark, should they differ.
    """
    for record in records:
        if record.timings:
            try:
                since = (now - datetime.fromisoformat(record.started_at).timestamp()) * 1000
                record.timings["recorded"] = round(max(since, record.timings.get("settled", 0.0)), 3)
            except (AttributeError, TypeError, ValueError):
                continue  # a damaged record: the ledger refuses it, and the drain sets it aside with the reason
