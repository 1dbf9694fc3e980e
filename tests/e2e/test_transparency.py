"""Bytes in are bytes out: each body arrives at the provider, and back at the client, as its sender sent it.

Compared by SHA-256 with the provider's book, whichever way the answer is cut, packed or framed. Redirects, decompression and
header defaults of the client are off, so that nothing but the proxy is between the two.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import PROVIDER_KEY, House, virtual_key

MESSAGES = [{"role": "user", "content": "Wie viel wiegt ein Lkw? Ünïcödé, 重さ, \N{DELIVERY TRUCK}"}]
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": MESSAGES}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}
GEMINI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Wie schwer?"}]}]}
BINARY = bytes(range(256)) * 300

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/openai/v1/chat/completions", CHAT),
    "chat stream": ("/openai/v1/chat/completions", CHAT | ASKED),
    "responses stream": ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "Wie schwer?", "stream": True}),
    "embeddings": ("/openai/v1/embeddings", {"model": "text-embedding-3-small", "input": "Wie schwer?"}),
    "speech": ("/openai/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": "Schwer."}),
    "images": ("/openai/v1/images/generations", {"model": "gpt-image-1", "prompt": "a lorry"}),
    "moderations": ("/openai/v1/moderations", {"input": "Wie schwer?"}),
    "messages": ("/anthropic/v1/messages", CHAT | {"model": "claude-haiku-4-5", "max_tokens": 99}),
    "messages stream": ("/anthropic/v1/messages", CHAT | {"model": "claude-haiku-4-5", "max_tokens": 99, "stream": True}),
    "gemini": ("/gemini/v1beta/models/gemini-2.5-flash:generateContent", GEMINI),
    "gemini stream": ("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GEMINI),
    "gemini array": ("/gemini/v1/models/gemini-2.5-flash:streamGenerateContent", GEMINI),
    "cohere stream": ("/cohere/v2/chat", CHAT | {"model": "command-a-03-2025", "stream": True}),
    "ollama stream": ("/ollama/api/chat", CHAT | {"model": "llama3.2"}),
}
WAYS = {"as written": "", "byte by byte": ", split=1", "gzip": ", gzip=1", "gzip in threes": ", gzip=1, split=3"}


@pytest.fixture
async def client(house: House) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {virtual_key('ada')}", "accept-encoding": "gzip", "content-type": "application/json"}
    async with aiohttp.ClientSession(house.url, headers=headers, auto_decompress=False) as session:
        yield session


def the_entry(provider: FakeProvider, call: str) -> dict[str, Any]:
    entries = provider.book(call)
    assert len(entries) == 1
    return entries[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
async def test_bodies_pass_unchanged(client: aiohttp.ClientSession, provider: FakeProvider, call: str, name: str, way: str) -> None:
    path, body = CASES[name]
    sent = json.dumps(body, ensure_ascii=False, indent=1).encode()
    async with client.post(path, data=sent, headers={"x-demo": f"call={call}, words=30{WAYS[way]}"}) as answer:
        received = await answer.read()
        assert answer.status == 200
        is_packed = answer.headers.get("content-encoding") == "gzip"
    is_stream = "stream" in name or "array" in name
    assert is_packed is ("gzip" in WAYS[way] and not is_stream), "streams are asked for unpacked, all else as the client asked"
    entry = the_entry(provider, call)
    assert entry["body_sha256"] == sha256(sent).hexdigest(), "the request's body was changed"
    assert entry["sent_sha256"] == sha256(received).hexdigest(), "the answer's body was changed"


async def test_an_unasked_stream_loses_only_our_own_event(client: aiohttp.ClientSession, provider: FakeProvider, call: str) -> None:
    """The provider was asked for usage on the client's behalf; what the client gets has no trace of it but `"usage":null`."""
    sent = json.dumps(CHAT | {"stream": True}).encode()
    async with client.post(
        "/openai/v1/chat/completions", data=sent, headers={"x-demo": f"call={call}, words=12, split=7"}
    ) as answer:
        received = await answer.read()
    entry = the_entry(provider, call)
    assert entry["asks_for_usage"]
    events = received.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert len(chunks) == 1 + 12 + 1
    assert all(len(chunk["choices"]) == 1 and chunk["usage"] is None for chunk in chunks)


