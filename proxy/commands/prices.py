"""weighbridge prices: the table in force, pricing again, and the ledger against what providers say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.commands.desk import Desk, Query, command, group
from proxy.commands.failures import USAGE, CommandFailed
from proxy.commands.showing import Column, progress, say, show_json, show_table, shown
from proxy.commands.usage import FILTERS

app = group("Prices: the table in force, reprice, reconcile with a provider's report, drift.")
STEPS = 60
RECORDS_PER_STEP = 50_000
"""A long repricing is cut into spans: each is one call, one line of the audit log, one step of the bar."""
SHOWN_RATES = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
PRICES = (
    Column("provider", "provider"),
    Column("model", "model"),
    Column("when", "when"),
    *(Column(name.removesuffix("_mtok").replace("_", " "), f"rates.{name}") for name in SHOWN_RATES),
    Column("also", "also"),
    Column("source", "source"),
)
DRIFT = (
    Column("provider", "provider"),
    Column("model", "model"),
    Column("calls", "requests", "count"),
    Column("ours", "cost_usd", "money"),
    Column("theirs", "reported_cost_usd", "money"),
    Column("difference", "difference_usd", "money"),
    Column("share", "difference_share", "share"),
    Column("drifts", "is_drifting"),
    Column("worst call", "worst.id", "id"),
)


@command(app, "list")
def list_prices(
    desk: Desk,
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    model: Annotated[str | None, typer.Option(help="Only models whose name holds this.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000)] = 200,
) -> None:
    """The prices in force, in US dollars per million tokens."""
    found = desk.api.get("/prices", {"provider": provider, "model": model, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    say(f"{found['source']}; calls to models without a price: {found['unknown_model']}")
    show_table(PRICES, [row for entry in found["prices"] for row in _price_rows(entry)], empty="No such price.")
    if found["next_offset"]:
        say("There are more: --limit, --provider, --model.")


def _price_rows(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each of a model's prices: the usual one, then tiers, batches, hours; those that change nothing are left out."""
    return [
        {
            "provider": entry["provider"],
            "model": entry["model"],
            "source": entry["source"],
            "rates": price["rates"],
            "when": [*price["when"].values(), *([f"from {price['from']}"] if price["from"] else []), *(price["hours"] or [])],
            "also": [name for name in price["rates"] if name not in SHOWN_RATES],
        }
        for price in entry["prices"]
        if price["rates"]
    ]


