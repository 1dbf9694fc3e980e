"""GET prices/drift: our costs against those that providers put into their answers, where they do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal

from aiohttp import web

from proxy.control.context import Context, context_of
from proxy.control.figures import money
from proxy.control.filters import FILTERS, read_request
from proxy.control.long_work import reply_when_done
from proxy.control.parameters import Fraction
from proxy.control.periods import PERIOD
from proxy.control.routes import Route
from proxy.ledger.ledger import RecordFilter
from proxy.pricing.money import usd_text
from proxy.records import UsageRecord

_TOLERANCE = Fraction("tolerance", "From which difference on a model counts as drifting.", 0.01)
_KNOWN = (*PERIOD, *FILTERS, _TOLERANCE)
MAX_GROUPS = 10_000


@dataclass(slots=True)
class _Pair:
    requests: int = 0
    unpriced: int = 0
    ours: Decimal = Decimal(0)
    theirs: Decimal = Decimal(0)
    worst_id: str | None = None
    worst: Decimal = Decimal(-1)

    def see(self, record: UsageRecord) -> None:
        theirs = Decimal(record.reported_cost_usd or 0)
        self.requests += 1
        if record.cost_usd is None:
            self.unpriced += 1
            return
        ours = Decimal(record.cost_usd)
        self.ours += ours
        self.theirs += theirs
        if abs(ours - theirs) > self.worst:
            self.worst, self.worst_id = abs(ours - theirs), record.id


async def show_drift(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    values, period, which = read_request(request, _KNOWN)

    async def work() -> dict[str, object]:
        rows = await drift(context, which, Decimal(str(values["tolerance"])))
        drifting = sum(bool(row["is_drifting"]) for row in rows)
        return {**period.as_json(), "tolerance": values["tolerance"], "models": rows, "drifting": drifting}

    return await reply_when_done(request, work())


async def drift(context: Context, which: RecordFilter, tolerance: Decimal) -> list[dict[str, object]]:
    """One row per provider and model whose answers carry a cost, the largest difference first. Only these providers' records
    are read one by one: the sums cannot tell calls with a reported cost from those without."""
    reporting = {row.group["provider"] for row in await context.ledger.sums(which, ("provider",)) if row.sums.reported_cost_usd}
    pairs: dict[tuple[str, str | None], _Pair] = defaultdict(_Pair)
    for provider in sorted(name for name in reporting if name):
        async for record in context.ledger.export(replace(which, provider=provider)):
            if record.reported_cost_usd is not None and (len(pairs) < MAX_GROUPS or _key(record) in pairs):
                pairs[_key(record)].see(record)
    rows = [_row(key, pair, tolerance) for key, pair in pairs.items()]
    return sorted(rows, key=lambda row: abs(Decimal(str(row["difference_usd"]))), reverse=True)


def _key(record: UsageRecord) -> tuple[str, str | None]:
    return record.provider, record.response_model or record.request_model


def _row(key: tuple[str, str | None], pair: _Pair, tolerance: Decimal) -> dict[str, object]:
    difference = pair.ours - pair.theirs
    ratio = difference / pair.theirs if pair.theirs else None
    return {
        "provider": key[0],
        "model": key[1],
        "requests": pair.requests,
        "unpriced": pair.unpriced,
        "cost_usd": usd_text(pair.ours),
        "reported_cost_usd": usd_text(pair.theirs),
        "difference_usd": usd_text(difference),
        "difference_share": None if ratio is None else round(float(ratio), 6),
        "is_drifting": bool(difference) if ratio is None else abs(ratio) > tolerance,
        "worst": None if pair.worst_id is None else {"id": pair.worst_id, "difference_usd": money(pair.worst)},
    }


ROUTES = (Route("GET", "/prices/drift", show_drift, "user", "Our costs against those that providers report", "PriceDrift", _KNOWN),)
