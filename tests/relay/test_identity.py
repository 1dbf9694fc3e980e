"""Who calls: the key in every place it may stand, what the provider sees of it, and what nobody ever sees."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.records import as_dict
from proxy.routing.callers import own_key_user
from tests.relay.chat import completion
from tests.relay.relay_house import RelayHouse, relay_house, request_bytes, rules_of
from tests.relay.scripted_upstream import ReadRequest, ScriptedUpstream, Send, answer

ONE = [ReadRequest(), Send(answer(completion()))]
ALICE, ROBOT, OLD, LISTED = (
    "wb-alice-0123456789abcdef",
    "wb-robot-0123456789abcdef",
    "wb-old-0123456789abcdef",
    "legacy-key-of-carol",
)
OWN, PROVIDERS = "sk-callers-own-1234567890", "sk-providers-own-0987654321"
DIALECTS = {
    "openai": ("openai", "bearer", "authorization", f"Bearer {PROVIDERS}"),
    "anthropic": ("anthropic", "x-api-key", "x-api-key", PROVIDERS),
    "gemini": ("gemini", "x-goog-api-key", "x-goog-api-key", PROVIDERS),
    "azure": ("azure", "api-key", "api-key", PROVIDERS),
}
"""api, credential, the header the provider reads, what must stand in it."""
Pair = tuple[RelayHouse, ScriptedUpstream]
Open = Callable[..., AbstractAsyncContextManager[Pair]]


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


KEYS = f"""
teams: {{research: {{}}}}
keys:
  - {{key_sha256: "{digest(ALICE)}", user: alice, team: research, name: laptop}}
  - {{key_sha256: "{digest(ROBOT)}", user: robot, may_speak_for_others: true}}
  - {{key_sha256: "{digest(OLD)}", user: olga, expires: 2020-01-01}}
  - {{key_sha256: "{digest(LISTED)}", user: carol, labels: [operation, operation_id]}}
