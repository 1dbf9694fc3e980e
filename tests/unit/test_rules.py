"""Rules as a request sees them: callers, stops, defaults, and what is remembered."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from proxy import rules as rules_module
from proxy.control.people import caller_of_user
from proxy.limits.limit import Limit
from proxy.pricing.price_data import PriceData
from proxy.pricing.pricebook import build_pricebook
from proxy.routing.callers import Caller, key_digest, own_key_user
from proxy.routing.provider import Provider
from proxy.rules import Rules, Settings, Standing

STANDINGS = {"ann": Standing("red", "gold", "high"), own_key_user("sk-own"): Standing("blue", "free", "low")}


def provider(name: str) -> Provider:
    return Provider(name, "https", "example.com", 443, b"", "openai", name)


def rules_with(**changed: Any) -> Rules:
    asked: list[tuple[Caller, str | None]] = changed.pop("asked", [])

    def resolve(caller: Caller, model: str | None) -> tuple[Limit, ...]:
        asked.append((caller, model))
        return (Limit("n", "c", "requests", "day", 1),)

    standard: dict[str, Any] = {
        "version": "1",
        "settings": Settings(),
        "providers": {name: provider(name) for name in ("openai", "anthropic", "local")},
        "pricebook": None,
        "callers": {},
        "auth": "auto",
        "identify_by": (),
        "timezone": ZoneInfo("UTC"),
        "output_cap": "off",
        "unknown_model": "allow",
        "alert_at": (),
        "resolve_limits": resolve,
        "resolve_all_limits": lambda caller: (),
        "resolve_models": lambda caller: None,
        "standing_of": lambda user: STANDINGS.get(user, Standing()),
    }
    return Rules(**standard | changed)


def test_a_virtual_key_is_found_by_its_digest() -> None:
    caller = Caller("ann", key_id="1")
    rules = rules_with(callers={key_digest("wb-secret"): caller})
    assert rules.caller_of("wb-secret") is caller
    assert rules.caller_of("wb-secret2") is None


def test_a_plan_is_made_once_and_says_what_the_single_look_ups_say() -> None:
    asked: list[tuple[Caller, str | None]] = []
    book = build_pricebook({}, data=PriceData("none", {}))
    rules = rules_with(asked=asked, pricebook=book, resolve_models=lambda caller: ("m*",) if caller.user == "ann" else None)
    openai, local = rules.providers["openai"], rules.providers["local"]
    plan = rules.plan_for(Caller("ann"), openai, "m1")
    assert rules.plan_for(Caller("ann"), openai, "m1") is plan
    assert (plan.model_key, plan.is_allowed, plan.tariff) == ("openai/m1", True, None)
    assert plan.limits == rules.limits_for(Caller("ann"), "m1")
    assert len(asked) == 1
    assert rules.plan_for(Caller("ann"), local, "m1").model_key == "local/m1"
    assert not rules.plan_for(Caller("ann"), openai, "other").is_allowed
    assert rules.plan_for(Caller("bob"), openai, "other").is_allowed


def test_a_plan_for_an_endless_name_is_not_remembered() -> None:
    rules = rules_with(pricebook=build_pricebook({}, data=PriceData("none", {})))
    name = "m" * (rules_module.MEMO_TEXT + 1)
    openai = rules.providers["openai"]
    assert rules.plan_for(Caller("ann"), openai, name) is not rules.plan_for(Caller("ann"), openai, name)


def test_limits_are_resolved_once_per_caller_and_model() -> None:
    asked: list[tuple[Caller, str | None]] = []
    rules = rules_with(asked=asked)
    for _ in range(3):
        rules.limits_for(Caller("ann"), "m")
        rules.limits_for(Caller("ann"), None)
        rules.limits_for(Caller("ben"), "m")
    assert asked == [(Caller("ann"), "m"), (Caller("ann"), None), (Caller("ben"), "m")]


def test_memos_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "MEMO_SIZE", 10)
    rules = rules_with()
    for number in range(25):
        rules.limits_for(Caller("ann"), f"m{number}")
        rules.model_allowed(Caller("ann"), f"m{number}")
        rules.caller_for_own_key(f"sk-{number}")
        rules.caller_for_user(Caller("ann"), f"u{number}")
    assert [len(memo) for memo in (rules._limits, rules._allowed, rules._own_callers, rules._spoken_for)] == [5, 5, 5, 5]


def test_absurdly_long_names_are_answered_but_not_kept() -> None:
    rules = rules_with()
    long = "m" * 100_000
    assert rules.limits_for(Caller("ann"), long)
    assert rules.model_allowed(Caller("ann"), long)
    assert rules.caller_for_user(Caller("ann"), long).user == long
    assert (rules._limits, rules._allowed, rules._spoken_for) == ({}, {}, {})


def test_an_own_key_has_the_standing_of_its_fingerprint() -> None:
    caller = rules_with().caller_for_own_key("sk-own")
    assert caller == Caller(own_key_user("sk-own"), "blue", "free", kind="own", priority="low")
    assert rules_with().caller_for_own_key("sk-other") == Caller(own_key_user("sk-other"), kind="own")


def test_whom_a_key_speaks_for_has_their_own_standing_not_the_keys_users() -> None:
    service = Caller("svc", "ops", "unbounded", "k1", "helpdesk", "virtual", True)
    assert rules_with().caller_for_user(service, "ann") == Caller(
        "ann", "red", "gold", "k1", "helpdesk", "virtual", True, priority="high"
    )
    assert rules_with().caller_for_user(service, "zoe") == Caller("zoe", None, None, "k1", "helpdesk", "virtual", True)


def test_what_the_key_itself_names_holds_for_whomever_it_speaks_for() -> None:
    service = Caller("svc", "ops", "bulk", "k1", "helpdesk", "virtual", True, key_team="ops", key_tier="bulk", priority="low")
    spoken_for = rules_with().caller_for_user(service, "ann")
    assert (spoken_for.user, spoken_for.team, spoken_for.tier, spoken_for.priority) == ("ann", "ops", "bulk", "low")


def test_anonymous_callers() -> None:
    assert rules_with().anonymous_caller() == Caller("anonymous", kind="anonymous")
    assert rules_with().anonymous_caller("ann").tier == "gold"


@pytest.mark.parametrize(
    ("stop", "is_stopped"),
    [
        ({"scope": "all", "value": ""}, True),
        ({"scope": "all"}, True),
        ({"scope": "provider", "value": "openai"}, True),
        ({"scope": "provider", "value": "local"}, False),
        ({"scope": "model", "value": "GPT-4o*"}, True),
        ({"scope": "model", "value": "claude-*"}, False),
        ({"scope": "user", "value": "ann"}, True),
        ({"scope": "user", "value": "red"}, False),
        ({"scope": "team", "value": "red"}, True),
        ({"scope": "key", "value": "k1"}, True),
        ({"scope": "key", "value": "k2"}, False),
    ],
)
def test_stops(stop: Mapping[str, str], is_stopped: bool) -> None:
    rules = rules_with(stops=(stop,))
    found = rules.stop_for("openai", "gpt-4o-mini", Caller("ann", "red", key_id="k1"))
    assert found == (stop if is_stopped else None)


def test_a_model_stop_leaves_calls_without_a_model_alone() -> None:
    assert rules_with(stops=({"scope": "model", "value": "*"},)).stop_for("openai", None, Caller("ann")) is None
    assert rules_with().stop_for("openai", "gpt", Caller("ann")) is None


@pytest.mark.parametrize(
    ("path", "providers", "default", "expected"),
    [
        (b"/v1/messages", ("openai", "anthropic"), None, "anthropic"),
        (b"/v1/messages/batches", ("openai", "anthropic"), None, "anthropic"),
        (b"/v1/complete", ("openai", "anthropic"), None, "anthropic"),
        (b"/v1/completions", ("openai", "anthropic"), None, "openai"),
        (b"/v1/chat/completions", ("openai", "anthropic"), None, "openai"),
        (b"/v1/messages", ("openai",), None, "openai"),
        (b"/v1/models", ("local",), None, None),
        (b"/v1/models", ("local", "openai"), "local", "local"),
        (b"/v1/messages", ("local", "anthropic"), "local", "anthropic"),
    ],
)
def test_the_provider_of_a_path_without_one(
    path: bytes, providers: tuple[str, ...], default: str | None, expected: str | None
) -> None:
    rules = rules_with(providers={name: provider(name) for name in providers}, default_provider=default)
    found = rules.provider_for_default_path(path)
    assert (found.name if found else None) == expected


def test_the_keys_of_a_user_are_found_by_its_name() -> None:
    one, two, other = Caller("ann", key_id="1"), Caller("ann", key_id="2"), Caller("bob", key_id="3")
    rules = rules_with(callers={"a": one, "b": other, "c": two})
    assert rules.callers_of("ann") == (one, two)
    assert rules.callers_of("bob") == (other,)
    assert rules.callers_of("eve") == ()


def test_a_user_who_is_known_by_a_key_alone_has_the_team_and_tier_of_its_first_key() -> None:
    rules = rules_with(
        callers={
            "a": Caller("eve", "green", "gold", key_id="1"),
            "b": Caller("eve", "grey", "free", key_id="2"),
            "c": Caller("ann", "green", "free", key_id="3"),
        }
    )
    assert caller_of_user(rules, "eve") == Caller("eve", "green", "gold")
    assert caller_of_user(rules, "ann") == Caller("ann", "red", "gold"), "what `users:` says comes first"
    assert caller_of_user(rules, "zoe") == Caller("zoe")
