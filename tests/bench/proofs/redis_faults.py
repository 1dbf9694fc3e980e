"""Redis away, silent, stalled, half-open, slow, reset, failing over, flushed: each policy does what it says, no call waits longer.

After each fault the counters are looked at: what the answered calls used is counted once, whichever way they were admitted.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack

from tests.bench.load import Bench, Shape, Target, chat_body
from tests.bench.proofs.paced import HEADERS, call, calls, load, play
from tests.bench.proofs.verdict import Stage, Verdict, bearer, generous_limits, houses
from tests.e2e.house import ADMIN_KEY, House
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.servers import RedisServer, redis_sentinel, redis_server

POLICIES = ("local", "open", "closed")
GONE = ("away", "silent", "stalled", "half-open")
"""Nothing comes from Redis: the policy must apply."""
BAD = ("slow", "byte by byte", "reset")
"""Something comes: each call is either decided by Redis or by the policy."""
DEADLINE_SECONDS = 2.0
"""No call may wait longer for its store: 1 s of patience under strict limits, and what a busy machine adds."""
BACK_SECONDS = 30.0
_NORMAL = re.compile(r'weighbridge_quota_store_state\{[^}]*state="normal"[^}]*\} 1')


def prove(bench: Bench, *, seconds: float) -> list[Verdict]:
    """Each policy in a house of its own, with one fault after the other; then a fail-over under each; then a flush."""
    found: list[Verdict] = []
    bench.plain()
    for policy in POLICIES:
        with redis_server() as redis:
            found += asyncio.run(_faults(bench, redis.port, policy, seconds))
    for policy in POLICIES:
        found.append(_fail_over(bench, policy))
    with redis_server() as redis:
        found.append(_flushed(bench, redis))
    return found


async def _faults(bench: Bench, port: int, policy: str, seconds: float) -> list[Verdict]:
    found: list[Verdict] = []
    async with fault_proxy(port) as between:
        stage = Stage("redis", env={"REDIS_URL": f"redis://127.0.0.1:{between.port}/0"})
        with ExitStack() as stack:
            house = (await asyncio.to_thread(stack.enter_context, houses(bench, stage, generous_limits(policy))))[0]
            before = await load(bench, house, 1.0)
            answered = before.total - before.failed
            for what in (*GONE, *BAD):
                verdict, more = await _fault(house, between, policy, what, seconds, answered)
                answered += more
                found.append(verdict)
                print(f"    {verdict.promise}: {verdict.found}", flush=True)
            await asyncio.to_thread(stack.close)
    return found


async def _fault(house: House, between: FaultProxy, policy: str, what: str, seconds: float, answered: int) -> tuple[Verdict, int]:
    playing = asyncio.create_task(play(between, what))
    during = await asyncio.to_thread(calls, house, seconds)
    playing.cancel()
    between.mend()
    back_after, after = await asyncio.to_thread(_seconds_until_normal, house)
    answered_now = [one for one in (*during, *after) if one[0] == 200]
    used = await asyncio.to_thread(_used_when, house, answered + len(answered_now))
    verdict = _judge(policy, what, f"one worker, {seconds:g} s", during, back_after)
    text = f"{verdict.found}; {used} requests counted of {answered + len(answered_now)} answered"
    is_kept = verdict.is_kept and used == answered + len(answered_now)
    return Verdict(verdict.promise, verdict.how, text, is_kept), len(answered_now)


def _judge(policy: str, what: str, how: str, during: list[tuple[int, float, str]], back_after: float) -> Verdict:
    """Each call was decided by Redis (200, no header) or by the policy, which says so; if Redis is gone, at last by the policy."""
    by_policy = (503 if policy == "closed" else 200, policy)
    ways = Counter((status, said) for status, _, said in during)
    longest = max(took for _, took, _ in during)
    is_kept = set(ways) <= {(200, ""), by_policy} and longest <= DEADLINE_SECONDS and back_after < BACK_SECONDS
    if what in GONE:
        is_kept = is_kept and (during[-1][0], during[-1][2]) == by_policy
    shown = ", ".join(f"{count} × {status} by {said or 'Redis'}" for (status, said), count in sorted(ways.items()))
    text = f"{shown}; longest call {longest * 1000:.0f} ms; normal again after {back_after:.1f} s"
    return Verdict(f"Redis {what}, policy {policy}", how, text, is_kept)


def _fail_over(bench: Bench, policy: str) -> Verdict:
    """The master is killed under calls; Sentinel makes its replica the master."""
    with redis_sentinel() as redis:
        stage = Stage("sentinel", env={"REDIS_URL": redis.url})
        with houses(bench, stage, generous_limits(policy)) as (house, *_):
            before = calls(house, 1.0)
            redis.master.kill()
            during = calls(house, 1.0)
            back_after, _ = _seconds_until_normal(house)
            counted = _used(house)
    verdict = _judge(policy, "failing over", "Sentinel, one worker", during, back_after)
    text = f"{verdict.found}; the new master knows {counted} requests, {len(before)} were before the fail-over"
    print(f"    {verdict.promise}: {text}", flush=True)
    return Verdict(verdict.promise, verdict.how, text, verdict.is_kept and counted >= len(before))


def _seconds_until_normal(house: House) -> tuple[float, list[tuple[int, float, str]]]:
    """Until the quota store is in its normal state again, as /metrics says; and the calls made meanwhile."""
    began = time.monotonic()
    made = []
    while time.monotonic() - began < BACK_SECONDS:
        made.append(call(house))
        if _NORMAL.search(_metrics(house)):
            break
        time.sleep(0.1)
    return time.monotonic() - began, made


def _metrics(house: House) -> str:
    request = urllib.request.Request(f"{house.url}/metrics", headers=bearer(ADMIN_KEY))
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def _flushed(bench: Bench, redis: RedisServer) -> Verdict:
    """FLUSHALL under a running proxy: what was used comes back from the ledger, what runs comes back with its renewal."""
    count = 50
    with houses(bench, Stage("redis", env={"REDIS_URL": redis.url}), generous_limits()) as (house, *_):
        bench.run(Target(house.port, HEADERS), Shape(4, 30.0, 0.0, body=chat_body(200), requests=count))
        before = _used_when(house, count)
        time.sleep(1.5)  # the records reach the ledger
        redis.command("FLUSHALL")
        began = time.monotonic()
        call(house)
        after = _used_when(house, before + 1, BACK_SECONDS)
        took = time.monotonic() - began
        time.sleep(11.0)  # the ledger is asked once more ten seconds later: nothing may be counted twice
        later = _used(house)
    text = f"{before} requests counted before, {after} after and one more call, {took:.1f} s after the flush; {later} later on"
    return Verdict("Redis flushed: seeded from the ledger", f"{count} calls", text, (before, after, later) == (50, 51, 51))


def _used_when(house: House, wanted: int, seconds: float = 10.0) -> int:
    """What is counted, once it is `wanted`, or when the time is up."""
    until = time.monotonic() + seconds
    while (used := _used(house)) != wanted and time.monotonic() < until:
        time.sleep(0.1)
    return used


def _used(house: House) -> int:
    limits = house.limits_of("bench-0")
    return int(next((limit["used"] for limit in limits if limit["resource"] == "requests"), -1))
