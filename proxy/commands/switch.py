"""weighbridge switch: the emergency stop."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.commands.desk import Desk, command, group
from proxy.commands.failures import USAGE, CommandFailed
from proxy.commands.showing import Column, say, show_json, show_table

app = group("The emergency stop: for all, a provider, a model, a team, a user or a key.")
STOPS = (
    Column("what", "scope"),
    Column("which", "value"),
    Column("cuts streams", "cut_streams"),
    Column("reason", "reason"),
    Column("by", "by"),
    Column("since", "at", "time"),
)
SCOPES = ("all", "provider", "model", "team", "user", "key")
ScopeArgument = Annotated[str, typer.Argument(metavar="WHAT", help="all, provider, model, team, user or key.")]
ValueArgument = Annotated[str, typer.Argument(metavar="[WHICH]", help="Its name; for models a pattern such as 'gpt-4*'.")]


@command(app, "show")
def show(desk: Desk) -> None:
    """Stops in force."""
    _show(desk, desk.api.get("/switch"))


@command(app, "stop")
def stop(
    desk: Desk,
    scope: ScopeArgument,
    value: ValueArgument = "",
    reason: Annotated[str | None, typer.Option()] = None,
    is_cut: Annotated[bool, typer.Option("--cut", help="Also end answers that are on their way.")] = False,
) -> None:
    """Refuse calls, on every replica within a second."""
    body = {**_turn(scope, value), "cut_streams": is_cut, **({"reason": reason} if reason else {})}
    _show(desk, desk.api.ask("POST", "/switch", body=body))


@command(app, "release")
def release(desk: Desk, scope: ScopeArgument, value: ValueArgument = "") -> None:
    """Let calls go again."""
    turn = _turn(scope, value)
    if not any((one["scope"], one["value"]) == (turn["scope"], turn["value"]) for one in desk.api.get("/switch")["stops"]):
        raise CommandFailed(
            f"No such stop: {' '.join(filter(None, (scope, value)))}. `weighbridge switch show` shows those in force."
        )
    _show(desk, desk.api.ask("POST", "/switch", body={**turn, "stopped": False}))


def _turn(scope: str, value: str) -> dict[str, object]:
    if scope not in SCOPES:
        raise CommandFailed(f"{scope}: one of {', '.join(SCOPES)} is wanted.", USAGE)
    if (scope == "all") == bool(value):
        raise CommandFailed("`all` takes no name." if value else f"Which {scope}? Give its name.", USAGE)
    return {"scope": scope, "value": value}


def _show(desk: Desk, found: dict[str, list[dict[str, object]]]) -> None:
    if desk.is_json:
        show_json(found)
        return
    if not found["stops"]:
        say("Nothing is stopped.")
        return
    show_table(STOPS, found["stops"])
