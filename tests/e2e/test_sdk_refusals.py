"""What the SDKs do with our refusals: which exception the application sees, how often they ask again, how long they wait.

A limit that a minute cures carries `retry-after` and is waited for; one that it does not cure carries `x-should-retry: false`
and comes back at once. Tries are counted in the ledger (refused calls are records too) and at the provider (which sees none).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import cohere
import groq
import httpx
import ollama
import openai
import pytest
import together
from cohere.errors import TooManyRequestsError
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from langchain_openai import ChatOpenAI
from mistralai.client import Mistral
from mistralai.client.errors import MistralError

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key
from tests.waiting import within

ASK: Any = [{"role": "user", "content": "How much does a lorry weigh?"}]
AT_ONCE_SECONDS = 3.0


class Asker:
    """One call with an SDK's own defaults, retries included; `user` decides which limit it meets."""

    def __init__(self, house: House, user: str, call: str) -> None:
        self.house, self.key = house, virtual_key(user)
        self.headers = {"x-demo": f"call={call}, words=5", "x-weighbridge-session": call}

    def openai(self) -> None:
        with openai.OpenAI(base_url=f"{self.house.url}/v1", api_key=self.key) as client:
            client.chat.completions.create(model="gpt-4o-mini", messages=ASK, extra_headers=self.headers)

    def openai_stream(self) -> None:
        with openai.OpenAI(base_url=f"{self.house.url}/v1", api_key=self.key) as client:
            list(client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True, extra_headers=self.headers))

    def anthropic(self) -> None:
        with anthropic.Anthropic(base_url=f"{self.house.url}/anthropic", api_key=self.key) as client:
            client.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=ASK, extra_headers=self.headers)

    def groq(self) -> None:
        with groq.Groq(base_url=f"{self.house.url}/groq", api_key=self.key) as client:
            client.chat.completions.create(model="llama-3.3-70b-versatile", messages=ASK, extra_headers=self.headers)

    def together(self) -> None:
        with together.Together(base_url=f"{self.house.url}/together", api_key=self.key) as client:
            client.chat.completions.create(
                model="meta-llama/Llama-3.3-70B-Instruct-Turbo", messages=ASK, extra_headers=self.headers
            )

    def cohere(self, max_retries: int = 0) -> None:
        """Its SDK does not read `x-should-retry`, so the day's limit is tried with its retries off."""
        options: Any = {"additional_headers": self.headers, "max_retries": max_retries}
        with httpx.Client(timeout=100) as connections:
            client = cohere.ClientV2(api_key=self.key, base_url=f"{self.house.url}/cohere", httpx_client=connections)
            client.chat(model="command-a-03-2025", messages=ASK, request_options=options)

    def cohere_with_retries(self) -> None:
        self.cohere(max_retries=2)

    def mistral(self) -> None:
        with Mistral(api_key=self.key, server_url=f"{self.house.url}/mistral") as client:
            client.chat.complete(model="mistral-large-latest", messages=ASK, http_headers=self.headers)

    def gemini(self) -> None:
        options = genai_types.HttpOptions(base_url=f"{self.house.url}/gemini", headers=self.headers)
        with genai.Client(api_key=self.key, http_options=options) as client:
            client.models.generate_content(model="gemini-2.5-flash", contents="How much does a lorry weigh?")

    def ollama(self) -> None:
        with ollama.Client(
            host=f"{self.house.url}/ollama", headers=self.headers | {"authorization": f"Bearer {self.key}"}
        ) as client:
            client.chat(model="llama3.2", messages=ASK)

    def langchain(self) -> None:
        model = ChatOpenAI(model="gpt-4o-mini", base_url=f"{self.house.url}/v1", api_key=self.key, default_headers=self.headers)
        model.invoke("How much does a lorry weigh?")


EXCEPTIONS: dict[str, type[Exception]] = {
    "openai": openai.RateLimitError,
    "openai_stream": openai.RateLimitError,
    "anthropic": anthropic.RateLimitError,
    "groq": groq.RateLimitError,
    "together": together.RateLimitError,
    "cohere": TooManyRequestsError,
    "mistral": MistralError,
    "gemini": genai_errors.ClientError,
    "ollama": ollama.ResponseError,
    "langchain": openai.RateLimitError,
}
WAITERS = ("openai", "openai_stream", "anthropic", "groq", "together", "cohere_with_retries", "langchain")
"""SDKs that wait for `retry-after` by themselves."""


