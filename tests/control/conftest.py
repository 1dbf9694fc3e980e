"""The control API over each of the real ledgers, with real rules built from YAML, and workers that are scripted sockets.

Every test that takes `house` runs twice: on SQLite and on PostgreSQL (one database for the run, emptied between tests).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.control.app import build_app
from proxy.control.context import Context
from proxy.control.overlay import OverlayKeeper
from proxy.control.workers import WorkersLink
from proxy.records import UsageRecord
from proxy.routing.callers import key_digest
from proxy.telemetry.metrics import Metrics
from tests.control.ledgers import KINDS, open_ledger
from tests.servers import PostgresServer

ADMIN_KEY = "admin-key-of-the-tests"
ALICE_KEY = "wb-alice-key-of-the-tests"
BOB_KEY = "wb-bob-key-of-the-tests"
NOW = datetime.fromisoformat("2026-11-18T12:00:00+00:00")
"""A Wednesday."""
LIMITS_YAML = f"""
timezone: UTC
defaults:
  tokens: {{per_day: 1000, per_month: 20000}}
  cost_usd: {{per_month: 10}}
teams:
  research: {{cost_usd: {{per_month: 100}}}}
users:
  alice: {{team: research}}
keys:
  - {{key_sha256: "{key_digest(ALICE_KEY)}", user: alice, name: laptop}}
  - {{key_sha256: "{key_digest(BOB_KEY)}", user: bob}}
"""
PRICES_YAML = """
prices:
  openai:
    test-model: {input_mtok: 2, output_mtok: 10}
    test-mini: {input_mtok: 1, output_mtok: 5}
  ollama:
    "*": {input_mtok: 0, output_mtok: 0}
"""


@dataclass
class Clock:
    """Time that stands still until it is moved."""

    at: float = NOW.timestamp()

    def __call__(self) -> float:
        return self.at


@dataclass
class ScriptedWorker:
    """A worker's unix socket that remembers what it was asked and answers as told."""

    used: dict[str, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=lambda: {"worker": 0, "in_flight": 2, "quota": {"shared": True}})
    added: list[dict[str, Any]] = field(default_factory=list)
    falls_silent_after: int | None = None
    """So many more questions of limits are answered; None: all."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = orjson.loads(await reader.readline())
        if question["call"] == "quota" and self.falls_silent_after is not None:
            if self.falls_silent_after <= 0:
                writer.close()
                return
            self.falls_silent_after -= 1
        writer.write(orjson.dumps(self.answer(question)) + b"\n")
        writer.close()

    def answer(self, question: dict[str, Any]) -> object:
        if question["call"] == "stats":
            return self.stats
        if question["call"] == "add":
            self.added += question["counts"]
            return {"ok": True}
        return [
            {
                "used": self.used.get(limit["counter"], 0),
                "reserved": self.reserved.get(limit["counter"], 0),
                "window_id": "w",
                "resets_at": 1795046400.0,
            }
            for limit in question["limits"]
        ]


@dataclass
class House:
    """Everything a test needs."""

    client: TestClient[Any, Any]
    ledger: Any
    context: Context
    clock: Clock
    worker: ScriptedWorker
    keeper: OverlayKeeper
    overlays: list[dict[str, Any]]

    async def get(self, path: str, key: str = ADMIN_KEY, **query: str) -> Any:
        """The JSON of a GET below /api/v1 that must succeed."""
        return await self.ask("GET", path, key, params=query)

    async def ask(self, method: str, path: str, key: str = ADMIN_KEY, status: int | None = None, **more: Any) -> Any:
        """The JSON of any call; its status must be as given, or a success."""
        reply = await self.client.request(method, f"/api/v1{path}", headers={"authorization": f"Bearer {key}"}, **more)
        text = await reply.text()
        assert reply.status == status if status is not None else reply.ok, f"{reply.status} {text}"
        return orjson.loads(text)


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """One database for all tests of the API."""
    postgres.run("createdb", "control")
    return postgres.database_url("control")


@pytest.fixture(params=KINDS)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    ledger = await open_ledger(request.param, tmp_path, url)
    documents = load_texts({"limits.yaml": LIMITS_YAML, "prices.yaml": PRICES_YAML}, {"OPENAI_API_KEY": "sk-upstream"}).as_dict()
    clock, worker, overlays = Clock(), ScriptedWorker(), []
    run = tmp_path / "run"
    run.mkdir()
    server = await asyncio.start_unix_server(worker.serve, run / "worker-0.sock")
    rules = build_rules({"documents": documents}, {"OPENAI_API_KEY": "sk-upstream"}, now=clock())
    context = Context(ledger, rules, WorkersLink(run), Metrics("test"), clock, admin_key_sha256=(key_digest(ADMIN_KEY),))

    async def publish(overlay: dict[str, Any]) -> None:
        overlays.append(overlay)
        snapshot = {"documents": documents, "overlay": overlay, "version": str(len(overlays))}
        context.rules = build_rules(snapshot, {}, pricebook=context.rules.pricebook, now=clock())

    keeper = OverlayKeeper(ledger, publish, clock)
    context.refresh = keeper.refresh
    client: TestClient[Any, Any] = TestClient(TestServer(build_app(context, has_alerts=False)))
    await client.start_server()
    yield House(client, ledger, context, clock, worker, keeper, overlays)
    await client.close()
    server.close()
    await server.wait_closed()
    await ledger.close()


@pytest.fixture
def record() -> Callable[..., UsageRecord]:
    return make_record


_made = iter(range(10**9))


def make_record(started_at: str = "2026-11-18T10:00:00.000000Z", **changes: Any) -> UsageRecord:
    """A call of alice's: 100 tokens in, 20 out, 0.0004 dollars."""
    fields: dict[str, Any] = dict.fromkeys(UsageRecord._fields)
    fields |= {
        "id": f"0199f3b2-0000-7000-8000-{next(_made):012d}",
        "started_at": started_at,
        "duration_ms": 1500.0,
        "time_to_first_byte_ms": 200.0,
        "user": "alice",
        "team": "research",
        "provider": "openai",
        "api": "openai.chat",
        "method": "POST",
        "path": "/v1/chat/completions",
        "request_model": "test-model",
        "response_model": "test-model",
        "streamed": False,
        "status": 200,
        "outcome": "ok",
        "input_tokens": 100,
        "output_tokens": 20,
        "total_tokens": 120,
        "usage_source": "reported",
        "input_cost_usd": "0.0002",
        "output_cost_usd": "0.0002",
        "cost_usd": "0.0004",
        "price_source": "prices.yaml",
        "exactness": "exact",
    }
    return UsageRecord(**{**fields, **changes})
