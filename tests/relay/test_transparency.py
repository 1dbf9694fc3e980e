"""What goes in comes out: nothing is added, dropped, sorted or tidied up on the way, in either direction."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.relay.chat import completion
from tests.relay.conftest import House
from tests.relay.relay_house import request_bytes
from tests.relay.scripted_upstream import ReadRequest, Send, answer, chunk, chunked_head

ONE = [ReadRequest(), Send(answer(completion()))]


async def test_request_headers_keep_name_case_value_order_and_repeats(house: House) -> None:
    sent = [
        ("X-First", "1"),
        ("aCCept", "text/event-stream, */*;q=0.1"),
        ("X-Repeat", "a"),
        ("x-api-key", "sk-own"),
        ("X-repeat", "b"),
        ("Accept-Encoding", "gzip, br;q=0.5"),
        ("X-Empty", ""),
        ("X-Spaces", "two  spaces"),
        ("X-Latin", "caf\xe9"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("OpenAI-Organization", "org-1"),
        ("AUTHORIZATION", "Bearer sk-callers-own"),
        ("X-Forwarded-For", "10.0.0.1"),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
    body = b'{"model":"gpt-4o-mini"}'
    data = f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: proxy\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode(
        "latin-1"
    )
    async with house([ONE]) as (relay, upstream):
        await relay.ask(data + body)
        head = bytes(upstream.received[0]).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        assert head[0] == "POST /v1/chat/completions HTTP/1.1"
        assert head[1] == f"Host: 127.0.0.1:{upstream.port}"
        assert head[2:-1] == [f"{name}: {value}" for name, value in sent]
        assert head[-1] == f"Content-Length: {len(body)}"


async def test_answer_headers_keep_name_case_value_order_and_repeats(house: House) -> None:
    sent = [
        ("X-Request-Id", "req_1"),
        ("set-cookie", "a=1; Path=/"),
        ("Content-Type", "application/vnd.some+json"),
        ("Set-Cookie", "b=2"),
        ("openai-processing-ms", "12"),
        ("X-Empty", ""),
        ("ETag", 'W/"x"'),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
    raw = f"HTTP/1.1 299 Very Own Reason\r\n{lines}Content-Length: 2\r\n\r\n{{}}".encode()
    async with house([[ReadRequest(), Send(raw)]]) as (relay, _):
        got = await relay.ask(request_bytes())
        head = got.raw.decode().split("\r\n")
        assert head[0] == "HTTP/1.1 299 Very Own Reason"
        theirs = [line for line in head[1:] if line and not line.lower().startswith(("x-weighbridge-", "content-length"))]
        assert theirs == [f"{name}: {value}" for name, value in sent]
        assert (await relay.record()).provider_request_id == "req_1"


PATHS = [
    ("/openai/v1/models/a%2Fb%20c?x=%41&y", "/v1/models/a%2Fb%20c?x=%41&y"),
    ("/openai//v1//double/", "//v1//double/"),
    ("/openai/v1/a/../b/./c", "/v1/a/../b/./c"),
    ("/openai/v1/x?b=2&a=1&b=3&&=", "/v1/x?b=2&a=1&b=3&&="),
    ("/openai/v1/x?", "/v1/x"),
    ("/openai", "/"),
    ("/openai/", "/"),
    ("/openai?x=1", "/?x=1"),
    ("/v1/models/gpt-4o", "/v1/models/gpt-4o"),
    ("/openai/v1/x;p=1/~user/(a)*'!$,:@&=+", "/v1/x;p=1/~user/(a)*'!$,:@&=+"),
    ("/openai/v1/x?monkey=1&key_=2", "/v1/x?monkey=1&key_=2"),
    ("http://proxy/openai/v1/models", "/v1/models"),
]


@pytest.mark.parametrize(("asked", "arrived"), PATHS)
async def test_the_target_arrives_as_it_was_sent(house: House, asked: str, arrived: str) -> None:
    async with house([ONE]) as (relay, upstream):
        await relay.ask(request_bytes(asked, b"", {"Content-Length": "", "Content-Type": ""}, "GET"))
        assert upstream.request().target == arrived


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "POST", "PROPFIND", "REPORT"])
@pytest.mark.parametrize("body", [b"", b'{"a": 1}'], ids=["empty", "with a body"])
async def test_any_method_passes(house: House, method: str, body: bytes) -> None:
    headers = {"Content-Length": str(len(body))} if body else {"Content-Length": "", "Content-Type": ""}
    async with house([ONE]) as (relay, upstream):
        assert (await relay.ask(request_bytes("/openai/v1/files/f1", body, headers, method))).status == 200
        seen = upstream.request()
        assert (seen.method, seen.body) == (method, body)
        assert seen.header("content-length") == (str(len(body)) if body else None)
        assert seen.header("transfer-encoding") is None


async def test_an_empty_post_keeps_its_length(house: House) -> None:
    async with house([ONE]) as (relay, upstream):
        await relay.ask(request_bytes("/openai/v1/threads", b""))
        assert upstream.request().header("content-length") == "0"


BODIES = {
    "odd JSON": b'  { "model" :"gpt-4o-mini","model":"gpt-4o-mini", "x":1e999,"s":"\\ud800" , "stream":false}\n\n',
    "no JSON": b'{"model": "gpt-4o-mini", "messages": [}',
    "binary": bytes(range(256)) * 40,
    "large": b'{"model":"gpt-4o-mini","x":"' + b"y" * 3_000_000 + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_request_body_is_not_touched(house: House, body: bytes) -> None:
    async with house([ONE]) as (relay, upstream):
        assert (await relay.ask(request_bytes(body=body))).status == 200
        assert upstream.request().body == body


async def test_binary_both_ways_in_any_content_type(house: House) -> None:
    data = random.Random(7).randbytes(300_000)
    sent = answer(data, "200 OK", "application/x-own; v=1")
    async with house(
        [[ReadRequest(), Send(sent)], [ReadRequest(), Send(chunked_head("audio/mpeg") + chunk(data) + chunk(b""))]]
    ) as (
        relay,
        upstream,
    ):
        got = await relay.ask(request_bytes("/openai/v1/files", data, {"Content-Type": "application/x-own; v=1"}))
        assert (got.body, got.header("content-type")) == (data, "application/x-own; v=1")
        assert upstream.request().body == data
        speech = b'{"model":"tts-1","input":"hi","voice":"alloy"}'
        relay.state.pools[0].close()
        got = await relay.ask(request_bytes("/openai/v1/audio/speech", speech))
        assert (got.body, got.header("content-type")) == (data, "audio/mpeg")


async def test_a_form_passes_with_its_model_known(house: House) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + bytes(200_000) + b"\r\n--x--\r\n"
    )
    async with house([ONE]) as (relay, upstream):
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await relay.ask(request_bytes("/openai/v1/audio/transcriptions", form, headers))).status == 200
        assert upstream.request().body == form
        assert (await relay.record()).request_model == "whisper-1"


async def test_hop_by_hop_headers_end_here(house: House) -> None:
    hop = {
        "Connection": "keep-alive, X-Private , te",
        "X-Private": "1",
        "TE": "trailers",
        "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic eHg6eXk=",
        "Proxy-Connection": "keep-alive",
        "Trailer": "X-Sum",
        "Upgrade": "h2c",
        "X-Public": "2",
        "x-weighbridge-session": "s1",
    }
    raw = answer(
        completion(),
        "200 OK",
        "application/json",
        "connection: keep-alive, x-theirs",
        "x-theirs: 1",
        "keep-alive: timeout=9",
        "proxy-authenticate: Basic",
        "upgrade: h2",
        "x-weighbridge-cost-usd: 1000",
        "x-kept: 3",
    )
    async with house([[ReadRequest(), Send(raw)]]) as (relay, upstream):
        got = await relay.ask(request_bytes(headers=hop))
        seen = upstream.request()
        gone = {"connection", "x-private", "te", "keep-alive", "proxy-authorization", "proxy-connection", "trailer", "upgrade"}
        names = {name for name, _ in seen.headers}
        assert not names & gone
        assert not any(name.startswith("x-weighbridge") for name in names)
        assert seen.header("x-public") == "2"
        assert not {name for name, _ in got.headers} & {"connection", "x-theirs", "keep-alive", "proxy-authenticate", "upgrade"}
        assert (got.header("x-kept"), got.header("x-weighbridge-cost-usd")) == ("3", "0.00000315")


async def test_an_offer_of_http_2_is_not_taken_and_the_connection_goes_on(house: House) -> None:
    """Java's client makes it on every first request in the clear."""
    offer = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    }
    async with house([[*ONE] * 2]) as (relay, upstream):
        client = await relay.client()
        for _ in range(2):
            client.send(request_bytes(headers=offer))
            assert (await client.answer()).body == completion()
        assert upstream.request().header("http2-settings") is None


