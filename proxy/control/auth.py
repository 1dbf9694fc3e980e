"""Who asks, and what they may see: an admin, an auditor (sees what an admin sees, changes nothing), or a user with their own.

By a key (`Authorization: Bearer`, `x-api-key`) or, where none is sent, by the cookie of a session. Rules of this file: keys are
compared by digest and in constant time; a key never stands in an answer, a log or the ledger; a user's requests are narrowed
here (`Identity.narrow`) and not in each resource; a change by cookie needs the session's CSRF token.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiohttp import web

from proxy.control import sessions
from proxy.control.context import Context
from proxy.control.credentials import find_admin_key
from proxy.control.periods import iso
from proxy.control.replies import ApiError
from proxy.control.sessions import Session
from proxy.errors import LedgerError
from proxy.ledger.ledger import Ledger, RecordFilter
from proxy.routing.callers import VIRTUAL_KEY_PREFIX, key_digest
from proxy.rules import Rules

ADMIN_KEY_VARIABLE = "WEIGHBRIDGE_ADMIN_KEY"
ADMIN_KEY_SETTING = "admin_key"
MAX_KEY_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request speaks for."""

    role: str
    """admin, auditor or user."""
    user: str | None
    """Whose data a user sees; None for admins and auditors."""
    key_id: str | None = None
    kind: str = "admin"
    """admin (a key to this API), virtual (a key we made or list), own (the fingerprint of a provider's key) or session."""
    label: str | None = None
    """The name of the admin key, the account or the person; None for the one key of the environment or the first start."""
    session: Session | None = None

    @property
    def is_admin(self) -> bool:
        """May change things."""
        return self.role == "admin"

    @property
    def sees_all(self) -> bool:
        return self.role in ("admin", "auditor")

    @property
    def name(self) -> str:
        """As the audit log has it."""
        if self.session is not None:
            return f"{self.session.way}:{self.label}"
        if self.sees_all:
            return f"{self.role}:{self.label}" if self.label else self.role
        return f"user:{self.user}"

    def narrow(self, which: RecordFilter) -> RecordFilter:
        """The filter, cut down to what this identity may see.

        Raises:
            ApiError: it asks for somebody else.
        """
        if self.sees_all:
            return which
        if which.user not in (None, self.user):
            raise _forbidden()
        return replace(which, user=self.user)

    def require(self, user: str) -> None:
        """Raises ApiError where this user's data is not theirs to see."""
        if not self.sees_all and user != self.user:
            raise _forbidden()


IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)


def identity_of(request: web.Request) -> Identity:
    return request[IDENTITY]


async def identify(request: web.Request, context: Context) -> Identity:
    """The identity behind a request's credential.

    Raises:
        ApiError: 401 without a credential, or with one that nobody here knows; 403 for a change by cookie without its token.
        LedgerError: it takes the ledger to know, and that is away.
    """
    key = presented_key(request.headers)
    if key is None:
        return await _of_session(request, context)
    if len(key) > MAX_KEY_LENGTH:
        raise _unauthorised("this key is not known")
    if await _is_the_admin_key(key, context):
        return Identity("admin", None, label=context.admin_name)
    found = context.rules.caller_of(key)
    if found is None:
        named = await find_admin_key(context.ledger, key)
        if named is not None:
            state = named.state(iso(context.now()))
            if state != "active":
                raise _unauthorised(f"this admin key {'has expired' if state == 'expired' else 'is revoked'}")
            return Identity(named.role, None, named.key_id, label=named.name)
    return _user_of(key, context.rules, context.clock())


async def _is_the_admin_key(key: str, context: Context) -> bool:
    """The key of the environment, or the one made at the first start, as long as the ledger still has it."""
    digest = key_digest(key)
    is_admin = False
    for known in context.admin_key_sha256:
        is_admin |= hmac.compare_digest(digest, known)
    if not is_admin:
        return False
    try:
        return digest in await digests_in_force(context)
    except LedgerError:
        return True  # it was right when the ledger was last seen, and an outage must not lock the admin out


async def digests_in_force(context: Context) -> tuple[str, ...]:
    """The environment's key, else what the ledger has of the first start's: another replica may have revoked it."""
    return context.admin_key_sha256 if context.is_admin_key_given else await admin_digests(context.ledger, {})


async def _of_session(request: web.Request, context: Context) -> Identity:
    token = sessions.token_of(request)
    if token is None:
        raise _unauthorised("send a key as `Authorization: Bearer …` or `x-api-key: …`, or log in at POST /api/v1/session")
    found = await sessions.find(context.ledger, token, context.now())
    if found is None:
        raise _unauthorised("this session is over; log in again")
    sent = request.headers.get(sessions.CSRF_HEADER, "")
    if request.method not in ("GET", "HEAD", "OPTIONS") and not hmac.compare_digest(sent.encode(), found.csrf_token.encode()):
        raise ApiError(403, "csrf", f"changes need the session's token in the header {sessions.CSRF_HEADER} (GET /api/v1/session)")
    user = None if found.user is None else context.rules.user_name(found.user)
    return Identity(found.role, user, None, "session", found.name, found)


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key a request carries: a bearer token, or x-api-key."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or None


def _user_of(key: str, rules: Rules, now: float) -> Identity:
    caller = rules.caller_of(key)
    if caller is not None:
        if caller.expires_at is not None and caller.expires_at <= now:
            raise _unauthorised("this key has expired")
        return Identity("user", caller.user, caller.key_id, "virtual")
    if rules.auth == "keys" or key.startswith(VIRTUAL_KEY_PREFIX):
        raise _unauthorised("this key is not known")
    return Identity("user", rules.caller_for_own_key(key).user, None, "own")


async def ensure_admin_key(ledger: Ledger, environ: Mapping[str, str]) -> str | None:
    """Make an admin key at the first start, where the environment gives none.

    Returns:
        The new key in clear, to be shown once; None where there is one already.
    """
    if environ.get(ADMIN_KEY_VARIABLE):
        return None
    key = VIRTUAL_KEY_PREFIX + "admin-" + secrets.token_urlsafe(32)
    is_first = await ledger.add_setting(ADMIN_KEY_SETTING, {"sha256": key_digest(key)})
    return key if is_first else None


async def admin_digests(ledger: Ledger, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Digests of the admin keys in force. The environment's key replaces the made one."""
    given = environ.get(ADMIN_KEY_VARIABLE)
    if given:
        return (key_digest(given),)
    kept = await ledger.setting(ADMIN_KEY_SETTING)
    return (str(kept["sha256"]),) if isinstance(kept, Mapping) and "sha256" in kept else ()


def _unauthorised(message: str) -> ApiError:
    return ApiError(401, "unauthorised", message, {"www-authenticate": 'Bearer realm="weighbridge"'})


def _forbidden() -> ApiError:
    return ApiError(403, "forbidden", "a user's key sees only that user's data")
