"""The kinds of values that settings take: amounts, money, sizes, times, patterns; each with its own words for what is wrong.

Rules of this file: money and prices are Decimal from first to last; every refusal says what to write instead; no refusal
repeats what was written.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from proxy.config.mistakes import kind_of, looks_secret

UNLIMITED = "unlimited"
MAX_COUNT = 2**62
MAX_USD = Decimal(4_000_000_000)
"""In nano-dollars still inside 64 bits."""


def wrong(message: str) -> PydanticCustomError:
    """A refusal in our own words: what is wrong; what to write instead."""
    return PydanticCustomError("weighbridge", "{text}", {"text": message})


def as_decimal(value: object) -> Decimal | None:
    """An exact number from what YAML or JSON holds; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, str) and re.fullmatch(r"\d{1,20}(\.\d{1,20})?", value):
        try:
            return Decimal(value)
        except InvalidOperation:  # pragma: no cover - the pattern admits nothing that Decimal refuses
            return None
    return None


def read_count(value: object) -> int | str:
    if value == UNLIMITED:
        return UNLIMITED
    number = as_decimal(value)
    if number is None or not number.is_finite():
        raise wrong(f"must be a whole number, not {kind_of(value)}; write e.g. 10_000, or `unlimited`")
    if number < 0:
        raise wrong("is negative; write 0 to forbid, or `unlimited`")
    if number > MAX_COUNT:
        raise wrong("is larger than can be counted; write `unlimited`")
    if number != number.to_integral_value():
        raise wrong("must be a whole number; write it without a fraction")
    return int(number)


def read_whole(value: object) -> int:
    """A count of tokens that is no limit."""
    count = read_count(value)
    if isinstance(count, str):
        raise wrong("must be a whole number, not text; write e.g. 200_000")
    return count


def read_day(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            date.fromisoformat(value)
        except ValueError:
            pass
        else:
            return value
    raise wrong("is no day; write e.g. 2027-01-31")


def read_usd(value: object) -> Decimal | str:
    if value == UNLIMITED:
        return UNLIMITED
    number = as_decimal(value)
    if number is None or not number.is_finite():
        raise wrong(f"must be an amount of US dollars, not {kind_of(value)}; write the number alone, e.g. 12.50, or `unlimited`")
    if number < 0:
        raise wrong("is negative; write 0 to forbid, or `unlimited`")
    if number > MAX_USD:
        raise wrong("is larger than can be counted; write `unlimited`")
    return number


def read_rate(value: object) -> Decimal:
    number = as_decimal(value)
    if number is None or not number.is_finite():
        raise wrong(f"must be a price in US dollars, not {kind_of(value)}; write the number alone, e.g. 0.15")
    if number < 0:
        raise wrong("is negative; a price is 0 or more")
    if number > MAX_USD:
        raise wrong("is no price of tokens; write US dollars per million tokens")
    return number


def plain(number: Decimal | str) -> str:
    """A Decimal without an exponent, for the snapshot."""
    return number if isinstance(number, str) else format(number, "f")


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kKmMgGtT]?i?[bB]?)\Z")
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip
_TIME = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|min|h|d)?\Z")
_TIMES = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    None: Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}


def read_bytes(value: object) -> int:
    """Bytes from a number or from `64 MiB`."""
    found = _SIZE.match(str(value).strip()) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    unit = _SIZES.get(found.group(2).lower()) if found else None
    if found is None or unit is None:
        raise wrong("must be a size; write bytes or e.g. 64 MiB")
    return int(Decimal(found.group(1)) * unit)


def read_seconds(value: object) -> float:
    """Seconds from a number or from `30s`, `5m`, `2h`, `500ms`."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    found = (
        _TIME.match(format(Decimal(str(value)), "f") if is_number else str(value).strip())
        if is_number or isinstance(value, str)
        else None
    )
    if found is None:
        raise wrong("must be a time; write seconds or e.g. 500ms, 30s, 5m, 2h")
    return float(Decimal(found.group(1)) * _TIMES[found.group(2)])


def read_positive_seconds(value: object) -> float:
    seconds = read_seconds(value)
    if seconds <= 0:
        raise wrong("must be longer than nothing; write e.g. 30s")
    return seconds


def read_share(value: object) -> float:
    number = as_decimal(value)
    if number is None or not 0 < number <= 10:
        raise wrong("must be a share of the limit; write e.g. 0.8 for 80 %")
    return float(number)


def read_timezone(value: object) -> str:
    if isinstance(value, str) and value:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            pass
        else:
            return value
    zones = sorted(available_timezones())
    close = get_close_matches(value, zones, n=1, cutoff=0.7) if isinstance(value, str) else []
    raise wrong("is no time zone; " + (f"did you mean {close[0]}?" if close else "write an IANA name such as UTC or Europe/Berlin"))


_NAME_ADVICE = "must be printable text of at most 200 characters"


def read_name(value: object) -> str:
    """Names of users, teams, tiers: they become header values, file names of exports and metric labels."""
    if not isinstance(value, str):
        raise wrong(f"must be text, not {kind_of(value)}; put it in quotes")
    if not value or len(value) > 200 or not value.isprintable() or value != value.strip():
        raise wrong(f"{_NAME_ADVICE}; write a shorter name without line breaks or spaces around it")
    return value


def read_pattern(value: object) -> str:
    """A shell pattern of model names; case does not count."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(
            f"must be a model's name or a pattern such as `gpt-4o*`, not {kind_of(value) if value else 'nothing'}; put it in quotes"
        )
    if len(value) > 200 or not value.isprintable():
        raise wrong("must be a model's name or a pattern such as `gpt-4o*`; write a shorter one")
    return value.strip().lower()


