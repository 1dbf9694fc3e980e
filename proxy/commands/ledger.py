"""weighbridge ledger: what it holds, whether it is sound, and its upkeep on this machine.

`stats` asks the API. The others work on the data itself: a check reads everything twice, and a server should not do that to
its own callers.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import typer

from proxy.commands.desk import Desk, command, group
from proxy.commands.failures import AWAY, CommandFailed
from proxy.commands.local import data_place
from proxy.commands.showing import Column, progress, say, show_facts, show_json, show_table, shown
from proxy.commands.words import confirm, instant

app = group("The ledger: what it holds, whether it is sound, its upkeep.")


@command(app, "stats")
def stats(desk: Desk) -> None:
    """How many records, since when, and what still waits in the spool."""
    api = desk.api
    whole = api.get("/usage/summary", {"range": "all"})["totals"]
    months = api.get("/usage/timeseries", {"range": "all", "interval": "month"})["points"]
    latest = api.get("/usage/records", {"limit": 1})["records"]
    health = api.get("/stats", {"range": "today"})["health"] or {}
    spool = health.get("spool") or {}
    found = {
        "records": whole["requests"],
        "first_month": months[0]["at"][:7] if months else None,
        "last_record_at": latest[0]["started_at"] if latest else None,
        "total_tokens": whole["total_tokens"],
        "cost_usd": whole["cost_usd"],
        "unpriced": whole["unpriced"],
        "estimated": whole["estimated"],
        "spool": spool,
        "months": [{"month": point["at"][:7], "records": point["requests"], "cost_usd": point["cost_usd"]} for point in months],
    }
    if desk.is_json:
        show_json(found)
        return
    show_facts(
        [
            ("records", found["records"], "count"),
            ("since", found["first_month"], "text"),
            ("last record", found["last_record_at"], "time"),
            ("tokens", found["total_tokens"], "count"),
            ("cost", found["cost_usd"], "money"),
            ("without a price", found["unpriced"], "count"),
            ("estimated", found["estimated"], "count"),
            ("waiting in the spool", spool.get("backlog_records"), "count"),
            ("set aside as unreadable", spool.get("poisoned"), "count"),
        ]
    )
    columns = (Column("month", "month", "id"), Column("records", "records", "count"), Column("cost", "cost_usd", "money"))
    show_table(columns, found["months"], empty="")


@command(app, "check")
def check(desk: Desk) -> None:
    """Add up every record and compare with the sums of the reports; test the file. Exit code 1 where something is wrong."""
    from proxy.commands.upkeep import check_ledger

    with progress("records", None) as bar:
        found = _run(check_ledger(os.environ, bar.advance))
    if desk.is_json:
        show_json(found)
    else:
        say(f"{data_place(os.environ)[0]}: {shown(found['records'])} records, {shown(found['days'])} days")
        columns = (
            Column("day", "day", "id"),
            Column("what", "field"),
            Column("records say", "records"),
            Column("sums say", "sums"),
        )
        if found["differences"]:
            show_table(columns, found["differences"][:50])
        for problem in found["problems"]:
            say(problem)
        say("In order." if found["is_sound"] else "Something is wrong: see above.")
    if not found["is_sound"]:
        raise typer.Exit(1)


@command(app, "drain")
def drain(desk: Desk) -> None:
    """Move what waits in the spool into the ledger, where no server runs."""
    from proxy.commands.upkeep import drain_spool

    found = _run(drain_spool(os.environ))
    if desk.is_json:
        show_json(found)
        return
    say(f"{shown(found['moved'])} records moved ({shown(found['known'])} known already, {shown(found['poisoned'])} set aside).")


@command(app, "vacuum")
def vacuum(desk: Desk) -> None:
    """Give back the room of what was deleted, and refresh what the database knows of its tables."""
    from proxy.commands.upkeep import vacuum_ledger

    found = _run(vacuum_ledger(os.environ))
    if desk.is_json:
        show_json(found)
        return
    say(f"{data_place(os.environ)[0]}: {shown(found['bytes_before'])} → {shown(found['bytes_after'])} bytes.")


@command(app, "forget")
def forget(
    desk: Desk,
    before: Annotated[str, typer.Option(metavar="DATE", help="Records that started before; sums stay.")],
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete old records; the sums of reports stay true. Cannot be undone."""
    from proxy.commands.upkeep import forget_before

    at = instant(before, "--before")
    confirm(f"Delete every record before {at}? It cannot be undone.", is_sure)
    _run(forget_before(os.environ, at))
    if desk.is_json:
        show_json({"before": at})
        return
    say(f"Records before {at} are gone; sums stay.")


def _run(work: Any) -> Any:
    """Run work on the local ledger; what is wrong with it in words."""
    from proxy.errors import WeighbridgeError

    try:
        return asyncio.run(work)
    except (WeighbridgeError, OSError) as failure:
        raise CommandFailed(f"{data_place(os.environ)[0]}: {failure}", AWAY) from None
