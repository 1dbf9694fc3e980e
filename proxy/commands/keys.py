"""weighbridge keys: virtual keys, made, listed, rotated, revoked."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, command, group
from proxy.commands.failures import REFUSED
from proxy.commands.showing import Column, say, show_json, show_table, tell
from proxy.commands.words import instant

app = group("Virtual keys: make, list, rotate and revoke them.")
KEYS = (
    Column("id", "key_id", "id"),
    Column("user", "user"),
    Column("name", "name"),
    Column("team", "team"),
    Column("tier", "tier"),
    Column("state", "state"),
    Column("expires", "expires_at", "time"),
    Column("made", "created_at", "time"),
    Column("by", "created_by"),
    Column("from", "origin"),
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The key's id: `weighbridge keys list` shows it.")]


@command(app, "list")
def list_keys(
    desk: Desk,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Also keys that are revoked or have expired.")] = False,
) -> None:
    """Keys, without their secrets."""
    found = desk.api.get("/keys", {"user": user, "include_revoked": is_all})
    if desk.is_json:
        show_json(found)
        return
    show_table(KEYS, found["keys"], empty="No keys. Make one with: weighbridge keys create USER")


@command(app, "create")
def create(
    desk: Desk,
    user: Annotated[str, typer.Argument(help="Who is limited and billed.")],
    name: Annotated[str | None, typer.Option(help="What the key is for, e.g. laptop.")] = None,
    team: Annotated[str | None, typer.Option()] = None,
    tier: Annotated[str | None, typer.Option()] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="DATE", help="ISO date or time in UTC after which the key is refused.")
    ] = None,
    models: Annotated[str | None, typer.Option(metavar="PATTERNS", help="Only these models, e.g. 'gpt-4o-mini,claude-*'.")] = None,
    may_speak_for_others: Annotated[
        bool, typer.Option("--may-speak-for-others", help="The key may name end users (x-weighbridge-user).")
    ] = False,
    labels: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these labels: session, operation, operation_id, tags. Default: all.")
    ] = None,
) -> None:
    """Make a virtual key. It is shown once; only its hash is kept."""
    desk.may_make_ledger = True
    body: dict[str, object] = {"user": user, "may_speak_for_others": may_speak_for_others}
    body |= {word: value for word, value in (("name", name), ("team", team), ("tier", tier)) if value is not None}
    if expires:
        body["expires_at"] = instant(expires, "--expires")
    if models:
        body["models"] = [pattern.strip() for pattern in models.split(",") if pattern.strip()]
    if labels is not None:
        body["labels"] = [name.strip() for name in labels.split(",") if name.strip()]
    made = desk.api.ask("POST", "/keys", body=body)
    show_secret(desk, made)


def show_secret(desk: Desk, made: dict[str, object]) -> None:
    """A new key: alone on standard output, so that it can go into a variable; what there is to say, beside it."""
    if desk.is_json:
        show_json(made)
        return
    say(str(made["key"]))
    if sys.stderr.isatty():
        tell(f"Its id is {made['key_id']}. It is shown this once; only its hash is kept.")


@command(app, "rotate")
def rotate(
    desk: Desk,
    key_id: IdArgument,
    grace_seconds: Annotated[
        int | None, typer.Option("--grace", metavar="SECONDS", min=0, help="How long the old key goes on. Default: a day.")
    ] = None,
) -> None:
    """A new key in an old one's place; both hold for a time of grace."""
    body = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
    made = desk.api.ask("POST", f"/keys/{quote(key_id, safe='')}/rotate", body=body)
    show_secret(desk, made)
    tell(f"The old key {made['replaces']['key_id']} holds until {made['replaces']['expires_at']}.")


@command(app, "revoke")
def revoke(desk: Desk, key_id: IdArgument) -> None:
    """Revoke a key, on every replica within a second."""
    gone = desk.api.ask("DELETE", f"/keys/{quote(key_id, safe='')}")
    if desk.is_json:
        show_json(gone)
        return
    say(f"{gone['key_id']} ({gone['user']}) is revoked.")


@app.command("hash")
def hash_key() -> None:
    """Read a key from standard input and print its SHA-256, for `keys:` in limits.yaml."""
    from proxy.routing.callers import key_digest

    key = sys.stdin.readline().strip()
    if not key:
        tell("Nothing came on standard input. Use: echo -n wb-… | weighbridge keys hash")
        raise typer.Exit(REFUSED)
    say(key_digest(key))