def status_of(error: Any) -> int:
    """The HTTP status, under whichever name the SDK keeps it."""
    found = next(value for name in ("status_code", "code") if isinstance(value := getattr(error, name, None), int))
    return int(found)


@pytest.fixture(scope="module")
def strict_house(provider: FakeProvider) -> Iterator[House]:
    users = {f"day-{name.replace('_', '-')}": "{requests: {per_day: 1}}" for name in EXCEPTIONS}
    users |= {f"minute-{name.replace('_', '-')}": "{requests: {per_minute: 1}}" for name in WAITERS}
    users |= {f"poor-{name.replace('_', '-')}": "{cost_usd: {per_day: 0.0000001}}" for name in EXCEPTIONS}
    users |= {"single": "{concurrent_requests: 1}", "narrow": "{models: [gpt-4o-mini]}"}
    files = {
        "providers.yaml": providers_yaml(provider.url),
        "limits.yaml": limits_yaml(users, head="mode: balanced\nauth: keys"),
        "prices.yaml": "prices:\n  ollama:\n    llama3.2: {input_mtok: 0.02, output_mtok: 0.03}\n",
    }
    with House(files) as started:
        yield started


def refused(ask: Callable[[], None], kind: type[Exception]) -> tuple[Any, float]:
    """The exception and the seconds until it came."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        ask()
    return caught.value, time.monotonic() - began


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_a_days_limit_is_not_retried(strict_house: House, provider: FakeProvider, call: str, name: str) -> None:
    user = f"day-{name.replace('_', '-')}"
    getattr(Asker(strict_house, user, f"{call}-first"), name)()
    error, seconds = refused(getattr(Asker(strict_house, user, call), name), EXCEPTIONS[name])
    assert status_of(error) == 429
    assert within(AT_ONCE_SECONDS, seconds)
    records = strict_house.records_when(1, session=call)
    assert [(record["outcome"], record["status"]) for record in records] == [("denied", 429)]
    assert provider.book(call) == [], "a refused call must not reach the provider"


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_empty_purse_is_not_retried(strict_house: House, provider: FakeProvider, call: str, name: str) -> None:
    error, seconds = refused(getattr(Asker(strict_house, f"poor-{name.replace('_', '-')}", call), name), EXCEPTIONS[name])
    assert status_of(error) == 429
    assert within(AT_ONCE_SECONDS, seconds)
    records = strict_house.records_when(1, session=call)
    assert [record["outcome"] for record in records] == ["denied"]
    assert provider.book(call) == []


def test_what_a_refusal_says(strict_house: House, call: str) -> None:
    """Headers and body of a day's refusal, as an application may read them."""
    client = openai.OpenAI(base_url=f"{strict_house.url}/v1", api_key=virtual_key("poor-openai"))
    with client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="gpt-4o-mini", messages=ASK, extra_headers={"x-weighbridge-session": call})
    headers = caught.value.response.headers
    assert headers["x-should-retry"] == "false"
    assert headers["x-weighbridge-limit"] == "users.poor-openai.cost_usd.per_day"
    assert caught.value.type == "insufficient_quota"
    record = strict_house.record(headers["x-weighbridge-request-id"])
    assert record["cost_usd"] is None or float(record["cost_usd"]) == 0


async def test_a_minutes_limit_is_waited_for(strict_house: House, provider: FakeProvider, call: str) -> None:
    """Every SDK that knows how: refused once, waits as told, is served in the next minute. All at once, so one minute is enough."""
    if time.time() % 60 > 40:  # the first call of each and its refusal belong to one minute
        await asyncio.sleep(61 - time.time() % 60)

    def fill_then_wait(name: str) -> None:
        user = f"minute-{name.replace('_', '-')}"
        getattr(Asker(strict_house, user, f"{call}-{name}-first"), name)()
        began = time.time()
        getattr(Asker(strict_house, user, f"{call}-{name}"), name)()
        left = 60 - began % 60
        waited = time.time() - began
        said = f"{name} waited {waited:.1f} s with {left:.1f} s of the minute left"
        assert waited > left - 1.5, said
        assert within(left + 5, waited), said

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(WAITERS)) as threads:
        await asyncio.gather(*(loop.run_in_executor(threads, fill_then_wait, name) for name in WAITERS))
    for name in WAITERS:
        records = await asyncio.to_thread(strict_house.records_when, 2, session=f"{call}-{name}")
        assert sorted(record["outcome"] for record in records) == ["denied", "ok"], name
        assert len(provider.book(f"{call}-{name}")) == 1, name


