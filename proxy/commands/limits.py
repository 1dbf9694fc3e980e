"""weighbridge limits: who is where, overrides, and what another limits.yaml would have done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, command, group
from proxy.commands.failures import USAGE, CommandFailed
from proxy.commands.showing import Column, say, show_json, show_table, shown
from proxy.commands.words import instant, limit_words

app = group("Limits: how full they are, overrides, and simulations.")
LIMITS = (
    Column("user", "user"),
    Column("limit", "name"),
    Column("used", "used_shown"),
    Column("held", "reserved_shown"),
    Column("of", "amount_shown"),
    Column("full", "fraction", "share"),
    Column("resets", "resets_at", "time"),
    Column("mode", "mode"),
    Column("from", "origin"),
)
UserOption = Annotated[str | None, typer.Option("--user", help="Only this user's.")]
RowsOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Rows at most, fullest first.")]


@command(app, "list")
def list_limits(desk: Desk, user: UserOption = None, limit: RowsOption = 100) -> None:
    """Every limit, fullest first."""
    _show(desk, user, 0.0, limit)


@command(app, "near")
def near(
    desk: Desk,
    user: UserOption = None,
    at_least: Annotated[float, typer.Option(metavar="SHARE", min=0, max=1, help="Filled to this share or more.")] = 0.8,
    limit: RowsOption = 100,
) -> None:
    """Who is at or near a limit."""
    _show(desk, user, at_least, limit)


def _show(desk: Desk, user: str | None, at_least: float, limit: int) -> None:
    found = desk.api.get("/limits", {"user": user, "at_least": at_least, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    show_table(LIMITS, with_amounts(found["limits"]), empty="No limit is that full." if at_least else "There are no limits.")


def with_amounts(limits: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows with their amounts as text: dollars for money, numbers for the rest."""
    return [
        {**row, **{f"{name}_shown": shown(row[name], "money" if row["resource"] == "cost_usd" else "count") for name in _AMOUNTS}}
        for row in limits
    ]


_AMOUNTS = ("used", "reserved", "amount")


@command(app, "override")
def override(
    desk: Desk,
    user: Annotated[str, typer.Argument(metavar="USER")],
    limits: Annotated[list[str] | None, typer.Argument(metavar="LIMIT=AMOUNT…", help="e.g. tokens.per_day=2000000")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="ISO time, midnight (of the house), or +2h, +7d.")] = None,
    reason: Annotated[str | None, typer.Option()] = None,
    is_removed: Annotated[bool, typer.Option("--remove", help="Take the override away.")] = False,
) -> None:
    """Set limits of a user above limits.yaml, perhaps until a time. Without LIMIT=AMOUNT: show them."""
    path = f"/users/{quote(user, safe='')}/limits"
    if is_removed and limits:
        raise CommandFailed("Either LIMIT=AMOUNT or --remove.", USAGE)
    if is_removed:
        found = desk.api.ask("DELETE", path)
    elif limits:
        body = limit_words(limits)
        body |= {"until": until if until == "midnight" else instant(until, "--until")} if until else {}
        body |= {"reason": reason} if reason else {}
        found = desk.api.ask("PATCH", path, body=body)
    else:
        found = desk.api.get(path)
    if desk.is_json:
        show_json(found)
        return
    kept = found["override"]
    if kept:
        until_shown = f" until {shown(kept['until'], 'time')} UTC" if kept["until"] else ""
        say(f"{user}: override by {kept['by']}{until_shown}; reason: {shown(kept['reason'])}")
    else:
        say(f"{user}: no override.")
    show_table(LIMITS[1:], with_amounts(found["limits"]), empty="There are no limits.")


@command(app, "simulate")
def simulate(
    desk: Desk,
    file: Annotated[Path, typer.Option("--limits", metavar="FILE", help="The limits.yaml to be tried.")],
    days: Annotated[int, typer.Option(metavar="N", min=1, max=366, help="How far back.")] = 30,
    user: UserOption = None,
) -> None:
    """Who would have been refused under another limits.yaml. Changes nothing. Exit code 1 where somebody would."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise CommandFailed(f"{file}: {failure}.", USAGE) from None
    found = desk.api.ask("POST", "/limits/simulate", body={"limits_yaml": text, "days": days, **({"user": user} if user else {})})
    if desk.is_json:
        show_json(found)
    else:
        _tell_simulation(found)
    if found["refused"]:
        raise typer.Exit(1)


def _tell_simulation(found: dict[str, object]) -> None:
    say(f"{shown(found['from'], 'time')} to {shown(found['to'], 'time')} UTC: {shown(found['calls'])} calls")
    say(
        f"would be refused: {shown(found['refused'])} ({shown(found['refused_share'], 'share')}) "
        f"of {shown(found['users_refused'])} users, {shown(found['refused_tokens'])} tokens, "
        f"{shown(found['refused_cost_usd'], 'money')}"
    )
    say(f"were refused then: {shown(found['refused_then'])}, of which {shown(found['refused_then_passes_now'])} would pass")
    if not found["refused"]:
        return
    rest = (
        Column("refused", "refused", "count"),
        Column("tokens", "refused_tokens", "count"),
        Column("cost", "refused_cost_usd", "money"),
        Column("first", "first_at", "time"),
        Column("last", "last_at", "time"),
    )
    limits, users = found["limits"], found["users"]
    assert isinstance(limits, list)
    assert isinstance(users, list)
    show_table([Column("limit", "limit"), *rest, Column("users", "users_refused", "count")], limits[:30], title="\nBy limit")
    columns = [Column("user", "user"), Column("calls", "calls", "count"), *rest, Column("limits", "limits")]
    show_table(columns, users[:30], title="\nBy user")
    notes = found["notes"]
    assert isinstance(notes, list)
    say("\n" + "\n".join(f"- {note}" for note in notes))
