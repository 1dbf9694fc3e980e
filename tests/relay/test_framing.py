"""HTTP/1.1 from the client: what is served, in which order, and what is refused because two readers could differ on it."""

from __future__ import annotations

import asyncio

import pytest

from tests.relay.chat import completion
from tests.relay.conftest import House
from tests.relay.relay_house import request_bytes
from tests.relay.scripted_upstream import ReadBytes, ReadHead, ReadRequest, Send, answer

PLAIN = completion()
ONE = [ReadRequest(), Send(answer(PLAIN))]
TWO = [ReadRequest(), Send(answer(PLAIN)), ReadRequest(), Send(answer(PLAIN))]


async def test_a_call_comes_back_as_sent_with_its_tokens_and_cost_in_the_head(house: House) -> None:
    async with house([ONE]) as (relay, upstream):
        got = await relay.ask(request_bytes())
        assert (got.status, got.body) == (200, PLAIN)
        assert got.header("x-weighbridge-input-tokens") == "9"
        assert got.header("x-weighbridge-output-tokens") == "3"
        # gpt-4o-mini: $0.15 and $0.60 per million
        assert got.header("x-weighbridge-cost-usd") == "0.00000315"
        record = await relay.record()
        assert record.id == got.header("x-weighbridge-request-id")
        assert (record.input_tokens, record.output_tokens, record.usage_source, record.outcome) == (9, 3, "reported", "ok")
        assert upstream.request().header("authorization") == "Bearer sk-callers-own"


