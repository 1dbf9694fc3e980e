"""weighbridge alerts: what was raised, and whether it arrives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, Query, command, group
from proxy.commands.failures import USAGE, CommandFailed
from proxy.commands.showing import Column, say, show_json, show_table, shown

app = group("Alerts: list, acknowledge, dismiss; try a destination.")
ALERTS = (
    Column("at", "at", "time"),
    Column("severity", "severity"),
    Column("state", "state"),
    Column("kind", "kind"),
    Column("user", "user"),
    Column("title", "title"),
    Column("id", "id", "id"),
)
DELIVERIES = (
    Column("at", "at", "time"),
    Column("to", "destination"),
    Column("by", "channel"),
    Column("state", "state"),
    Column("tries", "attempts", "count"),
    Column("next", "due_at", "time"),
    Column("error", "error"),
    Column("id", "id", "id"),
)
DESTINATIONS = (
    Column("name", "name"),
    Column("by", "channel"),
    Column("from", "min_severity"),
    Column("kinds", "kinds"),
    Column("teams", "teams"),
    Column("users", "users"),
    Column("grouped", "group_seconds"),
    Column("origin", "origin"),
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="`weighbridge alerts list` shows it.")]
RowsOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="Rows at most.")]


@command(app, "list", filters=("range", "from", "to", "user"))
def list_alerts(
    desk: Desk,
    query: Query,
    state: Annotated[str | None, typer.Option(help="open, acknowledged, dismissed or resolved.")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or critical.")] = None,
    kind: Annotated[str | None, typer.Option(help="daily, monthly, burst, cost, anomaly, …")] = None,
    limit: RowsOption = 50,
) -> None:
    """Alerts, newest first."""
    found = desk.api.get("/alerts", {**query, "state": state, "severity": severity, "kind": kind, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    show_table(ALERTS, found["alerts"], empty="No alerts.")


@command(app, "ack")
def acknowledge(desk: Desk, alert_id: IdArgument) -> None:
    """Seen, and being worked on."""
    _set(desk, alert_id, "acknowledge")


@command(app, "dismiss")
def dismiss(desk: Desk, alert_id: IdArgument) -> None:
    """Seen, and nothing to be done."""
    _set(desk, alert_id, "dismiss")


def _set(desk: Desk, alert_id: str, verb: str) -> None:
    found = desk.api.ask("POST", f"/alerts/{quote(alert_id, safe='')}/{verb}")
    if desk.is_json:
        show_json(found)
        return
    say(f"{found['title']}: {found['state']}.")


@command(app, "deliveries")
def deliveries(
    desk: Desk, state: Annotated[str | None, typer.Option(help="pending, sent or dead.")] = None, limit: RowsOption = 50
) -> None:
    """Messages on their way, sent, and given up."""
    found = desk.api.get("/alerts/deliveries", {"state": state, "limit": limit})
    if desk.is_json:
        show_json(found)
        return
    show_table(DELIVERIES, found["deliveries"], empty="No deliveries.")


@command(app, "retry")
def retry(
    desk: Desk, delivery_id: Annotated[str, typer.Argument(metavar="ID", help="`weighbridge alerts deliveries` shows it.")]
) -> None:
    """Try a message that was given up again; it goes within a minute."""
    found = desk.api.ask("POST", f"/alerts/deliveries/{quote(delivery_id, safe='')}/retry")
    if desk.is_json:
        show_json(found)
        return
    say(f"{len(found['alerts'])} alerts to {found['destination']}: {found['state']}.")


@command(app, "destinations")
def destinations(
    desk: Desk,
    file: Annotated[
        Path | None,
        typer.Option("--set", metavar="FILE", help="JSON, a list: replaces those made through the API."),
    ] = None,
) -> None:
    """Where alerts go: those of alerts.yaml, and those made through the API. Secrets are not shown."""
    if file is not None:
        try:
            wanted = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as mistake:
            raise CommandFailed(f"{file}: {mistake}", USAGE) from None
        desk.api.ask("PUT", "/alerts/destinations", body={"destinations": wanted})
    if desk.is_json:
        show_json(desk.api.get("/alerts/destinations"))
        return
    show_table(DESTINATIONS, _known(desk), empty="Alerts go nowhere yet.")


def _known(desk: Desk) -> list[dict[str, Any]]:
    found = desk.api.get("/alerts/destinations")
    configured = [{**one, "origin": "alerts.yaml"} for one in found["configured"]]
    return [*configured, *({**one, "origin": "api"} for one in found["destinations"])]


@command(app, "test")
def send_test(
    desk: Desk, destination: Annotated[str | None, typer.Argument(metavar="[DESTINATION]", help="Default: each of them.")] = None
) -> None:
    """Send a test alert now. Exit code 1 where it does not arrive."""
    names = [destination] if destination else [one["name"] for one in _known(desk)]
    if not names:
        raise CommandFailed("Alerts go nowhere yet: name destinations in alerts.yaml, or say `alerts destinations --set FILE`.")
    results = {name: desk.api.ask("POST", "/alerts/test", body={"destination": name}) for name in names}
    if desk.is_json:
        show_json({"tests": [{"destination": name, **result} for name, result in results.items()]})
    else:
        for name, result in results.items():
            say(f"{name}: {'arrived' if result['delivered'] else 'did not arrive: ' + shown(result['error'])}")
    if not all(result["delivered"] for result in results.values()):
        raise typer.Exit(1)