"""


@pytest.fixture
def four(tmp_path: Path) -> Open:
    """A relay before one upstream that is known under the names of four dialects."""

    @asynccontextmanager
    async def open_house(limits: str = "", key: str = PROVIDERS, extra: str = "") -> AsyncIterator[Pair]:
        async with await ScriptedUpstream.start([[*ONE] * 8]) as upstream:
            entries = "".join(
                f"  {name}:\n    base_url: {upstream.url}\n    api: {api}\n    credential: {credential}\n"
                + (f"    api_key: {key}\n" if key else "")
                + extra
                for name, (api, credential, _, _) in DIALECTS.items()
            )
            async with relay_house(rules_of(f"providers:\n{entries}", KEYS + limits), tmp_path) as relay:
                yield relay, upstream

    return open_house


def call(name: str = "openai", headers: dict[str, str] | None = None, query: str = "", model: str = "gpt-4o-mini") -> bytes:
    return request_bytes(
        f"/{name}/v1/chat/completions{query}", json.dumps({"model": model}).encode(), {"Authorization": "", **(headers or {})}
    )


PLACES = {
    "bearer": ({"Authorization": "Bearer {key}"}, ""),
    "bearer in capitals": ({"AUTHORIZATION": "BEARER {key}"}, ""),
    "no scheme": ({"Authorization": "{key}"}, ""),
    "x-api-key": ({"X-API-Key": "{key}"}, ""),
    "api-key": ({"api-key": "{key}"}, ""),
    "x-goog-api-key": ({"x-goog-api-key": "{key}"}, ""),
    "query": ({}, "?alt=json&key={key}&x=1"),
    "azure's query": ({}, "?api-key={key}"),
    "subprotocol": ({"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.{key}"}, ""),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", DIALECTS)
async def test_a_virtual_key_is_known_in_every_place_and_swapped(four: Open, name: str, place: str) -> None:
    headers, query = PLACES[place]
    async with four() as (relay, upstream):
        got = await relay.ask(call(name, {k: v.format(key=ALICE) for k, v in headers.items()}, query.format(key=ALICE)))
        assert got.status == 200
        seen = upstream.request()
        _, _, header, value = DIALECTS[name]
        assert seen.header(header) == value
        assert ALICE.encode() not in bytes(upstream.received[0])
        credentials = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
        assert [found for found, _ in seen.headers if found in credentials] == [header]
        assert seen.target == "/v1/chat/completions" + ("?alt=json&x=1" if place == "query" else "")
        record = await relay.record()
        assert (record.user, record.team, record.key_id, record.key_name) == ("alice", "research", digest(ALICE)[:12], "laptop")


@pytest.mark.parametrize("place", PLACES)
async def test_a_callers_own_key_passes_where_it_stood(four: Open, place: str) -> None:
    headers, query = PLACES[place]
    async with four() as (relay, upstream):
        sent = {k: v.format(key=OWN) for k, v in headers.items()}
        assert (await relay.ask(call("openai", sent, query.format(key=OWN)))).status == 200
        head = bytes(upstream.received[0]).partition(b"\r\n\r\n")[0].decode()
        for header, value in sent.items():
            assert f"\r\n{header}: {value}" in head
        assert f"POST /v1/chat/completions{query.format(key=OWN)} HTTP/1.1" in head
        assert PROVIDERS not in head
        record = await relay.record()
        fingerprint = own_key_user(sent["Authorization"] if place == "no scheme" else OWN)
        assert (record.user, record.key_id) == (fingerprint, None)


@pytest.mark.parametrize("place", ["bearer", "x-api-key"])
async def test_a_head_that_is_known_lends_nobody_anothers_key(four: Open, place: str) -> None:
    """The same head from four callers in turn, twice: each is who its own key says, at the provider and in the ledger."""
    keys = [ALICE, OWN, LISTED, "sk-somebody-else"] * 2
    users = ["alice", own_key_user(OWN), "carol", own_key_user("sk-somebody-else")] * 2
    async with four() as (relay, upstream):

        async def ask(key: str) -> int:
            headers = {name: value.format(key=key) for name, value in PLACES[place][0].items()}
            return (await relay.ask(call(headers={"Authorization": "", **headers}))).status

        for number, (key, user) in enumerate(zip(keys, users, strict=True), 1):
            assert await ask(key) == 200
            head = b"".join(map(bytes, upstream.received)).decode().split("POST ")[-1]
            is_virtual = key in (ALICE, LISTED)
            assert (PROVIDERS in head) == is_virtual
            assert [each for each in {*keys} if each in head] == ([] if is_virtual else [key])
            assert (await relay.wait_for_records(number))[-1].user == user
        assert len(relay.state.heads._known) == 1
        assert await ask(OLD) == 401


async def test_a_head_that_is_known_lends_nobody_anothers_user_session_or_trace(four: Open) -> None:
    """Lines that change with each call, from two keys in turn: the provider sees each call's own, and so does the ledger."""
    async with four() as (relay, upstream):
        for number in range(1, 9):
            is_spoken_for = number % 2 == 0
            own = {"traceparent": f"00-{number:032x}-{number:016x}-01", "x-weighbridge-session": f"s-{number}"}
            headers = {"Authorization": f"Bearer {ROBOT if is_spoken_for else ALICE}", "x-weighbridge-user": f"u-{number}", **own}
            assert (await relay.ask(call(headers=headers))).status == 200
            head = bytes(upstream.received[0]).decode().split("POST ")[-1]
            assert f"\r\ntraceparent: {own['traceparent']}\r\n" in head
            assert "x-weighbridge" not in head
            record = (await relay.wait_for_records(number))[-1]
            assert (record.user, record.session) == (f"u-{number}" if is_spoken_for else "alice", f"s-{number}")
        assert (len(relay.state.heads._known), len(relay.state.heads._templates)) == (1, 1)  # the first; all the others


async def test_a_key_that_is_listed_by_its_hash_needs_no_prefix(four: Open) -> None:
    async with four() as (relay, upstream):
        assert (await relay.ask(call(headers={"Authorization": f"Bearer {LISTED}"}))).status == 200
        assert upstream.request().header("authorization") == f"Bearer {PROVIDERS}"
        assert (await relay.record()).user == "carol"


async def test_a_virtual_key_beside_an_own_one_wins_and_both_stay_here(four: Open) -> None:
    async with four() as (relay, upstream):
        await relay.ask(call(headers={"Authorization": f"Bearer {OWN}", "x-api-key": ALICE}, query=f"?key={OWN}"))
        seen = bytes(upstream.received[0])
        assert OWN.encode() not in seen
        assert ALICE.encode() not in seen
        assert (await relay.record()).user == "alice"


