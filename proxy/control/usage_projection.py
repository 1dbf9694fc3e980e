"""GET usage/projection: what the month will probably cost, in all and by whatever is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.figures import money
from proxy.control.filters import FILTERS, GROUP_NAMES, group_as_json, ledger_groups, read_request
from proxy.control.parameters import Choices
from proxy.control.periods import TIMEZONE, iso, midnight, month_of
from proxy.control.projection import BASIS_DAYS, project
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.ledger.ledger import Point, Sums

_GROUP_BY = Choices("group_by", "Also by this name.", (), choices=GROUP_NAMES, at_most=1)
_KNOWN = (TIMEZONE, *FILTERS, _GROUP_BY)
_RESOURCES = ("cost_usd", "total_tokens", "requests")
_METHOD = "so far, plus the mean of the last 7 full days for each day to come; the band is one standard deviation"


async def forecast(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    now = context.now()
    month_start, month_end = month_of(now, period.zone)
    since = min(month_start, midnight(now, period.zone, -BASIS_DAYS))
    points = await context.ledger.timeseries(
        replace(which, start_at=since, end_at=now), "day", period.zone.key, ledger_groups(values["group_by"])
    )
    by_group: dict[tuple[tuple[str, str | None], ...], list[Point]] = defaultdict(list)
    for point in points:
        by_group[tuple(group_as_json(point.group).items())].append(point)
    month = _Month(now, month_start, month_end, period.zone)
    answer: dict[str, object] = {
        "from": iso(month_start),
        "to": iso(month_end),
        "timezone": period.zone.key,
        "method": _METHOD,
        "days_left": round((month_end - now).total_seconds() / 86_400, 3),
        **month.project(points),
    }
    if values["group_by"]:
        rows = [{**dict(group), **month.project(found)} for group, found in by_group.items()]
        answer["groups"] = sorted(rows, key=_expected_cost, reverse=True)
    return json_reply(answer)


class _Month:
    def __init__(self, now: datetime, start_at: datetime, end_at: datetime, zone: ZoneInfo) -> None:
        self._now, self._start_at, self._end_at, self._zone = now, start_at, end_at, zone
        self._days = [midnight(now, zone, -back) for back in range(BASIS_DAYS, 0, -1)]

    def project(self, points: list[Point]) -> dict[str, object]:
        """Each resource's projection from daily points (of one group, or of all together)."""
        by_day: dict[datetime, list[Sums]] = defaultdict(list)
        for point in points:
            by_day[point.start_at].append(point.sums)
        first_day = min(by_day, default=self._now)
        full_days = [day for day in self._days if day >= first_day - timedelta(hours=1)]
        answer: dict[str, object] = {"basis_days": len(full_days)}
        for resource in _RESOURCES:
            amounts = {day: sum((Decimal(getattr(one, resource)) for one in sums), Decimal(0)) for day, sums in by_day.items()}
            so_far = sum((amount for day, amount in amounts.items() if day >= self._start_at), Decimal(0))
            found = project([amounts.get(day, Decimal(0)) for day in full_days], so_far, self._now, self._end_at)
            answer[resource] = {name: _shown(resource, getattr(found, name)) for name in ("so_far", "expected", "low", "high")}
        return answer


def _shown(resource: str, amount: Decimal) -> str | int:
    return money(amount) if resource == "cost_usd" else int(amount.to_integral_value())


def _expected_cost(row: Mapping[str, object]) -> tuple[Decimal, int]:
    cost, tokens = row["cost_usd"], row["total_tokens"]
    assert isinstance(cost, dict)
    assert isinstance(tokens, dict)
    return Decimal(cost["expected"]), tokens["expected"]


ROUTES = (Route("GET", "/usage/projection", forecast, "user", "Forecast of the month's end", "Projection", _KNOWN, is_shared=True),)
