"""Stores that go away, stall, forget: calls go on at the same pace, each policy does what it says, nothing is lost.

Faults are made by tests/fault_proxy.py between the proxy and its stores; while it plays, the load comes from the C program, so that
this process has time to forward.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import time
import urllib.request
from contextlib import ExitStack

import asyncpg

from tests.bench.load import Bench, Measured, Shape, Target, chat_body
from tests.bench.proofs.verdict import Stage, Verdict, bearer, generous_limits, houses
from tests.bench.subjects import KEY
from tests.e2e.house import ADMIN_KEY, House
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.servers import RedisServer, postgres_server, redis_server

HEADERS = (f"Authorization: Bearer {KEY}",)
RATE = 200.0
_NORMAL = re.compile(r'weighbridge_quota_store_state\{[^}]*state="normal"[^}]*\} 1')
DEADLINE_SECONDS = 2.0
"""No call may wait longer for a store that is away."""


def prove_postgres(bench: Bench, *, away_seconds: float) -> list[Verdict]:
    """Postgres cut off under load, then back; then standing still (connections open, no answer)."""
    found = []
    for what in ("away", "silent"):
        bench.plain()
        with postgres_server() as postgres:
            found.append(asyncio.run(_postgres(bench, postgres.port, postgres.url, what, away_seconds)))
    return found


async def _load(bench: Bench, house: House, seconds: float) -> Measured:
    shape = Shape(connections=20, seconds=seconds, warm_seconds=0.0, rate=RATE, body=chat_body(400))
    running = bench.begin(Target(house.port, HEADERS), shape)
    return await asyncio.to_thread(bench.end, running)


async def _postgres(bench: Bench, port: int, url: str, what: str, away_seconds: float) -> Verdict:
    async with fault_proxy(port) as between:
        through = url.replace(f":{port}/", f":{between.port}/")
        stage = Stage("postgres", env={"DATABASE_URL": through})
        with ExitStack() as stack:
            house = (await asyncio.to_thread(stack.enter_context, houses(bench, stage, generous_limits())))[0]
            before = bench.stats()["answers"]
            undisturbed = await _load(bench, house, away_seconds)
            _break(between, what)
            disturbed = await _load(bench, house, away_seconds)
            _mend(between)
            back = await _load(bench, house, 2.0)
            answers = bench.stats()["answers"] - before
            began = time.monotonic()
            rows, ids = await _count_when(url, answers, 60.0)
            drained = time.monotonic() - began
            await asyncio.to_thread(stack.close)
    ratio = disturbed.p50 / undisturbed.p50
    failed = undisturbed.failed + disturbed.failed + back.failed
    text = (
        f"{answers} answers, {rows} rows, {ids} ids, {failed} failed; p50 while {what} / before = {ratio:.2f}; "
        f"drained {drained:.1f} s after the last call"
    )
    is_kept = rows == ids == answers and not failed and ratio < 1.5
    return Verdict(f"Postgres {what}: nothing lost, calls not slower", f"{RATE:g} req/s, {away_seconds:g} s {what}", text, is_kept)


def _break(between: FaultProxy, what: str) -> None:
    if what == "silent":
        between.is_swallowing_replies = True
        return
    between.is_refusing = True
    between.cut()


def _mend(between: FaultProxy) -> None:
    """What was begun in the fault is cut: its replies are gone, as after a real one."""
    between.is_refusing = between.is_swallowing_replies = False
    between.cut()


async def _count_when(url: str, wanted: int, seconds: float) -> tuple[int, int]:
    """Rows and different ids once there are enough rows and a moment has passed."""
    until = time.monotonic() + seconds
    connection = await asyncpg.connect(url)
    try:
        while True:
            rows, ids = await connection.fetchrow("SELECT count(*), count(DISTINCT id) FROM usage_records")
            if rows >= wanted or time.monotonic() > until:
                return rows, ids
            await asyncio.sleep(0.3)
    finally:
        await connection.close()


def prove_redis(bench: Bench, *, seconds: float) -> list[Verdict]:
    """Redis cut off and silent, under each policy; then flushed and seeded again."""
    found: list[Verdict] = []
    bench.plain()
    for policy in ("local", "open", "closed"):
        for what in ("away", "silent"):
            with redis_server() as redis:
                found.append(asyncio.run(_redis(bench, redis.port, policy, what, seconds)))
    with redis_server() as redis:
        found.append(_flushed(bench, redis))
    return found


async def _redis(bench: Bench, port: int, policy: str, what: str, seconds: float) -> Verdict:
    async with fault_proxy(port) as between:
        stage = Stage("redis", env={"REDIS_URL": f"redis://127.0.0.1:{between.port}/0"})
        with ExitStack() as stack:
            house = (await asyncio.to_thread(stack.enter_context, houses(bench, stage, generous_limits(policy))))[0]
            before = await _load(bench, house, 1.0)
            _break(between, what)
            during = await asyncio.to_thread(_ask_for, house, seconds)
            _mend(between)
            back_after = await asyncio.to_thread(_seconds_until_ok, house)
            await asyncio.to_thread(stack.close)
    wanted = {503} if policy == "closed" else {200}
    longest = max(took for _, took in during)
    statuses = sorted({status for status, _ in during})
    # the first calls may still be answered by what was under way when the link broke
    is_kept = set(statuses) <= wanted | {200} and during[-1][0] in wanted and longest <= DEADLINE_SECONDS and not before.failed
    text = f"{len(during)} calls answered {statuses}, longest {longest * 1000:.0f} ms; normal again after {back_after:.1f} s"
    return Verdict(f"Redis {what}, policy {policy}", f"one worker, {seconds:g} s", text, is_kept and back_after < 30)


def _call(house: House) -> tuple[int, float]:
    """Status of one call and how long it took, over a connection of its own."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    try:
        connection.request("POST", "/v1/chat/completions", chat_body(200), {**bearer(), "content-type": "application/json"})
        status = connection.getresponse().status
    finally:
        connection.close()
    return status, time.monotonic() - began


