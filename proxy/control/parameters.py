"""Parameters of the query and the path: declared once, read from requests and shown in the OpenAPI document.

Rules of this file: a value that is not allowed is a 400 that says what is; a name that is not known is a 400 too, since
a mistyped filter that is ignored gives wrong figures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.replies import ApiError, bad_parameter

MAX_TEXT = 512
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?)?")
TIME_ZONES = frozenset(available_timezones())
SHOWN_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
"""Of the six hundred, those that the API's description names."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: what it may be, and the words for it."""

    name: str
    text: str
    default: Any = None

    def read(self, raw: str) -> Any:
        """The value of what the client wrote.

        Raises:
            ApiError: it is not allowed.
        """
        return checked_text(self.name, raw)

    def read_all(self, raws: Sequence[str]) -> Any:
        """The value where the parameter may stand several times; the default takes the only one."""
        if len(raws) > 1:
            raise bad_parameter(self.name, "given once")
        return self.read(raws[0])

    def schema(self) -> dict[str, object]:
        return {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": r"^[^\x00]+$"}


@dataclass(frozen=True, slots=True)
class Choice(Parameter):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    def read(self, raw: str) -> str:
        if raw not in self.choices:
            raise bad_parameter(self.name, "one of " + ", ".join(self.choices))
        return raw

    def schema(self) -> dict[str, object]:
        return {"type": "string", "enum": list(self.choices), **_default(self.default)}


@dataclass(frozen=True, slots=True)
class Choices(Parameter):
    """Several of a few words: comma-separated, or the parameter given several times."""

    choices: tuple[str, ...] = ()
    at_most: int = 4

    def read_all(self, raws: Sequence[str]) -> tuple[str, ...]:
        words = [word.strip() for raw in raws for word in raw.split(",")]
        if any(word not in self.choices for word in words) or len(set(words)) > self.at_most:
            raise bad_parameter(self.name, f"at most {self.at_most} of " + ", ".join(self.choices) + ", separated by commas")
        return tuple(dict.fromkeys(words))

    def schema(self) -> dict[str, object]:
        words = "|".join(self.choices)
        return {"type": "string", "pattern": f"^({words})(,({words})){{0,{self.at_most - 1}}}$"}


@dataclass(frozen=True, slots=True)
class Integer(Parameter):
    """A whole number within bounds."""

    minimum: int = 1
    maximum: int = 1000

    def read(self, raw: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", raw) or not self.minimum <= int(raw) <= self.maximum:
            raise bad_parameter(self.name, f"a whole number from {self.minimum} to {self.maximum}")
        return int(raw)

    def schema(self) -> dict[str, object]:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum, **_default(self.default)}


@dataclass(frozen=True, slots=True)
class Fraction(Parameter):
    """A number from 0 to `maximum`."""

    maximum: float = 1.0

    def read(self, raw: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,12})?", raw) or float(raw) > self.maximum:
            raise bad_parameter(self.name, f"a decimal number from 0 to {self.maximum:g}")
        return float(raw)

    def schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": r"^(0|1)(\.[0-9]{1,12})?$" if self.maximum > 1 else r"^(0(\.[0-9]{1,12})?|1)$"}


@dataclass(frozen=True, slots=True)
class Multiple(Parameter):
    """A factor of 1 or more, as decimal text."""

    def read(self, raw: str) -> Decimal:
        if not re.fullmatch(self._PATTERN, raw):
            raise bad_parameter(self.name, "a decimal number from 1 to 9999, such as 2.5")
        return Decimal(raw)

    def schema(self) -> dict[str, object]:
        return {"type": "string", "pattern": f"^{self._PATTERN}$"}

    _PATTERN: ClassVar[str] = r"[1-9][0-9]{0,3}([.][0-9]{1,6})?"


@dataclass(frozen=True, slots=True)
class Flag(Parameter):
    """true or false."""

    default: bool = False

    def read(self, raw: str) -> bool:
        if raw not in ("true", "false"):
            raise bad_parameter(self.name, "true or false")
        return raw == "true"

    def schema(self) -> dict[str, object]:
        return {"type": "boolean", "default": self.default}


@dataclass(frozen=True, slots=True)
class Instant(Parameter):
    """A date or an instant; one without an offset is left naive here and placed in the request's zone by its reader."""

    def read(self, raw: str) -> datetime:
        found = read_instant(raw)
        if found is None:
            raise bad_parameter(
                self.name, "an ISO 8601 date or instant, e.g. 2026-11-21 or 2026-11-21T08:00:00Z (`+` is written %2B)"
            )
        return found

    def schema(self) -> dict[str, object]:
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True)
class Zone(Parameter):
    """An IANA time zone."""

    def read(self, raw: str) -> ZoneInfo:
        if raw not in TIME_ZONES:
            raise bad_parameter(self.name, "an IANA time zone such as Europe/Berlin")
        return ZoneInfo(raw)

    def schema(self) -> dict[str, object]:
        return {"type": "string", "enum": list(SHOWN_ZONES), "x-more": "any IANA zone"}


def read_instant(raw: str) -> datetime | None:
    """A date or instant from ISO 8601 text; None where it is none. Naive where no offset is written."""
    if not _INSTANT.fullmatch(raw):
        return None
    try:
        found = datetime.fromisoformat(raw.upper())
        return found.astimezone(UTC) if found.tzinfo is not None else found
    except (ValueError, OverflowError):
        return None


def checked_text(name: str, raw: str) -> str:
    """Text that any store can take: not empty, not endless, no NUL, real Unicode.

    Raises:
        ApiError: it is not.
    """
    if not 0 < len(raw) <= MAX_TEXT or "\0" in raw or any("\ud800" <= letter <= "\udfff" for letter in raw):
        raise bad_parameter(name, f"text of 1 to {MAX_TEXT} characters without NUL")
    return raw


def read_query(request: web.Request, known: Sequence[Parameter]) -> dict[str, Any]:
    """The request's query as values by name, defaults filled in.

    Raises:
        ApiError: an unknown name, or a value that is not allowed.
    """
    by_name = {parameter.name: parameter for parameter in known}
    for name in request.query:
        if name not in by_name:
            allowed = ", ".join(by_name) or "none"
            raise ApiError(400, "unknown_parameter", f"parameter `{ascii(name[:80])[1:-1]}` is not known here; known: {allowed}")
    values: dict[str, Any] = {}
    for name, parameter in by_name.items():
        raws = request.query.getall(name, [])
        values[name] = parameter.read_all(raws) if raws else parameter.default
    if values.get("user") is not None:
        values["user"] = context_of(request).rules.user_name(values["user"])
    return values


def path_text(request: web.Request, name: str) -> str:
    """A part of the path that is somebody's or something's name."""
    return checked_text(name, request.match_info[name])


def describe(parameters: Sequence[Parameter]) -> list[Mapping[str, object]]:
    """The parameters as the OpenAPI document shows them."""
    return [{"name": one.name, "in": "query", "description": one.text, "schema": one.schema()} for one in parameters]


def _default(value: object) -> dict[str, object]:
    return {} if value is None else {"default": value}
