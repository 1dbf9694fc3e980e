"""weighbridge users: who they are, what they use, and their data, out and away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, Query, command, group
from proxy.commands.failures import CommandFailed
from proxy.commands.limits import LIMITS, with_amounts
from proxy.commands.showing import Column, say, show_json, show_table, shown
from proxy.commands.usage import FILTERS, SUMS, LimitOption, save_stream
from proxy.commands.words import confirm

app = group("Users: what each uses, what is left to them, their data.")
NameArgument = Annotated[str, typer.Argument(metavar="USER")]
SESSIONS = (
    Column("session", "session"),
    Column("calls", "requests", "count"),
    Column("tokens", "total_tokens", "count"),
    Column("cost", "cost_usd", "money"),
    Column("last", "last_at", "time"),
)
SHOWN_SESSIONS = 10


@command(app, "list", filters=FILTERS)
def list_users(desk: Desk, query: Query, limit: LimitOption = 50) -> None:
    """Who uses how much, largest cost first."""
    found = desk.api.get("/users", {**query, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    columns = (
        Column("user", "user"),
        Column("team", "team"),
        Column("tier", "tier"),
        *SUMS,
        Column("share", "share.cost_usd", "share"),
    )
    show_table(columns, found["users"], empty="No users.")


@command(app, "show", filters=("range", "from", "to", "timezone"))
def show(desk: Desk, query: Query, user: NameArgument) -> None:
    """One user: use, limits, models, sessions."""
    found = desk.api.get(f"/users/{quote(user, safe='')}", query)
    _known(desk, user, found)
    if desk.is_json:
        show_json(found)
        return
    whole = found["totals"]
    say(f"{user}  team {shown(found['team'])}  tier {shown(found['tier'])}")
    say(
        f"{shown(found['from'], 'time')} to {shown(found['to'], 'time') if found['to'] else 'now'}: "
        f"{shown(whole['requests'])} calls, {shown(whole['total_tokens'])} tokens, {shown(whole['cost_usd'], 'money')}"
    )
    if found["allowed_models"] is not None:
        say(f"models: {shown(found['allowed_models'])}")
    override = found["override"]
    if override:
        until = f" until {shown(override['until'], 'time')}" if override["until"] else ""
        say(f"override by {override['by']}{until}: {shown(override['reason'])}")
    show_table(LIMITS[1:], with_amounts(found["limits"]), title="\nLimits", empty="None.")
    show_table([Column("model", "model"), *SUMS], found["models"], title="\nModels", empty="No calls.")
    if found["sessions"]:
        show_table(SESSIONS, found["sessions"][:SHOWN_SESSIONS], title="\nLast sessions")


def _known(desk: Desk, user: str, found: dict[str, Any]) -> None:
    """Raises CommandFailed for a name that nobody has: a slip of the keyboard must not look like a user without calls."""
    if (
        found["totals"]["requests"]
        or found["per_month"]
        or found["sessions"]
        or found["team"]
        or found["tier"]
        or found["override"]
    ):
        return
    if desk.api.get("/keys", {"user": user, "include_revoked": True})["keys"]:
        return
    if desk.api.get("/usage/records", {"user": user, "limit": 1})["records"]:
        return
    from difflib import get_close_matches

    names = [str(one["user"]) for one in desk.api.get("/users", {"range": "year", "limit": 10_000})["users"]]
    near = get_close_matches(user, names, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else " `weighbridge users list --range year` shows who there is."
    raise CommandFailed(f"There is no user {user!r}.{hint}")


@command(app, "export")
def export(
    desk: Desk,
    user: NameArgument,
    form: Annotated[
        str, typer.Option("--format", metavar="F", help="jsonl (exact), csv, or zip (everything, in one archive).")
    ] = "jsonl",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")] = None,
) -> None:
    """Everything the ledger has of a person."""
    save_stream(desk, f"/users/{quote(user, safe='')}/export", {"format": form}, output, {"user": user})


@command(app, "erase")
def erase(
    desk: Desk,
    user: NameArgument,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    is_kept: Annotated[
        bool, typer.Option("--anonymise", help="Keep the records, and all sums with them, under an alias that leads to nobody.")
    ] = False,
) -> None:
    """Delete a person's records, sessions and override, and revoke their keys. Cannot be undone."""
    confirm(f"{'Anonymise' if is_kept else 'Delete'} everything of {user}? It cannot be undone.", is_sure)
    gone = desk.api.ask("DELETE", f"/users/{quote(user, safe='')}/data", {"mode": "anonymise"} if is_kept else None)
    if desk.is_json:
        show_json(gone)
        return
    verb = "anonymised" if is_kept else "deleted"
    say(f"{user}: {gone['records']:,} records {verb}, {gone['keys_revoked']:,} keys revoked.")
