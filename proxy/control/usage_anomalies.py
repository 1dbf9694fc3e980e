"""GET usage/anomalies: days that stand out against the week before, by user or whatever is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.figures import money
from proxy.control.filters import FILTERS, GROUP_NAMES, group_as_json, ledger_groups, read_request
from proxy.control.parameters import Choices, Multiple
from proxy.control.periods import FROM, TIMEZONE, TO, RangeParameter, midnight
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.spikes import BASELINE_DAYS, Rule, Spike, find_spikes
from proxy.ledger.ledger import Sums

MAX_DAYS = 366
_RANGE = RangeParameter("range", "Days to look at, back from now.", "week")
_GROUP_BY = Choices("group_by", "Whose days are compared with whose.", ("user",), choices=GROUP_NAMES, at_most=2)
_FACTORS = tuple(
    Multiple(f"{word}_factor", f"From how many times the mean on {what} stand out; as alerts.yaml has it where not given.")
    for word, what in (("tokens", "tokens"), ("cost", "costs"), ("requests", "calls"))
)
_KNOWN = (_RANGE, FROM, TO, TIMEZONE, *FILTERS, _GROUP_BY, *_FACTORS)
_FACTOR_OF = {"total_tokens": "tokens_factor", "cost_usd": "cost_factor", "requests": "requests_factor"}


async def find(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    end_at = min(period.end_at or context.now(), context.now())
    days = _days(period.start_at, end_at, period.zone)
    found: list[dict[str, object]] = []
    rules = _rules(context.alert_rules.spikes, values)
    if days:
        since = midnight(end_at, period.zone, -(len(days) + BASELINE_DAYS))
        points = await context.ledger.timeseries(
            replace(which, start_at=since, end_at=end_at), "day", period.zone.key, ledger_groups(values["group_by"])
        )
        by_group: dict[tuple[tuple[str, str | None], ...], dict[date, Sums]] = defaultdict(dict)
        for point in points:
            by_group[tuple(group_as_json(point.group).items())][point.start_at.astimezone(period.zone).date()] = point.sums
        found = [
            {**dict(group), **_as_json(spike)} for group, by_day in by_group.items() for spike in find_spikes(by_day, days, rules)
        ]
    found.sort(key=lambda row: (str(row["day"]), float(str(row["factor"]))), reverse=True)
    shown = [
        {"resource": rule.resource, "factor": float(rule.factor), "floor": _shown(rule.resource, rule.floor)} for rule in rules
    ]
    return json_reply({**period.as_json(), "group_by": list(values["group_by"]), "rules": shown, "anomalies": found})


def _rules(rules: Sequence[Rule], values: Mapping[str, object]) -> list[Rule]:
    """The rules in force, with the factors that were asked for."""
    asked = {rule.resource: values[_FACTOR_OF[rule.resource]] for rule in rules}
    return [rule if (factor := asked[rule.resource]) is None else replace(rule, factor=Decimal(str(factor))) for rule in rules]


def _days(start_at: datetime | None, end_at: datetime, zone: object) -> list[date]:
    last = end_at.astimezone(zone).date()  # type: ignore[arg-type]
    first = last - timedelta(days=MAX_DAYS - 1)
    if start_at is not None:
        first = max(first, start_at.astimezone(zone).date())  # type: ignore[arg-type]
    return [first + timedelta(days=step) for step in range((last - first).days + 1)]


def _as_json(spike: Spike) -> dict[str, object]:
    return {
        "day": spike.day.isoformat(),
        "resource": spike.resource,
        "amount": _shown(spike.resource, spike.amount),
        "average": _shown(spike.resource, spike.average),
        "factor": round(float(spike.factor), 2),
    }


def _shown(resource: str, amount: Decimal) -> str | float:
    return money(amount) if resource == "cost_usd" else round(float(amount), 1)


ROUTES = (Route("GET", "/usage/anomalies", find, "user", "Spikes against the weekly average", "Anomalies", _KNOWN),)
