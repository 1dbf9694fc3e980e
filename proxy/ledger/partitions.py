"""In which partition of Postgres a record is, and which partitions there must be. Pure.

The partition follows from the id alone (its UUIDv7 time), so that one id cannot be stored twice in two months. An id that is
no UUIDv7, or was minted more than a day away from the record's time (usage tracked from outside, perhaps long after), goes
to the partition of foreign ids, which is told by FOREIGN_AT.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

FOREIGN_AT = datetime(1970, 1, 1, tzinfo=UTC)
NEARNESS = timedelta(days=1)
"""How far started_at may be from the time in the id: searches by time look this much further."""
FIRST_MONTH = datetime(2020, 1, 1, tzinfo=UTC)
MONTHS_AHEAD = 3
LAST_MILLISECOND = 253_402_300_800_000
"""The year 10000, which no column can hold."""
_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_NAME = re.compile(r"usage_records_(\d{4})_(\d{2})")


def time_of_id(record_id: str) -> datetime | None:
    """When a UUIDv7 was minted; None for any other id."""
    found = _UUID7.fullmatch(record_id)
    if found is None:
        return None
    milliseconds = int(found[1] + found[2], 16)
    return FOREIGN_AT + timedelta(milliseconds=milliseconds) if milliseconds < LAST_MILLISECOND else None


def minted_at(record_id: str, started_at: datetime) -> datetime:
    """The partition column of a record."""
    minted = time_of_id(record_id)
    return FOREIGN_AT if minted is None or abs(minted - started_at) > NEARNESS else minted


def shifted(at: datetime, by: timedelta) -> datetime:
    """`at + by`, as far as there are dates."""
    try:
        return at + by
    except OverflowError:
        return at


def month_of(at: datetime) -> datetime:
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def next_month(month: datetime) -> datetime:
    return month_of(month + timedelta(days=32))


def months_ahead(now: datetime) -> list[datetime]:
    """This month and those that must be there before they begin."""
    months = [month_of(now)]
    while len(months) <= MONTHS_AHEAD:
        months.append(next_month(months[-1]))
    return months


def has_own_partition(month: datetime, now: datetime) -> bool:
    """Whether that month deserves a partition: a clock gone astray must not make thousands of them."""
    return FIRST_MONTH <= month <= months_ahead(now)[-1]


def partition_name(month: datetime) -> str:
    return f"usage_records_{month:%Y_%m}"


def partition_month(name: str) -> datetime | None:
    """The month of a partition; None for the default and the foreign one."""
    found = _NAME.fullmatch(name)
    return None if found is None else datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)
