"""A batch as the text of a COPY: what Postgres reads faster than we could say it in its binary form.

Built by column: numbers through one `orjson.dumps` a column, texts as they are, money and times as the decimal and ISO texts they
are already. 2.7 µs a record; asyncpg's binary rows cost 21 (a Decimal, a datetime and 47 calls each).

Rules of this file: the finished text must hold exactly the separators that were put in. Where a value brought one of its own (a
tab in a label), every text of the batch is escaped.

Pure. Not here: the statement and the connection (postgres_ledger.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter

import orjson

from proxy.ledger.columns import AT, NONE, Columns, are_uuid7, json_texts
from proxy.ledger.partitions import FOREIGN_AT, LAST_MILLISECOND, NEARNESS, minted_at
from proxy.ledger.rows import COUNT_FIELDS, FLOAT_FIELDS, JSON_FIELDS
from proxy.records import FIELDS

NULL = "\\N"
COPY_COLUMNS = (*FIELDS, "minted_at")
FOREIGN_TEXT = FOREIGN_AT.isoformat()
_NUMBERS = frozenset((*COUNT_FIELDS, *FLOAT_FIELDS, "status", "streamed"))
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_text(columns: Columns, minted: Sequence[str]) -> bytes:
    """The rows of COPY_COLUMNS, in COPY's text format.

    Args:
        columns: records as they are stored; at least one.
        minted: of `minted_texts`.

    Raises:
        UnicodeError: a text that is none (a lone surrogate).
    """
    texts: list[list[str]] = []
    null_count = 0
    for name, column in zip(FIELDS, columns, strict=True):
        found, nulls = _texts(name, column)
        texts.append(found)
        null_count += nulls
    texts.append(list(minted))
    text = _joined(texts)
    if not _has_only_our_marks(text, len(minted), len(texts), null_count):
        text = _joined([column if name in _NUMBERS else _escaped(column) for name, column in zip(COPY_COLUMNS, texts, strict=True)])
    return text.encode()


def minted_texts(columns: Columns) -> list[str]:
    """The partition column of each record (see partitions.py), as text: 0.6 µs a record, 1.5 by way of a datetime."""
    if not columns:
        return []
    ids: Sequence[str] = columns[AT["id"]]  # type: ignore[assignment]
    started: Sequence[str] = columns[AT["started_at"]]  # type: ignore[assignment]
    if are_uuid7(ids):
        milliseconds = [int(key[:8] + key[9:13], 16) for key in ids]
        first, last = min(milliseconds), max(milliseconds)
        if last < LAST_MILLISECOND:
            # Instants as text sort as they pass: two of them bound all.
            is_near_first = datetime.fromisoformat(max(started)) - _at(first) <= NEARNESS
            if is_near_first and _at(last) - datetime.fromisoformat(min(started)) <= NEARNESS:
                return [f"{_second_text(each // 1000)}.{each % 1000:03d}+00" for each in milliseconds]
    return [minted_at(key, datetime.fromisoformat(at)).isoformat() for key, at in zip(ids, started, strict=True)]


def months_of(minted: Sequence[str]) -> set[datetime]:
    """The months that these lie in."""
    return {datetime(int(text[:4]), int(text[5:7]), 1, tzinfo=UTC) for text in set(map(itemgetter(slice(0, 7)), minted))}


def _at(milliseconds: int) -> datetime:
    return FOREIGN_AT + timedelta(milliseconds=milliseconds)


@lru_cache(maxsize=5000)
def _second_text(seconds: int) -> str:
    return (FOREIGN_AT + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _texts(name: str, column: tuple[object, ...]) -> tuple[list[str], int]:
    """The column's texts, and how many of them are NULL."""
    types = set(map(type, column))
    if types == {NONE}:
        return [NULL] * len(column), len(column)
    if name in _NUMBERS:
        numbers = orjson.dumps(column)[1:-1].decode()
        return numbers.replace("null", NULL).split(","), column.count(None) if NONE in types else 0
    texts: Sequence[str | None] = json_texts(column) if name in JSON_FIELDS else column  # type: ignore[assignment]
    if NONE in types:
        return [NULL if text is None else text for text in texts], texts.count(None)
    return list(texts), 0  # type: ignore[arg-type]


def _joined(texts: Sequence[Sequence[str]]) -> str:
    return "\n".join(map("\t".join, zip(*texts, strict=True))) + "\n"


def _has_only_our_marks(text: str, row_count: int, column_count: int, null_count: int) -> bool:
    return (
        text.count("\t") == row_count * (column_count - 1)
        and text.count("\n") == row_count
        and text.count("\\") == null_count
        and "\r" not in text
    )


def _escaped(column: Sequence[str]) -> list[str]:
    """NULL is told from a text of the same letters by identity."""
    return [value if value is NULL else value.translate(_ESCAPES) for value in column]