@pytest.mark.parametrize("size", [1, 0], ids=["byte by byte", "at once"])
async def test_the_body_behind_an_offer_of_http_2_is_no_request(house: House, size: int) -> None:
    """llhttp takes the head of such a request for all of it: read on naively, its body would be a request of its own."""
    offer = {"Connection": "Upgrade", "Upgrade": "h2c"}
    hidden = request_bytes(body=b'{"model":"gpt-4o","hidden":1}')
    chunked = {**offer, "Content-Length": "", "Transfer-Encoding": "chunked"}
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    async with house([[*ONE] * 4]) as (relay, upstream):
        client = await relay.client()
        sent = (
            request_bytes(body=hidden, headers=offer)
            + request_bytes(body=b"", headers=chunked)
            + framed
            + request_bytes(headers=offer)
        )
        for at in range(0, len(sent), size or len(sent)):
            client.send(sent[at : at + (size or len(sent))])
            await asyncio.sleep(0)
        assert [(await client.answer()).status for _ in range(3)] == [200] * 3
        seen = bytes(upstream.received[0])
        assert seen.count(b"HTTP/1.1\r\nHost: 127.0.0.1") == 3
        assert len(relay.records()) == 3
        assert [record.request_model for record in relay.records()] == [None, None, "gpt-4o-mini"]


async def test_our_own_headers_of_a_provider_are_not_believed(house: House) -> None:
    sent = answer(b'{"id":"x"}', "200 OK", "application/json", "X-Weighbridge-Request-Id: forged")
    async with house([[ReadRequest(), Send(sent)]]) as (relay, _):
        got = await relay.ask(request_bytes())
        assert [value for name, value in got.headers if name == "x-weighbridge-request-id"] == [(await relay.record()).id]


async def test_provider_headers_are_added_where_the_caller_sent_none(house: House) -> None:
    extra = "    headers: {OpenAI-Organization: org-ours, X-Extra: yes}\n"
    async with house([[*ONE] * 2], provider=extra) as (relay, upstream):
        await relay.ask(request_bytes(headers={"openai-organization": "org-callers"}))
        seen = upstream.request()
        assert (seen.header("openai-organization"), seen.header("x-extra")) == ("org-callers", "yes")