_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")


def read_digest(value: object) -> str:
    if isinstance(value, str) and _HEX.match(value):
        return value.lower()
    if isinstance(value, str) and looks_secret(value) and not re.fullmatch(r"[0-9a-fA-F]{32,}", value):
        raise wrong(
            'is a key in clear; write its SHA-256 in hex, which `printf %s "$KEY" | sha256sum` prints, and treat the key as seen'
        )
    raise wrong('must be 64 hex digits in quotes; `printf %s "$KEY" | sha256sum` prints them for a key')


def read_expires(value: object) -> str:
    """A day or an instant, checked here, read by `expiry`."""
    if isinstance(value, str):
        try:
            expiry(value, ZoneInfo("UTC"))
        except (ValueError, OverflowError):
            pass
        else:
            return value
    raise wrong("is no date; write e.g. 2027-01-31 (valid through that day) or 2027-01-31T12:00:00Z")


def expiry(text: str, zone: ZoneInfo) -> float:
    """Unix seconds at which a key is no longer valid. A day counts to its end; an instant without an offset is in `zone`."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone).timestamp()
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC).timestamp()


_IDENTITY = re.compile(r"header:[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")
BODY_PLACES = ("body:user", "body:safety_identifier", "body:metadata.user_id")


def read_identity(value: object) -> str:
    if isinstance(value, str) and (value in BODY_PLACES or _IDENTITY.match(value)):
        return value.lower() if value.startswith("header:") else value
    raise wrong("is no place to take a user from; write header:<name>, " + ", ".join(BODY_PLACES[:2]) + " or " + BODY_PLACES[2])


def read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise wrong("must be true or false; write it without quotes")


def empty_if_null(value: Any) -> Any:
    """A section whose lines are all commented out is an empty one."""
    return {} if value is None else value


def empty_list_if_null(value: Any) -> Any:
    return [] if value is None else value


_UNLIMITED = {"const": UNLIMITED}
_WHOLE = {"type": "integer", "minimum": 0}
_MONEY = {"type": "number", "minimum": 0, "description": "US dollars"}

Count = Annotated[Any, PlainValidator(read_count), WithJsonSchema({"anyOf": [_WHOLE, _UNLIMITED]})]
Whole = Annotated[int, PlainValidator(read_whole), WithJsonSchema(_WHOLE)]
Day = Annotated[str, PlainValidator(read_day), WithJsonSchema({"type": "string", "format": "date"})]
Usd = Annotated[Any, PlainValidator(read_usd), PlainSerializer(plain), WithJsonSchema({"anyOf": [_MONEY, _UNLIMITED]})]
Rate = Annotated[Decimal, PlainValidator(read_rate), PlainSerializer(plain), WithJsonSchema({"type": "number", "minimum": 0})]
Bytes = Annotated[int, PlainValidator(read_bytes), WithJsonSchema({"type": ["integer", "string"], "examples": ["64 MiB"]})]
Seconds = Annotated[float, PlainValidator(read_seconds), WithJsonSchema({"type": ["number", "string"], "examples": ["30s", "5m"]})]
PositiveSeconds = Annotated[
    float, PlainValidator(read_positive_seconds), WithJsonSchema({"type": ["number", "string"], "examples": ["30s", "5m"]})
]
Share = Annotated[float, PlainValidator(read_share), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 10})]
Timezone = Annotated[str, PlainValidator(read_timezone), WithJsonSchema({"type": "string", "examples": ["UTC", "Europe/Berlin"]})]
Name = Annotated[str, PlainValidator(read_name), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200})]
Pattern = Annotated[str, PlainValidator(read_pattern), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200})]
Digest = Annotated[str, PlainValidator(read_digest), WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})]
Expires = Annotated[str, PlainValidator(read_expires), WithJsonSchema({"type": "string", "examples": ["2027-01-31"]})]
Identity = Annotated[str, PlainValidator(read_identity), WithJsonSchema({"type": "string", "examples": list(BODY_PLACES)})]
Flag = Annotated[bool, PlainValidator(read_flag), WithJsonSchema({"type": "boolean"})]
Mode = Literal["strict", "balanced", "soft"]
StorePolicy = Literal["local", "open", "closed"]
EmptyIfNull = BeforeValidator(empty_if_null)
EmptyListIfNull = BeforeValidator(empty_list_if_null)


def absent(**extra: Any) -> Any:
    """A setting that may be left out but not left empty: `per_day:` with nothing behind it is a limit that isn't there."""
    return Field(default=None, **extra)
