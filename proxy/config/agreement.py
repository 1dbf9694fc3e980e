"""What must fit together across settings and files: names that are referred to, keys that stand twice, the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from proxy.config.alert_words import CHANNEL_FIELDS, OPTIONAL_FIELDS
from proxy.config.build_providers import build_provider
from proxy.config.environment import MalformedReference, MissingVariable, expand
from proxy.config.mistakes import Finding, Path, path_text, shown
from proxy.config.presets import PRESETS
from proxy.pricing.fields import RATES


def providers_findings(document: Mapping[str, Any], environ: Mapping[str, str]) -> list[Finding]:
    """providers.yaml against the environment."""
    findings = []
    providers = document.get("providers", {})
    for name, entry in providers.items():
        findings += build_provider(name, entry, environ)[2]
    default = document.get("default_provider")
    if default is not None and default not in providers:
        findings.append(_undefined(("default_provider",), "provider", default, list(providers)))
    return findings


def limits_findings(document: Mapping[str, Any]) -> list[Finding]:
    """Tiers and teams that are named somewhere must stand somewhere; a key stands once."""
    findings = []
    tiers, teams = document.get("tiers", {}), document.get("teams", {})
    holders = [(("users", name), user) for name, user in document.get("users", {}).items()]
    holders += [(("keys", index), key) for index, key in enumerate(document.get("keys", []))]
    for path, holder in holders:
        if "tier" in holder and holder["tier"] not in tiers:
            findings.append(_undefined((*path, "tier"), "tier", holder["tier"], list(tiers)))
        if "team" in holder and holder["team"] not in teams:
            findings.append(_undefined((*path, "team"), "team", holder["team"], list(teams)))
    seen: dict[str, int] = {}
    for index, key in enumerate(document.get("keys", [])):
        first = seen.setdefault(key["key_sha256"], index)
        if first != index:
            findings.append(
                Finding(
                    ("keys", index, "key_sha256"), f"keys[{index}].key_sha256: stands already at keys[{first}]; keep one of the two"
                )
            )
    return findings


def _undefined(path: tuple[str | int, ...], kind: str, name: str, known: list[str]) -> Finding:
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    advice = f"did you mean `{shown(close[0])}`?" if close else f"add it under `{kind}s:`, e.g. `{kind}s: {{{shown(name)}: {{}}}}`"
    return Finding(path, f"{path_text(path)}: no {kind} is named `{shown(name)}`; {advice}")


def alerts_findings(document: Mapping[str, Any], environ: Mapping[str, str]) -> list[Finding]:
    """alerts.yaml: names that stand twice, and what each channel needs, against the environment."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for index, entry in enumerate(document.get("destinations", [])):
        path: Path = ("destinations", index)
        if entry["name"] in seen:
            findings.append(Finding((*path, "name"), f"{path_text(path)}.name: another destination has this name; rename one"))
        seen.add(entry["name"])
        findings += _channel_findings(path, entry, environ)
    return findings


def _channel_findings(path: Path, entry: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Finding]:
    channel = entry["channel"]
    wanted, optional = CHANNEL_FIELDS[channel], OPTIONAL_FIELDS[channel]
    for name in sorted({field for fields in CHANNEL_FIELDS.values() for field in fields} | {"secret", "recipients"}):
        where = path_text((*path, name))
        if name not in entry:
            if name in wanted or (name == "recipients" and channel == "email"):
                yield Finding((*path, "channel"), f"{where} is missing; {channel} needs it")
        elif name not in wanted and name not in optional:
            yield Finding((*path, name), f"{where}: {channel} has no `{name}`; remove it", is_about_key=True)
        elif isinstance(entry[name], str):
            yield from _address_findings((*path, name), entry[name], wanted.get(name, ""), environ)


def _address_findings(path: Path, text: str, pattern: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        is_right = re.match(pattern, expand(text, environ)) is not None
    except MissingVariable as missing:
        yield Finding(path, f"{path_text(path)}: {missing.name} is not set; set it in the environment, or write ${{NAME:-default}}")
    except MalformedReference as wrong:
        yield Finding(path, f"{path_text(path)}: {wrong}")
    else:
        if not is_right:
            yield Finding(path, f"{path_text(path)} is no address of this kind; write e.g. {_ADDRESSES[str(path[-1])]}")


_ADDRESSES = {
    "url": "https://example.org/hook",
    "smtp_url": "smtps://user:${SMTP_PASSWORD}@mail.example.org",
    "sender": "weighbridge@example.org",
    "secret": "${WEBHOOK_SECRET}",
}


def prices_findings(document: Mapping[str, Any], providers: Mapping[str, Any]) -> list[Finding]:
    """A price for a provider that is not there is a price with a typo."""
    findings = []
    known = [*providers, *(name for name in PRESETS if name not in providers)]
    for name, models in document.get("prices", {}).items():
        if name not in known and name != "*":
            close = get_close_matches(name, known, n=1, cutoff=0.6)
            advice = f"did you mean `{shown(close[0])}`?" if close else f"write one of: {', '.join(map(shown, providers))}"
            findings.append(Finding(("prices", name), f"no provider is named `{shown(name)}`; {advice}", is_about_key=True))
        for pattern, prices in models.items():
            findings += _rateless(("prices", name, pattern), prices)
            days = [price.get("valid_from", "") for price in prices] if isinstance(prices, list) else []
            if any(later <= earlier for earlier, later in pairwise(days)):
                path = ("prices", name, pattern)
                findings.append(
                    Finding(
                        path, f"{path_text(path)}: prices of several days must ascend; give each but the first a later `valid_from`"
                    )
                )
    return findings


def _rateless(path: Path, prices: Any) -> list[Finding]:
    """Rates of a service tier, or a day, without the rates that they change or bring into force would be ignored."""
    findings = []
    for index, price in enumerate(prices if isinstance(prices, list) else [prices]):
        place = (*path, index) if isinstance(prices, list) else path
        for field in ("service_tiers", "valid_from"):
            if field in price and not any(name in RATES for name in price):
                message = f"{path_text((*place, field))}: stands without prices; write input_mtok and output_mtok beside it"
                findings.append(Finding((*place, field), message, is_about_key=True))
    return findings
