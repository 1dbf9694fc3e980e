"""Commands against a real house on each ledger, one house a module; and the runner they are called with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from typer.testing import CliRunner

from proxy.cli import app
from proxy.ledger.ledger import Ledger
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.sqlite_ledger import SqliteLedger
from proxy.records import UsageRecord
from tests.e2e.house import ADMIN_KEY, House, limits_yaml, providers_yaml
from tests.sample_records import sample
from tests.servers import PostgresServer

# The runner makes the whole tree of commands anew for each run, which takes longer than most commands do.
typer.testing._get_command = lru_cache(typer.testing._get_command)

NOW = datetime.now(UTC)
PRICES = "prices:\n  openai:\n    model-a: {input_mtok: 2, output_mtok: 10}\n"
VARIABLES = ("WEIGHBRIDGE_URL", "WEIGHBRIDGE_ADMIN_KEY", "WEIGHBRIDGE_DATA_DIR", "DATABASE_URL", "REDIS_URL")


@dataclass(frozen=True)
class Ran:
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Terminal:
    """Somebody's shell: an environment, and commands run in it."""

    environment: dict[str, str | None]

    def run(self, *words: str, code: int = 0, stdin: str | None = None) -> Ran:
        """Run a command that must end with this code."""
        result = CliRunner().invoke(app, list(words), env={**dict.fromkeys(VARIABLES), **self.environment}, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, f"{words} ended with {result.exit_code}:\n{result.stdout}\n{result.stderr}"
        return Ran(result.exit_code, result.stdout, result.stderr)

    def json(self, *words: str, code: int = 0) -> Any:
        """The JSON that a command writes with --json; standard output must hold nothing else."""
        return self.run(*words, "--json", code=code).json


@dataclass(frozen=True)
class Place:
    """A running house, a shell for its admin, and its ledger."""

    house: House
    terminal: Terminal
    kind: str
    database_url: str | None

    def store(self, records: Sequence[UsageRecord]) -> None:
        """Put records into the ledger beside the running house."""
        asyncio.run(self._store(records))

    async def _store(self, records: Sequence[UsageRecord]) -> None:
        url = self.database_url
        ledger: Ledger = PostgresLedger(url) if url else SqliteLedger(self.house.data / "ledger.sqlite3")
        await ledger.start()
        await ledger.append(records)
        await ledger.close()


def call(user: str = "alice", ago: timedelta = timedelta(hours=2), **changes: Any) -> UsageRecord:
    """100 tokens in, 20 out, at 2 and 10 dollars a million: 0.0004 dollars."""
    plain: dict[str, Any] = {
        "user": user,
        "team": None,
        "key_id": None,
        "provider": "openai",
        "request_model": "model-a",
        "response_model": "model-a",
        "input_tokens": 100,
        "cache_read_tokens": 0,
        "output_tokens": 20,
        "total_tokens": 120,
        "input_cost_usd": "0.0002",
        "output_cost_usd": "0.0002",
        "cost_usd": "0.0004",
        "usage_details": None,
        "duration_ms": 500.0,
        "tier": None,
    }
    return sample(NOW - ago, **{**plain, **changes})


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    url = None
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"commands_{abs(hash(request.node.nodeid)) % 10**8}"
        server.run("createdb", name)
        url = server.database_url(name)
    files = {
        "providers.yaml": providers_yaml("http://127.0.0.1:9"),
        "limits.yaml": limits_yaml({"alice": "{requests: {per_day: 1000}}", "bob": "{}"}),
        "prices.yaml": PRICES,
    }
    with House(files, env={"DATABASE_URL": url} if url else None) as house:
        terminal = Terminal({"WEIGHBRIDGE_URL": house.url, "WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY})
        found = Place(house, terminal, request.param, url)
        found.store(
            [
                *(call(ago=timedelta(hours=hour)) for hour in range(2, 12)),
                call("bob", operation="search", session="s-9"),
                call("bob", cost_usd=None, input_cost_usd=None, output_cost_usd=None, price_source="unknown model"),
                call("eve", provider="openrouter", cost_usd="1.10", reported_cost_usd="1.00"),
            ]
        )
        yield found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory for data, empty."""
    return tmp_path / "data"
