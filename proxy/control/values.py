"""Kinds of values in request bodies: what they may be, and how the OpenAPI document says it."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

MAX_COUNT = 10**15
MAX_USD = 10**9
MONEY_STEP = Decimal("0.000000000001")
"""Finer amounts are rounded to this."""
_MONEY_TEXT = r"^[0-9]{1,9}([.][0-9]{1,30})?$"


class Body(BaseModel):
    """A request body: closed, and strict about types, so that a typing mistake is said and not guessed around."""

    model_config = ConfigDict(extra="forbid", strict=True)


def whole(value: object) -> object:
    """A whole number, however it is written: JSON Schema counts 5.0 among the integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def money(value: object) -> object:
    """US dollars as Decimal, from a JSON number or decimal text; a float counts as the digits it is written with."""
    if isinstance(value, str) and re.fullmatch(_MONEY_TEXT[1:-1], value):
        amount = Decimal(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        amount = Decimal(repr(value))
    else:
        raise ValueError("US dollars are wanted: a number, or decimal text such as 12.50")
    if not amount.is_finite() or not 0 <= amount <= MAX_USD:
        raise ValueError(f"US dollars are wanted, from 0 to {MAX_USD}")
    amount = amount.quantize(MONEY_STEP, ROUND_HALF_EVEN).normalize()
    return amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount  # 20, not 2E+1, wherever it is shown


def moment(at: datetime) -> datetime:
    """An instant that clocks and databases can take."""
    if not 1970 <= at.year < 9000:
        raise ValueError("an instant of the years 1970 to 8999 is wanted")
    return at


_MONEY_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": MAX_USD}, {"type": "string", "pattern": _MONEY_TEXT}],
    "description": "US dollars.",
}
_MOMENT_SCHEMA = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|[2-8][0-9]{3})-"}
Count = Annotated[int, Field(ge=0, le=MAX_COUNT), BeforeValidator(whole)]
Money = Annotated[Decimal, BeforeValidator(money), WithJsonSchema(_MONEY_SCHEMA)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
Moment = Annotated[AwareDatetime, AfterValidator(moment), WithJsonSchema(_MOMENT_SCHEMA)]
CLOSED: dict[str, JsonValue] = {"additionalProperties": False}
"""For mappings whose names are constrained: without it JSON Schema lets in every name that the pattern does not fit."""
Unlimited = Literal["unlimited"]
