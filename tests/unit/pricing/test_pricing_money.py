"""Money as text and as integers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.pricing.cost import Cost, together, unknown
from proxy.pricing.money import decimal_of, to_nano_usd, usd_text


@pytest.mark.parametrize(
    ("usd", "nano"),
    [("0", 0), ("1", 1_000_000_000), ("0.000000001", 1), ("0.0000000001", 1), ("0.0000000011", 2), ("12.5", 12_500_000_000)],
)
def test_nano_dollars_are_rounded_up(usd: str, nano: int) -> None:
    assert to_nano_usd(Decimal(usd)) == nano


@pytest.mark.parametrize(
    ("usd", "text"),
    [("0", "0"), ("0E-7", "0"), ("1E+2", "100"), ("0.0001500", "0.00015"), ("1.5E-10", "0.00000000015"), ("30", "30")],
)
def test_text_has_no_exponent_and_no_trailing_zeros(usd: str, text: str) -> None:
    assert usd_text(Decimal(usd)) == text


def test_a_float_counts_as_the_digits_it_is_written_with() -> None:
    assert decimal_of(0.1) == Decimal("0.1")
    assert decimal_of("0.15") == decimal_of(Decimal("0.15")) == decimal_of(0.15)
    assert decimal_of(2) == 2


@pytest.mark.parametrize("value", [True, None, "a", "", -1, "-0.1", float("nan"), float("inf"), "NaN", [1]])
def test_what_is_no_amount_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is wanted"):
        decimal_of(value)


def test_a_sum_with_an_unknown_part_is_unknown_and_keeps_the_reason() -> None:
    known = Cost(Decimal(1), Decimal(2), Decimal(3), "list")
    assert together(known, known) == Cost(Decimal(2), Decimal(4), Decimal(6), "list")
    assert together(known, unknown("no price for b")) == Cost(None, None, None, "no price for b")
    assert together(unknown("a"), unknown("b")).source == "a; b"
