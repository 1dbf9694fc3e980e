"""The demo's configuration: the fake provider under real names, and limits low enough to be met while one watches."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.demo.people import PEOPLE

PROVIDER_KEY = "demo-provider-key"
"""What the fake provider is sent; it takes any."""

_PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "mistral": "openai",
    "cohere": "cohere",
    "local": "ollama",
}

_LIMITS = """\
mode: balanced
on_store_failure: local
timezone: UTC
alert_at: [0.5, 0.8, 0.9, 1.0]
defaults:
  requests: {per_minute: 60}
  tokens: {per_day: 3_000_000}
  concurrent_requests: 10
tiers:
  premium:
    tokens: {per_day: 6_000_000}
    priority: high
teams:
  research: {cost_usd: {per_month: 200}}
  product: {cost_usd: {per_month: 10}}
  support: {cost_usd: {per_day: 1}}
  platform: {}
users:
  ada: {tier: premium}
  katherine: {per_model: {"gpt-4o*": {tokens: {per_minute: 6_000}}}}
  intern:
    requests: {per_minute: 2}
    cost_usd: {per_month: 1}
    models: [gpt-4o-mini, "gemini-*", llama3.2, "claude-haiku-*"]
"""

_PRICES = """\
unknown_model: allow
prices:
  local:
    "*": {input_mtok: 0, output_mtok: 0}
"""


def demo_config(provider_url: str) -> Mapping[str, str]:
    """File name → text of a complete configuration directory; `provider_url` is where the fake provider listens."""
    providers = ["providers:"]
    for name, api in _PROVIDERS.items():
        providers += [f"  {name}:", f"    base_url: {provider_url}", f"    api: {api}", f"    api_key: {PROVIDER_KEY}"]
    keys = ["keys:"]
    for person in PEOPLE:
        tier = f", tier: {person.tier}" if person.tier else ""
        named = f"user: {person.user}, team: {person.team}{tier}, name: {person.key_name}"
        keys.append(f'  - {{key_sha256: "{person.key_sha256}", {named}}}')
    return {
        "providers.yaml": "\n".join(providers) + "\n",
        "limits.yaml": _LIMITS + "\n".join(keys) + "\n",
        "prices.yaml": _PRICES,
    }


DEMO_CONFIG = demo_config("http://127.0.0.1:8091")
"""The same for the provider's usual port."""
