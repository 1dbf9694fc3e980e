"""What a proof hands back, and what it is given."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.bench.load import Bench
from tests.bench.subjects import KEY, key_line, providers_text
from tests.e2e.house import ADMIN_KEY, House

PRICES = "prices:\n  openai:\n    gpt-4o-mini: {input_mtok: 0.15, output_mtok: 0.60, cache_read_mtok: 0.075}\n"


@dataclass(frozen=True)
class Verdict:
    """One line of the table."""

    promise: str
    how: str
    """The set-up and the size."""
    found: str
    is_kept: bool


@dataclass(frozen=True)
class Stage:
    """Where a proof plays: how many replicas and workers, and which stores."""

    name: str
    replicas: int = 1
    workers: int = 1
    env: Mapping[str, str] = field(default_factory=dict)


EMBEDDED = Stage("embedded")
"""Limits in the process, SQLite."""


@contextmanager
def houses(
    bench: Bench, stage: Stage, limits: str, server: str = "", prices: str = PRICES, providers: str | None = None
) -> Iterator[list[House]]:
    """The replicas of a stage, with one configuration. On trouble their logs are shown."""
    files = {
        "providers.yaml": providers or providers_text(bench.provider_url),
        "limits.yaml": limits,
        "prices.yaml": prices,
        "server.yaml": server,
    }
    with ExitStack() as stack:
        yield [stack.enter_context(House(files, stage.workers, stage.env)) for _ in range(stage.replicas)]


def generous_limits(policy: str = "local") -> str:
    """Limits of every kind that are always checked and never reached, for the one key of the proofs."""
    return f"""mode: strict
on_store_failure: {policy}
defaults:
  tokens: {{per_day: 1_000_000_000_000}}
  cost_usd: {{per_month: 1_000_000}}
  requests: {{per_day: 1_000_000_000}}
  concurrent_requests: 10_000
keys:
{key_line(0)}"""


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def exported(house: House, **filters: str) -> Iterator[dict[str, object]]:
    """Every record of the ledger, streamed."""
    query = "&".join([f"{name}={value}" for name, value in {"format": "jsonl", **filters}.items()])
    request = urllib.request.Request(f"{house.url}/api/v1/usage/export?{query}", headers=bearer(ADMIN_KEY))
    with urllib.request.urlopen(request, timeout=600) as answer:
        for line in answer:
            yield json.loads(line)


def ids_in_ledger(house: House, patience_seconds: float = 60.0) -> Counter[str]:
    """How often each record is there: more than once is what must not be. Waits for a control plane that was just killed.

    Raises:
        OSError: it did not come back.
    """
    until = time.monotonic() + patience_seconds
    while True:
        try:
            return Counter(str(record["id"]) for record in exported(house))
        except (OSError, http.client.HTTPException):
            if time.monotonic() > until:
                raise
            time.sleep(0.3)
