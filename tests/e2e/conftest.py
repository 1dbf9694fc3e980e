"""What every end-to-end test starts from: the fake provider, the real proxy in front of it, and the door to call.

`door` runs each SDK test twice: straight at the provider, which shows that the fake is a fair one, and through the proxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import PROVIDER_KEY, House, limits_yaml, providers_yaml, virtual_key
from tests.servers import redis_server

SDK_USER = "ada"


@dataclass(frozen=True)
class Price:
    """USD per million tokens, as text, so that a reader can hold it against the provider's page."""

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None

    def of(self, entry: dict[str, Any], billed: tuple[int, int] | None = None) -> Decimal:
        """What the call costs: each token once, at the rate of its kind."""
        input_tokens, output_tokens = billed or (entry["input_tokens"], entry["output_tokens"])
        read, write = entry["cache_read_tokens"], entry["cache_write_tokens"]
        plain = (input_tokens - read - write) * Decimal(self.input) + output_tokens * Decimal(self.output)
        cached = read * Decimal(self.cache_read or self.input) + write * Decimal(self.cache_write or self.input)
        return (plain + cached) / 1_000_000


@dataclass(frozen=True)
class Door:
    """Where a client of one of the providers is pointed."""

    provider: FakeProvider
    house: House | None

    @property
    def key(self) -> str:
        return virtual_key(SDK_USER)

    def at(self, provider: str, path: str = "") -> str:
        """Base URL of a provider, e.g. `at("openai", "/v1")`: changing this line is all that an application does."""
        return (f"{self.house.url}/{provider}" if self.house else self.provider.url) + path

    def entry(self, call: str) -> dict[str, Any]:
        """The provider's own entry for a call that it saw once."""
        entries = self.provider.book(call)
        assert len(entries) == 1, f"the provider saw {call} {len(entries)} times"
        return entries[0]

    def headers(self, call: str, knobs: str = "", **labels: str) -> dict[str, str]:
        """What a client adds so that this call can be found again on both sides."""
        own = {"x-demo": f"call={call}" + (f", {knobs}" if knobs else ""), "x-weighbridge-session": call}
        return own | {f"x-weighbridge-{name.replace('_', '-')}": value for name, value in labels.items()}

    def check(self, call: str, price: Price, provider: str, billed: tuple[int, int] | None = None) -> dict[str, Any]:
        """The ledger has this call once, as the provider's book has it, priced as a reader would; gives the entry.

        `billed`: (input, output) where other counts are billed than the model saw.
        """
        entry = self.entry(call)
        if self.house is None:
            assert entry["credential_sha256"] in ("", sha256(self.key.encode()).hexdigest())
            return entry
        assert entry["credential_sha256"] == sha256(PROVIDER_KEY.encode()).hexdigest(), "the provider did not get its own key"
        assert not [name for name in entry["header_names"] if name.startswith("x-weighbridge-")], "a label was forwarded"
        records = self.house.records_when(1, session=call)
        assert len(records) == 1
        record = records[0]
        for field in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):
            assert (record[field] or 0) == entry[field], f"{field}: ledger {record[field]}, book {entry[field]}"
        wanted = {
            "user": SDK_USER,
            "provider": provider,
            "api": entry["api"],
            "method": "POST",
            "request_model": entry["model"],
            "streamed": entry["is_stream"],
            "status": 200,
            "outcome": "ok",
            "usage_source": "reported",
            "provider_request_id": entry["request_id"],
        }
        assert {field: record[field] for field in wanted} == wanted
        assert Decimal(record["cost_usd"]) == price.of(entry, billed)
        assert Decimal(record["input_cost_usd"]) + Decimal(record["output_cost_usd"]) == Decimal(record["cost_usd"])
        return entry


@dataclass(frozen=True)
class Crew:
    """How many workers, and which quota store they share."""

    workers: int
    env: dict[str, str]


@pytest.fixture(scope="session", params=["one worker", "two workers and Redis"])
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    """One worker counts by itself; two need a Redis."""
    if request.param == "one worker":
        yield Crew(1, {})
        return
    with redis_server() as redis:
        yield Crew(2, {"REDIS_URL": redis.url})


@pytest.fixture(scope="session")
def provider() -> Iterator[FakeProvider]:
    fake = FakeProvider()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture(scope="session")
def house(provider: FakeProvider) -> Iterator[House]:
    """One proxy for all tests that need nothing special: a key for `ada`, generous limits of every kind."""
    ada = (
        "{tokens: {per_day: 100_000_000}, cost_usd: {per_month: 10_000}, requests: {per_minute: 100_000}, concurrent_requests: 500}"
    )
    prices = "prices:\n  ollama:\n    llama3.2: {input_mtok: 0.02, output_mtok: 0.03}\n"
    files = {
        "providers.yaml": providers_yaml(provider.url),
        "limits.yaml": limits_yaml({SDK_USER: ada}),
        "prices.yaml": prices,
    }
    with House(files) as started:
        yield started


@pytest.fixture(params=["straight", "through the proxy"])
def door(request: pytest.FixtureRequest, provider: FakeProvider) -> Door:
    """Straight at the provider, or through the proxy."""
    return Door(provider, None if request.param == "straight" else request.getfixturevalue("house"))


@pytest.fixture
def call(request: pytest.FixtureRequest) -> str:
    """A name for one call, new for each test and each run; the provider's book and the ledger's `session` know it."""
    return f"{request.node.originalname}-{uuid4().hex[:8]}"
