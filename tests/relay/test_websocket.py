"""WebSockets through a real worker, with another project's client and server at the two ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.relay.relay_house import RelayHouse, relay_house, rules_of

Play = Callable[[ServerConnection], Awaitable[None]]
ALICE = "wb-alice-0123456789abcdef"
KEYS = f'keys:\n  - {{key_sha256: "{sha256(ALICE.encode()).hexdigest()}", user: alice}}\n'
REALTIME = "openai/v1/realtime?model=gpt-realtime"


def response_done(number: int, input_tokens: int = 100, output_tokens: int = 20) -> str:
    """OpenAI's event at the end of a response: text tokens only."""
    usage = {
        "total_tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "input_token_details": {"text_tokens": input_tokens, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": output_tokens, "audio_tokens": 0},
    }
    return json.dumps({"type": "response.done", "response": {"id": f"resp_{number}", "status": "completed", "usage": usage}})


async def answering(connection: ServerConnection) -> None:
    """Every message is answered by one response."""
    number = 0
    async for _ in connection:
        number += 1
        await connection.send(json.dumps({"type": "response.created", "response": {"id": f"resp_{number}"}}))
        await connection.send(json.dumps({"type": "response.output_text.delta", "delta": "word " * 50}))
        await connection.send(response_done(number))


