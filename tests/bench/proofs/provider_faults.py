"""A provider that is cut off, silent, stalled, half-open, slow or reset amid answers: every call ends and is recorded once.

Half of the clients stream. What a client got whole is in the ledger as a good call; what was cut is there as what it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from tests.bench.load import CHAT, Bench, chat_body
from tests.bench.proofs.paced import play
from tests.bench.proofs.verdict import EMBEDDED, Verdict, bearer, generous_limits, houses
from tests.e2e.house import House
from tests.fault_proxy import FAULTS, fault_proxy

CLIENTS = 20
SILENCE_SECONDS = 2
"""What the proxy waits for a provider's first and next byte here (the default is minutes: models think)."""
ENDS_SECONDS = 10.0
"""Every call ends in less: connecting, first byte and silence, and what a busy machine adds."""


@dataclass
class Heard:
    """What the clients of one fault got."""

    whole: list[str] = field(default_factory=list)
    """Ids of answers read to their end."""
    cut: int = 0
    """Answers that began and were visibly cut."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Of answers that were not 200."""
    longest: float = 0.0

    @property
    def calls(self) -> int:
        return len(self.whole) + self.cut + self.statuses.total()


def prove(bench: Bench, *, seconds: float) -> list[Verdict]:
    """One house, one fault after the other, each in the middle of `seconds` of load."""
    bench.plain()
    bench.set(chunks=10, delay_us=20_000)
    found = asyncio.run(_prove(bench, seconds))
    bench.plain()
    return found


async def _prove(bench: Bench, seconds: float) -> list[Verdict]:
    found = []
    async with fault_proxy(bench.port) as between:
        providers = (
            f"providers:\n  openai: {{base_url: http://127.0.0.1:{between.port}, api: openai, api_key: sk-upstream, "
            f"first_byte_timeout_seconds: {SILENCE_SECONDS}, between_bytes_timeout_seconds: {SILENCE_SECONDS}}}\n"
        )
        stage = houses(bench, EMBEDDED, generous_limits(), providers=providers)
        house = (await asyncio.to_thread(stage.__enter__))[0]
        try:
            for what in FAULTS:
                is_over = asyncio.Event()
                heard = Heard()
                clients = [asyncio.create_task(_client(house, what, number % 2 == 0, heard, is_over)) for number in range(CLIENTS)]
                await asyncio.sleep(seconds / 3)
                playing = asyncio.create_task(play(between, what))
                await asyncio.sleep(seconds / 3)
                playing.cancel()
                between.mend()
                await asyncio.sleep(seconds / 3)
                is_over.set()
                await asyncio.gather(*clients)
                found.append(await asyncio.to_thread(_judge, house, what, seconds, heard))
                print(f"    {found[-1].promise}: {found[-1].found}", flush=True)
        finally:
            await asyncio.to_thread(stage.__exit__, None, None, None)
    return found


async def _client(house: House, what: str, is_stream: bool, heard: Heard, is_over: asyncio.Event) -> None:
    headers = {**bearer(), "content-type": "application/json", "x-weighbridge-session": what.replace(" ", "-")}
    body = chat_body(400, is_stream=is_stream)
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(house.url, headers=headers, connector=aiohttp.TCPConnector(limit=1)) as client:
        while not is_over.is_set():
            began = loop.time()
            try:
                async with client.post(CHAT, data=body) as answer:
                    text = await answer.read()
                    if answer.status != 200:
                        heard.statuses[answer.status] += 1
                    elif is_stream and b"[DONE]" not in text:
                        heard.cut += 1
                    else:
                        heard.whole.append(answer.headers["x-weighbridge-request-id"])
            except aiohttp.ClientError:
                heard.cut += 1
            heard.longest = max(heard.longest, loop.time() - began)


def _judge(house: House, what: str, seconds: float, heard: Heard) -> Verdict:
    """One record a call, good where the client got it whole; nothing stays held."""
    records = house.records_when(heard.calls, seconds=30.0, session=what.replace(" ", "-"))
    good = {record["id"] for record in records if record["outcome"] == "ok"}
    lost = [each for each in heard.whole if each not in good]
    house.nothing_held("bench-0")
    others = ", ".join(f"{count} × {status}" for status, count in sorted(heard.statuses.items())) or "none refused"
    text = (
        f"{len(heard.whole)} whole, {heard.cut} cut, {others}; longest {heard.longest:.1f} s; {len(records)} records of "
        f"{heard.calls} calls, {len(lost)} missing"
    )
    is_kept = len(records) == heard.calls and not lost and heard.longest < ENDS_SECONDS and set(heard.statuses) <= {502, 504}
    return Verdict(f"Provider {what}: every call ends and is recorded once", f"{CLIENTS} clients, {seconds:g} s", text, is_kept)
