"""weighbridge admins: keys to the control API, accounts of the dashboard, sessions in force."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from proxy.commands.desk import Desk, command, group
from proxy.commands.failures import USAGE, CommandFailed
from proxy.commands.keys import IdArgument, show_secret
from proxy.commands.showing import Column, say, show_facts, show_json, show_table, tell
from proxy.commands.words import instant

app = group("Who may do what: admin keys, dashboard accounts, sessions.")
keys_app = group("Keys to the control API, with a name and a role each.")
logins_app = group("Accounts of the dashboard, with a name and a password.")
sessions_app = group("Sessions of the dashboard.")
app.add_typer(keys_app, name="keys")
app.add_typer(logins_app, name="logins")
app.add_typer(sessions_app, name="sessions")
KEYS = (
    Column("id", "key_id", "id"),
    Column("name", "name"),
    Column("role", "role"),
    Column("state", "state"),
    Column("expires", "expires_at", "time"),
    Column("made", "created_at", "time"),
    Column("by", "created_by"),
    Column("from", "origin"),
)
LOGINS = (
    Column("name", "name"),
    Column("role", "role"),
    Column("user", "user"),
    Column("changed", "changed_at", "time"),
    Column("by", "changed_by"),
)
SESSIONS = (
    Column("id", "id", "id"),
    Column("name", "name"),
    Column("role", "role"),
    Column("by", "way"),
    Column("from", "address"),
    Column("began", "began_at", "time"),
    Column("ends", "ends_at", "time"),
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@command(app, "whoami")
def whoami(desk: Desk) -> None:
    """Whom the key stands for."""
    found = desk.api.get("/session")
    if desk.is_json:
        show_json(found)
        return
    show_facts([(name, found[name], "text") for name in ("role", "name", "user", "team", "tier", "kind", "timezone", "version")])


@command(keys_app, "list")
def list_keys(
    desk: Desk, is_all: Annotated[bool, typer.Option("--all", help="Also keys that are revoked or have expired.")] = False
) -> None:
    """Keys, without their secrets."""
    found = desk.api.get("/admin/keys", {"include_revoked": is_all})
    if desk.is_json:
        show_json(found)
        return
    show_table(KEYS, found["keys"], empty="No keys.")


@command(keys_app, "create")
def create_key(
    desk: Desk,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: the audit log names changes by it.")],
    role: Annotated[str, typer.Option(help="admin, or auditor: sees everything, changes nothing.")] = "admin",
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="ISO date or time (UTC), or +90d.")] = None,
) -> None:
    """Make a key to the control API. It is shown once; only its hash is kept."""
    desk.may_make_ledger = True
    body: dict[str, object] = {"name": name, "role": role}
    body |= {"expires_at": instant(expires, "--expires")} if expires else {}
    show_secret(desk, desk.api.ask("POST", "/admin/keys", body=body))


@command(keys_app, "rotate")
def rotate_key(
    desk: Desk,
    key_id: IdArgument,
    grace_seconds: Annotated[
        int | None, typer.Option("--grace", metavar="SECONDS", min=0, help="How long the old one goes on.")
    ] = None,
) -> None:
    """A new key in an old one's place."""
    body = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
    made = desk.api.ask("POST", f"/admin/keys/{quote(key_id, safe='')}/rotate", body=body)
    show_secret(desk, made)
    tell(f"The old key {made['replaces']['key_id']} holds until {made['replaces']['expires_at']}.")


@command(keys_app, "revoke")
def revoke_key(desk: Desk, key_id: IdArgument) -> None:
    """Revoke a key to the control API."""
    gone = desk.api.ask("DELETE", f"/admin/keys/{quote(key_id, safe='')}")
    if desk.is_json:
        show_json(gone)
        return
    say(f"{gone['key_id']} ({gone['name']}) is revoked.")


@command(logins_app, "list")
def list_logins(desk: Desk) -> None:
    """Accounts of the dashboard."""
    found = desk.api.get("/admin/logins")
    if desk.is_json:
        show_json(found)
        return
    show_table(LOGINS, found["logins"], empty="No accounts. Make one with: weighbridge admins logins set NAME")


@command(logins_app, "set")
def set_login(
    desk: Desk,
    name: NameArgument,
    role: Annotated[str, typer.Option(help="admin, auditor, or user (sees one user's own).")] = "admin",
    user: Annotated[str | None, typer.Option(help="Whose usage an account with the role user sees.")] = None,
    keeps_password: Annotated[bool, typer.Option("--keep-password", help="Change the role only.")] = False,
) -> None:
    """Make or change an account; the password is asked for, or read from standard input. Its sessions end."""
    desk.may_make_ledger = True
    body: dict[str, object] = {"role": role}
    body |= {"user": user} if user else {}
    if not keeps_password:
        body["password"] = _password()
    found = desk.api.ask("PUT", f"/admin/logins/{quote(name, safe='')}", body=body)
    if desk.is_json:
        show_json(found)
        return
    say(f"{found['name']} ({found['role']}) may log in.")


def _password() -> str:
    """From the terminal without showing it, twice; else one line of standard input."""
    if not sys.stdin.isatty():
        given = sys.stdin.readline().rstrip("\n")
    else:
        from getpass import getpass

        given = getpass("Password (12 characters or more): ")
        if getpass("Once more: ") != given:
            raise CommandFailed("The two are not the same.", USAGE)
    if len(given) < 12:
        raise CommandFailed("A password needs 12 characters or more.", USAGE)
    return given


@command(logins_app, "remove")
def remove_login(desk: Desk, name: NameArgument) -> None:
    """Remove an account and end its sessions."""
    gone = desk.api.ask("DELETE", f"/admin/logins/{quote(name, safe='')}")
    if desk.is_json:
        show_json(gone)
        return
    say(f"{gone['name']} is removed.")


@command(sessions_app, "list")
def list_sessions(desk: Desk) -> None:
    """Who is logged in."""
    found = desk.api.get("/admin/sessions")
    if desk.is_json:
        show_json(found)
        return
    show_table(SESSIONS, found["sessions"], empty="Nobody is logged in.")


@command(sessions_app, "end")
def end_session(desk: Desk, session_id: IdArgument) -> None:
    """Log somebody out."""
    gone = desk.api.ask("DELETE", f"/admin/sessions/{quote(session_id, safe='')}")
    if desk.is_json:
        show_json(gone)
        return
    say(f"{gone['name']} is logged out.")
