"""Limits that hold: endless demand against a small budget, in many rounds; nothing past the limit, nearly all of it spent.

The provider reports exact numbers (19 input tokens, OUTPUT output tokens an answer), so a reader can check what must come out.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import aiohttp

from tests.bench.load import CHAT, Bench, chat_body
from tests.bench.proofs.verdict import Stage, Verdict, bearer, exported, houses
from tests.bench.subjects import bench_key, key_line
from tests.e2e.house import House

INPUT, OUTPUT = 19, 2_000
CALLS = 20
"""Whole calls that a budget has room for; the rest of it is what the last one's worst case needs and does not use."""
SLACK_TOKENS = 600
"""Upper bound of the request's input tokens beyond the real ones: its body has fewer bytes than that."""
QUIET_SECONDS = 0.5
PAUSE_SECONDS = 0.3
"""Before a refused client asks again: 200 clients are 700 requests a second all the same."""
INPUT_USD, OUTPUT_USD = Decimal("1"), Decimal("10")
"""Per million tokens."""
PRICES = f"prices:\n  openai:\n    gpt-4o-mini: {{input_mtok: {INPUT_USD}, output_mtok: {OUTPUT_USD}}}\n"


def _cost(input_tokens: int, output_tokens: int) -> Decimal:
    return (input_tokens * INPUT_USD + output_tokens * OUTPUT_USD) / 1_000_000


@dataclass(frozen=True)
class Kind:
    """A limit, what one call uses of it, and how to find that in a record."""

    name: str
    yaml: str
    amount: Decimal
    is_slots: bool = False

    def used(self, record: dict[str, object]) -> Decimal:
        if self.name.startswith("tokens"):
            return Decimal(str(record["total_tokens"]))
        return Decimal(str(record["cost_usd"])) if self.name.startswith("cost") else Decimal(1)


def budgets() -> list[Kind]:
    """What is counted up, by day and by month."""
    tokens = CALLS * (INPUT + OUTPUT) + SLACK_TOKENS
    money = CALLS * _cost(INPUT, OUTPUT) + _cost(SLACK_TOKENS, 0)
    return [
        Kind("tokens per day", f"tokens: {{per_day: {tokens}}}", Decimal(tokens)),
        Kind("tokens per month", f"tokens: {{per_month: {tokens}}}", Decimal(tokens)),
        Kind("cost per day", f"cost_usd: {{per_day: {money}}}", money),
        Kind("cost per month", f"cost_usd: {{per_month: {money}}}", money),
        Kind("requests per day", f"requests: {{per_day: {CALLS}}}", Decimal(CALLS)),
    ]


SLOTS = Kind("concurrent requests", f"concurrent_requests: {CALLS}", Decimal(CALLS), is_slots=True)


def _limits(of: Sequence[Kind]) -> str:
    tiers = "".join(f"  kind{number}: {{{kind.yaml}}}\n" for number, kind in enumerate(of))
    keys = "".join(key_line(number, f", tier: kind{number}, may_speak_for_others: true") for number in range(len(of)))
    return f"mode: strict\ntiers:\n{tiers}keys:\n{keys}"


class Crowd:
    """Clients that ask until there has been nothing to get for a while."""

    def __init__(self, session: aiohttp.ClientSession, targets: Sequence[str], key: str, user: str) -> None:
        self._session = session
        self._turns = itertools.cycle(targets)
        self._headers = {**bearer(key), "x-weighbridge-user": user, "content-type": "application/json"}
        self._body = chat_body(200, max_tokens=OUTPUT)
        self._last_success = time.monotonic()
        self.statuses: Counter[int] = Counter()

    async def run(self, clients: int, most_seconds: float) -> None:
        self._last_success = time.monotonic()
        until = time.monotonic() + most_seconds
        await asyncio.gather(*(self._ask(next(self._turns), until) for _ in range(clients)))

    async def _ask(self, target: str, until: float) -> None:
        while time.monotonic() < until:
            async with self._session.post(target + CHAT, data=self._body, headers=self._headers) as answer:
                await answer.read()
                self.statuses[answer.status] += 1
                if answer.status == 200:
                    self._last_success = time.monotonic()
                    continue
            if time.monotonic() - self._last_success > QUIET_SECONDS:
                return
            await asyncio.sleep(PAUSE_SECONDS)