@command(app, "reprice", filters=FILTERS)
def reprice(
    desk: Desk,
    query: Query,
    is_all: Annotated[bool, typer.Option("--all", help="Also records that have a price already.")] = False,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Price records again by the table in force: those without a price, or all."""
    spans = _spans(desk, query)
    whole: dict[str, Any] = {"examined": 0, "changed": 0, "still_unknown": 0}
    unknown: set[str] = set()
    before = after = Decimal(0)
    rest = {name: value for name, value in query.items() if name not in ("range", "from", "to")}
    with progress("reprice", len(spans)) as bar:
        for start, end in spans:
            asked = {**rest, "from": start, "to": end, "all": is_all, "dry_run": is_dry}
            part = desk.api.ask("POST", "/prices/reprice", asked)
            for name in whole:
                whole[name] += part[name]
            unknown.update(part["unknown_models"])
            before, after = before + Decimal(part["before_usd"]), after + Decimal(part["after_usd"])
            bar.advance()
    whole |= {"unknown_models": sorted(unknown), "before_usd": f"{before:f}", "after_usd": f"{after:f}", "dry_run": is_dry}
    if desk.is_json:
        show_json(whole)
        return
    verb = "would change" if is_dry else "changed"
    say(f"{shown(whole['examined'])} records looked at, {shown(whole['changed'])} {verb}: {shown(whole['before_usd'], 'money')} → "
        f"{shown(whole['after_usd'], 'money')}")  # fmt: skip
    if unknown:
        say(f"{shown(whole['still_unknown'])} have no price still: {shown(whole['unknown_models'][:10])}")


def _spans(desk: Desk, query: Query) -> list[tuple[str, str]]:
    """The period asked for (all there is, where none is), in one piece or, where it holds much, in several of whole days."""
    period = {name: query[name] for name in ("range", "from", "to", "timezone")}
    if not any(period[name] for name in ("range", "from", "to")):
        period["range"] = "all"
    points = desk.api.get("/usage/timeseries", {**period, "interval": "month"})
    if not points["points"]:
        return []
    start = datetime.fromisoformat(points["from"] or points["points"][0]["at"])
    end = datetime.fromisoformat(points["to"]) if points["to"] else datetime.now(UTC) + timedelta(days=1)
    steps = min(STEPS, 1 + sum(point["requests"] for point in points["points"]) // RECORDS_PER_STEP)
    step = timedelta(days=max(1, -(-((end - start).days + 1) // steps)))
    cuts = [start]
    while cuts[-1] + step < end:
        cuts.append(cuts[-1] + step)
    cuts.append(end)
    words = [at.astimezone(UTC).isoformat().replace("+00:00", "Z") for at in cuts]
    return list(pairwise(words))


@command(app, "reconcile")
def reconcile(
    desk: Desk,
    openai: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Pages of OpenAI's usage and costs API.")] = None,
    anthropic: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Pages of Anthropic's usage and cost reports.")
    ] = None,
    csv: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Any table with a head line.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="OURS=THEIRS,…", help="Of the CSV, e.g. day=Date,model=Model,cost_usd=Amount.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Whose calls, by its configured name.")] = None,
    timezone: Annotated[str, typer.Option(help="In which the report's days begin.")] = "UTC",
    tolerance: Annotated[float, typer.Option(metavar="SHARE", min=0, max=1, help="What a row may differ by.")] = 0.01,
    is_all: Annotated[bool, typer.Option("--all", help="Also rows that agree.")] = False,
) -> None:
    """The ledger against a provider's own report, per day and model. Exit code 1 where they differ by more than the tolerance.

    The options for files may be given several times: usage and costs are put together.
    """
    given = [(form, files) for form, files in (("openai", openai), ("anthropic", anthropic), ("csv", csv)) if files]
    if len(given) != 1:
        raise CommandFailed("Give one kind of report: --openai, --anthropic or --csv.", USAGE)
    form, files = given[0]
    body: dict[str, object] = {
        "format": form,
        "documents": [_document(file, is_text=form == "csv") for file in files],
        "timezone": timezone,
        "tolerance": tolerance,
    }
    body |= {"provider": provider} if provider else {}
    body |= {"columns": _column_names(columns)} if columns else {}
    found = desk.api.ask("POST", "/prices/reconcile", body=body)
    if desk.is_json:
        show_json(found)
    else:
        _tell_reconciliation(found, is_all)
    if not found["is_within"]:
        raise typer.Exit(1)


def _document(file: Path, *, is_text: bool) -> object:
    try:
        text = file.read_text(encoding="utf-8-sig")
        return text if is_text else json.loads(text)
    except (OSError, UnicodeDecodeError) as failure:
        raise CommandFailed(f"{file}: {failure}.", USAGE) from None
    except ValueError as mistake:
        raise CommandFailed(f"{file}: not JSON: {mistake}.", USAGE) from None


def _column_names(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(ours.strip() and theirs.strip() for ours, _, theirs in pairs):
        raise CommandFailed(f"--columns {text}: say it like day=Date,model=Model,cost_usd=Amount.", USAGE)
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _tell_reconciliation(found: dict[str, Any], is_all: bool) -> None:
    say(f"{found['from'][:10]} to {found['to'][:10]} ({found['timezone']}), {found['provider'] or 'every provider'}")
    pairs = (
        ("calls", "requests"),
        ("input", "input_tokens"),
        ("cache read", "cache_read_tokens"),
        ("cache written", "cache_write_tokens"),
        ("output", "output_tokens"),
        ("cost", "cost_usd"),
    )
    ours, theirs = found["totals"]["ours"], found["totals"]["theirs"]
    rows = [
        {"what": word, "ours": shown(ours[name], kind), "theirs": shown(theirs[name], kind)}
        for word, name in pairs
        if theirs[name] is not None and (kind := "money" if name == "cost_usd" else "count")
    ]
    show_table((Column("in all", "what"), Column("ours", "ours"), Column("theirs", "theirs")), rows)
    told = found["rows"] if is_all else [row for row in found["rows"] if row["causes"]]
    columns = (
        Column("day", "day", "id"),
        Column("model", "model"),
        Column("input", "difference.input_tokens", "count"),
        Column("cached", "difference.cache_read_tokens", "count"),
        Column("output", "difference.output_tokens", "count"),
        Column("ours", "ours.cost_usd", "money"),
        Column("theirs", "theirs.cost_usd", "money"),
        Column("difference", "difference.cost_usd", "money"),
        Column("why", "causes"),
        Column("beyond", "is_beyond"),
    )
    show_table(columns, told, title="\nOurs less theirs", empty="No day and model differs.")
    share = shown(found["tolerance"], "share")
    say(f"Within {share}." if found["is_within"] else f"{found['beyond']} days and models differ by more than {share}.")


@command(app, "drift", filters=FILTERS)
def drift(
    desk: Desk,
    query: Query,
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="From which difference on a model drifts.")
    ] = 0.01,
) -> None:
    """Our costs against those that providers put into their answers. Exit code 1 where a model drifts."""
    found = desk.api.get("/prices/drift", {**query, "tolerance": tolerance})
    if desk.is_json:
        show_json(found)
    else:
        show_table(DRIFT, found["models"], empty="No answer of this period carries a cost of the provider's.")
    if found["drifting"]:
        raise typer.Exit(1)
