"""`anonymise_users` through the whole house: no name in the ledger, limits still each person's own, also after a restart."""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request

from proxy.routing.pseudonyms import pseudonyms
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key

SECRET = "a secret of the tests, long enough"
ALICE = pseudonyms(SECRET)("alice")


def ask(house: House, key: str, **headers: str) -> int:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    request = urllib.request.Request(f"{house.url}/v1/chat/completions", data=body, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_nobody_is_named_and_everybody_is_limited(provider: FakeProvider) -> None:
    files = {
        "providers.yaml": providers_yaml(provider.url),
        "limits.yaml": limits_yaml({"alice": "{requests: {per_day: 3}}", "bob": "{}"}).replace(
            "user: bob,", "user: bob, may_speak_for_others: true,"
        ),
        "server.yaml": "anonymise_users: true\n",
    }
    with House(files, env={"WEIGHBRIDGE_ANONYMISE_SECRET": SECRET}) as house:
        assert ask(house, virtual_key("alice")) == 200
        assert ask(house, virtual_key("bob"), **{"x-weighbridge-user": "alice"}) == 200
        tracked = {"user": "alice", "provider": "openai", "model": "m", "input_tokens": 1}
        house.api("usage/track", "POST", tracked)
        assert ask(house, virtual_key("alice")) == 429  # 3 a day, whichever way she came
        records = house.records_when(4)
        assert {record["user"] for record in records} == {ALICE}
        for name in ("alice", ALICE):  # an admin may ask by either name
            assert house.api(f"users/{name}")["totals"]["requests"] == 4
            assert house.api(f"usage/summary?user={name}")["totals"]["requests"] == 4
        assert house.api("usage/summary", key=virtual_key("alice"))["totals"]["requests"] == 4
        house.api("users/alice/limits", "PATCH", {"requests": {"per_day": 4}})
        made = house.api("keys", "POST", {"user": "alice"})
        house.api("switch", "POST", {"scope": "user", "value": "bob"})
        house.stop()
        with sqlite3.connect(house.data / "ledger.sqlite3") as connection:
            dump = "\n".join(connection.iterdump())
        connection.close()
        assert "alice" not in dump
        assert ALICE in dump
        house.start()
        assert ask(house, made["key"]) == 200  # the fourth of her four: the counters began with the ledger's sums
        assert ask(house, made["key"]) == 429
        assert ask(house, virtual_key("bob")) != 200
