"""Which limits apply to whom, as tables."""

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.config.resolve import counter_id, counter_parts
from proxy.config.snapshot import make_snapshot
from proxy.limits.limit import Limit
from proxy.routing.callers import Caller
from proxy.rules import Rules


class NoPrices:
    """Stands where no test here looks."""


def rules_of(limits: str, overlay: Mapping[str, Any] | None = None, now: float = 0.0) -> Rules:
    documents = load_texts({"limits.yaml": limits}, {})
    return build_rules(make_snapshot(documents, overlay), {}, pricebook=NoPrices(), now=now)  # type: ignore[arg-type]


def table(limits: tuple[Limit, ...]) -> dict[str, tuple[str, int]]:
    return {limit.name: (limit.counter, limit.amount) for limit in limits}


def test_nothing_is_limited_by_default() -> None:
    assert rules_of("").limits_for(Caller("anyone"), "gpt-4o") == ()


LADDER = """
defaults: {tokens: {per_day: 100, per_month: 1000}}
tiers:
  gold: {tokens: {per_day: 200}}
users:
  ann: {tier: gold}
  ben: {tier: gold, tokens: {per_day: 300}}
  cat: {tokens: {per_day: unlimited}}
  dan: {requests: {per_day: 5}}
"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("eve", {"defaults.tokens.per_day": 100, "defaults.tokens.per_month": 1000}),
        ("ann", {"tiers.gold.tokens.per_day": 200, "defaults.tokens.per_month": 1000}),
        ("ben", {"users.ben.tokens.per_day": 300, "defaults.tokens.per_month": 1000}),
        ("cat", {"defaults.tokens.per_month": 1000}),
        ("dan", {"defaults.tokens.per_day": 100, "defaults.tokens.per_month": 1000, "users.dan.requests.per_day": 5}),
    ],
)
def test_the_more_specific_replaces_the_less_specific_on_one_counter(user: str, expected: dict[str, int]) -> None:
    limits = rules_of(LADDER).limits_for(Caller(user), "m")
    assert {limit.name: limit.amount for limit in limits} == expected
    assert {limit.counter for limit in limits if limit.resource == "tokens"} == {f"user:{user}:*:tokens"}


def test_team_key_and_global_limits_are_further_counters() -> None:
    digest = "ab" * 32
    rules = rules_of(f"""
global: {{requests: {{per_minute: 1000}}}}
defaults: {{requests: {{per_minute: 60}}}}
teams: {{red: {{requests: {{per_minute: 500}}}}}}
users: {{ann: {{team: red}}}}
keys:
  - {{key_sha256: "{digest}", user: ann, name: ci, requests: {{per_minute: 10}}, per_model: {{"GPT*": {{tokens: {{total: 7}}}}}}}}
""")
    assert table(rules.limits_for(rules.callers[digest], "gpt-5")) == {
        "defaults.requests.per_minute": ("user:ann:*:requests", 60),
        "keys.ci.requests.per_minute": ("key:abababababab:*:requests", 10),
        "keys.ci.per_model.gpt*.tokens.total": ("key:abababababab:gpt*:tokens", 7),
        "teams.red.requests.per_minute": ("team:red:*:requests", 500),
        "global.requests.per_minute": ("global:all:*:requests", 1000),
    }
    assert "keys.ci.per_model.gpt*.tokens.total" not in table(rules.limits_for(rules.callers[digest], "claude"))


def test_a_key_without_a_name_is_called_by_its_id() -> None:
    digest = "cd" * 32
    rules = rules_of(f'keys: [{{key_sha256: "{digest}", requests: {{total: 1}}}}]')
    (limit,) = rules.limits_for(rules.callers[digest], None)
    assert (limit.name, limit.window) == ("keys.cdcdcdcdcdcd.requests.total", "total")
    assert rules.callers[digest].user == "key-cdcdcdcdcdcd"


def test_a_keys_tier_and_team_come_before_the_users() -> None:
    digest = "ef" * 32
    rules = rules_of(f"""
tiers: {{gold: {{tokens: {{per_day: 2}}, priority: high}}, free: {{tokens: {{per_day: 1}}, priority: low}}}}
teams: {{red: {{tokens: {{per_day: 10}}}}, blue: {{tokens: {{per_day: 20}}}}}}
users: {{ann: {{tier: gold, team: red}}}}
keys: [{{key_sha256: "{digest}", user: ann, tier: free, team: blue}}]
""")
    caller = rules.callers[digest]
    assert (caller.tier, caller.team, caller.priority) == ("free", "blue", "low")
    assert table(rules.limits_for(caller, None)) == {
        "tiers.free.tokens.per_day": ("user:ann:*:tokens", 1),
        "teams.blue.tokens.per_day": ("team:blue:*:tokens", 20),
    }


def test_every_matching_pattern_applies_whatever_its_case() -> None:
    rules = rules_of("""
defaults:
  tokens: {per_day: 9}
  per_model:
    "GPT-4o*": {tokens: {per_day: 1}}
    "*mini": {tokens: {per_day: 2}}
    claude-*: {tokens: {per_day: 3}}
users: {ann: {per_model: {"gpt-4O*": {tokens: {per_day: 5}}}}}
""")
    assert table(rules.limits_for(Caller("ann"), "GPT-4o-MINI")) == {
        "defaults.tokens.per_day": ("user:ann:*:tokens", 9),
        "users.ann.per_model.gpt-4o*.tokens.per_day": ("user:ann:gpt-4o*:tokens", 5),
        "defaults.per_model.*mini.tokens.per_day": ("user:ann:*mini:tokens", 2),
    }
    assert set(table(rules.limits_for(Caller("ann"), None))) == {"defaults.tokens.per_day"}
    assert len(rules.resolve_all_limits(Caller("ann"))) == 4


def test_modes_and_policies_are_inherited_where_they_are_not_said() -> None:
    rules = rules_of("""
