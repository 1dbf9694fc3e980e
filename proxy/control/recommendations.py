"""GET recommendations: what the same traffic would have cost on other models; use of the cache; waste."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.figures import money
from proxy.control.filters import FILTERS, read_request
from proxy.control.parameters import Parameter
from proxy.control.periods import PERIOD
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.savings import Alternative, Price, cache_use, cheaper_models, waste
from proxy.ledger.ledger import GroupSums, Sums
from proxy.rules import Rules
from proxy.usage.tokens import Exactness, Reading, TokenUsage

MAX_MODELS = 50
_CANDIDATES = Parameter(
    "models", "Models to compare with, `provider/model` separated by commas; the models in use where not given."
)
_KNOWN = (*PERIOD, *FILTERS, _CANDIDATES)
_NOTE = "Prices only: whether another model does the work as well is not known here."


async def recommend(request: web.Request) -> web.Response:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)
    rows = await context.ledger.sums(which, ("provider", "model"), MAX_MODELS)
    candidates = _candidates(values["models"], rows)
    price = _price_at(context.rules, context.now())
    # Some thousand prices: off the loop, so that other requests do not wait for it.
    cheaper = await asyncio.to_thread(cheaper_models, rows, candidates, price, is_free_told=values["models"] is not None)
    return json_reply(
        {
            **period.as_json(),
            "note": _NOTE,
            "models": [_as_json(one) for one in cheaper],
            "cache": cache_use(rows),
            "waste": waste(rows),
        }
    )


def _candidates(asked: str | None, rows: list[GroupSums]) -> list[tuple[str, str]]:
    if asked is None:
        named = ((row.group.get("provider"), row.group.get("model")) for row in rows)
        return [(provider, model) for provider, model in named if provider and model]
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
        "cost_usd": money(one.cost_usd),
        "other_provider": one.other_provider,
        "other_model": one.other_model,
        "other_cost_usd": money(one.other_cost_usd),
        "saving_usd": money(saving),
        "saving_share": round(float(saving / one.cost_usd), 4),
    }


ROUTES = (Route("GET", "/recommendations", recommend, "user", "Cheaper models, cache use, waste", "Recommendations", _KNOWN),)
