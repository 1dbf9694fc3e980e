"""`anonymise_users`: the secret from the environment, and the documents under the pseudonyms that it makes.

What files and the ledger say of a user is looked up by the name that callers go by, so it is renamed here, once per snapshot;
the request's way does not know that there is such a mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.config.mistakes import ConfigErrors, Finding, Mistake
from proxy.routing.pseudonyms import as_named, pseudonyms

VARIABLE = "WEIGHBRIDGE_ANONYMISE_SECRET"
MIN_LENGTH = 16
NameOf = Callable[[str], str]


def anonymous_findings(document: Mapping[str, Any], environ: Mapping[str, str]) -> list[Finding]:
    """server.yaml against the environment."""
    if not document.get("anonymise_users") or len(environ.get(VARIABLE, "")) >= MIN_LENGTH:
        return []
    told = f"anonymise_users: needs {VARIABLE} in the environment, {MIN_LENGTH} characters or more, the same on every replica"
    return [Finding(("anonymise_users",), told)]


def user_names(server: Mapping[str, Any], environ: Mapping[str, str]) -> NameOf:
    """What users go by.

    Raises:
        ConfigErrors: the mode is on, and the secret has gone from the environment since the documents were checked.
    """
    if not server.get("anonymise_users"):
        return as_named
    findings = anonymous_findings(server, environ)
    if findings:
        raise ConfigErrors([Mistake("server.yaml", 1, 1, finding.message) for finding in findings])
    return pseudonyms(environ[VARIABLE])


def renamed_limits(limits: Mapping[str, Any], name_of: NameOf) -> Mapping[str, Any]:
    """limits.yaml with `users:` under their pseudonyms; the keys are `renamed_key`'s."""
    if name_of is as_named or "users" not in limits:
        return limits
    return {**limits, "users": renamed(limits["users"], name_of)}


def renamed(by_user: Mapping[str, Any], name_of: NameOf) -> dict[str, Any]:
    """Anything by user."""
    return {name_of(user): value for user, value in by_user.items()}


def renamed_key(key: Mapping[str, Any], name_of: NameOf) -> Mapping[str, Any]:
    """A key in the words of `keys:`; one that names no user stands for its own name."""
    user = key.get("user") or key.get("name")
    return key if name_of is as_named or user is None else {**key, "user": name_of(user)}


def renamed_stop(stop: Mapping[str, str], name_of: NameOf) -> Mapping[str, str]:
    """An emergency stop of a user."""
    return {**stop, "value": name_of(stop["value"])} if stop.get("scope") == "user" else stop
