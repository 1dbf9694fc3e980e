"""The provider's side: kept-alive connections, what may be tried again, time-outs, and answers that are none."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.relay.chat import DONE, SHORT_STREAM, STREAMING_WITH_USAGE, USAGE_EVENT, completion, streamed
from tests.relay.conftest import House
from tests.relay.relay_house import relay_house, request_bytes, rules_of
from tests.relay.scripted_upstream import (
    HalfClose,
    ReadHead,
    ReadRequest,
    ReadToEnd,
    Reset,
    Script,
    ScriptedUpstream,
    Send,
    Step,
    Wait,
    WaitFor,
    answer,
    chunk,
    chunked_head,
)

GOOD = Send(answer(completion()))
ONE: Script = [ReadRequest(), GOOD]
GET = request_bytes("/openai/v1/models", b"", {"Content-Length": "", "Content-Type": ""}, "GET")


async def test_one_connection_serves_many_calls(house: House) -> None:
    async with house([[*ONE] * 5]) as (relay, upstream):
        for _ in range(5):
            assert (await relay.ask(request_bytes())).status == 200
        assert upstream.connections == 1


# ── a kept-alive connection that closes as it is used ──


@pytest.mark.parametrize("end", [HalfClose(), Reset()], ids=["fin", "reset"])
async def test_a_stale_connection_is_replaced_once(house: House, end: Step) -> None:
    async with house([[*ONE, ReadRequest(), end], [*ONE]]) as (relay, upstream):
        assert (await relay.ask(request_bytes())).status == 200
        assert (await relay.ask(request_bytes())).status == 200
        assert (upstream.connections, relay.state.stats.upstream_retries) == (2, 1)
        assert [record.outcome for record in await relay.wait_for_records(2)] == ["ok", "ok"]


async def test_a_fresh_connection_that_closes_is_not_tried_again(house: House) -> None:
    async with house([[ReadRequest(), HalfClose()], [*ONE]]) as (relay, upstream):
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "upstream_broken")
        record = await relay.record()
        assert (record.outcome, record.status, record.usage_source) == ("upstream_error", 502, "none")
        assert upstream.connections == 1


async def test_after_a_byte_of_an_answer_nothing_is_tried_again(house: House) -> None:
    async with house([[*ONE, ReadRequest(), Send(b"H"), HalfClose()], [*ONE]]) as (relay, upstream):
        await relay.ask(request_bytes())
        assert (await relay.ask(request_bytes())).status == 502
        assert (upstream.connections, relay.state.stats.upstream_retries) == (1, 0)


async def test_a_streamed_upload_is_never_sent_twice(house: House) -> None:
    async with house([[*ONE, ReadRequest(), HalfClose()], [*ONE]]) as (relay, upstream):
        await relay.ask(request_bytes())
        upload = request_bytes("/openai/v1/files", b"abc", {"Content-Type": "application/octet-stream"})
        assert (await relay.ask(upload)).status == 502
        assert (upstream.connections, relay.state.stats.upstream_retries) == (1, 0)


async def test_an_idle_connection_that_the_provider_closed_is_not_used(house: House) -> None:
    async with house([[*ONE, HalfClose()], [*ONE]]) as (relay, upstream):
        await relay.ask(request_bytes())
        await asyncio.sleep(0.05)
        assert (await relay.ask(request_bytes())).status == 200
        assert (upstream.connections, relay.state.stats.upstream_retries) == (2, 0)
        assert relay.state.pools[0].open_count <= 1


async def test_bytes_on_an_idle_connection_end_it(house: House) -> None:
    async with house([[*ONE, Wait(0.05), GOOD], [*ONE]]) as (relay, upstream):
        await relay.ask(request_bytes())
        await asyncio.sleep(0.15)
        assert (await relay.ask(request_bytes())).body == completion()
        assert upstream.connections == 2


@pytest.mark.parametrize(
    "garbage",
    [b"garbage", answer(b'{"id":"someone-elses"}'), b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ids=["no HTTP", "another answer", "an empty answer"],
)
async def test_what_follows_an_answer_is_nobodys(house: House, garbage: bytes) -> None:
    async with house([[ReadRequest(), Send(answer(completion()) + garbage), *ONE], [*ONE]]) as (relay, upstream):
        for _ in range(2):
            got = await relay.ask(request_bytes())
            assert (got.status, got.body) == (200, completion())
        assert upstream.connections == 2
        assert [record.outcome for record in await relay.wait_for_records(2)] == ["ok", "ok"]


async def test_a_body_behind_the_answer_to_head_is_thrown_away(house: House) -> None:
    head_request = request_bytes("/openai/v1/models", b"", {"Content-Length": "", "Content-Type": ""}, "HEAD")
    async with house([[ReadRequest(), GOOD], [*ONE]]) as (relay, upstream):
        client = await relay.client()
        client.send(head_request)
        got = await client.answer(is_head_request=True)
        assert got.header("content-length") == str(len(completion()))
        client.send(request_bytes())
        assert (await client.answer()).body == completion()
        assert upstream.connections == 2


# ── not reachable, too slow ──


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ANTHROPIC = "providers:\n  anthropic:\n    base_url: {url}\n    api: anthropic\n"
MESSAGE = request_bytes("/anthropic/v1/messages", b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[]}')


async def test_a_refused_connection_is_a_502_in_the_callers_words(tmp_path: Path) -> None:
    rules = rules_of(ANTHROPIC.format(url=f"http://127.0.0.1:{closed_port()}"))
    async with relay_house(rules, tmp_path) as relay:
        got = await relay.ask(MESSAGE)
        assert got.status == 502
        error = json.loads(got.body)
        assert (error["type"], error["error"]["type"]) == ("error", "api_error")
        record = await relay.record()
        assert (record.outcome, record.status) == ("upstream_error", 502)
        assert relay.state.pools[0].open_count == 0


async def test_a_connection_that_never_stands_is_a_504(house: House) -> None:
    async with house([[*ONE]], provider="    connect_timeout_seconds: 0.3\n    max_connections: 1\n") as (relay, _):
        pool = relay.state.pool(relay.state.rules.providers["openai"])
        held = await pool.take()  # the only one there may be
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (504, "upstream_timeout")
        assert (await relay.record()).outcome == "upstream_error"
        assert pool.waiting_count == 0
        held.cut()
        assert pool.open_count == 0


async def test_a_provider_that_does_not_begin_is_a_504(house: House) -> None:
    limits = "defaults:\n  tokens: {per_day: 1_000_000}\n"
    async with house([[ReadRequest(), ReadToEnd()]], limits, provider="    first_byte_timeout_seconds: 0.3\n") as (relay, upstream):
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (504, "upstream_timeout")
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)
        record = await relay.record()
        assert (record.outcome, record.status) == ("upstream_error", 504)
        assert not relay.state.live


async def test_a_stream_that_falls_silent_is_cut(house: House) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(SHORT_STREAM)), ReadToEnd()]
    async with house([script], provider="    between_bytes_timeout_seconds: 0.3\n") as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        assert (await client.rest()).endswith(chunk(SHORT_STREAM))
        record = await relay.record()
        assert (record.outcome, record.usage_source) == ("upstream_aborted", "estimated")
        assert "silent for 0.3 s" in str(record.error)


async def test_a_stream_that_is_slow_and_never_silent_is_not_cut(house: House) -> None:
    slow = [Send(streamed(SHORT_STREAM, USAGE_EVENT, DONE), piece=40)]
    pieces = [step for part in slow for at in range(0, len(part.data), 40) for step in (Send(part.data[at : at + 40]), Wait(0.1))]
    script = [ReadRequest(), *pieces]
    async with house([script], provider="    between_bytes_timeout_seconds: 1\n") as (relay, _):
        assert (await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))).body == SHORT_STREAM + USAGE_EVENT + DONE


# ── odd answers ──


async def test_an_answer_that_ends_with_its_connection(house: House) -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + completion()
    async with house([[ReadRequest(), Send(sent), HalfClose()]]) as (relay, upstream):
        for _ in range(2):
            got = await relay.ask(request_bytes())
            assert (got.body, got.header("content-length")) == (completion(), str(len(completion())))
        assert upstream.connections == 2


async def test_a_stream_that_ends_with_its_connection_is_chunked_for_the_client(house: House) -> None:
    sent = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + SHORT_STREAM + USAGE_EVENT + DONE
    async with house([[ReadRequest(), Send(sent), HalfClose()]]) as (relay, _):
        got = await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))
        assert (got.body, got.header("transfer-encoding")) == (SHORT_STREAM + USAGE_EVENT + DONE, "chunked")
        assert (await relay.record()).outcome == "ok"


MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
    "unknown transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "a bad status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "a change of protocol nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_answer_is_a_502(house: House, sent: bytes) -> None:
    async with house([[ReadRequest(), Send(sent), ReadToEnd()]]) as (relay, upstream):
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "upstream_broken")
        record = await relay.record()
        assert (record.outcome, record.status) == ("upstream_error", 502)
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)


async def test_bad_chunks_cut_an_answer_that_has_begun(house: House) -> None:
    async with house([[ReadRequest(), Send(chunked_head() + chunk(SHORT_STREAM) + b"zz\r\n"), ReadToEnd()]]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        assert (await client.rest()).endswith(chunk(SHORT_STREAM))
        assert (await relay.record()).outcome == "upstream_aborted"


async def test_a_head_without_bounds_is_a_502(house: House) -> None:
    sent = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(300)) + b"\r\n"
    async with house([[ReadRequest(), Send(sent)]]) as (relay, _):
        assert (await relay.ask(request_bytes())).status == 502


async def test_a_large_body_right_behind_a_split_head_is_no_large_head(house: House) -> None:
    sent = answer(completion(padding="x" * 400_000))
    async with house([[ReadRequest(), Send(sent[:30]), Wait(0.05), Send(sent[30:])]]) as (relay, _):
        assert (await relay.ask(request_bytes())).body == completion(padding="x" * 400_000)


async def test_many_informational_answers_come_before_the_real_one(house: House) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3
    async with house([[ReadRequest(), Send(hints + answer(completion()), piece=1)]]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes())
        assert [(await client.answer()).status for _ in range(3)] == [103] * 3
        assert (await client.answer()).body == completion()


# ── answered before the upload is over ──


async def test_an_early_answer_ends_the_upload(house: House) -> None:
    refused = answer(b'{"error":{"message":"File too large"}}', "413 Content Too Large")
    async with house([[ReadHead(), Send(refused), HalfClose(), ReadToEnd()]]) as (relay, _):
        client = await relay.client()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(1 << 30)}
        client.send(request_bytes("/openai/v1/files", b"", headers) + b"x" * 100_000)
        got = await client.answer()
        assert (got.status, b"File too large" in got.body, got.header("connection")) == (413, True, None)
        for _ in range(20):
            client.send(b"x" * 50_000)  # what is still on its way is thrown away, and resets nothing
            await asyncio.sleep(0)
        assert await client.rest() == b""
        record = await relay.record()
        assert (record.outcome, record.status) == ("upstream_error", 413)


async def test_an_answer_that_began_early_and_an_upload_that_went_on_meet(house: House) -> None:
    gate = asyncio.Event()
    start = Send(chunked_head("application/octet-stream") + chunk(b"ab"))
    script = [ReadHead(), start, WaitFor(gate), Send(chunk(b"cd") + chunk(b""))]
    async with house([script]) as (relay, _):
        client = await relay.client()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": "6"}
        client.send(request_bytes("/openai/v1/files", b"", headers) + b"123")
        await client.reader.readuntil(chunk(b"ab"))
        client.send(b"456")
        gate.set()
        assert (await client.reader.readuntil(b"0\r\n\r\n")) == chunk(b"cd") + b"0\r\n\r\n"


# ── limits of the pool ──


async def test_no_more_connections_than_allowed_and_first_come_first_served(house: House) -> None:
    scripts = [[step for _ in range(10) for step in (ReadRequest(), Wait(0.02), GOOD)]]
    async with house(scripts, provider="    max_connections: 2\n") as (relay, upstream):
        order: list[int] = []

        async def ask(number: int) -> None:
            assert (await relay.ask(request_bytes())).status == 200
            order.append(number)

        tasks = []
        for number in range(12):
            tasks.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert upstream.connections == 2
        assert all(abs(place - number) <= 1 for place, number in enumerate(order)), order  # two at a time
        pool = relay.state.pools[0]
        assert (pool.open_count, pool.waiting_count) == (2, 0)


async def test_nobody_passes_by_who_was_woken(house: House) -> None:
    async with house([[*ONE]], provider="    max_connections: 1\n") as (relay, _):
        pool = relay.state.pool(relay.state.rules.providers["openai"])
        connection = await pool.take()
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        pool.give_back(connection)
        assert pool.take_idle() is None  # it is promised, though its taker has not run yet
        late = asyncio.create_task(pool.take())
        assert await waiting is connection
        assert not late.done()
        pool.give_back(connection)
        assert await late is connection
        pool.give_back(connection)
        assert pool.take_idle() is connection
        pool.give_back(connection)


async def test_a_turn_that_is_not_taken_goes_to_the_next(house: House) -> None:
    async with house([[*ONE]], provider="    max_connections: 1\n") as (relay, _):
        pool = relay.state.pool(relay.state.rules.providers["openai"])
        connection = await pool.take()
        gone, next_one = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        pool.give_back(connection)
        gone.cancel()  # woken and cancelled in the same turn
        assert await asyncio.wait_for(next_one, 30) is connection
        pool.give_back(connection)
        assert (pool.waiting_count, pool.idle_count, pool.open_count) == (0, 1, 1)


async def test_idle_and_old_connections_are_closed(house: House) -> None:
    async with house([[*ONE, ReadToEnd()]], provider="    idle_seconds: 0.3\n") as (relay, upstream):
        await relay.ask(request_bytes())
        assert relay.state.pools[0].idle_count == 1
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)
        assert relay.state.pools[0].open_count == 0
    async with house([[*ONE, Wait(0.4), *ONE, ReadToEnd()]], provider="    lifetime_seconds: 0.3\n") as (relay, upstream):
        await relay.ask(request_bytes())
        await asyncio.sleep(0.1)
        await relay.ask(request_bytes())
        await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)
        assert relay.state.pools[0].open_count == 0


async def test_a_provider_on_ipv6(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(completion()))
        await reader.read()
        writer.close()

    seen: list[bytes] = []
    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    rules = rules_of(f"providers:\n  openai:\n    base_url: http://[::1]:{port}\n    api: openai\n")
    async with relay_house(rules, tmp_path) as relay:
        assert (await relay.ask(GET)).body == completion()
        assert f"Host: [::1]:{port}\r\n".encode() in seen[0]
    server.close()


async def test_two_providers_at_one_address_have_their_own_connections(tmp_path: Path) -> None:
    async with await ScriptedUpstream.start([[*ONE] * 3]) as upstream:
        one = f"  openai:\n    base_url: {upstream.url}/a\n    api: openai\n"
        rules = rules_of(f"providers:\n{one}{one.replace('openai:', 'other:').replace('/a', '/b')}")
        async with relay_house(rules, tmp_path) as relay:
            for name in ("openai", "other"):
                assert (await relay.ask(request_bytes(f"/{name}/v1/chat/completions"))).status == 200
            assert [upstream.request(n).target for n in range(2)] == ["/a/v1/chat/completions", "/b/v1/chat/completions"]


async def test_connection_close_of_the_provider_is_kept_on_its_side(house: House) -> None:
    closing = answer(completion(), "200 OK", "application/json", "connection: close")
    async with house([[ReadRequest(), Send(closing)]]) as (relay, upstream):
        client = await relay.client()
        for _ in range(2):
            client.send(request_bytes())
            got = await client.answer()
            assert (got.status, got.header("connection")) == (200, None)
        assert upstream.connections == 2
