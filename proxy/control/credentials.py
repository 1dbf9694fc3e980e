"""Admin keys with names, and accounts with passwords: where they are kept, and what they come to.

Rules of this file: a key is kept as its digest, a password as its scrypt; both are documents of the ledger, so that a change
holds on every replica with the next request. Not here: who may change them (admin_keys.py, logins.py).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from hashlib import scrypt
from typing import TypeVar

from proxy.ledger.ledger import Ledger
from proxy.routing.callers import VIRTUAL_KEY_PREFIX, key_digest

ADMIN_KEY_PREFIX = VIRTUAL_KEY_PREFIX + "admin-"
KEY_PREFIX = "admin-key:"
LOGIN_PREFIX = "login:"
KEY_ID_LENGTH = 12
ROLES = ("admin", "auditor")
LOGIN_ROLES = ("admin", "auditor", "user")
COST_LOG2, BLOCK_SIZE, PARALLEL = 15, 8, 1
"""scrypt with 32 MiB and some 60 ms: OWASP's floor for scrypt (2026) is the same work in fewer passes."""
SALT_BYTES = 16
SCRYPT_MEMORY = 64 * 1024 * 1024
SCRYPTS_AT_ONCE = 2

_threads = ThreadPoolExecutor(SCRYPTS_AT_ONCE, thread_name_prefix="scrypt")
"""Of its own: the loop's pool is the ledger's too, and log-ins must not fill it."""


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A key to the control API."""

    key_id: str
    key_sha256: str
    name: str
    role: str
    created_at: str
    created_by: str
    expires_at: str | None = None
    revoked_at: str | None = None

    def state(self, now: str) -> str:
        """active, expired or revoked at an instant."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def as_json(self, now: str) -> dict[str, object]:
        """Without the digest."""
        return {**{name: value for name, value in asdict(self).items() if name != "key_sha256"}, "state": self.state(now)}


@dataclass(frozen=True, slots=True)
class Login:
    """An account of the dashboard."""

    name: str
    role: str
    scrypt: str
    changed_at: str
    """Sessions that began before this are over."""
    changed_by: str
    user: str | None = None
    """Whose usage an account with the role `user` sees."""

    def as_json(self) -> dict[str, object]:
        """Without the password's scrypt."""
        return {name: value for name, value in asdict(self).items() if name != "scrypt"}


Kept = TypeVar("Kept", AdminKey, Login)


def make_admin_key() -> tuple[str, str]:
    """A new key in clear and its digest."""
    clear = ADMIN_KEY_PREFIX + secrets.token_urlsafe(32)
    return clear, key_digest(clear)


async def find_admin_key(ledger: Ledger, key: str) -> AdminKey | None:
    """The named key with this clear text. Only what looks like one of ours costs a look into the ledger."""
    if not key.startswith(ADMIN_KEY_PREFIX):
        return None
    digest = key_digest(key)
    kept = _read(AdminKey, await ledger.setting(KEY_PREFIX + digest[:KEY_ID_LENGTH]))
    return kept if kept is not None and hmac.compare_digest(kept.key_sha256, digest) else None


async def admin_key(ledger: Ledger, key_id: str) -> AdminKey | None:
    return _read(AdminKey, await ledger.setting(KEY_PREFIX + key_id))


async def admin_keys(ledger: Ledger) -> list[AdminKey]:
    """All of them, the revoked ones too, oldest first."""
    found = [_read(AdminKey, kept) for kept in (await ledger.settings(KEY_PREFIX)).values()]
    return sorted((key for key in found if key is not None), key=lambda key: key.created_at)


async def put_admin_key(ledger: Ledger, key: AdminKey) -> None:
    await ledger.put_setting(KEY_PREFIX + key.key_id, asdict(key))


async def login(ledger: Ledger, name: str) -> Login | None:
    return _read(Login, await ledger.setting(LOGIN_PREFIX + name))


async def logins(ledger: Ledger) -> list[Login]:
    found = [_read(Login, kept) for kept in (await ledger.settings(LOGIN_PREFIX)).values()]
    return sorted((one for one in found if one is not None), key=lambda one: one.name)


async def put_login(ledger: Ledger, account: Login) -> None:
    await ledger.put_setting(LOGIN_PREFIX + account.name, asdict(account))


async def hash_password(password: str) -> str:
    """`scrypt$<log2 n>$<r>$<p>$<salt>$<hash>`, worked out in a thread."""
    salt = secrets.token_bytes(SALT_BYTES)
    worked = await _scrypt(password, salt, COST_LOG2, BLOCK_SIZE, PARALLEL)
    return "$".join(
        ("scrypt", str(COST_LOG2), str(BLOCK_SIZE), str(PARALLEL), b64encode(salt).decode(), b64encode(worked).decode())
    )


async def is_password(password: str, kept: str | None) -> bool:
    """Whether it is the password behind a kept scrypt; where there is none (no such account), as slow and False."""
    if kept is None:
        await _scrypt(password, bytes(SALT_BYTES), COST_LOG2, BLOCK_SIZE, PARALLEL)
        return False
    _, cost, block, parallel, salt, wanted = kept.split("$")
    worked = await _scrypt(password, b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(worked, b64decode(wanted))


async def _scrypt(password: str, salt: bytes, cost_log2: int, block: int, parallel: int) -> bytes:
    def work() -> bytes:
        return scrypt(password.encode(), salt=salt, n=1 << cost_log2, r=block, p=parallel, maxmem=SCRYPT_MEMORY)

    return await asyncio.get_running_loop().run_in_executor(_threads, work)


def _read(kind: type[Kept], kept: object) -> Kept | None:
    if not isinstance(kept, Mapping):
        return None
    return kind(**{field.name: kept[field.name] for field in fields(kind) if field.name in kept})
