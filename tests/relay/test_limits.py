"""Limits on the way: who is refused and how, what is held meanwhile, what is settled at the end. Races assert exact counts."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from proxy.relay.admission import SMALLEST_CAP_TOKENS
from tests.relay.chat import (
    COMPLETION_TOKENS,
    DONE,
    FINISH,
    PROMPT_TOKENS,
    SHORT_STREAM,
    STREAMING_WITH_USAGE,
    USAGE,
    USAGE_EVENT,
    completion,
    event,
    streamed,
    words,
)
from tests.relay.conftest import House
from tests.relay.relay_house import RawAnswer, RelayHouse, request_bytes
from tests.relay.scripted_upstream import ReadRequest, ReadToEnd, Reset, Send, Wait, WaitFor, answer, chunk, chunked_head

GOOD = Send(answer(completion()))
ONE = [ReadRequest(), GOOD]
MANY = [[*ONE] * 50]
ROOMY = [[ReadRequest(), Wait(0.05), GOOD]]
"""Each connection serves one call, so that many run at once."""


async def status(relay: RelayHouse) -> dict[str, tuple[int, int]]:
    """Used and held, by limit, once nothing runs any more."""
    async with asyncio.timeout(30):
        while relay.state.exchanges:
            await asyncio.sleep(0.005)
    caller = relay.state.rules.caller_for_own_key("sk-callers-own")
    found = await relay.state.quota.status(relay.state.rules.resolve_limits(caller, "gpt-4o-mini"), time.time())
    assert not relay.state.live
    return {one.limit.name: (one.used, one.reserved) for one in found}


async def ask_many(relay: RelayHouse, count: int, data: bytes | None = None) -> list[RawAnswer]:
    return list(await asyncio.gather(*[relay.ask(data or request_bytes()) for _ in range(count)]))


def capped(tokens: int, **fields: object) -> bytes:
    return request_bytes(body=json.dumps({"model": "gpt-4o-mini", "messages": [], "max_tokens": tokens, **fields}).encode())


async def test_only_exact_counts_teach_what_is_usual(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that broke after running counts, and one that told nothing, say little about how long answers are."""
    running = event(choices=[{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}], usage=USAGE)
    broken = [ReadRequest(), Send(chunked_head("text/event-stream") + chunk(running)), Wait(0.05), Reset()]
    silent = [ReadRequest(), Send(chunked_head("text/event-stream") + chunk(SHORT_STREAM)), Wait(0.05), Reset()]
    async with house([broken, silent, ONE], "defaults:\n  tokens: {per_day: 100_000}\n") as (relay, _):
        taught: list[tuple[object, ...]] = []
        monkeypatch.setattr(relay.state.estimator, "learn", lambda *args, **more: taught.append(args))
        for number in (1, 2):
            client = await relay.client()
            client.send(request_bytes(body=STREAMING_WITH_USAGE))
            with suppress(ConnectionError):
                assert not (await client.rest()).endswith(b"0\r\n\r\n")
            await relay.wait_for_records(number)
        assert [record.exactness for record in relay.records()] == ["lower_bound", "estimated"]
        assert not taught
        await relay.ask(request_bytes())
        await relay.wait_for_records(3)
        assert [args[-2:] for args in taught] == [(PROMPT_TOKENS, COMPLETION_TOKENS)]


# ── the shape of a refusal ──


