"""The real proxy on a real Postgres: from the call to the ledger to the API, and what happens when the database is slow, away,
killed in the middle of its work, or refuses a record. Calls notice none of it; afterwards every record is there, once."""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest

from proxy.ledger.migrations import migrations
from proxy.spool.writer import SpoolWriter
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import ROOT, House, limits_yaml, providers_yaml, virtual_key
from tests.fault_proxy import fault_proxy
from tests.sample_records import samples
from tests.servers import PostgresServer, postgres_server
from tests.waiting import until

USER = "ada"
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How much does a lorry weigh?"}]}
CLIENTS = 8
PAUSE_SECONDS = 0.01
NOT_WAITED_SECONDS = 0.15
"""Half of what one packet of the slow database takes: a call that waited for it takes longer, on any machine."""
CATCH_UP_SECONDS = 60.0
STARTER = """
import asyncio, os
from proxy.ledger.postgres_ledger import PostgresLedger
async def main():
    ledger = PostgresLedger(os.environ["DATABASE_URL"])
    await ledger.start()
    await ledger.change_marker()
    await ledger.close()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this file's own: most of the tests do it harm, and all of them leave it running."""
    with postgres_server() as started:
        yield started


@pytest.fixture
def postgres(request: pytest.FixtureRequest, server: PostgresServer) -> PostgresServer:
    """The server, and an empty database on it for this test."""
    if server.process.poll() is not None:  # a test failed while it was down
        server.start()
    server.database = request.node.originalname[:60]
    server.run("createdb", server.database)
    return server


def house_on(url: str, provider: FakeProvider) -> House:
    limits = "{requests: {per_day: 1_000_000}, tokens: {per_day: 1_000_000_000}}"
    files = {"providers.yaml": providers_yaml(provider.url), "limits.yaml": limits_yaml({USER: limits})}
    return House(files, 1, {"DATABASE_URL": url})


async def ask(server: PostgresServer, text: str) -> Any:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(text)
    finally:
        await connection.close()


def metric(house: House, name: str) -> float:
    with urllib.request.urlopen(f"{house.url}/metrics", timeout=30) as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found, f"no {name} on the page"
    return float(found[1])


async def metric_until(house: House, name: str, wanted: float, seconds: float = CATCH_UP_SECONDS) -> None:
    end = time.monotonic() + seconds
    while (value := await asyncio.to_thread(metric, house, name)) != wanted:
        assert time.monotonic() < end, f"{name} is {value} and does not become {wanted}\n{house.log[-3000:]}"
        await asyncio.sleep(0.1)


class Load:
    """Clients that call at a fixed pace; when each answer was whole and how long it took."""

    def __init__(self, house: House, call: str) -> None:
        self.completed: list[str] = []
        self.took: list[tuple[float, float]] = []
        self.broken: list[str] = []
        self._house = house
        self._call = call
        self._is_over = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.ensure_future(self._client()) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            self._is_over.set()
            await asyncio.gather(*clients)

    async def _client(self) -> None:
        headers = {"authorization": f"Bearer {virtual_key(USER)}", "x-weighbridge-session": self._call, "x-demo": "words=8"}
        async with aiohttp.ClientSession(self._house.url, headers=headers) as client:
            while not self._is_over.is_set():
                began = time.monotonic()
                try:
                    async with client.post("/v1/chat/completions", json=BODY) as answer:
                        await answer.read()
                        if answer.status == 200:
                            self.completed.append(answer.headers["x-weighbridge-request-id"])
                            self.took.append((began, time.monotonic() - began))
                        else:
                            self.broken.append(str(answer.status))
                except (aiohttp.ClientError, ConnectionError) as error:
                    self.broken.append(repr(error))
                await asyncio.sleep(PAUSE_SECONDS)

    def median_seconds(self, start: float, end: float) -> float:
        """Of calls that began between two instants."""
        found = [seconds for began, seconds in self.took if start <= began < end]
        assert len(found) > 20, f"{len(found)} calls are too few to compare"
        return statistics.median(found)


def assert_all_there_once(house: House, load: Load, call: str) -> None:
    """`records` itself refuses an id that comes twice."""
    assert load.broken == []
    assert len(load.completed) == len(set(load.completed))
    records = {record["id"] for record in house.records_when(len(load.completed), seconds=CATCH_UP_SECONDS, session=call)}
    assert records == set(load.completed)
    totals = house.api(f"usage/summary?range=year&user={USER}")["totals"]
    assert totals["requests"] == len(load.completed)


async def test_from_the_call_to_the_table_to_the_api_to_the_metrics(
    postgres: PostgresServer, provider: FakeProvider, call: str
) -> None:
    async with house_on(postgres.url, provider) as house:
        load = Load(house, call)
        async with load.running():
            await asyncio.sleep(1.5)
        await asyncio.to_thread(assert_all_there_once, house, load, call)
        count = len(load.completed)
        assert await ask(postgres, 'SELECT COUNT(*) FROM "usage_records"') == count
        assert await ask(postgres, 'SELECT SUM("requests") FROM "rollups"') == count
        tokens = await ask(postgres, 'SELECT SUM("total_tokens") FROM "usage_records"')
        assert tokens == sum(entry["input_tokens"] + entry["output_tokens"] for entry in provider.book()[-count:])
        await metric_until(house, "weighbridge_ledger_rows_total", count)
        await metric_until(house, "weighbridge_spool_backlog_records", 0)
        assert await asyncio.to_thread(metric, house, "weighbridge_ledger_commit_seconds_count") >= 1
        assert await asyncio.to_thread(metric, house, "weighbridge_ledger_duplicates_total") == 0
        for name in ("backlog_bytes", "backlog_age_seconds", "poisoned_total", "torn_total"):
            assert await asyncio.to_thread(metric, house, f"weighbridge_spool_{name}") == 0
        assert await asyncio.to_thread(metric, house, "weighbridge_observer_errors_total") == 0


