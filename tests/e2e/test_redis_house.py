"""The real proxy on a real Redis: what each limit does while it is away, and limits that hold over replicas of a cluster."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key
from tests.fault_proxy import FAULTS, fault_proxy
from tests.servers import PostgresServer, RedisCluster, RedisServer

BODY: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "Weigh this."}]}
LOCAL_ROOM = 6
USERS = {
    "careful": f"{{requests: {{per_day: {LOCAL_ROOM}}}}}",
    "easy": "{requests: {per_day: 1_000, on_store_failure: open}}",
    "thrifty": "{requests: {per_day: 1_000}, cost_usd: {per_day: 100, on_store_failure: closed}}",
}
PATIENCE_SECONDS = 4.0
"""A quarter of a second (limits here are balanced), and all that a busy machine adds; without a deadline it would be for ever."""
LEASE_SECONDS = 4
ROOM, OUTPUT, INPUT_BOUND = 8, 50, 200
SHARED = {
    "tokens": f"{{tokens: {{per_day: {ROOM * (OUTPUT + INPUT_BOUND)}, mode: strict}}}}",
    "slots": "{concurrent_requests: 5}",
}


def decisions(house: House, policy: str) -> float:
    with urllib.request.urlopen(f"{house.url}/metrics", timeout=10) as answer:
        name = f'weighbridge_quota_store_failure_decisions_total{{policy="{policy}",worker="0"}}'
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found, f"no {name} on the page"
    return float(found[1])


async def call(client: aiohttp.ClientSession, user: str, **body: Any) -> tuple[int, str | None]:
    """Status of one call, and which policy it says decided it."""
    headers = {"authorization": f"Bearer {virtual_key(user)}", "x-demo": "words=3"}
    began = time.monotonic()
    async with client.post("/v1/chat/completions", json=BODY | body, headers=headers) as answer:
        await answer.read()
        assert time.monotonic() - began < PATIENCE_SECONDS, "a call waited for Redis"
        return answer.status, answer.headers.get("x-weighbridge-on-store-failure")


async def used(house: House, user: str, wanted: int) -> None:
    """So many requests are counted for the user."""
    until = time.monotonic() + 15
    while True:
        limits = await asyncio.to_thread(house.limits_of, user)
        (counted,) = [limit["used"] for limit in limits if limit["resource"] == "requests"]
        if int(counted) == wanted:
            return
        assert time.monotonic() < until, f"{user}: {counted} counted, not {wanted}"
        await asyncio.sleep(0.1)


async def test_each_policy_does_what_it_says_and_says_so(redis: RedisServer, provider: FakeProvider) -> None:
    redis.command("FLUSHALL")
    files = {"providers.yaml": providers_yaml(provider.url), "limits.yaml": limits_yaml(USERS)}
    async with (
        fault_proxy(redis.port) as line,
        House(files, 1, {"REDIS_URL": f"redis://127.0.0.1:{line.port}/0"}) as house,
        aiohttp.ClientSession(house.url) as client,
    ):
        assert [await call(client, user) for user in USERS] == [(200, None)] * 3
        for number, what in enumerate(("away", "stalled", "half-open")):
            FAULTS[what](line)
            assert await call(client, "careful", stream=number == 1) == (200, "local")
            assert await call(client, "easy", stream=number == 1) == (200, "open")
            assert await call(client, "thrifty") == (503, "closed")
            line.mend()
            until = time.monotonic() + 15
            while (await call(client, "easy"))[1] is not None:
                assert time.monotonic() < until, f"still without Redis after it was {what}"
                await asyncio.sleep(0.1)
            await used(house, "careful", number + 2)
            await used(house, "thrifty", 1)
        line.is_refusing = True
        line.cut()
        # the counters of this process began at the ledger's figures, and went on from there
        statuses = [await call(client, "careful") for _ in range(LOCAL_ROOM)]
        assert statuses == [(200, "local")] * 2 + [(429, "local")] * 4
        assert await asyncio.to_thread(decisions, house, "local") == 3 + LOCAL_ROOM
        assert await asyncio.to_thread(decisions, house, "closed") == 3
        assert await asyncio.to_thread(decisions, house, "open") >= 3
        line.mend()
        await used(house, "careful", LOCAL_ROOM)


@pytest.fixture(scope="module")
def replicas(cluster: RedisCluster, postgres: PostgresServer, provider: FakeProvider) -> Iterator[list[House]]:
    """Two replicas of two workers each, on one cluster and one database."""
    for node in cluster.nodes:
        node.command("FLUSHALL")
    postgres.run("createdb", "cluster_replicas")
    files = {
        "providers.yaml": providers_yaml(provider.url),
        "limits.yaml": limits_yaml(SHARED),
        "server.yaml": f"lease_seconds: {LEASE_SECONDS}\n",
    }
    env = {"REDIS_URL": cluster.url, "DATABASE_URL": postgres.database_url("cluster_replicas")}
    houses = [House(files, 2, env) for _ in range(2)]
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda house: house.start(), houses))
        for house in houses:
            stack.push(house)
        yield houses


async def test_a_budget_is_spent_and_not_passed_over_replicas_of_a_cluster(replicas: list[House]) -> None:
    """60 clients ask until there is nothing to get. What is left is less than one more call may need."""
    headers = {"authorization": f"Bearer {virtual_key('tokens')}", "x-demo": f"words={OUTPUT}"}
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def ask(house: House) -> None:
            while True:
                async with client.post(f"{house.url}/v1/chat/completions", json=BODY | {"max_tokens": OUTPUT}) as answer:
                    await answer.read()
                    statuses[answer.status] += 1
                    if answer.status != 200 and "x-should-retry" in answer.headers:
                        held = [float(limit["reserved"]) for limit in await asyncio.to_thread(house.limits_of, "tokens")]
                        if not any(held):
                            return

        await asyncio.gather(*(ask(replicas[number % 2]) for number in range(60)))
    assert set(statuses) == {200, 429}
    (limit,) = await asyncio.to_thread(replicas[0].limits_of, "tokens")
    records = await asyncio.to_thread(replicas[1].records_when, statuses[200], user="tokens", outcome="ok")
    spent = sum(int(record["total_tokens"]) for record in records)
    assert len(records) == statuses[200]
    assert spent == int(limit["used"]) <= int(limit["amount"])
    assert int(limit["amount"]) - spent < OUTPUT + INPUT_BOUND


async def test_slots_of_a_killed_worker_come_back_within_their_lease(replicas: list[House]) -> None:
    """Five streams hold the five slots; their workers are killed; five others get in, on the other replica."""
    one, other = replicas
    headers = {"authorization": f"Bearer {virtual_key('slots')}", "x-demo": "words=300, delay=0.1"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def stream(house: House) -> aiohttp.ClientResponse:
            answer = await client.post(f"{house.url}/v1/chat/completions", json=BODY | {"stream": True, "max_tokens": 300})
            if answer.status == 200:
                await answer.content.readuntil(b"\n\n")
            return answer

        running = [await stream(one) for _ in range(5)]
        assert [answer.status for answer in running] == [200] * 5
        await asyncio.sleep(LEASE_SECONDS + 1)  # renewed meanwhile, or the sixth would get in
        assert (await stream(other)).status == 429
        for pid in await asyncio.to_thread(one.workers):
            os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        began: list[aiohttp.ClientResponse] = []
        while len(began) < 5:
            answer = await stream(other)
            if answer.status == 200:
                began.append(answer)
            else:
                assert time.monotonic() - killed_at < LEASE_SECONDS + 2, "a dead worker keeps its slots"
                await asyncio.sleep(0.1)
        assert (await stream(other)).status == 429
        for answer in (*running, *began):
            answer.close()