async def test_requests_per_minute(house: House) -> None:
    async with house(MANY, "defaults:\n  requests: {per_minute: 3}\n") as (relay, upstream):
        got = [await relay.ask(request_bytes()) for _ in range(5)]
        assert [one.status for one in got] == [200, 200, 200, 429, 429]
        refused = got[3]
        error = json.loads(refused.body)["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert refused.header("x-weighbridge-limit") == "defaults.requests.per_minute"
        assert 0 < int(refused.header("retry-after") or 0) <= 60
        assert refused.header("x-should-retry") is None  # waiting helps
        record = (await relay.wait_for_records(5))[3]
        assert (record.outcome, record.status, record.limit) == ("denied", 429, "defaults.requests.per_minute")
        assert refused.header("x-weighbridge-request-id") == record.id
        assert upstream.received[0].count(b"POST ") == 3
        assert await status(relay) == {"defaults.requests.per_minute": (3, 0)}


async def test_a_budget_that_is_used_up_says_that_waiting_does_not_help(house: House) -> None:
    # one answer costs $0.00000315
    async with house(MANY, "mode: soft\ndefaults:\n  cost_usd: {total: 0.000003}\n") as (relay, _):
        assert (await relay.ask(request_bytes())).status == 200
        got = await relay.ask(request_bytes())
        assert (got.status, got.header("x-should-retry"), got.header("retry-after")) == (429, "false", None)
        assert json.loads(got.body)["error"]["type"] == "insufficient_quota"
        assert got.header("x-weighbridge-limit") == "defaults.cost_usd.total"
        assert await status(relay) == {"defaults.cost_usd.total": (3150, 0)}  # nano-dollars


async def test_a_call_larger_than_the_whole_limit_is_told_so(house: House) -> None:
    async with house(MANY, "mode: strict\ndefaults:\n  tokens: {per_minute: 100}\n") as (relay, upstream):
        got = await relay.ask(capped(5000))
        assert (got.status, got.header("x-should-retry")) == (429, "false")
        assert b"max_tokens" in got.body
        assert upstream.connections == 0
        assert await status(relay) == {"defaults.tokens.per_minute": (0, 0)}


async def test_settled_to_what_was_used(house: House) -> None:
    limits = "defaults:\n  tokens: {per_day: 1000000}\n  input_tokens: {per_day: 500000}\n  output_tokens: {per_day: 500000}\n"
    async with house(MANY, limits + "  cost_usd: {per_day: 10}\n  requests: {per_day: 100}\n") as (relay, _):
        await ask_many(relay, 4)
        assert await status(relay) == {
            "defaults.tokens.per_day": (48, 0),
            "defaults.input_tokens.per_day": (36, 0),
            "defaults.output_tokens.per_day": (12, 0),
            "defaults.cost_usd.per_day": (4 * 3150, 0),
            "defaults.requests.per_day": (4, 0),
        }


@pytest.mark.parametrize("mode", ["strict", "balanced", "soft"])
async def test_error_answers_give_their_tokens_back(house: House, mode: str) -> None:
    failed = answer(b'{"error":{"message":"boom","type":"server_error"}}', "500 Oops")
    async with house([[ReadRequest(), Send(failed)]], f"mode: {mode}\ndefaults:\n  tokens: {{per_day: 1000000}}\n") as (relay, _):
        assert (await relay.ask(capped(100))).status == 500
        assert await status(relay) == {"defaults.tokens.per_day": (0, 0)}


async def test_an_answer_without_usage_is_charged_as_held(house: House) -> None:
    body = b'{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini","choices":[]}'
    async with house([[ReadRequest(), Send(answer(body))]], "mode: strict\ndefaults:\n  tokens: {per_day: 1000000}\n") as (
        relay,
        _,
    ):
        got = await relay.ask(capped(100))
        assert got.header("x-weighbridge-input-tokens") is None
        used, held = (await status(relay))["defaults.tokens.per_day"]
        assert (used >= 100, held) == (True, 0)
        record = await relay.record()
        assert (record.usage_source, record.exactness, record.cost_usd, record.price_source) == (
            "none",
            "none",
            None,
            "no usage reported",
        )
        assert record.usage_details == {"usage_missing": True}


# ── races ──


async def test_200_at_a_limit_with_room_for_5(house: House) -> None:
    async with house(ROOMY, "defaults:\n  requests: {per_day: 5}\n") as (relay, upstream):
        got = await ask_many(relay, 200)
        assert sorted(one.status for one in got) == [200] * 5 + [429] * 195
        assert upstream.connections == 5
        assert await status(relay) == {"defaults.requests.per_day": (5, 0)}
        outcomes = [record.outcome for record in await relay.wait_for_records(200)]
        assert (outcomes.count("ok"), outcomes.count("denied"), len(outcomes)) == (5, 195, 200)


async def test_200_at_five_concurrent_requests(house: House) -> None:
    gate = asyncio.Event()
    async with house([[ReadRequest(), WaitFor(gate), GOOD]], "defaults:\n  concurrent_requests: 5\n") as (relay, upstream):
        running = asyncio.gather(*[relay.ask(request_bytes()) for _ in range(200)])
        await relay.wait_for_records(195)
        assert upstream.connections == 5
        gate.set()
        assert sorted(one.status for one in await running) == [200] * 5 + [429] * 195
        assert await status(relay) == {"defaults.concurrent_requests": (0, 0)}
        assert (await relay.ask(request_bytes())).status == 200  # the slots are free again


async def test_strict_tokens_are_never_passed_by_one(house: House) -> None:
    """Every call may answer with its cap; the provider does, and the limit stands."""
    usage = {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60}
    script = [[ReadRequest(), Wait(0.02), Send(answer(completion(usage=usage)))]]
    async with house(script, "mode: strict\ndefaults:\n  tokens: {per_day: 2000}\n") as (relay, _):
        got = await ask_many(relay, 200, capped(50))
        passed = sum(one.status == 200 for one in got)
        assert passed >= 2
        assert await status(relay) == {"defaults.tokens.per_day": (passed * 60, 0)}
        assert passed * 60 <= 2000
        while (await relay.ask(capped(50))).status == 200:
            passed += 1
        used, held = (await status(relay))["defaults.tokens.per_day"]
        assert (used, held) == (passed * 60, 0)
        assert used <= 2000


async def test_soft_looks_at_what_is_settled_only(house: House) -> None:
    async with house(ROOMY, "mode: soft\ndefaults:\n  tokens: {per_day: 5}\n") as (relay, _):
        assert [one.status for one in await ask_many(relay, 20)] == [200] * 20  # none had settled yet
        assert (await relay.ask(request_bytes())).status == 429
        assert await status(relay) == {"defaults.tokens.per_day": (20 * 12, 0)}


# ── output_cap: inject ──


async def test_the_answer_is_capped_to_what_is_left(house: House) -> None:
    limits = "mode: strict\noutput_cap: inject\ndefaults:\n  tokens: {per_day: 1000}\n"
    async with house(MANY, limits) as (relay, upstream):
        assert (await relay.ask(request_bytes())).status == 200
        sent = json.loads(upstream.request().body)
        cap = sent.pop("max_completion_tokens", None) or sent.pop("max_tokens")
        assert sent == json.loads(request_bytes().partition(b"\r\n\r\n")[2])
        assert SMALLEST_CAP_TOKENS <= cap < 1000
        assert (await relay.ask(capped(20))).status == 200  # a cap of the caller's own stays
        assert b'"max_tokens": 20' in bytes(upstream.received[0])


async def test_without_room_for_a_word_nothing_is_capped_but_refused(house: House) -> None:
    limits = "mode: strict\noutput_cap: inject\ndefaults:\n  tokens: {per_day: 150}\n"
    async with house(MANY, limits) as (relay, upstream):
        assert (
            await relay.ask(request_bytes(body=b'{"model":"gpt-4o-mini","messages":[],"x":"' + b"y" * 200 + b'"}'))
        ).status == 429
        assert upstream.connections == 0
        assert await status(relay) == {"defaults.tokens.per_day": (0, 0)}


async def test_a_compressed_body_hides_nothing_from_a_strict_limit(house: House) -> None:
    body = gzip.compress(json.dumps({"model": "gpt-4o-mini", "max_tokens": 10, "messages": ["x" * 100_000]}).encode())
    headers = {"Content-Encoding": "gzip"}
    async with house(MANY, "mode: strict\ndefaults:\n  tokens: {per_day: 5000}\n") as (relay, upstream):
        assert (await relay.ask(request_bytes(body=body, headers=headers))).status == 429
        assert upstream.connections == 0
    async with house(MANY, "users:\n  x: {}\n") as (relay, upstream):
        assert (await relay.ask(request_bytes(body=body, headers=headers))).status == 200
        assert upstream.request().body == body
        assert (await relay.wait_for_records(2))[1].request_model == "gpt-4o-mini"


# ── models, prices, stops ──


async def test_models_that_are_not_on_the_list_are_refused(house: House) -> None:
    from proxy.routing.callers import own_key_user

    limits = f"users:\n  {own_key_user('sk-callers-own')}: {{models: ['gpt-4o-mini', 'o*']}}\n"
    async with house(MANY, limits) as (relay, upstream):
        for model, expected in (("gpt-4o-mini", 200), ("o3", 200), ("gpt-4o", 403), (None, 403)):
            body = json.dumps({"model": model, "messages": []} if model else {"messages": []}).encode()
            got = await relay.ask(request_bytes(body=body))
            assert (model, got.status) == (model, expected)
        assert json.loads(got.body)["error"]["code"] == "model_not_allowed"
        assert upstream.received[0].count(b"POST ") == 2
        assert [record.outcome for record in await relay.wait_for_records(4)] == ["ok", "ok", "denied", "denied"]


async def test_models_without_a_price_are_refused_where_that_is_asked_for(house: House) -> None:
    async with house(MANY, prices="unknown_model: refuse\n") as (relay, upstream):
        got = await relay.ask(request_bytes(body=b'{"model":"nobody-knows-me","messages":[]}'))
        assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "unknown_model_price")
        assert (await relay.ask(request_bytes())).status == 200
        assert upstream.connections == 1
    async with house(MANY) as (relay, _):
        got = await relay.ask(request_bytes(body=b'{"model":"nobody-knows-me","messages":[]}'))
        assert got.status == 200


