"""SIGTERM under load: open streams finish, what they used is in the ledger, the exit code is 0."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.bench.load import CHAT, Bench, chat_body
from tests.bench.proofs.verdict import Stage, Verdict, bearer, generous_limits, houses, ids_in_ledger
from tests.e2e.house import House


def prove(bench: Bench, stage: Stage, *, streams: int, rounds: int) -> list[Verdict]:
    """`rounds` stops with so many streams open, each of two seconds."""
    bench.plain()
    bench.set(chunks=20, delay_us=100_000)
    finished: list[str] = []
    cut = 0
    with houses(bench, stage, generous_limits()) as (house, *_):
        for _ in range(rounds):
            ids, broken = asyncio.run(_stop_while_streaming(house, streams))
            finished += ids
            cut += broken
            house.start()
        there = ids_in_ledger(house)
    bench.plain()
    lost = [each for each in finished if there[each] != 1]
    text = f"{len(finished)} finished whole, {cut} cut; not in the ledger once: {len(lost)}; exit code 0 each time"
    is_kept = not cut and not lost and len(finished) == streams * rounds
    return [Verdict("SIGTERM lets streams finish", f"{stage.name}, {rounds} × {streams} open streams", text, is_kept)]


async def _stop_while_streaming(house: House, streams: int) -> tuple[list[str], int]:
    """Ids of the streams that came whole, and how many did not. `House.stop` demands exit code 0 and no process left."""
    all_open = asyncio.Event()
    count = 0
    headers = {**bearer(), "content-type": "application/json"}
    async with aiohttp.ClientSession(house.url, headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def one() -> str | None:
            nonlocal count
            async with client.post(CHAT, data=chat_body(200, is_stream=True)) as answer:
                await answer.content.readuntil(b"\n\n")
                count += 1
                if count == streams:
                    all_open.set()
                try:
                    rest = await answer.read()
                except aiohttp.ClientError:
                    return None
                return answer.headers["x-weighbridge-request-id"] if b"[DONE]" in rest else None

        running = [asyncio.create_task(one()) for _ in range(streams)]
        await asyncio.wait_for(all_open.wait(), 30)
        stopping = asyncio.create_task(asyncio.to_thread(house.stop))
        ended = await asyncio.gather(*running)
        await stopping
    whole = [each for each in ended if each is not None]
    return whole, len(ended) - len(whole)
