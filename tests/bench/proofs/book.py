"""The ledger against the provider's own book: tokens and dollars of very many calls, to the last digit."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from tests.bench.load import Bench, Shape, Target, chat_body
from tests.bench.proofs.verdict import Stage, Verdict, generous_limits, houses
from tests.bench.subjects import KEY
from tests.e2e.house import House

RATES = {"input": Decimal("0.15"), "cached": Decimal("0.075"), "output": Decimal("0.60")}
"""USD per million tokens, as in verdict.PRICES."""
HEADERS = (f"Authorization: Bearer {KEY}",)


def prove(bench: Bench, stage: Stage, *, calls: int) -> list[Verdict]:
    """In a house of its own."""
    with houses(bench, stage, generous_limits()) as (house, *_):
        return [compare(bench, house, stage.name, calls=calls)]


def compare(bench: Bench, house: House, name: str, *, calls: int) -> Verdict:
    """Nine of ten calls whole, one of ten streamed; every answer reports other numbers. Looks at what these calls added."""
    bench.plain()
    bench.set(vary=1, chunks=5)
    before, old = bench.stats(), _totals_when(house, 0, 0)
    target = Target(house.port, HEADERS)
    streams = calls // 10
    whole = bench.run(target, Shape(64, 36_000.0, 0.0, body=chat_body(400), requests=calls - streams))
    body = chat_body(400, is_stream=True)
    streamed = bench.run(target, Shape(64, 36_000.0, 0.0, is_stream=True, events=5, body=body, requests=streams))
    after = bench.stats()
    answers = after["answers"] - before["answers"]
    new = _totals_when(house, old["requests"] + answers, 60 + calls / 1_000)
    bench.plain()
    book = {name: after["book"][name] - before["book"][name] for name in after["book"]}
    dollars = (
        (book["input_tokens"] - book["cache_read_tokens"]) * RATES["input"]
        + book["cache_read_tokens"] * RATES["cached"]
        + book["output_tokens"] * RATES["output"]
    ) / 1_000_000
    found = {field: new[field] - old[field] for field in (*book, "requests")}
    cost = Decimal(new["cost_usd"]) - Decimal(old["cost_usd"])
    same = {field: found[field] == count for field, count in book.items()}
    is_kept = (
        all(same.values()) and cost == dollars and found["requests"] == answers == calls and not whole.failed + streamed.failed
    )
    how = f"{name}, {calls:,} calls"
    wrong = ", ".join(f"{field} {found[field]} against {book[field]}" for field, is_same in same.items() if not is_same)
    text = f"{found['requests']:,} records of {answers:,} answers; ${cost} in the ledger, ${dollars} in the book"
    return Verdict("ledger equals the provider's book", how, text + (f"; {wrong}" if wrong else ", tokens equal"), is_kept)


def _totals_when(house: House, records: int, seconds: float) -> dict[str, Any]:
    """The ledger's totals once it has so many records, or when the time is up."""
    until = time.monotonic() + seconds
    while True:
        totals: dict[str, Any] = house.api("usage/summary?range=year")["totals"]
        if totals["requests"] >= records or time.monotonic() > until:
            return totals
        time.sleep(0.5)
