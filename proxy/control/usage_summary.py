"""GET usage/summary: totals, averages and shares over a period, by whatever names are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from aiohttp import web

from proxy.control.context import Context, context_of
from proxy.control.figures import add_up, averages, growth, shares, totals
from proxy.control.filters import FILTERS, GROUP_BY, group_as_json, ledger_groups, read_request
from proxy.control.parameters import Flag, Integer
from proxy.control.periods import FIRST, PERIOD, Period, iso
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.ledger.ledger import GroupSums, RecordFilter, Sums

_LIMIT = Integer("limit", "Groups at most, largest cost first.", 1000, minimum=1, maximum=10_000)
_COMPARE = Flag("compare", "Also the totals of the period of equal length before, as `previous`.")
_KNOWN = (*PERIOD, *FILTERS, GROUP_BY, _LIMIT, _COMPARE)


async def summarise(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    names = ledger_groups(values["group_by"])
    whole, rows = await asyncio.gather(total_of(context, which), _groups_of(context, which, names, values["limit"]))
    answer: dict[str, object] = {
        **period.as_json(),
        "group_by": list(values["group_by"]),
        "totals": totals(whole),
        "averages": averages(whole),
    }
    if names:
        answer["groups"] = shown_groups(rows, whole)
    if values["compare"]:
        answer["previous"] = await previous_totals(context, which, period, whole)
    return json_reply(answer)


async def _groups_of(context: Context, which: RecordFilter, names: tuple[str, ...], limit: int) -> list[GroupSums]:
    return await context.ledger.sums(which, names, limit) if names else []


async def total_of(context: Context, which: RecordFilter) -> Sums:
    """One sum over everything that the filter lets through."""
    return add_up(row.sums for row in await context.ledger.sums(which))


async def grouped(
    context: Context, which: RecordFilter, names: tuple[str, ...], limit: int, whole: Sums
) -> list[dict[str, object]]:
    """One row per group: its names, totals, averages, and its share of the whole."""
    return shown_groups(await context.ledger.sums(which, ledger_groups(names), limit), whole)


def shown_groups(rows: Iterable[GroupSums], whole: Sums) -> list[dict[str, object]]:
    """Rows of sums as the API shows them."""
    return [
        {**group_as_json(row.group), **totals(row.sums), "averages": averages(row.sums), "share": shares(row.sums, whole)}
        for row in rows
    ]


async def previous_totals(context: Context, which: RecordFilter, period: Period, whole: Sums) -> dict[str, object] | None:
    """Totals of the period of equal length that ends where this one begins, and growth since; None where there is none such."""
    end_at = period.end_at or context.now()
    if period.start_at is None or period.start_at >= end_at:
        return None
    length = end_at - period.start_at
    if length > period.start_at - FIRST:
        return None
    before = period.start_at - length
    sums = await total_of(context, replace(which, start_at=before, end_at=period.start_at))
    return {"from": iso(before), "to": iso(period.start_at), "totals": totals(sums), "growth": growth(whole, sums)}


ROUTES = (Route("GET", "/usage/summary", summarise, "user", "Totals, averages and shares", "Summary", _KNOWN, is_shared=True),)
