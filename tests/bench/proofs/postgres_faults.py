"""Postgres away, silent, stalled, half-open, slow, reset, refusing one record: calls go on at the same pace, nothing is lost.

Pace is told by a ratio within one run: the median of calls during the fault over that of the calls just before.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from contextlib import ExitStack

import asyncpg

from tests.bench.load import CHAT, Bench, chat_body
from tests.bench.proofs.paced import RATE, load, play
from tests.bench.proofs.verdict import Stage, Verdict, bearer, generous_limits, houses
from tests.e2e.house import House
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.servers import postgres_server

FAULTS = ("away", "silent", "stalled", "half-open", "slow", "byte by byte", "reset")
REFUSING = "ALTER TABLE usage_records ADD CONSTRAINT refusing CHECK (session IS DISTINCT FROM 'refused') NOT VALID"
SLOWER = 1.5
"""Most that a call may take longer during a fault; a busy machine alone makes 1.2 of it."""


def prove(bench: Bench, *, away_seconds: float, seconds: float) -> list[Verdict]:
    """One house, one fault after the other; `away_seconds` for the first, `seconds` for the others."""
    bench.plain()
    with postgres_server() as postgres:
        return asyncio.run(_prove(bench, postgres.port, postgres.url, away_seconds, seconds))


async def _prove(bench: Bench, port: int, url: str, away_seconds: float, seconds: float) -> list[Verdict]:
    found: list[Verdict] = []
    async with fault_proxy(port) as between:
        stage = Stage("postgres", env={"DATABASE_URL": url.replace(f":{port}/", f":{between.port}/")})
        with ExitStack() as stack:
            house = (await asyncio.to_thread(stack.enter_context, houses(bench, stage, generous_limits())))[0]
            begun = bench.stats()["answers"]
            for what in FAULTS:
                lasts = away_seconds if what == "away" else seconds
                found.append(await _fault(bench, house, between, url, what, lasts, begun))
                print(f"    {found[-1].promise}: {found[-1].found}", flush=True)
            found.append(await _refused(bench, house, url, seconds, begun))
            await asyncio.to_thread(stack.close)
    return found


async def _fault(bench: Bench, house: House, between: FaultProxy, url: str, what: str, seconds: float, begun: int) -> Verdict:
    undisturbed = await load(bench, house, min(seconds, 20.0))
    playing = asyncio.create_task(play(between, what))
    disturbed = await load(bench, house, seconds)
    playing.cancel()
    between.mend()
    back = await load(bench, house, 2.0)
    rows, ids, answers, drained = await _drained(bench, url, begun)
    ratio = disturbed.p50 / undisturbed.p50
    failed = undisturbed.failed + disturbed.failed + back.failed
    text = (
        f"{answers} answers so far, {rows} rows, {ids} ids, {failed} failed; p50 during it / before = {ratio:.2f}; "
        f"drained {drained:.1f} s after the last call"
    )
    is_kept = rows == ids == answers and not failed and ratio < SLOWER
    return Verdict(f"Postgres {what}: nothing lost, calls not slower", f"{RATE:g} req/s, {seconds:g} s of it", text, is_kept)


async def _refused(bench: Bench, house: House, url: str, seconds: float, begun: int) -> Verdict:
    """A record that the database will never take is set aside; all others of its batch go in."""
    connection = await asyncpg.connect(url)
    await connection.execute(REFUSING)
    await connection.close()
    running = asyncio.create_task(load(bench, house, seconds))
    await asyncio.sleep(seconds / 2)
    await asyncio.to_thread(_one_to_refuse, house)
    failed = (await running).failed
    rows, ids, answers, _ = await _drained(bench, url, begun + 1)
    aside = sum(len(path.read_text().splitlines()) for path in (house.data / "spool").glob("*.poison"))
    text = f"{answers + 1} answers, {rows} rows, {ids} ids, {aside} set aside with its reason; {failed} failed"
    is_kept = rows == ids == answers and aside == 1 and not failed
    return Verdict("Postgres refuses one record: the others go in", f"{RATE:g} req/s, {seconds:g} s", text, is_kept)


def _one_to_refuse(house: House) -> None:
    headers = {**bearer(), "content-type": "application/json", "x-weighbridge-session": "refused"}
    with urllib.request.urlopen(urllib.request.Request(house.url + CHAT, chat_body(200), headers), timeout=30) as answer:
        answer.read()


async def _drained(bench: Bench, url: str, begun: int, seconds: float = 120.0) -> tuple[int, int, int, float]:
    """Rows, different ids, the provider's answers, and the seconds until there were enough rows, or until the time was up."""
    answers = bench.stats()["answers"] - begun
    began = time.monotonic()
    connection = await asyncpg.connect(url)
    try:
        while True:
            rows, ids = await connection.fetchrow("SELECT count(*), count(DISTINCT id) FROM usage_records")
            took = time.monotonic() - began
            if rows >= answers or took > seconds:
                return rows, ids, answers, took
            await asyncio.sleep(0.3)
    finally:
        await connection.close()