def _ask_for(house: House, seconds: float) -> list[tuple[int, float]]:
    until = time.monotonic() + seconds
    found = []
    while time.monotonic() < until:
        found.append(_call(house))
        time.sleep(0.02)
    return found


def _seconds_until_ok(house: House) -> float:
    """Until the quota store is in its normal state again, as /metrics says."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        _call(house)
        if _NORMAL.search(_metrics(house)):
            break
        time.sleep(0.1)
    return time.monotonic() - began


def _metrics(house: House) -> str:
    request = urllib.request.Request(f"{house.url}/metrics", headers=bearer(ADMIN_KEY))
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def _flushed(bench: Bench, redis: RedisServer) -> Verdict:
    """FLUSHALL under a running proxy: what was used comes back from the ledger."""
    calls = 50
    with houses(bench, Stage("redis", env={"REDIS_URL": redis.url}), generous_limits()) as (house, *_):
        bench.run(Target(house.port, HEADERS), Shape(4, 30.0, 0.0, body=chat_body(200), requests=calls))
        until = time.monotonic() + 10
        while _used(house) < calls and time.monotonic() < until:
            time.sleep(0.1)
        before = _used(house)
        time.sleep(1.5)  # the records reach the ledger
        redis.command("FLUSHALL")
        began = time.monotonic()
        _call(house)
        while _used(house) != before + 1 and time.monotonic() - began < 30:
            time.sleep(0.1)
        after, took = _used(house), time.monotonic() - began
    text = f"{before} requests counted before, {after} after and one more call, {took:.1f} s after the flush"
    return Verdict("Redis flushed: seeded from the ledger", f"{calls} calls", text, before == calls and after == calls + 1)


def _used(house: House) -> int:
    limits = house.limits_of("bench-0")
    return int(next((limit["used"] for limit in limits if limit["resource"] == "requests"), -1))
