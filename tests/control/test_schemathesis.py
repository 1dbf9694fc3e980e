"""Schemathesis over the whole API, served on a socket over each of the real ledgers.

Every documented operation, with data that fits the schemas and data that does not: no answer may be a server error, of an
undocumented status or content type, or unlike its schema; what fits is taken, what does not is refused, and nothing
works without a key.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.control import openapi
from proxy.control.app import build_app, routes
from proxy.control.context import Context
from proxy.control.overlay import OverlayKeeper
from proxy.control.workers import WorkersLink
from proxy.ledger.ledger import Ledger
from proxy.records import UsageRecord
from proxy.routing.callers import key_digest
from proxy.telemetry.metrics import Metrics
from tests.control.ledgers import open_ledger
from tests.servers import PostgresServer

ADMIN_KEY = "admin-key-of-the-tests"
EXAMPLES = 6
TAKEN = ["2xx", "401", "403", "404", "409", "422", "429"]
"""What may answer data that fits the schema: 422 says what no schema can (counts that contradict each other)."""
config = schemathesis.Config.from_dict({"checks": {"positive_data_acceptance": {"expected-statuses": TAKEN}}})
schema = schemathesis.openapi.from_dict(orjson.loads(orjson.dumps(openapi.document(routes(), "test"))), config=config)


@schema.auth()
class AdminKey:
    """Puts the admin key into every request but those that are meant to go without."""

    def get(self, case: Any, context: Any) -> str:
        return ADMIN_KEY

    def set(self, case: Any, key: str, context: Any) -> None:
        case.headers["authorization"] = f"Bearer {key}"


@contextmanager
def served(kind: str, folder: Path, url: str | None) -> Iterator[str]:
    """The application on a free port, in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner, ledger, port = asyncio.run_coroutine_threadsafe(serve(kind, folder, url), loop).result(60)
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    asyncio.run_coroutine_threadsafe(ledger.close(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def over_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("sqlite", tmp_path_factory.mktemp("data"), None) as address:
        yield address


@pytest.fixture(scope="module")
def over_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[str]:
    postgres.run("createdb", "schemathesis")
    with served("postgres", tmp_path_factory.mktemp("data"), postgres.database_url("schemathesis")) as address:
        yield address


def clock() -> float:
    return 1_795_003_200.0


async def serve(kind: str, directory: Path, url: str | None) -> tuple[web.AppRunner, Ledger, int]:
    ledger = await open_ledger(kind, directory, url)
    documents = load_texts(
        {"limits.yaml": "auth: keys\ndefaults: {tokens: {per_day: 1000}}\n"}, {"OPENAI_API_KEY": "sk-upstream"}
    ).as_dict()
    rules = build_rules({"documents": documents}, {"OPENAI_API_KEY": "sk-upstream"})
    (directory / "run").mkdir()
    workers = WorkersLink(directory / "run")
    context = Context(ledger, rules, workers, Metrics("test"), clock, admin_key_sha256=(key_digest(ADMIN_KEY),))

    async def publish(overlay: dict[str, Any]) -> None:
        context.rules = build_rules({"documents": documents, "overlay": overlay}, {}, pricebook=rules.pricebook, now=clock())

    context.refresh = OverlayKeeper(ledger, publish, clock).refresh
    fields: dict[str, Any] = dict.fromkeys(UsageRecord._fields) | {
        "id": "r-1", "started_at": "2026-11-18T10:00:00.000000Z", "duration_ms": 5.0, "user": "alice", "provider": "openai",
        "api": "openai.chat", "method": "POST", "path": "/v1/chat/completions", "streamed": False, "status": 200, "outcome": "ok",
        "usage_source": "reported", "total_tokens": 9, "input_tokens": 4, "output_tokens": 5, "cost_usd": "0.01",
    }  # fmt: skip
    await ledger.append([UsageRecord(**fields)])
    runner = web.AppRunner(build_app(context, has_alerts=False), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, ledger, runner.addresses[0][1]


@schema.exclude(path="/api/v1/live").parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_keeps_its_word(case: Any, over_sqlite: str, over_postgres: str) -> None:
    # A cursor is opaque: one that fits its schema and was not made by the ledger is a 400.
    odd = [positive_data_acceptance] if "cursor" in (case.query or {}) else []
    for address in (over_sqlite, over_postgres):  # making the examples up takes longer than asking twice
        case.call_and_validate(base_url=address, excluded_checks=odd)
