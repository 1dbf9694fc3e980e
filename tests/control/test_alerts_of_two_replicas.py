"""Two control processes on one PostgreSQL, each with 10,000 calls past a threshold: one alert, one message. And a webhook that does
not answer holds nothing up and gets its message in the end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from proxy.control.alerts.alert import Alert
from proxy.control.alerts.delivery import Deliveries
from proxy.control.alerts.engine import AlertEngine
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.telemetry.tasks import Tasks
from tests.servers import PostgresServer
from tests.waiting import until, within

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def receiver(take: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


async def full_limit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A worker whose counters all say 1,100 of 1,000."""
    question = orjson.loads(await reader.readline())
    answer: object = {"quota": {"shared": True}}
    if question["call"] == "quota":
        answer = [{"used": 1100, "reserved": 0, "window_id": "2026-11-18", "resets_at": None} for _ in question["limits"]]
    writer.write(orjson.dumps(answer) + b"\n")
    writer.close()


async def test_ten_thousand_calls_on_each_of_two_replicas_are_one_message(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.run("createdb", "replicas")
    url = postgres.database_url("replicas")
    messages: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        messages.append(orjson.loads(await request.read()))
        return web.Response()

    worker = await asyncio.start_unix_server(full_limit, tmp_path / "worker-0.sock")
    ledger = PostgresLedger(url)
    await ledger.start()
    async with receiver(take) as address:
        aim = {"channel": "webhook", "name": "ops", "url": address, "group_seconds": 1, "kinds": ["daily"]}
        await ledger.put_setting("alert_destinations", [aim])
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.control.replica", url, str(tmp_path), "alice"]
        replicas = [
            await asyncio.create_subprocess_exec(
                *command, env=environ, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        try:
            for wanted in (b"ready\n", b"fed\n"):
                for replica in replicas:
                    assert replica.stdout is not None
                    assert await asyncio.wait_for(replica.stdout.readline(), 60) == wanted
                if wanted == b"ready\n":
                    for replica in replicas:
                        assert replica.stdin is not None
                        replica.stdin.write(b"go\n")
            await until(lambda: messages)
            await asyncio.sleep(4)  # two more rounds of both engines
        finally:
            await asyncio.gather(*(replica.communicate(b"") for replica in replicas))  # closes their standard input
    assert [replica.returncode for replica in replicas] == [0, 0]
    (message,) = messages
    (alert,) = message["alerts"]
    assert (alert["user"], alert["facts"]["threshold"], alert["facts"]["used"]) == ("alice", 1.0, 1100)
    kept = await ledger.entries("alert", 100, None)
    assert [one.body["kind"] for one in kept.entries] == ["daily"]
    deliveries = (await ledger.entries("delivery", 100, None)).entries
    assert [one.body["state"] for one in deliveries] == ["sent"]
    await ledger.close()
    worker.close()
    await worker.wait_closed()


async def test_a_webhook_that_does_not_answer_holds_nothing_up(house: Any, record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.alerts.channels.SEND_SECONDS", 1.0)
    silent, got = [True], []

    async def take(request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        if silent:
            await asyncio.sleep(3600)
        got.append(body)
        return web.Response()

    tasks = Tasks()
    engine = AlertEngine(house.context, Deliveries(house.context, tasks, retry_seconds=(0.2, 0.2, 0.2)))
    house.context.feed.listeners.append(engine.see)
    async with receiver(take) as address:
        aim = {"channel": "webhook", "name": "ops", "url": address, "group_seconds": 0}
        await house.ask("PUT", "/alerts/destinations", json={"destinations": [aim]})
        await engine.raise_all([Alert("a", "daily", "info", "2026-11-18T11:00:00.000000Z", "first", "t")])
        began = time.monotonic()
        await engine.tick()
        calls = [record() for _ in range(1000)]
        house.context.announce(calls)
        assert len(await house.ledger.append(calls)) == 1000
        await engine.tick()
        assert (await house.get("/usage/summary", range="day"))["totals"]["requests"] == 1000
        assert within(0.9, time.monotonic() - began), "something waited for the webhook"
        assert (got, len(tasks)) == ([], 1)
        silent.clear()
        await until(lambda: got)
        assert [one["title"] for one in got[0]["alerts"]] == ["first"]
        if len(tasks):
            await asyncio.wait(list(tasks._running), timeout=10)
    (delivery,) = (await house.get("/alerts/deliveries"))["deliveries"]
    assert (delivery["state"], delivery["attempts"]) == ("sent", 2)
    await tasks.close()
    await house.context.close()
