"""Paths to providers, and what is nobody's."""

from __future__ import annotations

import pytest

from proxy.routing.provider import Provider
from proxy.routing.route import route

OPENAI = Provider("openai", "https", "a", 443, b"", "openai", "openai")
ANTHROPIC = Provider("anthropic", "https", "b", 443, b"", "anthropic", "anthropic")
PROVIDERS = {"openai": OPENAI, "anthropic": ANTHROPIC}


@pytest.mark.parametrize(
    ("target", "kind", "path", "query", "provider"),
    [
        (b"/openai/v1/x?a=1", "provider", b"/v1/x", b"a=1", OPENAI),
        (b"/openai", "provider", b"/", b"", OPENAI),
        (b"/openai?x", "provider", b"/", b"x", OPENAI),
        (b"/openai//v1", "provider", b"//v1", b"", OPENAI),
        (b"/OPENAI/v1", "unknown", b"/OPENAI/v1", b"", None),
        (b"/v1/chat/completions", "provider", b"/v1/chat/completions", b"", OPENAI),
        (b"/v1/messages", "provider", b"/v1/messages", b"", ANTHROPIC),
        (b"/v1", "unknown", b"/v1", b"", None),
        (b"/openai/../anthropic/v1", "provider", b"/../anthropic/v1", b"", OPENAI),
        (b"http://any.where/openai/v1", "provider", b"/v1", b"", OPENAI),
        (b"http://any.where", "unknown", b"/", b"", None),
        (b"/healthz", "health", b"/healthz", b"", None),
        (b"/readyz", "ready", b"/readyz", b"", None),
        (b"/api/v1/stats?range=30d", "control", b"/api/v1/stats", b"range=30d", None),
        (b"/dashboard", "control", b"/dashboard", b"", None),
        (b"/metrics", "control", b"/metrics", b"", None),
        (b"/", "unknown", b"/", b"", None),
        (b"*", "unknown", b"*", b"", None),
        (b"//openai/v1", "unknown", b"//openai/v1", b"", None),
    ],
)
def test_where_a_target_goes(target: bytes, kind: str, path: bytes, query: bytes, provider: Provider | None) -> None:
    found = route(target, PROVIDERS, lambda path: ANTHROPIC if path.startswith(b"/v1/messages") else OPENAI)
    assert (found.kind, found.path, found.query, found.provider) == (kind, path, query, provider)
