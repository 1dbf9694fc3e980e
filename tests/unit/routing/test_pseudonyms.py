"""Names that say nothing: the same name everywhere the same pseudonym, and limits still the person's own."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.config.mistakes import ConfigErrors
from proxy.routing.callers import Caller, key_digest
from proxy.routing.pseudonyms import as_named, pseudonyms
from proxy.rules import Rules

SECRET = "a secret of the tests, long enough"
ENVIRONMENT = {"WEIGHBRIDGE_ANONYMISE_SECRET": SECRET}
LIMITS = f"""
defaults: {{tokens: {{per_day: 10}}}}
teams: {{research: {{}}}}
users:
  alice: {{team: research, tokens: {{per_day: 500}}, models: [gpt-*]}}
keys:
  - {{key_sha256: "{key_digest("wb-alice")}", user: alice, may_speak_for_others: true}}
  - {{key_sha256: "{key_digest("wb-named")}", name: bob}}
"""
ALICE = pseudonyms(SECRET)("alice")


def rules_of(server: str = "anonymise_users: true", overlay: dict[str, Any] | None = None) -> Rules:
    documents = load_texts({"limits.yaml": LIMITS, "server.yaml": server}, ENVIRONMENT).as_dict()
    return build_rules({"documents": documents, "overlay": overlay or {}}, ENVIRONMENT, pricebook=object())  # type: ignore[arg-type]


def test_a_pseudonym_is_a_keyed_hash_and_stays_itself() -> None:
    name_of = pseudonyms(SECRET)
    assert name_of("alice") == name_of("alice") != name_of("Alice")
    assert name_of("alice") != pseudonyms(SECRET + "x")("alice")
    assert name_of("alice").startswith("anon-")
    assert len(name_of("alice")) == 5 + 20
    assert name_of(name_of("alice")) == name_of("alice")
    assert name_of("key-0123456789ab") == "key-0123456789ab"  # a fingerprint says nothing either
    assert name_of("anonymous") == "anonymous"
    assert name_of("anon-alice").startswith("anon-")
    assert name_of("anon-alice") != "anon-alice"
    assert as_named("alice") == "alice"


def test_callers_limits_and_standing_go_by_the_pseudonym() -> None:
    rules = rules_of()
    caller = rules.caller_of("wb-alice")
    assert caller is not None
    assert (caller.user, caller.team) == (ALICE, "research")
    (limit,) = rules.limits_for(caller, "gpt-x")
    assert (limit.amount, limit.counter, limit.name) == (500, f"user:{ALICE}:*:tokens", f"users.{ALICE}.tokens.per_day")
    assert rules.model_allowed(caller, "gpt-x")
    assert not rules.model_allowed(caller, "claude-x")
    named = rules.caller_of("wb-named")
    assert named is not None
    assert named.user == pseudonyms(SECRET)("bob")


def test_end_users_of_a_request_do_too() -> None:
    rules = rules_of()
    caller = rules.caller_of("wb-alice")
    assert caller is not None
    spoken = rules.caller_for_user(caller, "carol@example.com")
    assert spoken.user == pseudonyms(SECRET)("carol@example.com")
    assert rules.caller_for_user(caller, "carol@example.com") is spoken
    assert rules.anonymous_caller("alice").team == "research"
    assert rules.anonymous_caller("alice").user == ALICE
    assert "carol" not in str(spoken)


def test_what_was_set_through_the_api_in_either_name_holds() -> None:
    for name in ("alice", ALICE):
        overlay = {
            "overrides": [{"user": name, "limits": {"tokens": {"per_day": 7}}}],
            "stops": [{"scope": "user", "value": name}, {"scope": "model", "value": "o3"}],
            "keys": [{"key_sha256": key_digest("wb-more"), "user": name, "settings": {}}],
        }
        rules = rules_of(overlay=overlay)
        caller = rules.caller_of("wb-more")
        assert caller is not None
        assert caller.user == ALICE
        assert {limit.amount for limit in rules.limits_for(caller, None)} == {7}
        assert rules.stop_for("openai", "gpt-x", Caller(ALICE)) is not None
        assert rules.stop_for("openai", "o3", Caller("x")) is not None


def test_nothing_changes_where_the_mode_is_off() -> None:
    rules = rules_of("{}")
    caller = rules.caller_of("wb-alice")
    assert caller is not None
    assert caller.user == "alice"
    assert rules.user_name is as_named
    assert rules.caller_for_user(caller, "carol").user == "carol"


@pytest.mark.parametrize("secret", [None, "short"])
def test_without_a_secret_it_is_a_mistake_with_a_place(secret: str | None) -> None:
    environment = {} if secret is None else {"WEIGHBRIDGE_ANONYMISE_SECRET": secret}
    with pytest.raises(ConfigErrors, match=r"server\.yaml:2:18: anonymise_users: needs WEIGHBRIDGE_ANONYMISE_SECRET"):
        load_texts({"server.yaml": "log_level: info\nanonymise_users: true\n"}, environment)
    documents = load_texts({"server.yaml": "anonymise_users: true"}, ENVIRONMENT).as_dict()
    with pytest.raises(ConfigErrors, match="WEIGHBRIDGE_ANONYMISE_SECRET"):
        build_rules({"documents": documents}, environment, pricebook=object())  # type: ignore[arg-type]
