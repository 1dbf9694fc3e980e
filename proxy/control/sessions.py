"""Sessions of the dashboard: kept in the ledger's journal by the digest of a token that only the browser has.

A session lives SESSION_SECONDS from its log-in, whatever happens, and ends before that with its log-out, with a change of
its account, or when an admin ends it. Its CSRF token is derived from the session's own, so that it need not be kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie

from aiohttp import web

from proxy.control.credentials import login
from proxy.control.origin import came_by_tls
from proxy.control.periods import iso
from proxy.ledger.ledger import Entry, Ledger
from proxy.routing.callers import key_digest

KIND = "session"
COOKIE = "weighbridge-session"
COOKIE_PATH = "/api/v1"
CSRF_HEADER = "x-csrf-token"
SESSION_SECONDS = 12 * 3600
SESSION_ID_LENGTH = 16
MAX_TOKEN = 128


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in that is in force."""

    id: str
    name: str
    """Who logged in: an account's name, or what the identity provider calls the person."""
    role: str
    user: str | None
    way: str
    """password or oidc."""
    began_at: str
    ends_at: str
    csrf_token: str = ""
    """Known only where the session's own token is at hand."""
    address: str | None = None

    def as_json(self) -> dict[str, object]:
        """For lists of sessions: no secret."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role,
            "user": self.user,
            "way": self.way,
            "began_at": self.began_at,
            "ends_at": self.ends_at,
            "address": self.address,
        }


def csrf_token(token: str) -> str:
    """What a page must send with every change, from the session's token."""
    return key_digest("csrf:" + token)[:40]


async def begin(
    ledger: Ledger, now: datetime, name: str, role: str, user: str | None, way: str, address: str | None
) -> tuple[str, Session]:
    """A new session: its token, to be given to the browser and kept nowhere. Sweeps those that are over."""
    await ledger.delete_entries(KIND, now - timedelta(seconds=SESSION_SECONDS))
    token = secrets.token_urlsafe(32)
    ends_at = iso(now + timedelta(seconds=SESSION_SECONDS))
    body: dict[str, object] = {"name": name, "role": role, "user": user, "way": way, "ends_at": ends_at, "address": address}
    entry = Entry(KIND, key_digest(token), iso(now), body)
    await ledger.put_entry(entry)
    return token, _session(entry, token)


async def find(ledger: Ledger, token: str, now: datetime) -> Session | None:
    """The session behind a token, if it is in force."""
    if not token or len(token) > MAX_TOKEN:
        return None
    entry = await ledger.entry(KIND, key_digest(token))
    if entry is None or entry.body.get("ended_at") or str(entry.body.get("ends_at", "")) <= iso(now):
        return None
    found = _session(entry, token)
    if found.way == "password":
        account = await login(ledger, found.name)
        if account is None or account.changed_at > found.began_at:
            return None
    return found


async def end(ledger: Ledger, session_id: str, now: datetime) -> bool:
    """End the session whose id this is; False where none is in force."""
    entry = await _entry_of(ledger, session_id)
    if entry is None:
        return False
    await ledger.put_entry(Entry(KIND, entry.id, entry.at, {**entry.body, "ended_at": iso(now)}), replace=True)
    return True


async def in_force(ledger: Ledger, now: datetime) -> list[Session]:
    """Newest first."""
    return [_session(entry, "") for entry in await _entries(ledger) if _is_open(entry, iso(now))]


async def _entry_of(ledger: Ledger, session_id: str) -> Entry | None:
    for entry in await _entries(ledger):
        if entry.id[:SESSION_ID_LENGTH] == session_id and not entry.body.get("ended_at"):
            return entry
    return None


async def _entries(ledger: Ledger) -> list[Entry]:
    found: list[Entry] = []
    cursor: str | None = None
    while True:
        page = await ledger.entries(KIND, 500, cursor)
        found += page.entries
        cursor = page.next_cursor
        if cursor is None:
            return found


def _is_open(entry: Entry, now: str) -> bool:
    return not entry.body.get("ended_at") and str(entry.body.get("ends_at", "")) > now


def _session(entry: Entry, token: str) -> Session:
    body: Mapping[str, object] = entry.body
    user, address = body.get("user"), body.get("address")
    return Session(
        entry.id[:SESSION_ID_LENGTH],
        str(body.get("name", "")),
        str(body.get("role", "user")),
        None if user is None else str(user),
        str(body.get("way", "password")),
        entry.at,
        str(body.get("ends_at", "")),
        csrf_token(token) if token else "",
        None if address is None else str(address),
    )


def token_of(request: web.Request) -> str | None:
    """The session token that the browser sent."""
    sent = request.headers.get("cookie")
    if not sent or COOKIE not in sent:
        return None
    try:
        morsel = SimpleCookie(sent).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and morsel.value else None


def give_cookie(request: web.Request, reply: web.StreamResponse, token: str, *, is_secure: bool = False) -> None:
    """Put the token where no script can read it and no other site can send it from."""
    reply.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_SECONDS,
        path=COOKIE_PATH,
        httponly=True,
        samesite="Strict",
        secure=is_secure or came_by_tls(request),
    )


def take_cookie(reply: web.StreamResponse) -> None:
    reply.del_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="Strict")
