"""Sums as they are kept: one cell per quarter of an hour and series, made from newly stored records only.

A series is everything that sums can be grouped or filtered by, session aside; its id is a digest of it, so that no writer has
to ask for it. Quarters and not hours, because there are time zones at :30 and :45 whose days must be summed as well.
Durations are kept as whole microseconds and money as Decimal: adding in any order gives the same sum.

Pure. Not here: SQL (statements.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal, Inexact
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import orjson

from proxy.ledger.rows import MONEY_FIELDS
from proxy.records import UsageRecord

BUCKET_SECONDS = 900
DIMENSIONS = ("user", "team", "key_id", "provider", "request_model", "response_model", "operation", "api", "outcome")
TOKEN_FIELDS = (
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "input_audio_tokens",
    "output_audio_tokens", "total_tokens",
)  # fmt: skip
COUNTS = ("requests", *TOKEN_FIELDS, "estimated", "unpriced", "duration_us", "time_to_first_byte_us", "first_byte_count")
EXACT = Context(prec=200, traps=[Inexact])
"""Sums of money are exact, or they fail."""
FAILED_OUTCOMES = ("upstream_error", "upstream_aborted", "proxy_error")


class Cell(NamedTuple):
    """What is added to one bucket of one series, in the order of COUNTS and MONEY_FIELDS."""

    counts: list[int]
    money: list[Decimal]


class SessionCell(NamedTuple):
    """What is added to one session of one user."""

    requests: int
    total_tokens: int
    cost_usd: Decimal
    first_at: str
    last_at: str


Dimensions = tuple[str | None, ...]


@lru_cache(maxsize=20_000)
def series_id(dimensions: Dimensions) -> bytes:
    """16 bytes that stand for these dimensions, in every process and release: never change how they are made."""
    return blake2b(orjson.dumps(dimensions), digest_size=16).digest()


def dimensions_of(record: UsageRecord) -> Dimensions:
    return (
        record.user, record.team, record.key_id, record.provider, record.request_model, record.response_model, record.operation,
        record.api, record.outcome,
    )  # fmt: skip


def bucket_of(started_at: str) -> int:
    """Unix time of the quarter of an hour that holds it."""
    seconds = int(datetime.fromisoformat(started_at).timestamp() // 1)
    return seconds - seconds % BUCKET_SECONDS


def is_unpriced(record: UsageRecord) -> bool:
    return record.cost_usd is None and bool(record.total_tokens or record.input_tokens or record.output_tokens)


def roll_up(records: Iterable[UsageRecord], sign: int = 1) -> dict[tuple[int, Dimensions], Cell]:
    """What these records add to the roll-ups (with sign -1: what they take away)."""
    cells: dict[tuple[int, Dimensions], Cell] = {}
    for record in records:
        key = (bucket_of(record.started_at), dimensions_of(record))
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell([0] * len(COUNTS), [Decimal(0)] * len(MONEY_FIELDS))
        first_byte_ms = record.time_to_first_byte_ms
        added = (
            1, record.input_tokens, record.cache_read_tokens, record.cache_write_tokens, record.output_tokens,
            record.reasoning_tokens, record.input_audio_tokens, record.output_audio_tokens, record.total_tokens,
            record.usage_source == "estimated", is_unpriced(record), round(record.duration_ms * 1000),
            None if first_byte_ms is None else round(first_byte_ms * 1000), first_byte_ms is not None,
        )  # fmt: skip
        counts = cell.counts
        for at, count in enumerate(added):
            if count:
                counts[at] += sign * count
        for at, text in enumerate((record.input_cost_usd, record.output_cost_usd, record.cost_usd, record.reported_cost_usd)):
            if text is not None:
                amount = Decimal(text)
                cell.money[at] = EXACT.add(cell.money[at], amount if sign > 0 else amount.copy_negate())
    return cells


def roll_up_sessions(records: Iterable[UsageRecord]) -> dict[tuple[str, str], SessionCell]:
    """What these records add to the sessions of their users, by (user, session), sorted."""
    cells: dict[tuple[str, str], SessionCell] = {}
    for record in records:
        if record.session is None:
            continue
        key = (record.user, record.session)
        cost = Decimal(record.cost_usd or 0)
        cell = cells.get(key, SessionCell(0, 0, Decimal(0), record.started_at, record.started_at))
        cells[key] = SessionCell(
            cell.requests + 1,
            cell.total_tokens + (record.total_tokens or 0),
            EXACT.add(cell.cost_usd, cost),
            min(cell.first_at, record.started_at),
            max(cell.last_at, record.started_at),
        )
    return dict(sorted(cells.items()))