mode: soft
on_store_failure: open
defaults:
  tokens: {per_day: 1, per_hour: {max: 2, mode: balanced}, mode: strict, on_store_failure: closed}
  requests: {per_day: 3}
  concurrent_requests: {max: 4, mode: strict}
users: {ann: {tokens: {per_day: 10, per_month: 11}, concurrent_requests: 5}}
""")
    found = {limit.name: (limit.mode, limit.on_store_failure) for limit in rules.limits_for(Caller("ann"), None)}
    assert found == {
        "users.ann.tokens.per_day": ("strict", "closed"),
        "defaults.tokens.per_hour": ("balanced", "closed"),
        "users.ann.tokens.per_month": ("soft", "open"),
        "defaults.requests.per_day": ("soft", "open"),
        "users.ann.concurrent_requests": ("strict", "open"),
    }


def test_money_is_nano_dollars_and_never_more_than_written() -> None:
    rules = rules_of("defaults: {cost_usd: {per_hour: 0.1, per_day: 0.0000000019, per_month: 1e3, total: 3_000_000.50}}")
    amounts = [limit.amount for limit in rules.limits_for(Caller("ann"), None)]
    assert amounts == [100_000_000, 1, 1000 * 10**9, 3_000_000_500_000_000]


def test_an_override_stands_above_the_yaml_until_it_ends() -> None:
    overlay = {"overrides": {"ann": {"limits": {"tokens": {"per_day": 7}}, "until": "2026-01-01T00:00:00Z"}}}
    ends_at = 1_767_225_600.0  # 2026-01-01T00:00:00Z
    text = "defaults: {tokens: {per_day: 1, mode: strict}}"
    before, after = rules_of(text, overlay, ends_at - 1), rules_of(text, overlay, ends_at)
    (limit,) = before.limits_for(Caller("ann"), None)
    assert (limit.name, limit.amount, limit.mode, limit.origin) == ("users.ann.tokens.per_day", 7, "strict", "override")
    assert before.stale_at == ends_at
    (limit,) = after.limits_for(Caller("ann"), None)
    assert (limit.name, limit.amount, limit.origin) == ("defaults.tokens.per_day", 1, "limits.yaml")
    assert after.stale_at is None


def test_keys_of_the_api_are_like_keys_of_the_file() -> None:
    digest, revoked = "12" * 32, "34" * 32
    overlay = {
        "keys": [
            {
                "key_sha256": digest,
                "user": "ann",
                "name": "app",
                "models": ["GPT-*"],
                "requests": {"per_day": 3},
                "expires": "2027-01-01T00:00:00Z",
            },
            {"key_sha256": revoked, "user": "ann", "revoked_at": "2026-01-01T00:00:00Z"},
        ]
    }
    rules = rules_of("users: {ann: {tier: gold}}\ntiers: {gold: {}}", overlay)
    caller = rules.callers[digest]
    assert (caller.user, caller.tier, caller.expires_at) == ("ann", "gold", 1_798_761_600.0)
    assert table(rules.limits_for(caller, "gpt-4")) == {"keys.app.requests.per_day": ("key:121212121212:*:requests", 3)}
    assert rules.model_allowed(caller, "gpt-4")
    assert not rules.model_allowed(caller, "claude")
    assert revoked not in rules.callers


def test_a_model_must_be_on_every_allow_list_that_applies() -> None:
    digest = "56" * 32
    rules = rules_of(f"""
teams: {{red: {{models: ["gpt-*", "claude-*"]}}}}
users: {{ann: {{team: red, models: ["gpt-4*", o3]}}}}
keys: [{{key_sha256: "{digest}", user: ann, models: ["*mini"]}}]
""")
    caller = rules.callers[digest]
    verdicts = {
        model: rules.model_allowed(caller, model)
        for model in ("gpt-4o-mini", "gpt-4o", "o3", "o3-mini", "claude-mini", "gpt-5-mini")
    }
    assert verdicts == {
        "gpt-4o-mini": True,
        "gpt-4o": False,
        "o3": False,
        "o3-mini": False,
        "claude-mini": False,
        "gpt-5-mini": False,
    }
    assert rules.resolve_models(caller) == ("*mini",)
    assert rules.resolve_models(Caller("zoe")) is None
    assert rules.model_allowed(Caller("zoe"), None)


def test_an_empty_allow_list_allows_nothing() -> None:
    rules = rules_of("users: {ann: {models: []}}")
    assert not rules.model_allowed(Caller("ann"), "gpt-4o")


@pytest.mark.parametrize("subject", ["ann", "a:b", "a%3Ab", "me@example.com", "key-3f9a", "x:*:tokens"])
@pytest.mark.parametrize("pattern", ["*", "gpt-4o*", "amazon.nova-micro-v1:0"])
def test_a_counter_has_one_reading(subject: str, pattern: str) -> None:
    assert counter_parts(counter_id("user", subject, pattern, "cost_usd")) == ("user", subject, pattern, "cost_usd")


def test_counters_of_different_subjects_never_meet() -> None:
    assert counter_id("user", "a", "b:*", "tokens") != counter_id("user", "a:b", "*", "tokens")
