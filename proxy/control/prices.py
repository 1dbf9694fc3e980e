"""GET prices and POST prices/reprice: the table in force; price again what was unknown or wrong."""

from __future__ import annotations

import asyncio
from itertools import islice

from aiohttp import web

from proxy.control.audit import note
from proxy.control.context import context_of
from proxy.control.filters import FILTERS, read_request
from proxy.control.parameters import Flag, Integer, Parameter, read_query
from proxy.control.periods import PERIOD
from proxy.control.replies import ApiError, json_reply
from proxy.control.repricing import Repricing, reprice_all
from proxy.control.routes import Route
from proxy.pricing.entries import PriceEntry
from proxy.rules import Rules

_KNOWN = (
    Parameter("provider", "Only this provider's, by its name in the price list or the configuration."),
    Parameter("model", "Only models whose name holds this text."),
    Integer("limit", "Entries at most.", 1000, minimum=1, maximum=10_000),
    Integer("offset", "Entries to leave out first.", 0, minimum=0, maximum=100_000),
)
_REPRICE_KNOWN = (
    *PERIOD,
    *FILTERS,
    Flag("all", "Also records that have a price already; else only those without."),
    Flag("dry_run", "Only say what would change."),
)


async def list_prices(request: web.Request) -> web.Response:
    context = context_of(request)
    values = read_query(request, _KNOWN)
    rules = context.rules
    # A thousand entries are made up anew: off the loop, so that other requests do not wait for it.
    entries, is_more = await asyncio.to_thread(_page, rules, values["provider"], values["model"], values["offset"], values["limit"])
    return json_reply(
        {
            "source": rules.pricebook.source,
            "unknown_model": rules.unknown_model,
            "prices": [entry.as_dict() for entry in entries],
            "next_offset": values["offset"] + len(entries) if is_more else None,
        }
    )


def _page(rules: Rules, provider: str | None, model: str | None, offset: int, limit: int) -> tuple[list[PriceEntry], bool]:
    configured = rules.providers.get(provider) if provider else None
    names = {provider, configured.price_provider} if configured else {provider}
    wanted = (
        entry
        for entry in rules.pricebook.entries()
        if (provider is None or entry.provider in names) and (model is None or model.lower() in entry.model.lower())
    )
    page = list(islice(wanted, offset, offset + limit + 1))
    return page[:limit], len(page) > limit


async def reprice(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _REPRICE_KNOWN)
    if await request.read() not in (b"", b"{}"):
        raise ApiError(400, "bad_body", "what to reprice is said in the query, e.g. ?dry_run=true; a body is not read")
    details = {"from": period.as_json()["from"], "to": period.as_json()["to"], "all": values["all"], "dry_run": values["dry_run"]}
    await note(request, "reprice", "usage", after=details)
    work = Repricing(context.ledger, context.rules, is_all=values["all"], is_dry_run=values["dry_run"])
    return json_reply(await reprice_all(work, which))


ROUTES = (
    Route("GET", "/prices", list_prices, "user", "The prices in force", "Prices", _KNOWN),
    Route("POST", "/prices/reprice", reprice, "admin", "Price records again by the table in force", "Repriced", _REPRICE_KNOWN),
)
