"""Two releases on one Redis while replicas are replaced one by one: they share counters, limits and leases, whatever their scripts.

`releases/layout_1.json` holds what the first release with key layout 1 sends, word for word: its own scripts, which Redis keeps
under their own SHA-1, with its own arguments. It never changes. A release that cannot share with it must change the prefix of its
keys (`redis_plan.PREFIX`), and add a file of its own here.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import hiredis

from proxy.limits.limit import Refusal, Reservation
from proxy.quota.redis_store import RedisQuotaStore
from tests.quota_house import demand, limit
from tests.servers import RedisServer
from tests.waiting import until

LAYOUT_1 = json.loads((Path(__file__).parent / "releases" / "layout_1.json").read_text())
BUDGET, LANES = limit(1_000, window="total"), limit(5, "concurrent_requests", None)


class OldRelease:
    """A replica of the first release: alice's budget of 1,000 tokens and her five lanes."""

    def __init__(self, server: RedisServer) -> None:
        self._port = server.port

    def _say(self, what: str, hold_id: str, amount: int = 0, lease_ms: int = 60_000) -> Any:
        values = {"<id>": hold_id, "<amount>": str(amount), "<lease>": str(lease_ms)}
        words = []
        for word in LAYOUT_1[what]:
            for name, value in values.items():
                word = word.replace(name, value)
            words.append(word.encode())
        reader = hiredis.Reader()
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
            while (reply := reader.gets()) is False:
                reader.feed(connection.recv(65_536))
        return reply

    def reserves(self, hold_id: str, amount: int, lease_ms: int = 60_000) -> bool:
        reply = self._say("reserve", hold_id, amount, lease_ms)
        assert reply == 1 or reply[0] == 0, reply
        return bool(reply == 1)

    def settles(self, hold_id: str, amount: int) -> Any:
        return self._say("settle", hold_id, amount)

    def renews(self, hold_id: str, amount: int) -> None:
        assert self._say("renew", hold_id, amount) == 1


async def numbers(store: RedisQuotaStore) -> list[tuple[int, int]]:
    await until(lambda: not store.unsent_count)
    return [(status.used, status.reserved) for status in await store.status([BUDGET, LANES], time.time())]


async def reserved(store: RedisQuotaStore, hold_id: str, amount: int) -> Reservation | None:
    outcome = await store.reserve(hold_id, [demand(BUDGET, amount), demand(LANES)], time.time(), 60.0)
    return None if isinstance(outcome, Refusal) else outcome


async def test_an_old_and_a_new_replica_share_everything(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    old, new = OldRelease(redis), RedisQuotaStore(redis.url, lambda: ZoneInfo("UTC"), patience_seconds=2.0)
    await new.start()
    try:
        assert old.reserves("old-1", 600)
        assert await reserved(new, "new-1", 401) is None
        held = await reserved(new, "new-2", 400)
        assert held is not None
        assert not old.reserves("old-2", 1)
        assert await numbers(new) == [(0, 1_000), (0, 2)]
        assert old.settles("old-1", 100) == 1
        new.settle(held, {"tokens": 350})
        assert await numbers(new) == [(450, 0), (0, 0)]
        assert not old.reserves("old-3", 551)
        assert old.reserves("old-3", 550)
        old.settles("old-3", 0)
    finally:
        await new.close()


async def test_the_dead_of_one_release_are_taken_back_by_the_other(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    old, new = OldRelease(redis), RedisQuotaStore(redis.url, lambda: ZoneInfo("UTC"), patience_seconds=2.0)
    await new.start()
    try:
        for number in range(5):
            assert old.reserves(f"old-{number}", 100, lease_ms=100)
        await asyncio.sleep(0.15)
        held = await reserved(new, "new", 1_000)
        assert held is not None, "the dead still hold"
        old.renews("old-0", 100)  # this one was only slow
        assert await numbers(new) == [(0, 1_100), (0, 2)]
        new.release(held)
        await numbers(new)
        for _ in range(2):
            old.settles("old-0", 70)
            old.settles("old-1", 60)  # never renewed: counted all the same, and once
        assert await numbers(new) == [(130, 0), (0, 0)]
    finally:
        await new.close()
