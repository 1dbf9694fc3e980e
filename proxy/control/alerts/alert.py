"""An alert as a value: what happened, to whom, how bad; its id says which window and threshold, so that it is raised once."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.ledger.ledger import Entry

JOURNAL = "alert"
KINDS = (
    "daily",
    "monthly",
    "burst",
    "cost",
    "budget",
    "anomaly",
    "unpriced_model",
    "usage_missing",
    "ledger_behind",
    "store_away",
    "provider_failing",
    "config_refused",
)
STATES = ("open", "acknowledged", "dismissed")
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing worth telling."""

    id: str
    """Deterministic, e.g. `daily:users.alice.tokens.per_day:2026-11-21:0.8`: the ledger keeps the first of its name."""
    kind: str
    severity: str
    at: str
    title: str
    text: str
    user: str | None = None
    """Whose it is; None: the house's own, shown to the admin only."""
    facts: dict[str, object] = field(default_factory=dict)

    def as_entry(self) -> Entry:
        body: dict[str, object] = {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "text": self.text,
            "user": self.user,
            "state": "open",
            "facts": self.facts,
        }
        return Entry(JOURNAL, self.id, self.at, body)