async def test_a_virtual_key_as_a_basic_password(four: Open) -> None:
    async with four() as (relay, upstream):
        pair = b64encode(f"user:{ALICE}".encode()).decode()
        assert (await relay.ask(call(headers={"Authorization": f"Basic {pair}"}))).status == 200
        assert upstream.request().header("authorization") == f"Bearer {PROVIDERS}"


async def test_other_schemes_are_the_callers_own(four: Open) -> None:
    signature = "AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-east-1/bedrock/aws4_request, Signature=abc"
    async with four() as (relay, upstream):
        await relay.ask(call(headers={"Authorization": signature}))
        assert upstream.request().header("authorization") == signature


# ── refused, each in the words of its API ──

SHAPES = {
    "openai": lambda body: body["error"]["code"] == "invalid_api_key",
    "anthropic": lambda body: body["error"]["type"] == "authentication_error",
    "gemini": lambda body: body["error"]["status"] == "UNAUTHENTICATED",
    "azure": lambda body: body["error"]["code"] == "401",
}
CALLS = {
    "openai": ("/v1/chat/completions", {"model": "m", "messages": []}),
    "anthropic": ("/v1/messages", {"model": "m", "messages": [], "max_tokens": 1}),
    "gemini": ("/v1beta/models/m:generateContent", {"contents": []}),
    "azure": ("/openai/deployments/d/chat/completions", {"messages": []}),
}


@pytest.mark.parametrize("name", DIALECTS)
async def test_an_unknown_virtual_key_is_refused_and_goes_nowhere(four: Open, name: str) -> None:
    async with four() as (relay, upstream):
        path, body = CALLS[name]
        sent = request_bytes(f"/{name}{path}", json.dumps(body).encode(), {"Authorization": "Bearer wb-unknown-0123456789"})
        got = await relay.ask(sent)
        assert got.status == 401
        assert SHAPES[name](json.loads(got.body))  # type: ignore[no-untyped-call]
        assert upstream.connections == 0
        record = await relay.record()
        assert (record.outcome, record.status, record.user, record.cost_usd) == ("denied", 401, "anonymous", None)
        assert got.header("x-weighbridge-request-id") == record.id


async def test_an_expired_key_is_refused_and_its_owner_known(four: Open) -> None:
    async with four() as (relay, upstream):
        got = await relay.ask(call(headers={"Authorization": f"Bearer {OLD}"}))
        assert (got.status, json.loads(got.body)["error"]["code"]) == (401, "key_expired")
        assert ((await relay.record()).user, upstream.connections) == ("olga", 0)


async def test_a_virtual_key_for_a_provider_without_one_is_the_operators_mistake(four: Open) -> None:
    async with four(key="") as (relay, upstream):
        got = await relay.ask(call(headers={"Authorization": f"Bearer {ALICE}"}))
        assert (got.status, got.header("x-should-retry")) == (503, "false")
        record = await relay.record()
        assert (record.outcome, record.user, upstream.connections) == ("proxy_error", "alice", 0)


async def test_auth_keys_takes_virtual_keys_only(four: Open) -> None:
    async with four("auth: keys\n") as (relay, upstream):
        for headers, code in (({"Authorization": f"Bearer {OWN}"}, "invalid_api_key"), ({}, "missing_api_key")):
            got = await relay.ask(call(headers=headers))
            assert (got.status, json.loads(got.body)["error"]["code"]) == (401, code)
        assert upstream.connections == 0
        assert (await relay.ask(call(headers={"Authorization": f"Bearer {ALICE}"}))).status == 200
        users = [record.user for record in await relay.wait_for_records(3)]
        assert users == [own_key_user(OWN), "anonymous", "alice"]


async def test_auth_none_asks_for_nothing_and_lends_the_providers_key(four: Open) -> None:
    async with four("auth: none\n") as (relay, upstream):
        assert (await relay.ask(call())).status == 200
        assert upstream.request().header("authorization") == f"Bearer {PROVIDERS}"
        assert (await relay.ask(call(headers={"x-weighbridge-user": "dave"}))).status == 200
        assert [record.user for record in await relay.wait_for_records(2)] == ["anonymous", "dave"]


