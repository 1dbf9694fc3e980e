"""The files that the design shows, word for word, and what they come to."""

from decimal import Decimal
from zoneinfo import ZoneInfo

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.config.snapshot import make_snapshot
from proxy.routing.callers import Caller

DIGEST = "aa11" * 16

PROVIDERS = """\
providers:
  openai:
    base_url: https://api.openai.com
    api: openai              # the wire formats spoken: openai, anthropic, gemini, bedrock, cohere, ollama, …
    api_key: ${OPENAI_API_KEY}
  local:
    base_url: http://127.0.0.1:11434
    api: ollama
    auth: none
"""
LIMITS = """\
mode: balanced               # strict | balanced | soft (see promise 3); may also stand beside any single limit
on_store_failure: local      # when Redis is away: local (in-process limits) | open | closed
timezone: UTC                # when a day and a month begin
alert_at: [0.5, 0.8, 0.9, 1.0]
defaults:                    # no defaults, no limits
  tokens:   {per_minute: 10_000, per_day: 1_000_000, per_month: 30_000_000}
  cost_usd: {per_day: 10, per_month: 100}
  requests: {per_minute: 60}
  concurrent_requests: 20
tiers:
  premium:
    tokens: {per_day: 5_000_000}
    priority: high
teams:
  research: {cost_usd: {per_month: 2_000}}
users:
  alice: {tier: premium, team: research, tokens: {per_day: 2_000_000}}
  bob:
    models: [gpt-4o-mini, "claude-*"]      # allow-list
    per_model: {"gpt-4o*": {tokens: {per_day: 50_000}}}
keys:
  - {key_sha256: "…", user: alice, name: laptop}
""".replace('"…"', f'"{DIGEST}"')
PRICES = """\
unknown_model: allow         # or refuse
prices:
  openai:
    gpt-4o-mini: {input_mtok: 0.15, output_mtok: 0.60, cache_read_mtok: 0.075}     # USD per million tokens
  local:
    "*": {input_mtok: 0, output_mtok: 0}
"""
DOCUMENTS = load_texts({"providers.yaml": PROVIDERS, "limits.yaml": LIMITS, "prices.yaml": PRICES}, {})


def test_prices_keep_every_digit_of_their_text() -> None:
    assert DOCUMENTS.prices == {
        "unknown_model": "allow",
        "prices": {
            "openai": {"gpt-4o-mini": {"input_mtok": "0.15", "output_mtok": "0.60", "cache_read_mtok": "0.075"}},
            "local": {"*": {"input_mtok": "0", "output_mtok": "0"}},
        },
    }


def test_rules_of_the_example() -> None:
    rules = build_rules(make_snapshot(DOCUMENTS), {"OPENAI_API_KEY": "sk-real"}, pricebook=None)
    assert set(rules.providers) == {"openai", "local"}
    assert rules.providers["openai"].api_key == "sk-real"
    assert (rules.providers["local"].auth, rules.providers["local"].credential) == ("none", "none")
    assert (rules.auth, rules.output_cap, rules.unknown_model) == ("auto", "off", "allow")
    assert rules.timezone == ZoneInfo("UTC")
    assert rules.alert_at == (0.5, 0.8, 0.9, 1.0)
    caller = rules.callers[DIGEST]
    assert (caller.user, caller.team, caller.tier, caller.key_id) == ("alice", "research", "premium", "aa11aa11aa11")
    assert (caller.key_name, caller.kind, caller.priority) == ("laptop", "virtual", "high")
    amounts = {limit.name: limit.amount for limit in rules.limits_for(caller, "gpt-4o")}
    assert amounts == {
        "defaults.tokens.per_minute": 10_000,
        "users.alice.tokens.per_day": 2_000_000,
        "defaults.tokens.per_month": 30_000_000,
        "defaults.cost_usd.per_day": 10 * 10**9,
        "defaults.cost_usd.per_month": 100 * 10**9,
        "defaults.requests.per_minute": 60,
        "defaults.concurrent_requests": 20,
        "teams.research.cost_usd.per_month": 2_000 * 10**9,
    }
    assert {limit.mode for limit in rules.limits_for(caller, "gpt-4o")} == {"balanced"}
    bob = Caller("bob")
    assert rules.model_allowed(bob, "GPT-4o-mini")
    assert rules.model_allowed(bob, "claude-sonnet-4-5")
    assert not rules.model_allowed(bob, "gpt-4o")
    assert not rules.model_allowed(bob, None)
    per_model = [limit for limit in rules.limits_for(bob, "gpt-4o-mini") if "gpt-4o*" in limit.counter]
    assert [(limit.name, limit.counter, limit.amount) for limit in per_model] == [
        ("users.bob.per_model.gpt-4o*.tokens.per_day", "user:bob:gpt-4o*:tokens", 50_000)
    ]
    assert not [limit for limit in rules.limits_for(bob, "claude-3") if "gpt-4o*" in limit.counter]


def test_prices_of_the_example_reach_the_pricebook() -> None:
    rules = build_rules(make_snapshot(DOCUMENTS), {})
    tariff = rules.pricebook.tariff("openai", "openai", "gpt-4o-mini")
    assert tariff is not None
    # 1,000,000 tokens in at 0.15 and 1,000,000 out at 0.60 USD
    assert tariff.usual_nano_usd(1_000_000, 1_000_000) == int(Decimal("0.75") * 10**9)
