"""Connections that end early, on either side: the record says what is known and how well, and nothing stays reserved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key
from tests.waiting import within

USER = "ada"
BODY: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "How much does a lorry weigh, and who says so?"}],
    "max_tokens": 900,
}
STREAM = BODY | {"stream": True}
CHAT = "/openai/v1/chat/completions"


@pytest.fixture(scope="module")
def leaky_house(provider: FakeProvider) -> Iterator[House]:
    """Strict limits of every kind, so that every call holds something; short time-outs and drains."""
    limits = (
        "{tokens: {per_day: 1_000_000, mode: strict}, cost_usd: {per_day: 100, mode: strict},"
        " requests: {per_day: 10_000}, concurrent_requests: 100}"
    )
    files = {
        "providers.yaml": providers_yaml(provider.url, openai="between_bytes_timeout_seconds: 5"),
        "limits.yaml": limits_yaml({USER: limits}),
        "server.yaml": "drain_seconds: 3\n",
    }
    with House(files) as started:
        yield started


@pytest.fixture
async def client(leaky_house: House) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {virtual_key(USER)}"}
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(leaky_house.url, headers=headers, connector=connector) as session:
        yield session


def labels(call: str, knobs: str) -> dict[str, str]:
    return {"x-demo": f"call={call}, {knobs}", "x-weighbridge-session": call}


async def the_record(house: House, call: str) -> dict[str, Any]:
    records = await asyncio.to_thread(house.records_when, 1, session=call)
    assert len(records) == 1
    await asyncio.to_thread(house.nothing_held, USER)
    return records[0]


def the_entry(provider: FakeProvider, call: str) -> dict[str, Any]:
    entries = provider.book(call)
    assert len(entries) == 1
    return entries[0]


def counts(of: dict[str, Any]) -> tuple[int, int]:
    return of["input_tokens"], of["output_tokens"]


def assert_estimated(record: dict[str, Any], entry: dict[str, Any], slack: int = 5) -> None:
    """Near what was really sent. An estimate is no count, so: within a factor of two, and `slack` tokens of noise."""
    assert record["usage_source"] == "estimated"
    sent = entry["sent_output_tokens"]
    assert sent / 2 - slack <= record["output_tokens"] <= sent * 2 + slack
    assert entry["input_tokens"] / 2 <= record["input_tokens"] <= entry["input_tokens"] * 4 + 20
    cost = (record["input_tokens"] * Decimal("0.15") + record["output_tokens"] * Decimal("0.60")) / 1_000_000
    assert Decimal(record["cost_usd"]) == cost


async def test_client_leaves_before_the_first_byte(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    """The provider works on and bills; what it then says is still read."""
    timeout = aiohttp.ClientTimeout(total=0.4)
    with pytest.raises(TimeoutError):
        await client.post(CHAT, json=STREAM, headers=labels(call, "first_byte=1.2, words=20"), timeout=timeout)
    record = await the_record(leaky_house, call)
    entry = the_entry(provider, call)
    assert record["outcome"] == "client_aborted"
    assert entry["is_usage_sent"], "the proxy hung up on the provider at once, so what was billed will never be known"
    assert (record["usage_source"], *counts(record)) == ("reported", *counts(entry))


async def test_client_leaves_before_a_whole_answer(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    timeout = aiohttp.ClientTimeout(total=0.4)
    with pytest.raises(TimeoutError):
        await client.post(CHAT, json=BODY, headers=labels(call, "first_byte=1.2, words=20"), timeout=timeout)
    record = await the_record(leaky_house, call)
    entry = the_entry(provider, call)
    assert record["outcome"] == "client_aborted"
    assert (record["usage_source"], *counts(record)) == ("reported", *counts(entry))


async def test_client_leaves_in_mid_text(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    """The rest is drained for the usage near its end, no further: reported, not estimated."""
    async with client.post(CHAT, json=STREAM, headers=labels(call, "words=40, delay=0.03")) as answer:
        await answer.content.readuntil(b"\n\n")
        answer.close()
    record = await the_record(leaky_house, call)
    entry = the_entry(provider, call)
    assert entry["is_usage_sent"]
    assert (record["outcome"], record["usage_source"]) == ("client_aborted", "reported")
    assert counts(record) == counts(entry) == (counts(entry)[0], 40)


async def test_client_leaves_a_long_text(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    """Longer than the drain: it is cut, and what went by is estimated."""
    async with client.post(CHAT, json=STREAM, headers=labels(call, "words=800, delay=0.02")) as answer:
        for _ in range(30):
            await answer.content.readuntil(b"\n\n")
        answer.close()
    began = time.monotonic()
    record = await the_record(leaky_house, call)
    assert within(3 + 4, time.monotonic() - began), "a drain of three seconds took longer"
    entry = the_entry(provider, call)
    assert entry["ended"] == "left"
    assert record["outcome"] == "client_aborted"
    assert_estimated(record, entry)


async def test_client_leaves_at_done(leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str) -> None:
    """What SDKs do: read `[DONE]`, close. The call is complete and nobody aborted anything."""
    async with client.post(CHAT, json=STREAM, headers=labels(call, "words=10")) as answer:
        while b"[DONE]" not in await answer.content.readuntil(b"\n\n"):
            pass
        answer.close()
    record = await the_record(leaky_house, call)
    entry = the_entry(provider, call)
    assert (record["outcome"], record["usage_source"], *counts(record)) == ("ok", "reported", *counts(entry))


async def test_provider_cuts_a_stream(leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str) -> None:
    """The client sees a broken answer as it would without us, with every byte that was sent."""
    received = bytearray()

    async def read_all() -> None:
        async with client.post(CHAT, json=STREAM, headers=labels(call, "words=60, cut=31, delay=0.002")) as answer:
            assert answer.status == 200
            async for chunk in answer.content.iter_any():
                received.extend(chunk)

    with pytest.raises(aiohttp.ClientPayloadError):
        await read_all()
    record = await the_record(leaky_house, call)
    entry = the_entry(provider, call)
    assert (entry["ended"], entry["sent_output_tokens"]) == ("cut", 30)
    assert received.count(b'"content":') == 31, "one role event and thirty words"
    assert record["outcome"] == "upstream_aborted"
    assert record["error"]
    assert_estimated(record, entry)


async def test_provider_cuts_an_anthropic_stream(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    """`message_start` has the input, so only the output is estimated."""
    body = STREAM | {"model": "claude-haiku-4-5"}
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.post("/anthropic/v1/messages", json=body, headers=labels(call, "words=60, cut=33, cached=5")) as answer:
            await answer.read()
    record = await the_record(leaky_house, call)
    entry = the_entry(provider, call)
    assert (record["outcome"], record["usage_source"]) == ("upstream_aborted", "estimated")
    assert (record["input_tokens"], record["cache_read_tokens"]) == (entry["input_tokens"], 5)
    assert entry["sent_output_tokens"] == 30
    assert 15 <= record["output_tokens"] <= 65


async def test_provider_cuts_a_whole_answer(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    """The client sees an answer that breaks off, as it would without us; the ledger does not say that it cost nothing."""
    async with client.post(CHAT, json=BODY, headers=labels(call, "words=60, cut=1")) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        record = await the_record(leaky_house, call)
        assert record["id"] == answer.headers["x-weighbridge-request-id"]
    assert (record["outcome"], record["usage_source"]) == ("upstream_aborted", "estimated")
    assert record["input_tokens"] > 0


async def test_provider_falls_silent(leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str) -> None:
    began = time.monotonic()
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.post(CHAT, json=STREAM, headers=labels(call, "words=60, stall=11")) as answer:
            await answer.read()
    took = time.monotonic() - began
    assert took > 4.5
    assert within(8.0, took), "silence of more than 5 s between two bytes is the configured end"
    record = await the_record(leaky_house, call)
    assert record["outcome"] == "upstream_aborted"
    assert_estimated(record, the_entry(provider, call))


async def test_provider_reports_an_error_in_the_stream(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str
) -> None:
    async with client.post(CHAT, json=STREAM, headers=labels(call, "words=60, error=21")) as answer:
        text = await answer.read()
    assert b"server_error" in text
    record = await the_record(leaky_house, call)
    assert (record["outcome"], record["status"]) == ("upstream_error", 200)
    assert "server_error" in record["error"]
    assert record["usage_source"] == "estimated"


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
async def test_provider_refuses(
    leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str, status: int
) -> None:
    """An error used nothing: all that was held goes back."""
    async with client.post(CHAT, json=STREAM, headers=labels(call, f"status={status}")) as answer:
        assert answer.status == status
        assert "fake provider" in (await answer.json())["error"]["message"]
    record = await the_record(leaky_house, call)
    assert (record["outcome"], record["status"], record["usage_source"]) == ("upstream_error", status, "none")
    assert not record["total_tokens"]


async def test_provider_is_not_there(leaky_house: House, client: aiohttp.ClientSession, call: str) -> None:
    """Nobody listens at the address: 502 in the dialect's shape, a record, nothing held."""
    text = (leaky_house.config / "providers.yaml").read_text()
    if "nowhere" not in text:
        leaky_house.write(
            "providers.yaml", text + "  nowhere:\n    base_url: http://127.0.0.1:9\n    api: openai\n    api_key: sk-x\n"
        )
        await asyncio.sleep(1.5)
    async with client.post("/nowhere/v1/chat/completions", json=STREAM, headers=labels(call, "words=1")) as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["message"]
    record = await the_record(leaky_house, call)
    assert (record["outcome"], record["status"], record["usage_source"]) == ("upstream_error", 502, "none")


async def test_no_usage_at_all(leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str) -> None:
    """A complete answer without usage is estimated, never zero."""
    async with client.post(CHAT, json=STREAM, headers=labels(call, "words=40, usage=no")) as answer:
        await answer.read()
    record = await the_record(leaky_house, call)
    assert record["outcome"] == "ok"
    assert_estimated(record, the_entry(provider, call))


async def test_many_leave_at_once(leaky_house: House, provider: FakeProvider, client: aiohttp.ClientSession, call: str) -> None:
    """Sixty streams, each left at another event: one record each, the book's counts, nothing held."""

    async def leave_after(events: int) -> None:
        async with client.post(CHAT, json=STREAM, headers=labels(call, "words=50, delay=0.02")) as answer:
            for _ in range(events):
                await answer.content.readuntil(b"\n\n")
            answer.close()

    await asyncio.gather(*(leave_after(1 + number % 40) for number in range(60)))
    records = await asyncio.to_thread(leaky_house.records_when, 60, session=call)
    assert len(records) == 60
    assert {record["usage_source"] for record in records} == {"reported"}
    assert sum(record["output_tokens"] for record in records) == 60 * 50
    await asyncio.to_thread(leaky_house.nothing_held, USER)