async def test_auth_auto_lends_nobody_the_providers_key(four: Open) -> None:
    async with four() as (relay, upstream):
        await relay.ask(call())
        assert PROVIDERS.encode() not in bytes(upstream.received[0])
        assert (await relay.record()).user == "anonymous"


# ── labels, and speaking for others ──


async def test_labels_are_recorded_and_never_forwarded(four: Open) -> None:
    labels = {
        "X-Weighbridge-Session": "s-1",
        "x-weighbridge-operation": "summarise",
        "X-WEIGHBRIDGE-OPERATION-ID": "op-7",
        "x-weighbridge-tags": "env=prod, feature = chat ,bare",
        "x-weighbridge-something-new": "1",
    }
    async with four() as (relay, upstream):
        await relay.ask(call(headers={"Authorization": f"Bearer {ALICE}", **labels}))
        record = await relay.record()
        assert (record.session, record.operation, record.operation_id) == ("s-1", "summarise", "op-7")
        assert record.tags == {"env": "prod", "feature": "chat", "bare": ""}
        assert b"weighbridge" not in bytes(upstream.received[0]).lower()


async def test_a_key_sends_only_the_labels_it_may(four: Open) -> None:
    labels = {
        "x-weighbridge-session": "s-1", "x-weighbridge-operation": "summarise", "x-weighbridge-operation-id": "op-7",
        "x-weighbridge-tags": "env=prod",
    }  # fmt: skip
    async with four() as (relay, upstream):
        await relay.ask(call(headers={"Authorization": f"Bearer {LISTED}", **labels}))
        record = await relay.record()
        assert (record.session, record.operation, record.operation_id, record.tags) == (None, "summarise", "op-7", None)
        assert b"weighbridge" not in bytes(upstream.received[0]).lower()


async def test_only_a_key_that_may_speaks_for_others(four: Open) -> None:
    async with four() as (relay, _):
        for key in (ROBOT, ALICE, OWN):
            await relay.ask(call(headers={"Authorization": f"Bearer {key}", "x-weighbridge-user": "dave"}))
        records = await relay.wait_for_records(3)
        assert [record.user for record in records] == ["dave", "alice", own_key_user(OWN)]
        assert records[0].key_id == digest(ROBOT)[:12]


async def test_the_body_names_the_end_user_where_the_configuration_says_so(four: Open) -> None:
    async with four("identify_by: [body:safety_identifier, body:user]\n") as (relay, upstream):
        body = b'{"model":"gpt-4o-mini","user":"erin","messages":[]}'
        await relay.ask(request_bytes("/openai/v1/chat/completions", body, {"Authorization": f"Bearer {ROBOT}"}))
        assert (await relay.record()).user == "erin"
        assert upstream.request().body == body


# ── who never sees a key ──


@pytest.mark.parametrize("key", [ALICE, OWN, "wb-unknown-0123456789"])
@pytest.mark.parametrize("place", PLACES)
async def test_no_key_is_in_records_logs_or_answers(
    four: Open, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, place: str, key: str
) -> None:
    caplog.set_level(logging.DEBUG)
    headers, query = PLACES[place]
    async with four("defaults:\n  requests: {per_day: 9}\nusers:\n  alice: {models: [gpt-4o-mini]}\n") as (relay, _):
        answers = b""
        for model in ("gpt-4o-mini", "gpt-4o"):
            got = await relay.ask(call("openai", {k: v.format(key=key) for k, v in headers.items()}, query.format(key=key), model))
            answers += got.raw + got.body
        relay.state.quota.reserve = None  # type: ignore[method-assign, assignment]  # a fault of ours is logged with its traceback
        got = await relay.ask(call("openai", {k: v.format(key=key) for k, v in headers.items()}, query.format(key=key)))
        assert got.status == (401 if key.startswith("wb-unknown") else 500)
        answers += got.raw + got.body
        records = await relay.wait_for_records(3)
        told = json.dumps([as_dict(record) for record in records])
        spooled = b"".join(path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file())
    out = capfd.readouterr()
    for secret in (key, PROVIDERS):
        assert secret.encode() not in answers
        assert secret not in told
        assert secret.encode() not in spooled
        assert secret not in out.out + out.err + caplog.text
