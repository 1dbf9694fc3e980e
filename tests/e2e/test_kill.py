"""kill -9 under load, as the machine or its memory killer does it: every answer that a client completed is in the ledger, once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Crew
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key
from tests.waiting import until

USER = "ada"
CLIENTS = 24
ENOUGH = 100
"""Answers before and after each kill, whatever time they take."""
PATIENCE_SECONDS = 60.0
LEASE_SECONDS = 5
"""What the dead held in Redis goes back when its lease is over."""
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How much does a lorry weigh?"}]}


@pytest.fixture(scope="module")
def sturdy_house(provider: FakeProvider, crew: Crew) -> Iterator[House]:
    limits = "{requests: {per_day: 1_000_000}, tokens: {per_day: 1_000_000_000}, concurrent_requests: 1_000}"
    files = {
        "providers.yaml": providers_yaml(provider.url),
        "limits.yaml": limits_yaml({USER: limits}),
        "server.yaml": f"lease_seconds: {LEASE_SECONDS}\n",
    }
    with House(files, crew.workers, crew.env) as started:
        yield started


class Load:
    """Clients that call without a pause and keep the ids of the answers they read to the end."""

    def __init__(self, house: House, call: str) -> None:
        self.completed: list[str] = []
        self.broken = 0
        self._house = house
        self._headers = {"authorization": f"Bearer {virtual_key(USER)}", "x-weighbridge-session": call}
        self._call = call
        self._is_over = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.ensure_future(self._client(number)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            self._is_over.set()
            await asyncio.gather(*clients)

    async def enough(self) -> None:
        """Return when so many answers more were read to the end."""
        wanted = len(self.completed) + ENOUGH
        await until(lambda: len(self.completed) >= wanted, PATIENCE_SECONDS)

    async def _client(self, number: int) -> None:
        is_stream = number % 2 == 0
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(self._house.url, headers=self._headers, connector=connector) as client:
            while not self._is_over.is_set():
                knobs = {"x-demo": f"call={self._call}, words=8" + (", delay=0.003" if is_stream else "")}
                try:
                    async with client.post("/v1/chat/completions", json=BODY | {"stream": is_stream}, headers=knobs) as answer:
                        body = await answer.read()
                        if answer.status == 200:
                            assert not is_stream or b"[DONE]" in body
                            self.completed.append(answer.headers["x-weighbridge-request-id"])
                        else:
                            self.broken += 1
                except (aiohttp.ClientError, ConnectionError):
                    self.broken += 1
                    await asyncio.sleep(0.05)


def assert_all_there_once(house: House, load: Load, call: str) -> None:
    """`records` itself refuses an id that comes twice."""
    assert len(load.completed) == len(set(load.completed))
    records = {record["id"]: record for record in house.records_when(len(load.completed), seconds=PATIENCE_SECONDS, session=call)}
    lost = [record_id for record_id in load.completed if record_id not in records]
    assert not lost, f"{len(lost)} of {len(load.completed)} completed answers are not in the ledger, e.g. {lost[:3]}"
    for record_id in load.completed:
        record = records[record_id]
        assert (record["outcome"], record["usage_source"], record["output_tokens"]) == ("ok", "reported", 8)


async def test_a_worker_is_killed_under_load(sturdy_house: House, crew: Crew, call: str) -> None:
    """Twice, so that a replacement is killed too; whoever is left serves on, the supervisor starts another."""
    load = Load(sturdy_house, call)
    async with load.running():
        for _ in range(2):
            await load.enough()
            victims = await asyncio.to_thread(sturdy_house.workers)
            os.kill(victims[0], signal.SIGKILL)
        await load.enough()
    assert load.broken, "nobody noticed the kill: the load was too light to prove anything"
    await asyncio.to_thread(assert_all_there_once, sturdy_house, load, call)
    end = time.monotonic() + PATIENCE_SECONDS
    while len(await asyncio.to_thread(sturdy_house.workers)) < crew.workers:
        assert time.monotonic() < end, "the killed worker was not replaced"
        await asyncio.sleep(0.1)


async def test_everything_is_killed_under_load(sturdy_house: House, call: str) -> None:
    """All processes at the same instant; what was on disk is moved to the ledger at the next start."""
    load = Load(sturdy_house, call)
    async with load.running():
        await load.enough()
        await asyncio.to_thread(sturdy_house.kill)
        await asyncio.to_thread(sturdy_house.start)
        await load.enough()
    assert load.broken
    await asyncio.to_thread(assert_all_there_once, sturdy_house, load, call)
    await asyncio.to_thread(sturdy_house.nothing_held, USER, LEASE_SECONDS + PATIENCE_SECONDS)


async def test_sigterm_lets_running_answers_finish(sturdy_house: House, provider: FakeProvider, call: str) -> None:
    """A stream of two seconds that runs when the stop is asked for ends whole, and is in the ledger of the next start."""
    headers = {"authorization": f"Bearer {virtual_key(USER)}", "x-weighbridge-session": call}
    async with aiohttp.ClientSession(sturdy_house.url, headers=headers | {"x-demo": f"call={call}, words=20, delay=0.1"}) as client:
        async with client.post("/v1/chat/completions", json=BODY | {"stream": True}) as answer:
            await answer.content.readuntil(b"\n\n")
            stopping = asyncio.create_task(asyncio.to_thread(sturdy_house.stop))
            rest = await answer.read()
            record_id = answer.headers["x-weighbridge-request-id"]
        assert b"[DONE]" in rest
        await stopping
    await asyncio.to_thread(sturdy_house.start)
    record = await asyncio.to_thread(sturdy_house.record, record_id)
    assert (record["outcome"], record["output_tokens"]) == ("ok", 20)
