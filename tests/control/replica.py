"""A control process of its own for tests of several: the alert engine over a shared PostgreSQL, fed with calls.

Started as `python -m tests.control.replica <database url> <run directory> <user>`; says `ready`, waits for a line, feeds 10,000
calls past the threshold, ticks until its standard input closes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.control.alerts import engine as engine_module
from proxy.control.alerts.delivery import Deliveries
from proxy.control.alerts.engine import AlertEngine
from proxy.control.context import Context
from proxy.control.workers import WorkersLink
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.records import UsageRecord
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import Tasks

CALLS = 10_000
BATCH = 100
LIMITS = "defaults: {tokens: {per_day: 1000}}\n"


async def main(url: str, run: Path, user: str) -> None:
    ledger = PostgresLedger(url)
    await ledger.start()
    rules = build_rules({"documents": load_texts({"limits.yaml": LIMITS}, {}).as_dict()}, {})
    context = Context(ledger, rules, WorkersLink(run), Metrics("test"), time.time)
    tasks = Tasks()
    engine_module.LIMITS_EVERY_SECONDS = 2.0  # of 10: the test waits for more rounds than the one that raises
    engine = AlertEngine(context, Deliveries(context, tasks))
    context.feed.listeners.append(engine.see)
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.readline()
    ticking = asyncio.create_task(engine.run())
    fields: dict[str, Any] = dict.fromkeys(UsageRecord._fields) | {
        "duration_ms": 1.0, "user": user, "provider": "openai", "api": "openai.chat", "method": "POST", "path": "/",
        "streamed": False, "status": 200, "outcome": "ok", "usage_source": "reported", "total_tokens": 1, "cost_usd": "0.1",
        "started_at": "",
    }  # fmt: skip
    for first in range(0, CALLS, BATCH):
        context.announce([UsageRecord(**fields | {"id": f"{user}-{first + number}"}) for number in range(BATCH)])
        await asyncio.sleep(0)
    print("fed", flush=True)
    await reader.read()
    ticking.cancel()
    await tasks.close()
    await context.close()
    await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