async def test_killed_and_started_again_under_load(postgres: PostgresServer, provider: FakeProvider, call: str) -> None:
    """Twice: calls go on at the same pace, and afterwards the ledger has each of them once."""
    async with house_on(postgres.url, provider) as house:
        load = Load(house, call)
        up: list[tuple[float, float]] = []
        away: list[tuple[float, float]] = []
        async with load.running():
            for _ in range(2):
                began = time.monotonic()
                await asyncio.sleep(2.5)
                up.append((began, time.monotonic()))
                await asyncio.to_thread(postgres.kill)
                began = time.monotonic()
                await metric_until(house, "weighbridge_ledger_away", 1)
                await asyncio.sleep(2.0)
                assert await asyncio.to_thread(metric, house, "weighbridge_spool_backlog_records") > 0
                away.append((began, time.monotonic()))
                await asyncio.to_thread(postgres.start)
        await metric_until(house, "weighbridge_spool_backlog_records", 0)
        await metric_until(house, "weighbridge_ledger_away", 0)
        await asyncio.to_thread(assert_all_there_once, house, load, call)
        assert await ask(postgres, 'SELECT COUNT(*) FROM "usage_records"') == len(load.completed)
        usual = statistics.median(load.median_seconds(*span) for span in up)
        without = statistics.median(load.median_seconds(*span) for span in away)
        assert without < max(usual * 2, NOT_WAITED_SECONDS), f"{without:.4f} s a call, {usual:.4f} s with the database"


async def test_a_slow_database_slows_no_call(postgres: PostgresServer, provider: FakeProvider, call: str) -> None:
    async with (
        fault_proxy(postgres.port) as slow,
        house_on(postgres.url.replace(str(postgres.port), str(slow.port)), provider) as house,
    ):
        load = Load(house, call)
        async with load.running():
            began = time.monotonic()
            await asyncio.sleep(2.5)
            middle = time.monotonic()
            slow.delay_seconds = NOT_WAITED_SECONDS * 2  # a commit takes some ten packets: three seconds and more
            await asyncio.sleep(5.0)
            end = time.monotonic()
            slow.delay_seconds = 0.0
        await asyncio.to_thread(assert_all_there_once, house, load, call)
        usual, slowed = load.median_seconds(began, middle), load.median_seconds(middle, end)
        said = f"{slowed:.4f} s a call while the database was slow, {usual:.4f} s else"
        assert slowed < max(usual * 2, NOT_WAITED_SECONDS), said


async def test_connections_that_are_cut_in_the_middle_of_commits(
    postgres: PostgresServer, provider: FakeProvider, call: str
) -> None:
    async with (
        fault_proxy(postgres.port) as faulty,
        house_on(postgres.url.replace(str(postgres.port), str(faulty.port)), provider) as house,
    ):
        load = Load(house, call)
        async with load.running():
            for number in range(20):
                await asyncio.sleep(0.2)
                faulty.is_swallowing_replies = number % 2 == 0  # committed, and nobody was told
                faulty.cut()
            faulty.is_swallowing_replies = False
            faulty.cut()
        await asyncio.to_thread(assert_all_there_once, house, load, call)


async def test_away_at_the_start(postgres: PostgresServer, provider: FakeProvider, call: str) -> None:
    """The proxy comes up and serves; what it served is moved when the database comes."""
    postgres.stop()
    async with house_on(postgres.url, provider) as house:
        load = Load(house, call)
        async with load.running():
            await until(lambda: len(load.completed) > 50)
        assert load.broken == []
        status, _ = await asyncio.to_thread(house.api_answer, "usage/records")
        assert status == 503  # who asks is known, what is asked for is away
        await asyncio.to_thread(postgres.start)
        await metric_until(house, "weighbridge_ledger_rows_total", len(load.completed))
        await asyncio.to_thread(assert_all_there_once, house, load, call)


async def test_one_refused_record_is_set_aside_and_the_others_go_in(postgres: PostgresServer, provider: FakeProvider) -> None:
    house = house_on(postgres.url, provider)
    good = samples(300, user="eve")
    spoilt = good[7]._replace(id=good[7].id[:-4] + "0bad", started_at="yesterday")
    spool = SpoolWriter(house.data / "spool", fsync="off")
    for record in [*good[:150], spoilt, *good[150:]]:
        spool.append(record)
    spool.close()
    async with house:
        found = await asyncio.to_thread(house.records_when, len(good), user="eve")
        assert {record["id"] for record in found} == {record.id for record in good}
        await metric_until(house, "weighbridge_spool_poisoned_total", 1)
        await metric_until(house, "weighbridge_spool_backlog_records", 0)
        (poison,) = (house.data / "spool").glob("*.poison")
        assert spoilt.id in poison.read_text()
        assert "started_at" in poison.read_text()


def test_of_eight_processes_that_begin_an_empty_database_one_makes_the_schema(postgres: PostgresServer) -> None:
    env = {**os.environ, "DATABASE_URL": postgres.url, "PYTHONPATH": str(ROOT)}
    starters = [
        subprocess.Popen([sys.executable, "-c", STARTER], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(8)
    ]
    outputs = [starter.communicate(timeout=60)[0] for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 8, outputs
    assert asyncio.run(ask(postgres, 'SELECT COUNT(*) FROM "schema_migrations"')) == len(migrations("postgres"))
