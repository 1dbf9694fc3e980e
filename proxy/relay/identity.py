"""Who calls: the credential of a request to the caller it stands for, and what the provider is given in its place.

Rules of this file: a key that looks like one of ours and is not listed is refused, never forwarded; a caller's own key
goes on untouched; nobody without a key is lent the provider's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from proxy.routing.callers import VIRTUAL_KEY_PREFIX, Caller
from proxy.routing.headers import Credential, RequestHead
from proxy.routing.provider import Provider
from proxy.rules import Rules
from proxy.usage.request_facts import RequestFacts


@dataclass(frozen=True, slots=True)
class Denied:
    """A refusal as a value: what relay/refusals.py needs to say it in the caller's dialect."""

    kind: str
    """One of refusals.KINDS."""
    code: str
    message: str
    limit: str | None = None
    window: str | None = None
    retry_after_seconds: float | None = None
    caller: Caller | None = None
    """Who was refused, where that is known."""
    store_mode: str = "normal"
    """`Refusal.store_mode`"""


UNKNOWN_KEY = "invalid_api_key"
"""The code of a refusal that newer rules may undo."""
NOBODY = Caller("anonymous", kind="anonymous")
"""Whoever is refused before it is known who it is."""


class Identity(NamedTuple):
    """The caller, and whether the provider's key goes in place of what the caller sent."""

    caller: Caller
    is_swapped: bool


def identify(credentials: Iterable[Credential], provider: Provider, rules: Rules, now: float) -> Identity | Denied:
    """Find the caller of a request from the keys it carries. `now`: Unix seconds."""
    auth = provider.auth or rules.auth
    own: str | None = None
    for credential in credentials:
        caller = rules.caller_of(credential.key)
        if caller is not None:
            if caller.expires_at is not None and caller.expires_at <= now:
                message = "This virtual key has expired. Ask your administrator for a new one."
                return Denied("unauthorized", "key_expired", message, caller=caller)
            if provider.api_key is None and provider.credential != "none" and auth != "none":
                message = (
                    f"The provider '{provider.name}' has no API key here (providers.yaml: api_key), "
                    "so no virtual key works with it."
                )
                return Denied("provider_unconfigured", "provider_key_missing", message, caller=caller)
            return tuple.__new__(Identity, (caller, True))  # as in usage/whole_body.py
        if credential.key.startswith(VIRTUAL_KEY_PREFIX):
            return Denied(
                "unauthorized",
                UNKNOWN_KEY,
                "This virtual key is not known here. It may have been revoked; ask your administrator.",
            )
        if own is None:
            own = credential.key
    if auth == "none":
        return Identity(
            rules.caller_for_own_key(own) if own else rules.anonymous_caller(), provider.api_key is not None or own is None
        )
    if auth == "keys":
        if own is None:
            return Denied(
                "unauthorized",
                "missing_api_key",
                "No API key was sent. Send a virtual key (wb-…) where the provider's key would be.",
            )
        message = "Only virtual keys (wb-…) are accepted here. Ask your administrator for one."
        return Denied("unauthorized", UNKNOWN_KEY, message, caller=rules.caller_for_own_key(own))
    return Identity(rules.anonymous_caller() if own is None else rules.caller_for_own_key(own), False)


def for_end_user(caller: Caller, head: RequestHead, facts: RequestFacts, rules: Rules) -> Caller:
    """The caller as the end user it speaks for, where its key may do that (or no keys are asked for) and the request names one."""
    is_open = caller.kind == "anonymous" and rules.auth == "none"
    if not caller.may_speak_for_others and not is_open:
        return caller
    for place in rules.identify_by:
        if place.startswith("header:"):
            user = _header(head, place[7:].lower())
        else:
            user = next((value for name, value in facts.end_users if name == place), None)
        if user:
            return rules.anonymous_caller(user[:256]) if is_open else rules.caller_for_user(caller, user[:256])
    return caller


def _header(head: RequestHead, name: str) -> str | None:
    if name.startswith("x-weighbridge-"):
        value = head.labels.get(name[14:].encode())
    else:
        wanted = name.encode()
        value = next((value for header, value in head.headers if header.lower() == wanted), None)
    return value.decode("utf-8", "replace").strip() if value else None