def test_what_a_minutes_refusal_says(strict_house: House) -> None:
    headers = {"authorization": f"Bearer {virtual_key('minute-openai')}"}
    body = {"model": "gpt-4o-mini", "messages": ASK}
    with httpx.Client(base_url=strict_house.url, headers=headers) as client:
        answers = [client.post("/v1/chat/completions", json=body) for _ in range(3)]
    answer = next(answer for answer in answers if answer.status_code == 429)
    assert 0 < float(answer.headers["retry-after"]) <= 61
    assert answer.headers.get("x-should-retry") != "false"
    assert answer.headers["x-weighbridge-limit"] == "users.minute-openai.requests.per_minute"
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_slot_is_waited_for(strict_house: House, provider: FakeProvider, call: str) -> None:
    """The only slot is taken by a stream of two seconds; the SDK asks again until it is free."""
    key = virtual_key("single")
    async with openai.AsyncOpenAI(base_url=f"{strict_house.url}/v1", api_key=key, max_retries=6) as client:
        labels = {"x-demo": f"call={call}-first, words=20, delay=0.1"}
        stream = await client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True, extra_headers=labels)
        second = asyncio.create_task(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, extra_headers={"x-demo": f"call={call}", "x-weighbridge-session": call}
            )
        )
        words = [chunk async for chunk in stream if chunk.choices[0].delta.content]
        answer = await second
    assert len(words) == 20
    assert answer.choices[0].message.content
    records = await asyncio.to_thread(strict_house.records_when, 2, session=call)
    outcomes = sorted(record["outcome"] for record in records)
    assert outcomes[-1] == "ok"
    assert set(outcomes[:-1]) == {"denied"}
    assert len(provider.book(call)) == 1
    await asyncio.to_thread(strict_house.nothing_held, "single")


def test_a_model_that_is_not_allowed(strict_house: House, provider: FakeProvider, call: str) -> None:
    with openai.OpenAI(base_url=f"{strict_house.url}/v1", api_key=virtual_key("narrow")) as client:
        labels = {"x-demo": f"call={call}", "x-weighbridge-session": call}
        client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="gpt-4o", messages=ASK, extra_headers=labels)
    assert [record["outcome"] for record in strict_house.records_when(1, session=call)] == ["denied"]
    assert provider.book(call) == []


def test_a_key_that_nobody_knows(strict_house: House, provider: FakeProvider, call: str) -> None:
    """With `auth: keys`, at once and in each dialect's own words; the provider is not asked."""
    labels = {"x-demo": f"call={call}"}
    with (
        openai.OpenAI(base_url=f"{strict_house.url}/v1", api_key="wb-nobody") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=ASK, extra_headers=labels)
    assert caught.value.code == "invalid_api_key"
    with (
        anthropic.Anthropic(base_url=f"{strict_house.url}/anthropic", api_key="wb-nobody") as other,
        pytest.raises(anthropic.AuthenticationError),
    ):
        other.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=ASK, extra_headers=labels)
    assert provider.book(call) == []


async def test_the_providers_own_429_is_passed_on(strict_house: House, provider: FakeProvider, call: str) -> None:
    """The SDK waits as the provider said and tries again; the proxy itself does not retry. Both tries are in the ledger."""
    key = virtual_key("narrow")
    labels = {"x-demo": f"call={call}, status=429, times=1, retry_after=1", "x-weighbridge-session": call}
    async with openai.AsyncOpenAI(base_url=f"{strict_house.url}/v1", api_key=key) as client:
        began = time.monotonic()
        await client.chat.completions.create(model="gpt-4o-mini", messages=ASK, extra_headers=labels)
    took = time.monotonic() - began
    assert took > 0.9
    assert within(3.0, took)
    assert [entry["status"] for entry in provider.book(call)] == [429, 200]
    records = await asyncio.to_thread(strict_house.records_when, 2, session=call)
    assert sorted((record["outcome"], record["status"]) for record in records) == [("ok", 200), ("upstream_error", 429)]