async def test_an_upload_passes_unchanged(client: aiohttp.ClientSession, provider: FakeProvider, call: str) -> None:
    boundary = "x-boundary-x"
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\ncontent-type: audio/mpeg\r\n\r\n'
    tail = f'\r\n--{boundary}\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--{boundary}--\r\n'
    sent = head.encode() + BINARY + tail.encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(sent), 10_000):
            yield sent[at : at + 10_000]
            await asyncio.sleep(0)

    headers = {"x-demo": f"call={call}, words=5", "content-type": f"multipart/form-data; boundary={boundary}"}
    async with client.post("/openai/v1/audio/transcriptions", data=pieces(), headers=headers) as answer:
        assert answer.status == 200
        await answer.read()
    entry = the_entry(provider, call)
    assert (entry["body_sha256"], entry["body_bytes"]) == (sha256(sent).hexdigest(), len(sent))
    assert entry["model"] == "whisper-1"


@pytest.mark.parametrize(
    "place", ["authorization", "x-api-key", "api-key", "x-goog-api-key", "query"], ids=lambda place: f"key in {place}"
)
async def test_the_key_is_swapped_wherever_it_is(house: House, provider: FakeProvider, call: str, place: str) -> None:
    """The caller's key goes in at any of the usual places; the provider gets its own and never the caller's."""
    key = virtual_key("ada")
    headers = {"x-demo": f"call={call}", "x-weighbridge-session": call, "x-weighbridge-tags": "a=b"}
    query = f"?key={key}" if place == "query" else ""
    if place != "query":
        headers[place] = f"Bearer {key}" if place == "authorization" else key
    async with aiohttp.ClientSession(house.url, headers=headers) as client:
        url = f"/gemini/v1beta/models/gemini-2.5-flash:generateContent{query}"
        async with client.post(url, json=GEMINI) as answer:
            assert answer.status == 200, await answer.text()
            record_id = answer.headers["x-weighbridge-request-id"]
    entry = the_entry(provider, call)
    assert entry["credential_sha256"] == sha256(PROVIDER_KEY.encode()).hexdigest()
    assert not [name for name in entry["header_names"] if name.startswith("x-weighbridge-")]
    record = await asyncio.to_thread(house.record, record_id)
    assert record["user"] == "ada"
    assert key not in json.dumps(record)
    assert key not in house.log


async def test_what_a_metered_answer_carries(
    client: aiohttp.ClientSession, house: House, provider: FakeProvider, call: str
) -> None:
    async with client.post("/openai/v1/chat/completions", json=CHAT, headers={"x-demo": f"call={call}, words=30"}) as answer:
        await answer.read()
        entry = the_entry(provider, call)
        assert answer.headers["x-weighbridge-input-tokens"] == str(entry["input_tokens"])
        assert answer.headers["x-weighbridge-output-tokens"] == "30"
        assert answer.headers["x-request-id"] == entry["request_id"], "the provider's own headers pass"
        record = await asyncio.to_thread(house.record, answer.headers["x-weighbridge-request-id"])
    assert record["cost_usd"] == answer.headers["x-weighbridge-cost-usd"]


async def test_a_client_may_ask_for_one_last_event(
    client: aiohttp.ClientSession, house: House, provider: FakeProvider, call: str
) -> None:
    """`x-weighbridge-usage: sse`: one event more, after everything the provider sent."""
    headers = {"x-demo": f"call={call}, words=9", "x-weighbridge-usage": "sse"}
    async with client.post("/openai/v1/chat/completions", json=CHAT | ASKED, headers=headers) as answer:
        received = await answer.read()
        record = await asyncio.to_thread(house.record, answer.headers["x-weighbridge-request-id"])
    entry = the_entry(provider, call)
    head, _, extra = received.partition(b"data: [DONE]\n\n")
    assert sha256(head + b"data: [DONE]\n\n").hexdigest() == entry["sent_sha256"]
    data = next(line for line in extra.splitlines() if line.startswith(b"data:"))
    said = json.loads(data.removeprefix(b"data:"))
    text = json.dumps(said)
    assert str(entry["input_tokens"]) in text
    assert record["cost_usd"] in text
