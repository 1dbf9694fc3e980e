"""weighbridge usage sessions|session|performance|recommendations: what the numbers mean, beside the numbers of usage.py."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, Query, command
from proxy.commands.showing import Column, say, show_json, show_table, shown
from proxy.commands.usage import FILTERS, RECORDS, SUMS, ByOption, LimitOption, app

__all__ = ["app"]
SPEED = (
    Column("calls", "requests", "count"),
    Column("success", "success_rate", "share"),
    Column("mean", "duration_ms", "ms"),
    Column("p50", "duration_p50_ms", "ms"),
    Column("p95", "duration_p95_ms", "ms"),
    Column("p99", "duration_p99_ms", "ms"),
    Column("first byte p95", "time_to_first_byte_p95_ms", "ms"),
    Column("tokens/s", "output_tokens_per_second"),
)
CHEAPER = (
    Column("provider", "provider"),
    Column("model", "model"),
    Column("class", "ability_class"),
    Column("cost", "cost_usd", "money"),
    Column("instead", "other"),
    Column("would cost", "other_cost_usd", "money"),
    Column("saving", "saving_share", "share"),
)
CACHE = (
    Column("provider", "provider"),
    Column("model", "model"),
    Column("input", "input_tokens", "count"),
    Column("cached", "cache_share", "share"),
    Column("would save", "saving_usd", "money"),
)
PAID = (
    Column("provider", "provider"),
    Column("model", "model"),
    Column("outcome", "outcome"),
    Column("calls", "requests", "count"),
    Column("cost", "cost_usd", "money"),
)
ROOMY = (
    Column("user", "user"),
    Column("tier", "tier"),
    Column("limit", "limit"),
    Column("allowed", "amount"),
    Column("highest", "highest"),
    Column("share", "share", "share"),
)


@command(app, "sessions", filters=FILTERS)
def sessions(desk: Desk, query: Query, limit: LimitOption = 50) -> None:
    """Sessions of a period, dearest first."""
    found = desk.api.get("/usage/sessions", {**query, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    show_table([Column("session", "session", "id"), Column("user", "user"), *SUMS], found["sessions"], empty="No sessions.")


@command(app, "session")
def session(
    desk: Desk,
    name: Annotated[str, typer.Argument(metavar="SESSION", help="As the application labelled it.")],
    calls: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="How many of its calls to show.")] = 20,
) -> None:
    """One session: what it cost, and its calls."""
    found = desk.api.get(f"/usage/sessions/{quote(name, safe='')}", {"calls": calls})
    if desk.is_json:
        show_json(found)
        return
    whole = found["totals"]
    say(f"{shown(found['first_at'], 'time')} to {shown(found['last_at'], 'time')}")
    say(f"{shown(whole['requests'])} calls, {shown(whole['total_tokens'])} tokens, {shown(whole['cost_usd'], 'money')}")
    show_table(RECORDS, found["calls"], empty="No calls.")


@command(app, "performance", filters=FILTERS)
def performance(desk: Desk, query: Query, by: ByOption = "provider,model", limit: LimitOption = 50) -> None:
    """How fast and how well providers and models answer."""
    found = desk.api.get("/usage/performance", {**query, "group_by": by, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    names = [Column(name, name) for name in found["group_by"]]
    show_table([*names, *SPEED], found["rows"], empty="No calls.")


@command(app, "recommendations", filters=FILTERS)
def recommendations(
    desk: Desk,
    query: Query,
    models: Annotated[
        str | None, typer.Option("--models", metavar="PROVIDER/MODEL,…", help="Compare with these, whatever they are able to.")
    ] = None,
) -> None:
    """What the same traffic would have cost otherwise: other models, the cache, smaller tiers, failures."""
    found = desk.api.get("/recommendations", {**query, "models": models})
    if desk.is_json:
        show_json(found)
        return
    cheaper = [{**row, "other": f"{row['other_provider']}/{row['other_model']}"} for row in found["models"]]
    _part("Other models", CHEAPER, cheaper, "None of the same class is a tenth cheaper.")
    say(found["note"])
    discounts = [row for row in found["cache"] if row["saving_usd"] is not None]
    _part("Unused cache discounts, were half of the input read from the cache", CACHE, discounts, "None.")
    _part("Calls that failed and were paid for", PAID, found["paid_failures"], "None.")
    _part("Users far under their tier", ROOMY, found["under_tier"], "None.")


def _part(title: str, columns: tuple[Column, ...], rows: list[dict[str, Any]], empty: str) -> None:
    say(f"\n{title}:")
    show_table(columns, rows, empty=empty)
