"""Sums as they are kept: one cell per quarter of an hour and series, made from newly stored records only.

A series is everything that sums can be grouped or filtered by, session aside; its id is a digest of it, so that no writer has
to ask for it. Quarters and not hours, because there are time zones at :30 and :45 whose days must be summed as well.
Durations are kept as whole microseconds and money as Decimal: adding in any order gives the same sum.

Pure. Not here: SQL (statements.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Context, Decimal, Inexact, localcontext
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from proxy.ledger.columns import AT, Columns, columns_of
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
ZERO = Decimal(0)
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


def bucket_of(started_at: str) -> int:
    """Unix time of the quarter of an hour that holds it."""
    return _bucket_of_minute(started_at[:16])


@lru_cache(maxsize=10_000)
def _bucket_of_minute(minute: str) -> int:
    seconds = int(datetime.fromisoformat(minute + "Z").timestamp())
    return seconds - seconds % BUCKET_SECONDS


def roll_up(records: Sequence[UsageRecord], sign: int = 1) -> dict[tuple[int, Dimensions], Cell]:
    """What these records, as they are stored, add to the roll-ups (with sign -1: what they take away)."""
    return roll_up_columns(columns_of(records), sign)


def roll_up_columns(columns: Columns, sign: int = 1) -> dict[tuple[int, Dimensions], Cell]:
    """The same of records by column: which records belong to which cell, then one sum per cell and column."""
    if not columns:
        return {}
    buckets = [_bucket_of_minute(text[:16]) for text in columns[AT["started_at"]]]  # type: ignore[index]
    members: dict[tuple[Any, ...], list[int]] = {}
    for at, key in enumerate(zip(buckets, *(columns[AT[name]] for name in DIMENSIONS), strict=True)):
        if key in members:
            members[key].append(at)
        else:
            members[key] = [at]
    counts = _counts(columns, sign)
    cells: dict[tuple[int, Dimensions], Cell] = {}
    with localcontext(EXACT):  # sum() adds in the context in force
        amounts = _amounts(columns, sign)
        for key, places in members.items():
            cell = cells[key[0], key[1:]] = Cell([0] * len(COUNTS), [ZERO] * len(MONEY_FIELDS))
            cell.counts[0] = sign * len(places)
            if len(places) == 1:
                place = places[0]
                for at, column in counts:
                    cell.counts[at] = column[place]
                for at, money in amounts:
                    cell.money[at] = money[place]
            else:
                pick = itemgetter(*places)
                for at, column in counts:
                    cell.counts[at] = sum(pick(column))
                for at, money in amounts:
                    cell.money[at] = sum(pick(money), ZERO)
    return cells


def _counts(columns: Columns, sign: int) -> list[tuple[int, list[int]]]:
    """Places in COUNTS and what stands there for each record, where any of them has something."""
    found: dict[str, list[int]] = {}
    for name in TOKEN_FIELDS:
        column: tuple[Any, ...] = columns[AT[name]]
        if any(column):
            found[name] = [count or 0 for count in column]
    sources, costs = columns[AT["usage_source"]], columns[AT["cost_usd"]]
    if "estimated" in sources:
        found["estimated"] = [int(source == "estimated") for source in sources]
    if None in costs:
        told = zip(costs, *(columns[AT[name]] for name in ("total_tokens", "input_tokens", "output_tokens")), strict=True)
        found["unpriced"] = [int(cost is None and bool(total or read or written)) for cost, total, read, written in told]
    durations: tuple[Any, ...] = columns[AT["duration_ms"]]
    first_bytes: tuple[Any, ...] = columns[AT["time_to_first_byte_ms"]]
    found["duration_us"] = [round(milliseconds * 1000) for milliseconds in durations]
    found["time_to_first_byte_us"] = [0 if milliseconds is None else round(milliseconds * 1000) for milliseconds in first_bytes]
    found["first_byte_count"] = [int(milliseconds is not None) for milliseconds in first_bytes]
    if sign < 0:
        found = {name: [-count for count in column] for name, column in found.items()}
    return [(COUNTS.index(name), column) for name, column in found.items()]


def _amounts(columns: Columns, sign: int) -> list[tuple[int, list[Decimal]]]:
    """The same of MONEY_FIELDS."""
    found = []
    for at, name in enumerate(MONEY_FIELDS):
        column: tuple[Any, ...] = columns[AT[name]]
        if any(column):
            amounts = [ZERO if text is None else Decimal(text) for text in column]
            found.append((at, amounts if sign > 0 else [amount.copy_negate() for amount in amounts]))
    return found


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