STOPS = [
    ({"scope": "all"}, True),
    ({"scope": "provider", "value": "openai"}, True),
    ({"scope": "provider", "value": "anthropic"}, False),
    ({"scope": "model", "value": "gpt-4o*"}, True),
    ({"scope": "model", "value": "claude-*"}, False),
    ({"scope": "user", "value": "somebody"}, False),
]


@pytest.mark.parametrize(("stop", "is_stopped"), STOPS)
async def test_an_emergency_stop_refuses_what_it_names(house: House, stop: dict[str, str], is_stopped: bool) -> None:
    async with house(MANY) as (relay, upstream):
        relay.state.rules = replace(relay.state.rules, stops=({**stop, "reason": "a leak"},))
        got = await relay.ask(request_bytes())
        assert got.status == (503 if is_stopped else 200)
        assert upstream.connections == (0 if is_stopped else 1)
        if is_stopped:
            assert b"a leak" in got.body
            assert got.header("x-should-retry") == "false"
            assert (await relay.record()).outcome == "denied"


async def test_an_emergency_stop_cuts_running_answers_where_it_says_so(house: House) -> None:
    text = words("word " * 50)[0]
    limits = "defaults:\n  tokens: {per_day: 1000000}\n"
    async with house([[ReadRequest(), Send(chunked_head() + chunk(text)), ReadToEnd()], [ReadRequest(), ReadToEnd()]], limits) as (
        relay,
        upstream,
    ):
        streaming, waiting = await relay.client(), await relay.client()
        streaming.send(request_bytes(body=STREAMING_WITH_USAGE))
        await streaming.reader.readuntil(b"word ")
        waiting.send(request_bytes())
        async with asyncio.timeout(30):
            while upstream.connections < 2:
                await asyncio.sleep(0.005)
        rules = replace(relay.state.rules, stops=({"scope": "all", "cut_streams": "true"},))
        relay.worker._build = lambda: rules  # type: ignore[method-assign]
        await relay.worker._reload()
        with pytest.raises(ConnectionResetError):
            await streaming.rest()
        assert (await waiting.answer()).status == 503
        for connection in (0, 1):
            await asyncio.wait_for(upstream.closed_by_peer[connection].wait(), 15)
        records = await relay.wait_for_records(2)
        assert {(record.outcome, record.status) for record in records} == {("proxy_error", 200), ("proxy_error", 503)}
        assert all(record.usage_source == "estimated" for record in records)  # the provider has worked on both
        used, held = (await status(relay))["defaults.tokens.per_day"]
        assert held == 0
        assert used == sum(record.total_tokens or 0 for record in records)


