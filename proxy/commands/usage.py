"""weighbridge usage: the ledger's records, sums and forecasts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, Query, command, group
from proxy.commands.failures import USAGE, CommandFailed
from proxy.commands.showing import UNKNOWN, Column, progress, say, show_facts, show_json, show_line, show_table, shown, tell

app = group("Who used what: records, sums, forecasts, export.")
PERIOD = ("range", "from", "to", "timezone")
FILTERS = (*PERIOD, "user", "team", "provider", "model", "operation", "session", "tag", "outcome")
TRACK_BATCH = 1000
PAGE = 1000
SUMS = (
    Column("calls", "requests", "count"),
    Column("denied", "denied", "count"),
    Column("failed", "failed", "count"),
    Column("input", "input_tokens", "count"),
    Column("cached", "cache_read_tokens", "count"),
    Column("output", "output_tokens", "count"),
    Column("cost", "cost_usd", "money"),
)
RECORDS = (
    Column("at", "started_at", "time"),
    Column("user", "user"),
    Column("provider", "provider"),
    Column("model", "request_model"),
    Column("outcome", "outcome"),
    Column("input", "input_tokens", "count"),
    Column("output", "output_tokens", "count"),
    Column("cost", "cost_usd", "money"),
    Column("took", "duration_ms", "ms"),
    Column("id", "id", "id"),
)
ByOption = Annotated[str, typer.Option("--by", metavar="NAMES", help="Group by: user, team, key, provider, model, session, tag, …")]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Rows at most.")]


@command(app, "records", filters=FILTERS)
def records(desk: Desk, query: Query, limit: LimitOption = 50) -> None:
    """The latest calls, newest first."""
    found: list[Any] = []
    cursor: str | None = None
    while len(found) < limit:
        page = desk.api.get("/usage/records", {**query, "limit": min(PAGE, limit - len(found)), "cursor": cursor})
        found += page["records"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if desk.is_json:
        show_json({"records": found, "next_cursor": cursor})
        return
    show_table(RECORDS, found, empty="No calls.")


@command(app, "record")
def record(desk: Desk, record_id: Annotated[str, typer.Argument(metavar="ID", help="The x-weighbridge-request-id.")]) -> None:
    """One call, every field."""
    found = desk.api.get(f"/usage/records/{quote(record_id, safe='')}")
    if desk.is_json:
        show_json(found)
        return
    show_facts([(name, value, "money" if name.endswith("_usd") else "text") for name, value in found.items()])


@command(app, "summary", filters=FILTERS)
def summary(
    desk: Desk,
    query: Query,
    by: ByOption = "",
    limit: LimitOption = 30,
    compare: Annotated[bool, typer.Option("--compare", help="Also the period of equal length before.")] = False,
) -> None:
    """Totals of a period, by whatever is asked."""
    found = desk.api.get("/usage/summary", {**query, "group_by": by, "limit": limit, "compare": compare})
    if desk.is_json:
        show_json(found)
        return
    say(f"{shown(found['from'], 'time')} to {shown(found['to'], 'time') if found['to'] else 'now'} ({found['timezone']})")
    whole, means = found["totals"], found["averages"]
    say(
        f"{shown(whole['requests'])} calls ({shown(whole['denied'])} denied, {shown(whole['failed'])} failed), "
        f"{shown(whole['total_tokens'])} tokens, {shown(whole['cost_usd'], 'money')}; "
        f"a call takes {shown(means['duration_ms'], 'ms')} and costs {shown(means['cost_usd'], 'money')}"
    )
    if whole["unpriced"]:
        say(f"{shown(whole['unpriced'])} calls have no price: weighbridge prices reprice")
    before = found.get("previous")
    if before:
        told = before["totals"]
        say(f"before: {shown(told['requests'])} calls, {shown(told['total_tokens'])} tokens, {shown(told['cost_usd'], 'money')}")
    if by:
        names = [Column(name, name) for name in found["group_by"]]
        show_table([*names, *SUMS, Column("share", "share.cost_usd", "share")], found["groups"], empty="No calls.")


@command(app, "timeseries", filters=FILTERS)
def timeseries(
    desk: Desk,
    query: Query,
    interval: Annotated[str, typer.Option(metavar="I", help="hour, day, week or month.")] = "day",
    by: ByOption = "",
) -> None:
    """Sums per hour, day, week or month."""
    found = desk.api.get("/usage/timeseries", {**query, "interval": interval, "group_by": by})
    if desk.is_json:
        show_json(found)
        return
    names = [Column(name, name) for name in found["group_by"]]
    show_table([Column("from", "at", "time"), *names, *SUMS], found["points"], empty="No calls.")


@command(app, "export", filters=FILTERS)
def export(
    desk: Desk,
    query: Query,
    form: Annotated[str, typer.Option("--format", metavar="F", help="csv, or jsonl (exact).")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")] = None,
) -> None:
    """Records of any number, as CSV or JSON lines."""
    save_stream(desk, "/usage/export", {**query, "format": form}, output, query)


def save_stream(desk: Desk, path: str, query: Query, output: Path | None, counted: Query) -> None:
    """A streamed export into a file, which is there whole or not at all, or to standard output."""
    total = None
    if output is not None and sys.stderr.isatty():
        asked = {"range": "all", **{name: value for name, value in counted.items() if value is not None}}
        total = desk.api.get("/usage/summary", asked)["totals"]["requests"]
    lines = 0
    beside = None if output is None else output.with_name(f".{output.name}.{os.getpid()}")
    try:
        target = sys.stdout.buffer if beside is None else beside.open("wb")
    except OSError as failure:
        raise CommandFailed(f"{output}: {failure.strerror or failure}.", USAGE) from None
    try:
        with progress("export", total, is_shown=output is not None) as bar:
            for chunk in desk.api.stream(path, query):
                target.write(chunk)
                count = chunk.count(b"\n")
                lines += count
                bar.advance(count)
        if beside is not None and output is not None:
            target.close()
            beside.replace(output)
            tell(f"{output}: {lines - (query.get('format') == 'csv'):,} records.")
        else:
            target.flush()
    except OSError as failure:
        if isinstance(failure, BrokenPipeError):
            raise
        raise CommandFailed(f"{output}: {failure.strerror or failure}.") from None
    finally:
        if beside is not None:
            target.close()
            beside.unlink(missing_ok=True)


@command(app, "track")
def track(
    desk: Desk,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="JSON lines, one call each; -: standard input.")
    ] = None,
    user: Annotated[str | None, typer.Option()] = None,
    provider: Annotated[str | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option()] = None,
    input_tokens: Annotated[int | None, typer.Option(min=0)] = None,
    output_tokens: Annotated[int | None, typer.Option(min=0)] = None,
    cost_usd: Annotated[str | None, typer.Option(help="What it cost, where that is known.")] = None,
    record_id: Annotated[str | None, typer.Option("--id", help="The same id counts once.")] = None,
    operation: Annotated[str | None, typer.Option()] = None,
    session: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Record usage that did not pass the proxy; it counts in the limits."""
    if file is None:
        if user is None or provider is None or model is None:
            raise CommandFailed("Needed: --user, --provider and --model; or --file with JSON lines.", USAGE)
        one = {
            "id": record_id,
            "user": user,
            "provider": provider,
            "model": model,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cost_usd": cost_usd,
            "operation": operation,
            "session": session,
        }
        batches = [[{name: value for name, value in one.items() if value is not None}]]
    else:
        batches = _batches(file)
    accepted = duplicates = 0
    is_counted = True
    with progress("track", sum(map(len, batches))) as bar:
        for batch in batches:
            answer = desk.api.ask("POST", "/usage/track", body={"records": batch})
            accepted += answer["accepted"]
            duplicates += answer["duplicates"]
            is_counted &= answer["counted_in_limits"]
            bar.advance(len(batch))
    result = {"accepted": accepted, "duplicates": duplicates, "counted_in_limits": is_counted}
    if desk.is_json:
        show_json(result)
        return
    say(f"{accepted:,} accepted, {duplicates:,} known already.")
    if accepted and not is_counted:
        tell("Not in the limits yet: no worker is running; they count it when they start.")