def prove(bench: Bench, stage: Stage, kinds: Sequence[Kind], *, clients: int, rounds: int) -> list[Verdict]:
    """Each kind of limit, `rounds` times, each time with a user of its own."""
    bench.plain()
    bench.set(latency_us=5_000, tokens=OUTPUT)
    with houses(bench, stage, _limits(kinds), prices=PRICES) as replicas:
        found = asyncio.run(_prove(bench, stage, replicas, kinds, clients, rounds))
    bench.plain()
    return found


async def _prove(
    bench: Bench, stage: Stage, replicas: Sequence[House], kinds: Sequence[Kind], clients: int, rounds: int
) -> list[Verdict]:
    how = f"{stage.name}, {clients} clients, {rounds} rounds"
    found: list[Verdict] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for number, kind in enumerate(kinds):
            statuses: Counter[int] = Counter()
            most_busy: list[int] = []
            for turn in range(rounds):
                # slots: answers that last, so that all slots are taken at once even on a busy machine
                bench.set(reset=1, latency_us=500_000 if kind.is_slots else 5_000)
                crowd = Crowd(session, [house.url for house in replicas], bench_key(number), f"kind{number}-{turn}")
                await crowd.run(clients, 1.5 if kind.is_slots else 30.0)
                statuses += crowd.statuses
                most_busy.append(bench.stats()["most_busy"])
            others = {status: count for status, count in statuses.items() if status not in (200, 429)}
            if kind.is_slots:
                text = f"most at once {max(most_busy)} of {CALLS}, in each round at least {min(most_busy)}"
                kept = max(most_busy) == min(most_busy) == CALLS and not others
                found.append(Verdict(f"never over: {kind.name}", how, text + _strange(others), kept))
            else:
                judged = await asyncio.to_thread(_judge, kind, how, rounds, replicas, statuses[200], others, f"kind{number}-")
                found.append(judged)
            print(f"    {found[-1].promise}: {found[-1].found}", flush=True)
    return found


def _strange(others: dict[int, int]) -> str:
    return f", other answers {others}" if others else ""


def _judge(
    kind: Kind, how: str, rounds: int, replicas: Sequence[House], answered: int, others: dict[int, int], prefix: str
) -> Verdict:
    """What the ledgers say that each user used."""
    used: dict[str, Decimal] = {}
    modes: Counter[str] = Counter()
    until = time.monotonic() + 30
    while True:
        used.clear()
        records = 0
        modes.clear()
        seen = {str(record["id"]): record for house in replicas for record in exported(house, outcome="ok")}
        for record in seen.values():
            user = str(record["user"])
            if user.startswith(prefix):
                records += 1
                details = record["usage_details"]
                if isinstance(details, dict) and "limits_mode" in details:
                    modes[str(details["limits_mode"])] += 1
                used[user] = used.get(user, Decimal(0)) + kind.used(record)
        if records >= answered or time.monotonic() > until:
            break
        time.sleep(0.5)
    over = max(max(used.values(), default=Decimal(0)) - kind.amount, Decimal(0))
    least = min(used.values(), default=Decimal(0)) / kind.amount
    is_kept = records == answered and over == 0 and least >= Decimal("0.95") and len(used) == rounds and not others
    strange = _strange(others)
    strange += f", admitted while the store did not answer in time: {dict(modes)}" if modes else ""
    text = f"over by {over} of {kind.amount}; least spent {least:.1%}; {answered} answers, {records} records{strange}"
    return Verdict(f"never over: {kind.name}", how, text, is_kept)
