"""Where a request goes, by its path alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.routing.provider import Provider

CONTROL_PREFIXES = (b"/api/", b"/dashboard", b"/metrics")
RESERVED_NAMES = frozenset(("api", "dashboard", "metrics", "healthz", "readyz", "v1"))
"""First path segments that can't be a provider's name."""


@dataclass(frozen=True, slots=True)
class Route:
    """kind: provider, control, health, ready or unknown. path and query are what the other side gets, as sent."""

    kind: str
    path: bytes
    query: bytes = b""
    provider: Provider | None = None


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target; absolute-form (RFC 9112 §3.2.2) loses its scheme and authority."""
    if not target.startswith(b"/") and b"://" in target[:9]:
        slash = target.find(b"/", target.index(b"://") + 3)
        target = target[slash:] if slash > 0 else b"/"
    path, _, query = target.partition(b"?")
    return path, query


def route(target: bytes, providers: Mapping[str, Provider], default: Callable[[bytes], Provider | None]) -> Route:
    """Find the other side of a request. The path below a provider's name is left exactly as it was sent.

    Args:
        default: the provider of a `/v1/…` path.
    """
    path, query = split_target(target)
    if path.startswith(b"/v1/"):
        provider = default(path)
        return Route("provider" if provider else "unknown", path, query, provider)
    slash = path.find(b"/", 1)
    first = path[1:slash] if slash > 0 else path[1:]
    provider = providers.get(first.decode("latin-1"))
    if provider is not None:
        return Route("provider", path[slash:] if slash > 0 else b"/", query, provider)
    if path == b"/healthz":
        return Route("health", path)
    if path == b"/readyz":
        return Route("ready", path)
    if path.startswith(CONTROL_PREFIXES):
        return Route("control", path, query)
    return Route("unknown", path, query)