def _batches(file: Path) -> list[list[Any]]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise CommandFailed(f"{file}: {failure}.", USAGE) from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except ValueError as mistake:
                raise CommandFailed(f"{file}, line {number}: not JSON: {mistake}.", USAGE) from None
    return [found[start : start + TRACK_BATCH] for start in range(0, len(found), TRACK_BATCH)]


@command(app, "live")
def live(
    desk: Desk,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after so many calls.")] = None,
) -> None:
    """Calls as they happen, until ctrl-C."""
    seen = 0
    for kind, data in _events(desk, {"user": user}):
        if kind == "dropped":
            tell(f"({data} calls were too many to show)")
            continue
        one = json.loads(data)
        if kind == "calls":
            tell(f"({one['calls']} more calls, {shown(one['total_tokens'])} tokens, {shown(one['cost_usd'], 'money')})")
            continue
        if kind == "rate":
            _tell_rate(one)
            continue
        if desk.is_json:
            show_line(one)
        else:
            say(_live_line(one))
        seen += 1
        if seen == count:
            return


def _tell_rate(one: dict[str, Any]) -> None:
    """On standard error, and only to a person."""
    if sys.stderr.isatty():
        refused = f", {one['denied']} denied" if one["denied"] else ""
        failed = f", {one['failed']} failed" if one["failed"] else ""
        speed = f"{shown(round(one['tokens_per_second']))} tokens/s"
        tell(f"({one['calls']} calls in {one['seconds']:.1f} s, {speed}, {shown(one['cost_usd'], 'money')}{refused}{failed})")


