"""Who asks, and what they may see: the admin's key, or a user's own.

Rules of this file: keys are compared by digest and in constant time; a key never stands in an answer, a log or the
ledger; a user's requests are narrowed here (`Identity.narrow`) and not in each resource.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiohttp import web

from proxy.control.context import Context
from proxy.control.replies import ApiError
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
    """admin or user."""
    user: str | None
    """Whose data a user sees; None for the admin."""
    key_id: str | None = None
    kind: str = "admin"
    """admin, virtual (a key we made or list) or own (the fingerprint of a provider's key)."""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    @property
    def name(self) -> str:
        """As the audit log has it."""
        return "admin" if self.is_admin else f"user:{self.user}"

    def narrow(self, which: RecordFilter) -> RecordFilter:
        """The filter, cut down to what this identity may see.

        Raises:
            ApiError: it asks for somebody else.
        """
        if self.is_admin:
            return which
        if which.user not in (None, self.user):
            raise _forbidden()
        return replace(which, user=self.user)

    def require(self, user: str) -> None:
        """Raises ApiError where this user's data is not theirs to see."""
        if not self.is_admin and user != self.user:
            raise _forbidden()


IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)


def identity_of(request: web.Request) -> Identity:
    return request[IDENTITY]


def identify(request: web.Request, context: Context) -> Identity:
    """The identity behind a request's credential.

    Raises:
        ApiError: 401 without a credential, or with one that nobody here knows.
    """
    key = presented_key(request.headers)
    if not key or len(key) > MAX_KEY_LENGTH:
        raise _unauthorised("send a key as `Authorization: Bearer …` or `x-api-key: …`")
    digest = key_digest(key)
    is_admin = False
    for known in context.admin_key_sha256:
        is_admin |= hmac.compare_digest(digest, known)
    if is_admin:
        return Identity("admin", None)
    return _user_of(key, context.rules, context.clock())


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
