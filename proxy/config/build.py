"""A snapshot of documents to Rules: what a worker does whenever the snapshot changes.

Rules of this file: it trusts the documents (they were validated before they were written) and the environment not at
all; it must be fast, for every worker does it at once: 10,000 keys in some 30 ms, everything per caller on demand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from proxy.config.anonymous import NameOf, renamed, renamed_key, renamed_limits, renamed_stop, user_names
from proxy.config.build_providers import build_provider
from proxy.config.fields import expiry
from proxy.config.load import settings_from
from proxy.config.mistakes import ConfigErrors, Mistake
from proxy.config.price_list import price_list
from proxy.config.resolve import LimitTable
from proxy.pricing.pricebook import Pricebook, build_pricebook
from proxy.routing.callers import Caller
from proxy.routing.provider import Provider
from proxy.rules import Rules

KEY_ID_LENGTH = 12
OWN_USER_LABEL = "header:x-weighbridge-user"
"""Always looked at first: it can mean nothing else."""
DEFAULT_ALERTS = (0.5, 0.75, 0.8, 0.9, 1.0)


def build_rules(
    snapshot: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    pricebook: Pricebook | None = None,
    price_list: Path | None = None,
    now: float | None = None,
    user_name: NameOf | None = None,
) -> Rules:
    """Everything a request needs, from a snapshot (see `snapshot.py` for its shape).

    Args:
        environ: what `${NAME}` stands for; the keys of providers.
        pricebook: instead of the one made from prices.yaml.
        price_list: where the compiled built-in list lies (`price_list.ensure_price_list`); without it, it is made here.
        now: Unix seconds; overrides that ended before are left out.
        user_name: what users go by, instead of what server.yaml says.

    Raises:
        ConfigErrors: the environment has changed since the documents were checked, so that a provider cannot be built.
    """
    documents = snapshot["documents"]
    overlay = snapshot.get("overlay") or {}
    now = time.time() if now is None else now
    name_of = user_names(documents.get("server", {}), environ) if user_name is None else user_name
    limits = renamed_limits(documents.get("limits", {}), name_of)
    prices: Mapping[str, Any] = documents.get("prices", {})
    zone = ZoneInfo(limits.get("timezone", "UTC"))
    providers, disabled = _providers(documents.get("providers", {}), environ)
    keys = {key["key_sha256"]: renamed_key(key, name_of) for key in _stored_keys(overlay.get("keys") or ())}
    keys.update((key["key_sha256"], renamed_key(key, name_of)) for key in limits.get("keys", ()))
    overrides, stale_at = _overrides(overlay.get("overrides") or (), now)
    table = LimitTable(limits, {digest[:KEY_ID_LENGTH]: key for digest, key in keys.items()}, renamed(overrides, name_of))
    return Rules(
        version=str(snapshot.get("version", "")),
        settings=settings_from(documents.get("server", {})),
        providers=providers,
        pricebook=_pricebook(prices, price_list) if pricebook is None else pricebook,
        callers=_callers(keys, table, zone),
        auth=limits.get("auth", "auto"),
        identify_by=tuple(dict.fromkeys((OWN_USER_LABEL, *limits.get("identify_by", ())))),
        timezone=zone,
        output_cap=limits.get("output_cap", "off"),
        unknown_model=prices.get("unknown_model", "allow"),
        alert_at=tuple(float(share) for share in limits.get("alert_at", DEFAULT_ALERTS)),
        resolve_limits=table.limits,
        resolve_all_limits=table.all_limits,
        resolve_models=table.models,
        stops=tuple(renamed_stop(_stop(stop), name_of) for stop in overlay.get("stops") or ()),
        user_name=name_of,
        standing_of=table.standing,
        resolve_model_lists=table.model_lists,
        default_provider=documents.get("providers", {}).get("default_provider"),
        disabled=disabled,
        stale_at=stale_at,
    )


def _providers(document: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Provider], dict[str, str]]:
    providers: dict[str, Provider] = {}
    disabled: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for name, entry in document.get("providers", {}).items():
        provider, reason, findings = build_provider(name, entry, environ)
        mistakes += [Mistake("providers.yaml", 1, 1, finding.message) for finding in findings]
        if provider is not None:
            providers[name] = provider
        elif reason is not None:
            disabled[name] = reason
    if mistakes:
        raise ConfigErrors(mistakes)
    return providers, disabled


def _stored_keys(stored: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """Keys made through the API, in the words of `keys:`; a StoredKey as a mapping is understood too. Revoked ones are left out."""
    for key in stored:
        if key.get("revoked_at"):
            continue
        settings = {**key, **(key.get("settings") or {})}
        found = {
            name: value
            for name, value in settings.items()
            if value is not None and name not in ("settings", "limits", "expires_at")
        }
        found |= settings.get("limits") or {}
        if "expires" not in found and settings.get("expires_at"):
            found["expires"] = settings["expires_at"]
        yield found


def _overrides(overrides: Any, now: float) -> tuple[dict[str, Mapping[str, Any]], float | None]:
    """Limits set through the API by user, those in force; when the first of them ends."""
    found: dict[str, Mapping[str, Any]] = {}
    ends: list[float] = []
    named = overrides.items() if isinstance(overrides, Mapping) else ((one["user"], one) for one in overrides)
    for user, override in named:
        until = override.get("until")
        ends_at = None if until is None else float(until) if isinstance(until, int | float) else expiry(str(until), ZoneInfo("UTC"))
        if ends_at is None or ends_at > now:
            found[user] = override.get("limits") or {}
            if ends_at is not None:
                ends.append(ends_at)
    return found, min(ends, default=None)


def _callers(keys: Mapping[str, Mapping[str, Any]], table: LimitTable, zone: ZoneInfo) -> dict[str, Caller]:
    callers = {}
    for digest, key in keys.items():
        key_id = digest[:KEY_ID_LENGTH]
        user = key.get("user") or key.get("name") or "key-" + key_id
        team, tier = key.get("team"), key.get("tier")
        standing = table.standing(user)
        expires = key.get("expires")
        callers[digest] = Caller(
            user,
            team or standing.team,
            tier or standing.tier,
            key_id,
            key.get("name"),
            "virtual",
            key.get("may_speak_for_others", False),
            None if expires is None else expiry(expires, zone),
            team,
            tier,
            table.priority(tier) if tier else standing.priority,
            frozenset(key["labels"]) if key.get("labels") is not None else None,
        )
    return callers


def _stop(stop: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: str(value) for name, value in stop.items() if value is not None}


def _pricebook(prices: Mapping[str, Any], price_list: Path | None) -> Pricebook:
    """prices.yaml above the built-in list. Kept while the file stays the same: limits change far more often."""
    return _pricebook_of(orjson.dumps(prices.get("prices", {})), price_list)


@lru_cache(maxsize=2)
def _pricebook_of(prices: bytes, path: Path | None) -> Pricebook:
    return build_pricebook(_exact(orjson.loads(prices)), price_list(path))


def _exact(value: Any) -> Any:
    """Decimal text of the snapshot back to Decimal."""
    if isinstance(value, dict):
        return {name: one if name == "valid_from" else _exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_exact(one) for one in value]
    return Decimal(value) if isinstance(value, str) else value