# ── long answers ──


async def test_the_hold_of_a_long_answer_is_renewed(house: House) -> None:
    gate = asyncio.Event()
    script = [
        ReadRequest(),
        Send(chunked_head() + chunk(SHORT_STREAM)),
        WaitFor(gate),
        Send(chunk(FINISH + USAGE_EVENT + DONE) + chunk(b"")),
    ]
    limits = "defaults:\n  concurrent_requests: 1\n"
    async with house([script, [*ONE]], limits, lease_seconds=1.5) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(b"Hel")
        await asyncio.sleep(2.6)  # longer than a lease; the house is kept once a second
        assert (await relay.ask(request_bytes())).status == 429
        gate.set()
        await client.reader.readuntil(b"0\r\n\r\n")
        assert (await relay.ask(request_bytes())).status == 200
        assert await status(relay) == {"defaults.concurrent_requests": (0, 0)}


async def test_usage_of_a_stream_is_settled_before_its_last_event_is_out(house: House) -> None:
    async with house(
        [[ReadRequest(), Send(streamed(SHORT_STREAM, USAGE_EVENT, DONE))]], "defaults:\n  tokens: {per_day: 1000}\n"
    ) as (
        relay,
        _,
    ):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(b"[DONE]")
        assert (await status(relay))["defaults.tokens.per_day"] == (12, 0)


async def test_calls_that_are_not_metered_are_not_limited(house: House) -> None:
    get = request_bytes("/openai/v1/models", b"", {"Content-Length": "", "Content-Type": ""}, "GET")
    async with house(MANY, "defaults:\n  requests: {per_day: 1}\n") as (relay, _):
        assert [(await relay.ask(get)).status for _ in range(3)] == [200] * 3
        assert (await relay.ask(request_bytes())).status == 200
        assert (await relay.ask(request_bytes())).status == 429
