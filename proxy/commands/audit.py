"""weighbridge audit: who changed what, when, from where."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from proxy.commands.desk import Desk, Query, command
from proxy.commands.showing import Column, show_json, show_table, shown

KNOWN = ("id", "at", "by", "action", "subject", "address")
AUDIT = (
    Column("at", "at", "time"),
    Column("by", "by"),
    Column("from", "address"),
    Column("did", "action"),
    Column("to", "subject"),
    Column("details", "details"),
)


def register(app: typer.Typer) -> None:
    """Add `audit` to the program: it is a command of its own and no group."""
    command(app, "audit", filters=("range", "from", "to"))(audit)


def audit(
    desk: Desk,
    query: Query,
    by: Annotated[str | None, typer.Option(help="Only changes by this one, as the list names them.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Lines at most.")] = 50,
) -> None:
    """Who changed what, newest first."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(found) < limit:
        page = desk.api.get("/audit", {**query, "limit": 1000 if by else min(1000, limit - len(found)), "cursor": cursor})
        found += [line for line in page["audit"] if by in (None, line["by"])]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if desk.is_json:
        show_json({"audit": found[:limit], "next_cursor": cursor})
        return
    rows = [{**line, "details": _details(line)} for line in found[:limit]]
    show_table(AUDIT, rows, empty="No changes.")


def _details(line: dict[str, Any]) -> str:
    """What it was and became, in short."""
    parts = []
    for name, value in line.items():
        if name not in KNOWN and value is not None:
            parts.append(f"{name}: {shown(value)}")
    text = "; ".join(parts)
    return text if len(text) <= 160 else text[:157] + "…"