@asynccontextmanager
async def session(
    tmp_path: Path, play: Play = answering, limits: str = ""
) -> AsyncIterator[tuple[RelayHouse, list[ServerConnection]]]:
    seen: list[ServerConnection] = []

    async def noting(connection: ServerConnection) -> None:
        seen.append(connection)
        await play(connection)

    async with serve(noting, "127.0.0.1", 0, subprotocols=[Subprotocol("realtime")]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        lines = f"providers:\n  openai:\n    base_url: http://127.0.0.1:{port}\n    api: openai\n    api_key: sk-providers-own\n"
        async with relay_house(rules_of(lines, KEYS + limits), tmp_path) as relay:
            yield relay, seen


def dial(relay: RelayHouse, headers: dict[str, str] | None = None, **options: object) -> connect:
    own = {"Authorization": f"Bearer {ALICE}"} if headers is None else headers
    options.setdefault("subprotocols", ["realtime"])
    return connect(f"ws://127.0.0.1:{relay.port}/{REALTIME}", additional_headers=own, **options)  # type: ignore[arg-type]


async def turns(client: ClientConnection, count: int) -> list[str]:
    types = []
    for _ in range(count):
        await client.send(json.dumps({"type": "response.create"}))
        types += [json.loads(await client.recv())["type"] for _ in range(3)]
    return types


async def quota(relay: RelayHouse) -> dict[str, tuple[int, int]]:
    (caller,) = [caller for caller in relay.state.rules.callers.values() if caller.user == "alice"]
    found = await relay.state.quota.status(relay.state.rules.resolve_limits(caller, "gpt-realtime"), time.time())
    return {one.limit.name: (one.used, one.reserved) for one in found}


async def test_a_session_is_metered_and_recorded_once(tmp_path: Path) -> None:
    async with session(tmp_path) as (relay, seen):
        async with dial(relay, compression=None) as client:
            assert client.response is not None
            request_id = client.response.headers["x-weighbridge-request-id"]
            assert await turns(client, 3) == ["response.created", "response.output_text.delta", "response.done"] * 3
            assert relay.records() == []
        record = await relay.record()
        assert record.id == request_id
        assert (record.input_tokens, record.output_tokens, record.usage_source) == (300, 60, "reported")
        assert (record.outcome, record.status, record.streamed, record.user) == ("ok", 101, True, "alice")
        assert record.request_model == "gpt-realtime"
        assert seen[0].request is not None
        assert seen[0].request.headers["Authorization"] == "Bearer sk-providers-own"
        assert ALICE not in str(seen[0].request.headers)
        assert not relay.state.tunnels


async def test_compressed_sessions_are_metered_too(tmp_path: Path) -> None:
    async with session(tmp_path) as (relay, _):
        async with dial(relay) as client:
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
            await turns(client, 2)
        assert (await relay.record()).input_tokens == 200


async def test_a_key_among_the_subprotocols_is_swapped(tmp_path: Path) -> None:
    async with session(tmp_path) as (relay, seen):
        protocols = ["realtime", f"openai-insecure-api-key.{ALICE}"]
        async with dial(relay, {}, subprotocols=protocols) as client:
            assert client.subprotocol == "realtime"
            await turns(client, 1)
        assert seen[0].request is not None
        assert seen[0].request.headers["Sec-WebSocket-Protocol"] == "realtime"
        assert seen[0].request.headers["Authorization"] == "Bearer sk-providers-own"
        assert (await relay.record()).user == "alice"


async def test_a_refusal_comes_before_the_upgrade(tmp_path: Path) -> None:
    async with session(tmp_path, limits="users: {alice: {requests: {per_day: 1}}}\n") as (relay, seen):
        async with dial(relay) as client:
            await turns(client, 1)
        with pytest.raises(InvalidStatus) as refused:
            async with dial(relay):
                pass
        assert refused.value.response.status_code == 429
        assert json.loads(refused.value.response.body)["error"]["type"] == "insufficient_quota"
        assert refused.value.response.headers["Connection"] == "close"
        assert len(seen) == 1
        assert [record.outcome for record in await relay.wait_for_records(2)] == ["ok", "denied"]


async def test_a_provider_that_says_no_is_passed_on(tmp_path: Path) -> None:
    async def unreachable(_: ServerConnection) -> None:
        raise AssertionError("refused before the upgrade")

    async def refuse(connection: ServerConnection, _: object) -> object:
        return connection.respond(403, "not for you\n")

    async with serve(unreachable, "127.0.0.1", 0, process_request=refuse) as server:  # type: ignore[arg-type]
        port = next(iter(server.sockets)).getsockname()[1]
        rules = rules_of(f"providers:\n  openai:\n    base_url: http://127.0.0.1:{port}\n    api: openai\n    api_key: sk\n", KEYS)
        async with relay_house(rules, tmp_path) as relay:
            with pytest.raises(InvalidStatus) as refused:
                async with dial(relay):
                    pass
            assert refused.value.response.status_code == 403
            assert refused.value.response.body == b"not for you\n"
            record = await relay.record()
            assert (record.outcome, record.status) == ("upstream_error", 403)
            assert not relay.state.tunnels


@pytest.mark.parametrize("mode", ["strict", "balanced"])
async def test_each_response_is_settled_when_it_is_over(tmp_path: Path, mode: str) -> None:
    limits = (
        f"mode: {mode}\nusers: {{alice: {{tokens: {{per_day: 1_000_000}}, requests: {{per_day: 10}}, concurrent_requests: 1}}}}\n"
    )
    async with session(tmp_path, limits=limits) as (relay, _):
        async with dial(relay) as client:
            for turn in (1, 2, 3):
                await turns(client, 1)
                await asyncio.sleep(0.02)
                found = await quota(relay)
                assert found["users.alice.tokens.per_day"][0] == 120 * turn
                assert found["users.alice.tokens.per_day"][1] > 0  # of the next one
                assert found["users.alice.concurrent_requests"] == (0, 1)
        await relay.record()
        assert await quota(relay) == {
            "users.alice.tokens.per_day": (360, 0),
            "users.alice.requests.per_day": (1, 0),
            "users.alice.concurrent_requests": (0, 0),
        }
        assert not relay.state.live


async def test_a_session_ends_where_its_limit_does(tmp_path: Path) -> None:
    limits = "users: {alice: {tokens: {per_day: 300}}}\nmode: soft\n"
    async with session(tmp_path, limits=limits) as (relay, _):
        async with dial(relay) as client:
            await turns(client, 3)  # 120, 240, 360: the third passes it, as `soft` may
            with pytest.raises(ConnectionClosed) as closed:
                await turns(client, 1)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            assert "users.alice.tokens.per_day" in closed.value.rcvd.reason
        record = await relay.record()
        assert (record.outcome, record.limit, record.input_tokens) == ("denied", "users.alice.tokens.per_day", 300)
        assert await quota(relay) == {"users.alice.tokens.per_day": (360, 0)}


async def test_a_strict_limit_is_not_passed_by_a_long_session(tmp_path: Path) -> None:
    """What is held all the time is the worst case of one response: it must fit beside what is used, or the session ends."""
    known = rules_of("providers:\n  openai:\n    base_url: http://a\n    api: openai\n").pricebook
    model = known.model_limits("openai", "openai", "gpt-realtime")
    assert model.context_tokens is not None
    worst = model.context_tokens + (model.max_output_tokens or model.context_tokens)
    limit = worst + 500
    limits = f"users: {{alice: {{tokens: {{per_day: {limit}}}}}}}\nmode: strict\n"
    async with session(tmp_path, limits=limits) as (relay, _):
        async with dial(relay) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await turns(client, 100)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        record = await relay.record()
        used, held = (await quota(relay))["users.alice.tokens.per_day"]
        assert held == 0
        assert used == record.total_tokens
        assert 500 - 120 < used <= 500 + 120  # five responses of 120: the fifth leaves no room for another
        assert record.outcome == "denied"


async def test_an_emergency_stop_cuts_sessions_too(tmp_path: Path) -> None:
    async with session(tmp_path) as (relay, _):
        async with dial(relay) as client:
            await turns(client, 1)
            rules = replace(relay.state.rules, stops=({"scope": "provider", "value": "openai", "cut_streams": "true"},))
            relay.worker._build = lambda: rules  # type: ignore[method-assign]
            await relay.worker._reload()
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.reason == "cut by an emergency stop"
        record = await relay.record()
        assert (record.outcome, record.input_tokens) == ("proxy_error", 100)


async def test_a_close_goes_through_both_ways(tmp_path: Path) -> None:
    async def leaving(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(response_done(1))
        await connection.close(4001, "that was all")

    async with session(tmp_path, leaving) as (relay, _):
        async with dial(relay) as client:
            await client.send("{}")
            await client.recv()
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "that was all")
        record = await relay.record()
        assert (record.outcome, record.input_tokens) == ("ok", 100)


async def test_a_provider_that_drops_a_session_leaves_a_record(tmp_path: Path) -> None:
    async def dropping(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(response_done(1))
        connection.transport.abort()

    limits = "users: {alice: {tokens: {per_day: 1000}}}\n"
    async with session(tmp_path, dropping, limits) as (relay, _):
        async with dial(relay) as client:
            await client.send("{}")
            await client.recv()
            with pytest.raises(ConnectionClosed):
                await client.recv()
        record = await relay.record()
        assert (record.input_tokens, record.output_tokens) == (100, 20)
        await asyncio.sleep(0.02)
        assert await quota(relay) == {"users.alice.tokens.per_day": (120, 0)}


async def test_a_stopping_worker_says_that_it_goes_away(tmp_path: Path) -> None:
    async with session(tmp_path) as (relay, _):
        async with dial(relay) as client:
            await turns(client, 1)
            relay.state.rules = replace(relay.state.rules, settings=replace(relay.state.rules.settings, stop_seconds=0.2))
            stopping = asyncio.create_task(relay.worker.stop())
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        await stopping
        record = await relay.record()
        assert (record.outcome, record.input_tokens) == ("proxy_error", 100)


async def test_a_client_that_leaves_before_the_tunnel_stands(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(_: ServerConnection, __: object) -> None:
        await gate.wait()

    async def idle(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(idle, "127.0.0.1", 0, process_request=slow) as server:  # type: ignore[arg-type]
        port = next(iter(server.sockets)).getsockname()[1]
        rules = rules_of(f"providers:\n  openai:\n    base_url: http://127.0.0.1:{port}\n    api: openai\n    api_key: sk\n", KEYS)
        async with relay_house(rules, tmp_path) as relay:
            client = await relay.client()
            client.send(
                f"GET /{REALTIME} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALICE}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            await asyncio.sleep(0.1)
            client.writer.transport.abort()
            await asyncio.sleep(0.3)
            gate.set()
            record = await relay.record()
            assert record.outcome == "client_aborted"
            async with asyncio.timeout(30):
                while relay.state.exchanges or relay.state.tunnels:
                    await asyncio.sleep(0.01)


async def test_an_upgrade_that_connection_does_not_name_is_a_plain_get(tmp_path: Path) -> None:
    async with session(tmp_path) as (relay, seen):
        client = await relay.client()
        client.send(f"GET /{REALTIME} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALICE}\r\nUpgrade: websocket\r\n\r\n".encode())
        assert (await client.answer()).status in (400, 426)
        assert seen == []