async def test_byte_by_byte_is_the_same_as_at_once(house: House) -> None:
    async with house([ONE]) as (relay, upstream):
        client = await relay.client()
        data = request_bytes()
        for at in range(len(data)):
            client.send(data[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.answer()).body == PLAIN
        assert upstream.request().body == data.partition(b"\r\n\r\n")[2]


async def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    slow = answer(b'{"n":1}')
    async with house(
        [[ReadRequest(), Send(slow), ReadRequest(), Send(answer(b'{"n":2}')), ReadRequest(), Send(answer(b'{"n":3}'))]]
    ) as (relay, _):
        client = await relay.client()
        client.send(request_bytes() * 3)
        assert [(await client.answer()).body for _ in range(3)] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
        assert len(await relay.wait_for_records(3)) == 3


async def test_a_kept_alive_connection_serves_again_and_so_does_the_provider(house: House) -> None:
    async with house([TWO]) as (relay, upstream):
        client = await relay.client()
        for _ in range(2):
            client.send(request_bytes())
            assert (await client.answer()).status == 200
        assert upstream.connections == 1


async def test_connection_close_is_kept(house: House) -> None:
    async with house([ONE]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(headers={"Connection": "close"}))
        got = await client.answer()
        assert got.header("connection") == "close"
        assert await client.rest() == b""


async def test_http_10_gets_an_answer_without_chunks(house: House) -> None:
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n0\r\n\r\n"
    async with house([[ReadRequest(), Send(stream)]]) as (relay, _):
        got = await relay.ask(request_bytes().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert got.header("transfer-encoding") is None
        assert got.body == b"data:"


async def test_expect_100_continue_is_answered_before_the_body(house: House) -> None:
    async with house([ONE]) as (relay, _):
        client = await relay.client()
        head, _, body = request_bytes(headers={"Expect": "100-continue"}).partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert (await client.answer()).status == 100
        client.send(body)
        assert (await client.answer()).body == PLAIN


async def test_a_chunked_request_body_arrives_whole(house: House) -> None:
    async with house([ONE]) as (relay, upstream):
        body = request_bytes().partition(b"\r\n\r\n")[2]
        chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Trailer: 1\r\n\r\n"
        head = request_bytes(headers={"Content-Length": "", "Transfer-Encoding": "chunked"}, body=b"")
        assert (await relay.ask(head + chunked)).body == PLAIN
        assert upstream.request().body == body


async def test_an_upload_streams_through_while_it_arrives(house: House) -> None:
    async with house([[ReadHead(), ReadBytes(3), ReadBytes(3), Send(answer(PLAIN))]]) as (relay, upstream):
        client = await relay.client()
        head = request_bytes("/openai/v1/files", b"", {"Content-Type": "application/octet-stream", "Content-Length": "6"})
        client.send(head + b"abc")
        for _ in range(100):
            if upstream.connections and upstream.received[0].endswith(b"abc"):
                break
            await asyncio.sleep(0.01)
        assert upstream.received[0].endswith(b"\r\n\r\nabc")
        client.send(b"def")
        assert (await client.answer()).status == 200
        assert upstream.request().body == b"abcdef"


async def test_a_chunked_upload_stays_chunked(house: House) -> None:
    async with house([ONE]) as (relay, upstream):
        head = request_bytes(
            "/openai/v1/files",
            b"",
            {"Content-Type": "application/octet-stream", "Content-Length": "", "Transfer-Encoding": "chunked"},
        )
        assert (await relay.ask(head + b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")).status == 200
        assert upstream.request().header("transfer-encoding") == "chunked"
        assert upstream.request().body == b"abcdef"


async def test_head_204_and_304_have_no_body(house: House) -> None:
    head_answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"
    fresh = b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'
    script = [
        ReadRequest(),
        Send(head_answer),
        ReadRequest(),
        Send(empty),
        ReadRequest(),
        Send(fresh),
        ReadRequest(),
        Send(answer(PLAIN)),
    ]
    async with house([script]) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes("/openai/v1/models", b"", {"Content-Length": "", "Content-Type": ""}, "HEAD"))
        got = await client.answer(is_head_request=True)
        assert (got.status, got.header("content-length")) == (200, "500")
        for status in (204, 304):
            client.send(request_bytes("/openai/v1/models", b"", {"Content-Length": "", "Content-Type": ""}, "GET"))
            assert (await client.answer()).status == status
        client.send(request_bytes())
        assert (await client.answer()).body == PLAIN
        assert upstream.connections == 1


async def test_early_hints_pass_and_the_answer_follows(house: House) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with house([[ReadRequest(), Send(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + answer(PLAIN))]]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes())
        first = await client.answer()
        assert (first.status, first.header("link")) == (103, "</a>")
        assert (await client.answer()).body == PLAIN


async def test_trailers_of_an_answer_are_passed_on(house: House) -> None:
    stream = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Checksum: 1\r\nHost: evil\r\n\r\n"
    )
    async with house([[ReadRequest(), Send(stream)]]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(headers={"Connection": "close"}))
        raw = await client.rest()
        assert raw.endswith(b"3\r\nabc\r\n0\r\nX-Checksum: 1\r\n\r\n")


async def test_half_close_after_the_request_still_gets_its_answer(house: House) -> None:
    async with house([ONE]) as (relay, _):
        client = await relay.client()
        client.send(request_bytes())
        client.writer.write_eof()
        got = await client.answer()
        assert (await client.answer() if got.status == 100 else got).body == PLAIN
        assert await client.rest() == b""
        assert (await relay.record()).outcome == "ok"


POST = b"POST /openai/v1/x HTTP/1.1\r\nHost: a\r\n"
UPLOAD = b"POST /openai/v1/files HTTP/1.1\r\nHost: a\r\n"
AMBIGUOUS = {
    "length and chunked": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /openai/v1/x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"POST /openai/v1/x HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    "LF inside the head": b"POST /openai/v1/x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "folded header": POST + b"X: b\r\n Content-Length: 3\r\n\r\nabc",
    "chunk size with a space": UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "chunk ended by LF": UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "chunk size too large": UPLOAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
    "two hosts": POST + b"Host: b\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": b"GET /openai/v1/x HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "unknown method": b"BREW /openai/v1/x HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_what_could_be_read_two_ways_is_refused_and_reaches_nobody(house: House, data: bytes) -> None:
    async with house([ONE]) as (relay, upstream):
        client = await relay.client()
        client.send(data + request_bytes())  # what hides behind must not be served either
        got = await client.answer()
        assert got.status == 400
        assert got.header("connection") == "close"
        client.writer.write_eof()
        assert await client.rest() == b""
        await asyncio.sleep(0.05)
        assert all(b"\r\n\r\nabc" not in bytes(seen) and b"gpt-4o-mini" not in bytes(seen) for seen in upstream.received)


async def test_connect_is_not_offered(house: House) -> None:
    async with house([ONE]) as (relay, _):
        assert (await relay.ask(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")).status == 405


async def test_a_head_that_is_too_large_is_refused(house: House) -> None:
    async with house([ONE], max_head_bytes=2000) as (relay, upstream):
        for data in (request_bytes(headers={"X-Big": "a" * 3000}), request_bytes("/openai/" + "a" * 3000)):
            assert (await relay.ask(data)).status == 431
        assert upstream.connections == 0


async def test_a_head_without_end_is_cut_off(house: House) -> None:
    async with house([ONE], max_head_bytes=2000) as (relay, _):
        client = await relay.client()
        client.send(b"GET /openai/v1/models HTTP/1.1\r\nHost: a\r\nX: ")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012 the write that fails is one of many
            for _ in range(1000):
                client.send(b"a" * 4096)
                await client.writer.drain()
                await asyncio.sleep(0)
            await client.reader.readexactly(1 << 20)


async def test_too_many_header_lines_are_refused(house: House) -> None:
    async with house([ONE], max_headers=20) as (relay, _):
        assert (await relay.ask(request_bytes(headers={f"X-{n}": "1" for n in range(30)}))).status == 431


async def test_a_json_body_that_is_too_large_is_refused_before_it_is_read(house: House) -> None:
    async with house([ONE], max_json_body_bytes=1000) as (relay, upstream):
        client = await relay.client()
        client.send(request_bytes(body=b"")[:-2].replace(b"Content-Length: 0", b"Content-Length: 5000000") + b"\r\n")
        got = await client.answer()
        assert (got.status, got.header("connection")) == (413, "close")
        assert upstream.connections == 0


async def test_a_chunked_json_body_that_grows_too_large_is_refused(house: House) -> None:
    async with house([ONE], max_json_body_bytes=1000) as (relay, upstream):
        client = await relay.client()
        client.send(
            request_bytes(body=b"", headers={"Content-Length": "", "Transfer-Encoding": "chunked"})
            + b"7d0\r\n"
            + b"a" * 2000
            + b"\r\n"
        )
        assert (await client.answer()).status == 413
        assert upstream.connections == 0


async def test_a_slow_head_is_timed_out(house: House) -> None:
    async with house([ONE], head_timeout_seconds=0.3) as (relay, _):
        client = await relay.client()
        for _ in range(8):  # a byte now and then does not help
            client.send(b"P" if _ == 0 else b"OST /openai"[_ : _ + 1])
            await asyncio.sleep(0.05)
        assert (await client.answer()).status in (400, 408)


async def test_an_idle_connection_is_closed(house: House) -> None:
    async with house([ONE], idle_timeout_seconds=0.2) as (relay, _):
        client = await relay.client()
        client.send(request_bytes())
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@pytest.mark.parametrize("is_known", [False, True], ids=["", "with a head that is known"])
async def test_a_body_that_stops_arriving_is_timed_out(house: House, is_known: bool) -> None:
    async with house([ONE], body_timeout_seconds=0.3) as (relay, upstream):
        client = await relay.client()
        if is_known:
            client.send(request_bytes())
            assert (await client.answer()).status == 200
        client.send(request_bytes()[:-5])
        assert (await client.answer()).status == 408
        assert upstream.connections == is_known
