"""POST prices/reconcile: the ledger against the provider's own report of usage and costs, per day and model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import AfterValidator, Field, JsonValue

from proxy.control.comparison import compare, in_all
from proxy.control.context import Context, context_of
from proxy.control.figures import add_up
from proxy.control.long_work import reply_when_done
from proxy.control.parameters import SHOWN_ZONES, TIME_ZONES
from proxy.control.periods import iso
from proxy.control.provider_reports import BadReport, Place, Report, read_report
from proxy.control.replies import ApiError
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import CLOSED, Name
from proxy.ledger.ledger import RecordFilter, Sums

TOLERANCE = 0.01
MAX_DAYS = 366
MAX_DOCUMENTS = 100


def _zone(name: str) -> str:
    if name not in TIME_ZONES:
        raise ValueError("an IANA time zone such as Europe/Berlin is wanted")
    return name


class ReconcileBody(Body):
    """A report, in the provider's own words."""

    format: Literal["openai", "anthropic", "csv"]
    documents: Annotated[list[JsonValue], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    """Pages as the provider's API gives them, usage and costs in any order; for `csv` the texts of the tables."""
    provider: Name | None = None
    """Whose calls, by its configured name; `openai` or `anthropic` where not given, everybody's for `csv`."""
    columns: Annotated[dict[Name, Name], Field(max_length=20, json_schema_extra=CLOSED)] | None = None
    """For `csv`: our name (day, model, input_tokens, …, cost_usd) to the table's. Guessed where not given."""
    timezone: Annotated[str, AfterValidator(_zone), Field(json_schema_extra={"enum": list(SHOWN_ZONES)})] = "UTC"
    """In which the report's days begin."""
    tolerance: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = TOLERANCE
    """Share by which tokens or money of a day and model may differ."""


async def reconcile(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    body = await read_body(request, ReconcileBody)
    return await reply_when_done(request, run(context, body))


async def run(context: Context, body: ReconcileBody) -> dict[str, object]:
    """Both sides, compared. Raises ApiError for a report that cannot be read."""
    zone = ZoneInfo(body.timezone)
    try:
        report = read_report(body.format, body.documents, body.columns or {}, zone)
    except BadReport as mistake:
        raise ApiError(422, "bad_report", str(mistake)[:2000]) from None
    provider = body.provider or (body.format if body.format != "csv" else None)
    start_at, end_at = (datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC) for day in report.days)
    if (report.days[1] - report.days[0]).days > MAX_DAYS:
        raise ApiError(422, "bad_report", f"the report covers more than {MAX_DAYS} days; reconcile a part at a time")
    tolerance = Decimal(str(body.tolerance))
    lines = compare(
        await _ours(context, RecordFilter(start_at=start_at, end_at=end_at, provider=provider), zone, report),
        report.rows,
        tolerance,
    )
    return {
        "from": iso(start_at),
        "to": iso(end_at),
        "timezone": body.timezone,
        "provider": provider,
        "format": body.format,
        "tolerance": body.tolerance,
        "is_within": not any(line.is_beyond for line in lines),
        "beyond": sum(line.is_beyond for line in lines),
        "totals": in_all(lines),
        "rows": [line.as_json() for line in lines],
    }


async def _ours(context: Context, which: RecordFilter, zone: ZoneInfo, report: Report) -> Mapping[Place, Sums]:
    """The ledger's sums by day of the zone and model, under the report's spelling of models."""
    spelling = {model.lower(): model for _, model in report.rows if model is not None}
    found: dict[Place, Sums] = {}
    for point in await context.ledger.timeseries(which, "day", zone.key, ("model",)):
        day: date = point.start_at.astimezone(zone).date()
        model = point.group.get("model") or "(none)"
        place = day, spelling.get(model.lower(), model)
        sums = replace(point.sums, requests=point.sums.requests - point.sums.denied)  # what was refused here never got there
        found[place] = add_up((found[place], sums)) if place in found else sums
    return found


ROUTES = (
    Route(
        "POST",
        "/prices/reconcile",
        reconcile,
        "admin",
        "The ledger against the provider's own report",
        "Reconciliation",
        body=ReconcileBody,
        also=(422,),
        is_read=True,
    ),
)
