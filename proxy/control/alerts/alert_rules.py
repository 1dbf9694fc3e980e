"""What alerts.yaml decides, ready for use: the destinations that stand in it, and what makes a day stand out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from proxy.config.alert_words import with_environment
from proxy.control.alerts.destinations import Destination, read_destinations
from proxy.control.spikes import RULES, Rule

_RESOURCES = {"tokens": "total_tokens", "cost_usd": "cost_usd", "requests": "requests"}
SPIKE_GROUPS = ("user", "key", "model")


@dataclass(frozen=True, slots=True)
class AlertRules:
    """alerts.yaml; without one, the product's defaults."""

    destinations: tuple[Destination, ...] = ()
    spikes: tuple[Rule, ...] = RULES
    spike_groups: tuple[str, ...] = SPIKE_GROUPS
    """Whose days are compared, in the API's words."""


def read_alert_rules(document: Mapping[str, Any], environ: Mapping[str, str]) -> AlertRules:
    """
    Args:
        document: alerts.yaml, as it was validated.
        environ: what `${NAME}` stands for.

    Raises:
        MissingVariable: the environment has changed since the document was checked.
    """
    entries = [_in_api_words(with_environment(entry, environ)) for entry in document.get("destinations", [])]
    anomalies: Mapping[str, Any] = document.get("anomalies", {})
    factors = {_RESOURCES[name]: Decimal(anomalies[name]) for name in _RESOURCES if name in anomalies}
    spikes = tuple(replace(rule, factor=factors.get(rule.resource, rule.factor)) for rule in RULES)
    return AlertRules(tuple(read_destinations(entries)), spikes, tuple(anomalies.get("by", SPIKE_GROUPS)))


def _in_api_words(entry: dict[str, Any]) -> dict[str, Any]:
    if "group_seconds" in entry:
        entry["group_seconds"] = round(entry["group_seconds"])
    return entry
