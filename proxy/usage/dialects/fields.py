"""JSON narrowed to what dialects need: counts, texts, objects, money. Nothing raises; what does not fit is None.

Rules of this file: None is not 0; a bool is no number; counts may come as 3, 3.0 or "3" (seen in the wild), are never negative
and never beyond MAX_COUNT; money goes from the provider's text to Decimal without binary arithmetic in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import orjson

Object = Mapping[str, object]
NOTHING: Object = {}
MAX_COUNT = 10**12
"""No call uses this many tokens; a larger figure is a fault of the sender and would overflow counters."""


def parse(payload: bytes) -> object:
    """JSON, or None where it is not. Lone surrogates, invalid UTF-8 and NaN are read leniently, as clients read them."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(payload.decode("utf-8", "replace"), parse_float=Decimal)
    except (ValueError, RecursionError, InvalidOperation):
        return None


def count(value: object) -> int | None:
    """A count of tokens or things; None where it is missing or makes no sense."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if isinstance(value, float | Decimal):
        return int(value) if 0 <= value <= MAX_COUNT and value == int(value) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return count(int(value))
    return None


def first_count(source: Object, *keys: str) -> int | None:
    """The count under the first of several names that holds one."""
    for key in keys:
        found = count(source.get(key))
        if found is not None:
            return found
    return None


def total(values: Iterable[int | None]) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def amount(value: object) -> Decimal | None:
    """A non-negative decimal (money, seconds). A float is taken by its shortest text, which is what the provider wrote."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and 0 <= found <= MAX_COUNT else None


def text(value: object) -> str | None:
    """A non-empty string."""
    return value if isinstance(value, str) and value else None


def mapping(value: object) -> Object:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else NOTHING


def first_mapping(source: Object, *keys: str) -> Object:
    """The first non-empty object under several names."""
    for key in keys:
        found = source.get(key)
        if found and isinstance(found, dict):
            return found
    return NOTHING


def sequence(value: object) -> Sequence[object]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else ()


def mappings(value: object) -> list[Object]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def is_mapping_list(value: object) -> bool:
    """A list whose first item, if any, is an object."""
    return isinstance(value, list) and (not value or isinstance(value[0], dict))


def modality_tokens(details: object, modality: str, count_key: str = "tokenCount") -> int | None:
    """Google's per-modality lists: the sum for one modality, None where it is not listed. Enums come as names or numbers."""
    number = {"TEXT": 1, "IMAGE": 2, "VIDEO": 3, "AUDIO": 4, "DOCUMENT": 5}[modality]
    return total(count(item.get(count_key)) for item in mappings(details) if _is_modality(item.get("modality"), modality, number))


def _is_modality(value: object, name: str, number: int) -> bool:
    return value == number if isinstance(value, int) else isinstance(value, str) and value.upper() == name
