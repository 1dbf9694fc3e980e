"""kill -9 of a worker, of the control plane and of both, at random moments under load.

Nothing is lost, nothing is there twice, nothing stays held for longer than its lease.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter

import aiohttp

from tests.bench.load import CHAT, Bench, chat_body
from tests.bench.machine import arguments, family
from tests.bench.proofs.verdict import Stage, Verdict, bearer, generous_limits, houses, ids_in_ledger
from tests.e2e.house import House

LEASE_SECONDS = 3.0


class Load:
    """Clients that call without a pause and keep the ids of the answers that they read to the end."""

    def __init__(self, house: House, clients: int) -> None:
        self.completed: list[str] = []
        self.broken = 0
        self._house, self._clients = house, clients
        self._is_over = False

    def stop(self) -> None:
        self._is_over = True

    async def run(self) -> None:
        self._is_over = False
        await asyncio.gather(*(self._client(number % 2 == 0) for number in range(self._clients)))

    async def _client(self, is_stream: bool) -> None:
        body = chat_body(400, is_stream=is_stream)
        headers = {**bearer(), "content-type": "application/json"}
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(self._house.url, headers=headers, connector=connector) as client:
            while not self._is_over:
                try:
                    async with client.post(CHAT, data=body) as answer:
                        text = await answer.read()
                        if answer.status == 200 and (not is_stream or b"[DONE]" in text):
                            self.completed.append(answer.headers["x-weighbridge-request-id"])
                        else:
                            self.broken += 1
                except (aiohttp.ClientError, ConnectionError):
                    self.broken += 1
                    await asyncio.sleep(0.05)


def prove(bench: Bench, stage: Stage, *, clients: int, kills: int) -> list[Verdict]:
    """`kills` kills in turn: a worker, the control plane, both at once, and (every tenth) the whole house."""
    bench.plain()
    bench.set(chunks=8, delay_us=3_000)
    chance = random.Random(7)
    done: Counter[str] = Counter()
    with houses(bench, stage, generous_limits(), server=f"lease_seconds: {LEASE_SECONDS:g}\n") as (house, *_):
        load = Load(house, clients)

        async def play() -> None:
            for number in range(kills):
                running = asyncio.create_task(load.run())
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                what = "whole house" if number % 10 == 9 else ("worker", "control", "both")[number % 3]
                await asyncio.to_thread(_kill, house, what, chance)
                done[what] += 1
                await asyncio.sleep(chance.uniform(0.2, 0.5))
                load.stop()
                await running

        asyncio.run(play())
        until = time.monotonic() + 30 + len(load.completed) / 500
        lost, twice = ["?"], ["?"]
        while lost and time.monotonic() < until:
            time.sleep(0.5)
            there = ids_in_ledger(house)
            lost = [each for each in load.completed if each not in there]
            twice = [each for each, count in there.items() if count > 1]
        is_given_back = _is_given_back(house)
    how = f"{stage.name}, {clients} clients, " + ", ".join(f"{count} × {what}" for what, count in sorted(done.items()))
    text = f"{len(load.completed)} answers completed, {load.broken} broken by kills; lost {len(lost)}, twice {len(twice)}"
    bench.plain()
    return [
        Verdict("kill -9: nothing lost, nothing twice", how, text, not lost and not twice and load.broken > 0),
        Verdict("kill -9: holds and slots come back", how, "all back" if is_given_back else "some still held", is_given_back),
    ]


def _kill(house: House, what: str, chance: random.Random) -> None:
    if what == "whole house":
        house.kill()
        house.start()
        return
    assert house.process is not None
    children: dict[str, list[int]] = {"worker": [], "control": []}
    for pid in family(house.process.pid):
        words = arguments(pid)
        for role in children:
            if f"_{role}" in words:
                children[role].append(pid)
    roles = ("worker", "control") if what == "both" else (what,)
    for role in roles:
        if children[role]:
            os.kill(chance.choice(children[role]), signal.SIGKILL)


def _is_given_back(house: House) -> bool:
    try:
        house.nothing_held("bench-0", LEASE_SECONDS + 7)
    except AssertionError:
        return False
    return True
