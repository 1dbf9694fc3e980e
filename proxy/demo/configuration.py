"""The demo's configuration: the fake provider under real names, and limits low enough to be met while one watches."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

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

NOTHING: Mapping[str, Decimal] = {}

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
  research: {cost_usd: {per_month: @research@}}
  product: {cost_usd: {per_month: @product@}}
  support: {cost_usd: {per_day: 1}}
  platform: {}
users:
  ada: {tier: premium}
  katherine: {per_model: {"gpt-4o*": {tokens: {per_minute: 6_000}}}}
  intern:
    requests: {per_minute: 2}
    cost_usd: {per_month: @intern@}
    models: [gpt-4o-mini, "gemini-*", llama3.2, "claude-haiku-*"]
"""

_PRICES = """\
unknown_model: allow
prices:
  local:
    "*": {input_mtok: 0, output_mtok: 0}
"""


_ALERTS = """\
destinations:
  - {name: ops-chat, channel: webhook, url: "@url@/demo/alerts", secret: demo-only, min_severity: info, group_seconds: 5s}
"""


def demo_config(provider_url: str, spent: Mapping[str, Decimal] = NOTHING) -> Mapping[str, str]:
    """File name → text of a complete configuration directory.

    Args:
        provider_url: where the fake provider listens.
        spent: dollars of this month so far by team and by user. Budgets are set by it, so that on any day of the month one
            is well used, one nearly spent and one reached.
    """
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
        "limits.yaml": _limits(spent) + "\n".join(keys) + "\n",
        "prices.yaml": _PRICES,
        "alerts.yaml": _ALERTS.replace("@url@", provider_url),
    }


def _limits(spent: Mapping[str, Decimal]) -> str:
    def part(name: str) -> Decimal:
        return spent.get(name, Decimal(0))

    budgets = {
        "research": max(Decimal(20), _round(part("research") * Decimal("1.2"), ROUND_CEILING)),
        "product": max(Decimal(2), _round(part("product") * Decimal("1.05"), ROUND_CEILING)),
        "intern": max(Decimal("0.05"), _round(part("intern"), ROUND_FLOOR)),
    }
    text = _LIMITS
    for name, amount in budgets.items():
        text = text.replace(f"@{name}@", f"{amount.normalize():f}")
    return text


def _round(amount: Decimal, rounding: str) -> Decimal:
    """To two significant digits, as people set budgets."""
    return amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1), rounding) if amount else Decimal(0)


DEMO_CONFIG = demo_config("http://127.0.0.1:8091")
"""The same for the provider's usual port."""
