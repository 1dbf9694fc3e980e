"""GET recommendations: the same traffic on other models; unused cache discounts; tiers too large; waste, and what it cost."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal

from aiohttp import web

from proxy.control.abilities import WELL_KNOWN, ability_class
from proxy.control.context import Context, context_of
from proxy.control.figures import money
from proxy.control.filters import FILTERS, read_request
from proxy.control.parameters import Parameter
from proxy.control.people import caller_of_user, describe_limit
from proxy.control.periods import PERIOD
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.savings import Alternative, Price, cache_use, cheaper_models, paid_failures, waste
from proxy.control.under_tier import by_user, roomy_limits
from proxy.ledger.ledger import GroupSums, RecordFilter, Sums
from proxy.limits.limit import NANO_USD
from proxy.rules import Rules
from proxy.usage.tokens import Exactness, Reading, TokenUsage

MAX_MODELS = 50
MAX_ROWS = 1000
TIER_DAYS = 30
_CANDIDATES = Parameter(
    "models",
    "Models to compare with, `provider/model` separated by commas; where not given those of the same ability class that are in use "
    "or well known.",
)
_KNOWN = (*PERIOD, *FILTERS, _CANDIDATES)
_NOTE = "Prices only: whether another model does the work as well is not known here."


async def recommend(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    rows, by_outcome, roomy = await asyncio.gather(
        context.ledger.sums(which, ("provider", "model"), MAX_MODELS),
        context.ledger.sums(which, ("provider", "model", "outcome"), MAX_ROWS),
        _under_tier(context, which, period.zone.key),
    )
    candidates = _candidates(values["models"], rows, context.rules)
    price = _price_at(context.rules, context.now())
    is_asked = values["models"] is not None
    # Some thousand prices: off the loop, so that other requests do not wait for it.
    cheaper = await asyncio.to_thread(cheaper_models, rows, candidates, price, is_free_told=is_asked, is_class_kept=not is_asked)
    return json_reply(
        {
            **period.as_json(),
            "note": _NOTE,
            "models": [_as_json(one) for one in cheaper],
            "cache": cache_use(rows, price),
            "waste": waste(rows),
            "paid_failures": paid_failures(by_outcome),
            "under_tier": roomy,
        }
    )


async def _under_tier(context: Context, which: RecordFilter, zone: str) -> list[dict[str, object]]:
    """Users who have a tier and stayed far under all of its limits, in the last 30 days whatever the period."""
    now, rules = context.now(), context.rules
    recent = RecordFilter(start_at=now - timedelta(days=TIER_DAYS), end_at=now, user=which.user, team=which.team)
    points = await context.ledger.timeseries(recent, "day", zone, ("user",))
    found: list[dict[str, object]] = []
    for user, days in by_user([(point.group["user"], point.sums) for point in points]).items():
        caller = caller_of_user(rules, user)
        if caller.tier is None:
            continue
        for one in roomy_limits(days, rules.resolve_all_limits(caller)):
            shown = describe_limit(one.limit, None)
            highest = money(one.highest / NANO_USD) if one.limit.resource == "cost_usd" else int(one.highest)
            row = {"user": user, "tier": caller.tier, "limit": one.limit.name, "amount": shown["amount"]}
            found.append({**row, "highest": highest, "share": one.share})
    return sorted(found, key=lambda row: float(str(row["share"])))[:MAX_ROWS]


def _candidates(asked: str | None, rows: list[GroupSums], rules: Rules) -> list[tuple[str, str]]:
    if asked is None:
        named = ((row.group.get("provider"), row.group.get("model")) for row in rows)
        in_use = [(provider, model) for provider, model in named if provider and model]
        return list(dict.fromkeys([*in_use, *(pair for pair in WELL_KNOWN if pair[0] in rules.providers)]))
    pairs = (word.strip().partition("/") for word in asked.split(","))
    return [(provider, model) for provider, _, model in pairs if provider and model][:MAX_MODELS]


def _price_at(rules: Rules, at: datetime) -> Price:
    """Prices of sums: of the mean call, times the calls. Steps for long contexts go by the single call, so the sum of a
    month's tokens must not be priced as if it were one prompt."""

    def price(provider: str, model: str, sums: Sums) -> Decimal | None:
        configured = rules.providers.get(provider)
        calls = max(1, sums.requests - sums.denied)
        usage = TokenUsage(
            input_tokens=sums.input_tokens // calls,
            output_tokens=sums.output_tokens // calls,
            cache_read_tokens=min(sums.cache_read_tokens, sums.input_tokens) // calls,
            cache_write_tokens=min(sums.cache_write_tokens, sums.input_tokens) // calls,
        )
        reading = Reading(api="unknown", usage=usage, exactness=Exactness.EXACT)
        cost = rules.pricebook.cost(provider, configured.price_provider if configured else provider, model, reading, at)
        return None if cost.cost_usd is None else cost.cost_usd * calls

    return price


def _as_json(one: Alternative) -> dict[str, object]:
    saving = one.cost_usd - one.other_cost_usd
    return {
        "provider": one.provider,
        "model": one.model,
        "ability_class": ability_class(one.model),
        "cost_usd": money(one.cost_usd),
        "other_provider": one.other_provider,
        "other_model": one.other_model,
        "other_cost_usd": money(one.other_cost_usd),
        "saving_usd": money(saving),
        "saving_share": round(float(saving / one.cost_usd), 4),
    }


_SUMMARY = "Cheaper models, unused discounts, tiers too large, waste"
ROUTES = (Route("GET", "/recommendations", recommend, "user", _SUMMARY, "Recommendations", _KNOWN),)
