"""Load at a fixed pace while a fault plays: from the C program, so that this process has time to forward."""

from __future__ import annotations

import asyncio
import http.client
import time

from tests.bench.load import CHAT, Bench, Measured, Shape, Target, chat_body
from tests.bench.proofs.verdict import bearer
from tests.bench.subjects import KEY
from tests.e2e.house import House
from tests.fault_proxy import FAULTS, FaultProxy

HEADERS = (f"Authorization: Bearer {KEY}",)
RATE = 200.0
RESET_EVERY_SECONDS = 0.1


async def load(bench: Bench, house: House, seconds: float) -> Measured:
    """RATE calls a second over 20 connections."""
    shape = Shape(connections=20, seconds=seconds, warm_seconds=0.0, rate=RATE, body=chat_body(400))
    running = bench.begin(Target(house.port, HEADERS), shape)
    return await asyncio.to_thread(bench.end, running)


async def play(proxy: FaultProxy, what: str) -> None:
    """Begin a fault by its name; go on with it until cancelled, where it is one that must be repeated."""
    FAULTS[what](proxy)
    while what == "reset":
        await asyncio.sleep(RESET_EVERY_SECONDS)
        proxy.reset()


def call(house: House) -> tuple[int, float, str]:
    """Status of one call over a connection of its own, how long it took, and which `on_store_failure` applied (or empty)."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    try:
        connection.request("POST", CHAT, chat_body(200), {**bearer(), "content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    return answer.status, time.monotonic() - began, answer.getheader("x-weighbridge-on-store-failure", "")


def calls(house: House, seconds: float) -> list[tuple[int, float, str]]:
    """One call after the other for so long."""
    until = time.monotonic() + seconds
    found = []
    while time.monotonic() < until:
        found.append(call(house))
        time.sleep(0.02)
    return found