def _live_line(one: dict[str, Any]) -> str:
    tokens = f"{shown(one['input_tokens'])} → {shown(one['output_tokens'])}"
    where = f"{one['provider']}/{one['response_model'] or one['request_model'] or UNKNOWN}"
    return (
        f"{shown(one['started_at'], 'time')}  {one['user']:<16}  {where:<36}  {one['outcome']:<14}  {tokens:>18}  "
        f"{shown(one['cost_usd'], 'money'):>10}  {shown(one['duration_ms'], 'ms'):>9}"
    )


def _events(desk: Desk, query: Query) -> Any:
    """Server-sent events as (name, data)."""
    held = b""
    for chunk in desk.api.stream("/live", query):
        held += chunk
        while b"\n\n" in held:
            block, held = held.split(b"\n\n", 1)
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line and not line.startswith(b":"))
            if b"data" in fields:
                yield fields.get(b"event", b"message").decode(), fields[b"data"].decode()


@command(app, "projection", filters=("timezone", *FILTERS[4:]))
def projection(desk: Desk, query: Query, by: ByOption = "") -> None:
    """What the month will probably come to."""
    found = desk.api.get("/usage/projection", {**query, "group_by": by})
    if desk.is_json:
        show_json(found)
        return
    say(f"{shown(found['from'], 'time')} to {shown(found['to'], 'time')} ({found['timezone']}), {found['days_left']:.1f} days left")
    if by:
        prefix = "cost_usd."
        columns = [Column(by, by), *(Column(word, prefix + word, "money") for word in ("so_far", "expected", "low", "high"))]
        show_table(columns, found["groups"], empty="No calls.")
        return
    for word, name, kind in (("cost", "cost_usd", "money"), ("tokens", "total_tokens", "count"), ("calls", "requests", "count")):
        part = {field: shown(value, kind) for field, value in found[name].items()}
        say(f"{word:<7} {part['so_far']} so far, {part['expected']} expected ({part['low']} to {part['high']})")
    say(f"Method: {found['method']}.")


@command(app, "anomalies", filters=FILTERS)
def anomalies(desk: Desk, query: Query, by: ByOption = "user") -> None:
    """Days that stand out against the week before."""
    found = desk.api.get("/usage/anomalies", {**query, "group_by": by})
    if desk.is_json:
        show_json(found)
        return
    rows = [
        {
            **row,
            "amount": shown(row["amount"], "money") if row["resource"] == "cost_usd" else shown(round(row["amount"])),
            "average": shown(row["average"], "money") if row["resource"] == "cost_usd" else shown(round(row["average"])),
            "factor": f"{row['factor']:.1f}×",
        }
        for row in found["anomalies"]
    ]
    names = [Column(name, name) for name in found["group_by"]]
    figures = [Column("what", "resource"), Column("amount", "amount"), Column("usual", "average"), Column("factor", "factor")]
    show_table([Column("day", "day", "id"), *names, *figures], rows, empty="Nothing out of the ordinary.")
