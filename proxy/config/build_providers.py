"""Entries of providers.yaml to Providers: presets filled in, the environment read, addresses taken apart.

Rules of this file: a preset's key goes to the preset's own address only; a provider whose key is not in the environment
stays usable with callers' own keys; nothing here connects anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from proxy.config.environment import MalformedReference, MissingVariable, expand, variables
from proxy.config.mistakes import Finding, Path
from proxy.config.presets import API_NAMES, CREDENTIAL_OF_API, PRESETS, Preset, preset_by_host
from proxy.routing.provider import Provider

_PLAIN_FIELDS = (
    "auth",
    "inject_usage",
    "connect_timeout_seconds",
    "first_byte_timeout_seconds",
    "between_bytes_timeout_seconds",
    "max_connections",
    "idle_seconds",
    "lifetime_seconds",
    "verify_tls",
)


class _Entry:
    """One entry being read; what is wrong is collected, not raised."""

    def __init__(self, name: str, entry: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.name = name
        self.entry = entry
        self.environ = environ
        self.findings: list[Finding] = []
        self.missing: str | None = None

    def wrong(self, path: Path, message: str) -> None:
        self.findings.append(
            Finding(("providers", self.name, *path), ".".join(("providers", self.name, *map(str, path))) + ": " + message)
        )

    def text(self, path: Path, text: str, *, is_secret: bool = False) -> str | None:
        """The text with the environment in it; None where a variable is missing (a mistake, except for secrets)."""
        try:
            return expand(text, self.environ)
        except MissingVariable as missing:
            if self.entry.get("optional"):
                self.missing = self.missing or (None if is_secret else missing.name)
            elif not is_secret:
                self.wrong(path, f"{missing.name} is not set; set it, write ${{{missing.name}:-default}}, or add `optional: true`")
        except MalformedReference as malformed:
            self.wrong(path, str(malformed))
        return None


def build_provider(
    name: str, entry: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[Provider | None, str | None, list[Finding]]:
    """One provider, ready for use.

    Returns:
        The provider, or None; why it is left out, where that is not a mistake; what is wrong.
    """
    reading = _Entry(name, entry, environ)
    preset = PRESETS.get(entry.get("preset", name))
    base_url = entry.get("base_url") or (preset.base_url if preset else None)
    if base_url is None:
        reading.wrong(
            () if "preset" not in entry else ("preset",), "has no `base_url`; write e.g. base_url: https://api.example.com"
        )
        return None, None, reading.findings
    expanded = reading.text(("base_url",), base_url)
    parts = None if expanded is None else _address(reading, expanded, base_url)
    if parts is not None and preset is None:
        preset = preset_by_host(parts.hostname or "")
    api = API_NAMES[entry.get("api") or (preset.api if preset else "openai")]
    api_key = _api_key(reading, preset, parts)
    headers = _headers(reading)
    ca_file = reading.text(("ca_file",), entry["ca_file"]) if "ca_file" in entry else None
    proxy_url = _proxy(reading, parts)
    if reading.findings:
        return None, None, reading.findings
    if parts is None or reading.missing:
        return None, f"{reading.missing} is not set", []
    return (
        Provider(
            name=name,
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or (443 if parts.scheme == "https" else 80),
            base_path=parts.path.rstrip("/").encode("latin-1"),
            api=api,
            price_provider=entry.get("price_provider") or (preset.price_provider if preset else name),
            api_key=api_key,
            credential=entry.get("credential") or _credential(preset, api, api_key, needs_key="api_key" in entry),
            headers=headers,
            ca_file=ca_file,
            proxy_url=proxy_url,
            model_names=tuple(entry.get("model_names", {}).items()),
            **({"inject_usage": preset.inject_usage} if preset else {})
            | {field: entry[field] for field in _PLAIN_FIELDS if field in entry},
        ),
        None,
        [],
    )


def _address(reading: _Entry, url: str, written: str) -> SplitResult | None:
    """The parts of a base URL, or a mistake."""
    source = f" (from {', '.join(variables(written))})" if variables(written) else ""
    advice = f"is no http:// or https:// address{source}; write e.g. https://api.example.com"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        reading.wrong(("base_url",), advice)
        return None
    host = parts.hostname or ""
    if (
        parts.scheme not in ("http", "https")
        or not host
        or port == 0
        or re.search(r"[\s\x00-\x20\x7f]|[^\x00-\x7f]", url)
        or ".." in parts.path
    ):
        reading.wrong(("base_url",), advice)
    elif parts.username is not None or parts.password is not None:
        reading.wrong(("base_url",), "holds a user or a password; put the key under `api_key`")
    elif parts.query or parts.fragment or url.endswith(("?", "#")):
        reading.wrong(("base_url",), "has a `?` or a `#`; end it with the path, for callers' paths are put behind it")
    elif _is_doubled(parts):
        reading.wrong(
            ("base_url",),
            f"ends in {parts.path.rstrip('/')}, which callers send as part of the path; write {parts.scheme}://{parts.netloc}",
        )
    else:
        return parts
    return None


def _is_doubled(parts: SplitResult) -> bool:
    """A path at the known address of a provider whose callers send the whole path: everything would ask for /v1/v1/…"""
    preset = preset_by_host(parts.hostname or "")
    return (
        preset is not None and preset.api in ("openai", "anthropic") and re.fullmatch(r"(/[a-z]+)?/v\d+/?", parts.path) is not None
    )


def _api_key(reading: _Entry, preset: Preset | None, parts: SplitResult | None) -> str | None:
    written = reading.entry.get("api_key")
    if written is None:
        is_own_address = "base_url" not in reading.entry or (
            parts is not None and preset is not None and preset_by_host(parts.hostname or "") is preset
        )
        written = preset.api_key if preset is not None and is_own_address else None
    if written is None:
        return None
    key = reading.text(("api_key",), written, is_secret=True)
    if key is None or not key.strip():
        return None
    key = key.strip()
    if re.fullmatch(r"[\x21-\x7e]+", key) is None:
        reading.wrong(
            ("api_key",), "holds spaces, line breaks or letters that no key has; correct the key, or the variable it comes from"
        )
    return key


def _credential(preset: Preset | None, api: str, api_key: str | None, *, needs_key: bool) -> str:
    """Where the key goes. A server that nobody gave a key to needs none: virtual keys can be used with it."""
    if api_key is None and not (preset.needs_key if preset is not None else needs_key):
        return "none"
    return preset.credential if preset is not None else CREDENTIAL_OF_API[api]


def _headers(reading: _Entry) -> tuple[tuple[bytes, bytes], ...]:
    """Headers whose value comes out empty are left out: `${OPENAI_ORG_ID:-}`."""
    found = []
    for name, value in reading.entry.get("headers", {}).items():
        text = reading.text(("headers", name), value)
        if text is not None and re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", text) is None:
            reading.wrong(("headers", name), "has characters that a header cannot carry; write it on one line, in Latin letters")
        elif text and text.strip():
            found.append((name.encode("latin-1"), text.strip().encode("latin-1")))
    return tuple(found)


def _proxy(reading: _Entry, parts: SplitResult | None) -> str | None:
    """The CONNECT proxy for this provider: its own, else the environment's; `none` for none."""
    written = reading.entry.get("proxy")
    if written is not None:
        url = None if written == "none" else reading.text(("proxy",), written)
        if url is not None and not _is_proxy_url(url):
            reading.wrong(("proxy",), "is no http:// address of a proxy; write e.g. http://proxy.example.com:3128, or none")
        return url
    if parts is None or parts.hostname is None:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return proxy_from_environ(parts.scheme, parts.hostname, port, reading.environ)


def _is_proxy_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def proxy_from_environ(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case. This machine itself is never asked for through a proxy."""
    name = f"{scheme}_proxy"
    url = environ.get(name) or environ.get(name.upper()) or environ.get("all_proxy") or environ.get("ALL_PROXY") or ""
    if url and "://" not in url:
        url = "http://" + url
    if not url or not _is_proxy_url(url) or _is_local(host):
        return None
    exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return None if any(_is_excepted(host, port, one.strip().lower()) for one in exceptions.split(",") if one.strip()) else url


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_excepted(host: str, port: int, exception: str) -> bool:
    if exception == "*":
        return True
    if "/" in exception:
        try:
            return ip_address(host) in ip_network(exception, strict=False)
        except ValueError:
            return False
    name, colon, wanted_port = exception.partition(":")
    if exception.count(":") > 1:  # an IPv6 address
        name, colon, wanted_port = exception.strip("[]"), "", ""
    if colon and wanted_port != str(port):
        return False
    name = name.removeprefix("*").lstrip(".")
    return host == name or host.endswith("." + name)
