"""Which caller a credential stands for: key digest to Caller.

Keys are 256 bits of randomness, so a plain SHA-256 is a safe name for one; the table is looked up by digest, which
compares no secret bytes and so leaks nothing by its timing. Clear keys are never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

VIRTUAL_KEY_PREFIX = "wb-"
LABELS = ("session", "operation", "operation_id", "tags")
"""What an application may say of a call (`x-weighbridge-session` …), in the words of records."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The application a key identifies, and the user it is limited and billed as."""

    user: str
    team: str | None = None
    tier: str | None = None
    key_id: str | None = None
    """First 12 hex digits of the key's SHA-256 for a virtual key; None for a caller's own or no key."""
    key_name: str | None = None
    kind: str = "own"
    """virtual, own or anonymous."""
    may_speak_for_others: bool = False
    expires_at: float | None = None
    """Unix seconds, UTC."""
    key_team: str | None = None
    """Team and tier that the key itself names: they hold for whomever the key speaks for."""
    key_tier: str | None = None
    priority: str = "normal"
    """low, normal or high: the tier's."""
    labels: frozenset[str] | None = None
    """Of LABELS, those that the key may send; None: all. Others are left out of the record."""

    def __hash__(self) -> int:
        """Callers are looked up in memos several times a request: two fields tell nearly all of them apart."""
        return hash((self.user, self.key_id))


def key_digest(key: str | bytes) -> str:
    """SHA-256 of a key in lower-case hex, as `key_sha256` in limits.yaml has it."""
    return sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def own_key_user(key: str | bytes) -> str:
    """The user name that stands for a caller's own provider key: `key-` and 12 hex digits of its SHA-256."""
    return "key-" + key_digest(key)[:12]
