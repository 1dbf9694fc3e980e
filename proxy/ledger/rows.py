"""Between a record and its row: what a ledger can store, and the second bill that is none.

Rules of this file: a record is refused (RefusedRecord) only for what no column can hold: its id, its time, a count, an
amount of money. Characters that Postgres cannot store (NUL) are replaced, because a caller can put them into a request and
must not get it for free.

Pure. Not here: SQL (statements.py), sums (rollup.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import NoReturn

import orjson

from proxy.errors import RefusedRecord
from proxy.records import FIELDS, UsageRecord

MAX_COUNT = 10**15
"""Above this a count is garbage; nine thousand of these still add up in 64 bits."""
MAX_USD = Decimal(10) ** 12
MAX_DECIMALS = 60
FIRST_YEAR = 1970
MAX_ID_CHARACTERS = 200

JSON_FIELDS = ("tags", "usage_details", "timings")
MONEY_FIELDS = ("input_cost_usd", "output_cost_usd", "cost_usd", "reported_cost_usd")
COUNT_FIELDS = (
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "input_audio_tokens",
    "output_audio_tokens", "total_tokens", "retry_count",
)  # fmt: skip
FLOAT_FIELDS = ("duration_ms", "time_to_first_byte_ms", "overhead_ms")
REQUIRED_TEXT = ("user", "provider", "api", "method", "path", "outcome", "usage_source")
TEXT_FIELDS = tuple(
    name
    for name in FIELDS
    if name not in {"id", "started_at", "streamed", "status", *JSON_FIELDS, *MONEY_FIELDS, *COUNT_FIELDS, *FLOAT_FIELDS}
)
BILLED_FIELDS = (*COUNT_FIELDS[:-1], *MONEY_FIELDS, "usage_details")
"""What a second record with the same billing key has not."""

PLAIN_MONEY = re.compile(r"[0-9]{1,11}(?:\.[0-9]{1,60})?", re.ASCII)
_TEXT_AT = tuple(FIELDS.index(name) for name in TEXT_FIELDS)
_REQUIRED_AT = frozenset(FIELDS.index(name) for name in REQUIRED_TEXT)
_COUNTS_AT = tuple(FIELDS.index(name) for name in COUNT_FIELDS)
_FLOATS_AT = tuple(FIELDS.index(name) for name in FLOAT_FIELDS)
_MONEY_AT = tuple(FIELDS.index(name) for name in MONEY_FIELDS)
_JSON_AT = tuple(FIELDS.index(name) for name in JSON_FIELDS)
_STARTED_AT = FIELDS.index("started_at")


def time_text(at: datetime) -> str:
    """`2026-11-21T23:49:00.000000Z`: sorts as it passes."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def storable(record: UsageRecord) -> UsageRecord:
    """The record with its time, money and texts in the one form they are stored in.

    Raises:
        RefusedRecord: a field holds what no column can.
    """
    values: list[object] = list(record)
    if not isinstance(record.id, str) or not 0 < len(record.id) <= MAX_ID_CHARACTERS or "\0" in record.id:
        _refuse("id", record.id)
    values[_STARTED_AT] = _time(record.started_at)
    if type(record.status) is not int or not 0 <= record.status < 10_000:
        _refuse("status", record.status)
    if type(record.streamed) is not bool:
        _refuse("streamed", record.streamed)
    for at in _TEXT_AT:
        text = values[at]
        if text is None:
            if at in _REQUIRED_AT:
                _refuse(FIELDS[at], text)
        elif not isinstance(text, str):
            _refuse(FIELDS[at], text)
        elif "\0" in text:
            values[at] = text.replace("\0", "\ufffd")
    for at in _COUNTS_AT:
        count = values[at]
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_COUNT):
            _refuse(FIELDS[at], count)
    for at in _FLOATS_AT:
        amount = values[at]
        if amount is None:
            if at == _FLOATS_AT[0]:
                _refuse(FIELDS[at], amount)
        elif not isinstance(amount, int | float) or not 0 <= amount < MAX_COUNT:  # neither NaN nor infinity is within
            _refuse(FIELDS[at], amount)
    for at in _MONEY_AT:
        if values[at] is not None:
            values[at] = _money(FIELDS[at], values[at])
    for at in _JSON_AT:
        if values[at] is not None and not isinstance(values[at], dict):
            _refuse(FIELDS[at], values[at])
    return UsageRecord._make(values)


def json_text(value: object) -> str:
    """A JSON column's text, without the one escape that Postgres does not take.

    Raises:
        RefusedRecord: it is no JSON (an integer beyond 64 bits, a lone surrogate).
    """
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        _refuse("JSON", value)
    return orjson.dumps(_without_nul(value)).decode() if "\\u0000" in text else text


def bills(record: UsageRecord) -> bool:
    """Whether it lays claim to its billing key: a poll that found no usage yet does not."""
    return record.billing_key is not None and any(getattr(record, name) is not None for name in BILLED_FIELDS)


def claims(records: Sequence[UsageRecord]) -> dict[str, str]:
    """Of each billing key, the record of this batch that may claim it (the earliest), in the order of keys."""
    found: dict[str, str] = {}
    for record in sorted((record for record in records if bills(record)), key=lambda each: (each.started_at, each.id)):
        assert record.billing_key is not None
        found.setdefault(record.billing_key, record.id)
    return dict(sorted(found.items()))


def without_second_bills(records: Sequence[UsageRecord], owners: Mapping[str, str]) -> list[UsageRecord]:
    """The records, those whose bill another record owns without tokens and costs.

    Args:
        owners: billing key → id of the record that claimed it.
    """
    return [_unbilled(record, owners[record.billing_key]) if _is_second(record, owners) else record for record in records]  # type: ignore[index]


def _is_second(record: UsageRecord, owners: Mapping[str, str]) -> bool:
    return record.billing_key is not None and owners.get(record.billing_key, record.id) != record.id


def _unbilled(record: UsageRecord, owner: str) -> UsageRecord:
    return record._replace(price_source=f"billed as {owner}", **dict.fromkeys(BILLED_FIELDS))  # type: ignore[arg-type]


def _time(text: object) -> str:
    try:
        at = datetime.fromisoformat(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        _refuse("started_at", text)
    if at.tzinfo is None or at.year < FIRST_YEAR:
        _refuse("started_at", text)
    try:
        return time_text(at)
    except OverflowError:  # the last hours of the year 9999, west of Greenwich
        _refuse("started_at", text)


def _money(name: str, text: object) -> str:
    if isinstance(text, str) and PLAIN_MONEY.fullmatch(text):
        return text
    try:
        amount = Decimal(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, InvalidOperation):
        _refuse(name, text)
    if not isinstance(text, str | int | Decimal) or not amount.is_finite():
        _refuse(name, text)
    exponent = amount.as_tuple().exponent
    if abs(amount) >= MAX_USD or not isinstance(exponent, int) or exponent < -MAX_DECIMALS:
        _refuse(name, text)
    return f"{amount:f}"


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") if "\0" in value else value
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nul(part) for part in value]
    return value


def _refuse(name: str, value: object) -> NoReturn:
    raise RefusedRecord(f"{name} cannot be stored: {str(value)[:100]!r}")
