"""An alert as a value: what happened, to whom, how bad; its id says which window and threshold, so that it is raised once."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.config.alert_words import KINDS, SEVERITIES
from proxy.ledger.ledger import Entry

__all__ = ["JOURNAL", "KINDS", "SEVERITIES", "STATES", "Alert"]

JOURNAL = "alert"
STATES = ("open", "acknowledged", "dismissed", "resolved")
"""Resolved: what it was about is over, and nobody had to say so."""


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
    team: str | None = None
    """Whose it is, where it is a team's, or the team of its user."""

    ends_at: str | None = None
    """When it is over in any case (its window ends, the next hour has an alert of its own); None: somebody must say so."""

    def as_entry(self) -> Entry:
        body: dict[str, object] = {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "text": self.text,
            "user": self.user,
            "team": self.team,
            "state": "open",
            "facts": self.facts,
            "ends_at": self.ends_at,
        }
        return Entry(JOURNAL, self.id, self.at, body)
