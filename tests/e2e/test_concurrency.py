"""Two hundred calls at once at a limit with room for five: exactly five pass, whatever the limit counts, however many workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Crew
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key
from tests.waiting import until

CALLS, ROOM = 200, 5
OUTPUT_CAP = 1_000
INPUT_BOUND = 200
"""More than the request can be in tokens, by any bound: its body has fewer bytes."""
PATIENCE_SECONDS = 120.0

BODY: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": OUTPUT_CAP, "messages": [{"role": "user", "content": "Weigh this."}]}
TOKENS = f"{{tokens: {{per_day: {ROOM * (OUTPUT_CAP + INPUT_BOUND)}, mode: strict}}}}"
USERS = {
    "requests": f"{{requests: {{per_day: {ROOM}}}}}",
    "tokens": TOKENS,
    "stream-tokens": TOKENS,
    "output": f"{{output_tokens: {{per_day: {ROOM * OUTPUT_CAP + OUTPUT_CAP // 2}, mode: strict}}}}",
    "slots": f"{{concurrent_requests: {ROOM}}}",
    # each call's worst case: 1,000 output tokens at $10 and at most 200 input tokens at $1 per million
    "money": f"{{cost_usd: {{per_day: {ROOM * (0.010 + 0.0002):.4f}, mode: strict}}}}",
}
PRICES = "prices:\n  openai:\n    gpt-4o-mini: {input_mtok: 1, output_mtok: 10}\n"


@pytest.fixture(scope="module")
def narrow_house(provider: FakeProvider, crew: Crew) -> Iterator[House]:
    files = {"providers.yaml": providers_yaml(provider.url), "limits.yaml": limits_yaml(USERS), "prices.yaml": PRICES}
    with House(files, crew.workers, crew.env) as started:
        yield started


@pytest.mark.parametrize(
    ("user", "is_stream"), [*((user, user == "stream-tokens") for user in USERS), ("slots", True)], ids=lambda value: str(value)
)
async def test_exactly_five_pass(narrow_house: House, provider: FakeProvider, call: str, user: str, is_stream: bool) -> None:
    headers = {
        "authorization": f"Bearer {virtual_key(user)}",
        "x-demo": f"call={call}, words=10",
        "x-weighbridge-session": call,
    }
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(narrow_house.url, headers=headers, connector=connector) as client:
        refused: list[int] = []

        async def one() -> int:
            async with client.post("/openai/v1/chat/completions", json=BODY | {"stream": is_stream}) as answer:
                await answer.read()
                if answer.status != 200:
                    refused.append(answer.status)
                return answer.status

        with provider.holding(call):  # until all others are refused: no admitted one makes room for another
            calls = [asyncio.ensure_future(one()) for _ in range(CALLS)]
            await until(
                lambda: len(refused) >= CALLS - ROOM or any(one.done() and one.exception() for one in calls), PATIENCE_SECONDS
            )
        statuses = Counter(await asyncio.gather(*calls))
    assert statuses == {200: ROOM, 429: CALLS - ROOM}
    assert len(provider.book(call)) == ROOM, "refused calls reached the provider"
    records = await asyncio.to_thread(narrow_house.records_when, CALLS, session=call)
    assert Counter(record["outcome"] for record in records) == {"ok": ROOM, "denied": CALLS - ROOM}
    await asyncio.to_thread(narrow_house.nothing_held, user)
