"""The built-in price list, compiled once for all tests of this room."""

from __future__ import annotations

import pytest

from proxy.pricing.genai_source import read_price_data
from proxy.pricing.price_data import PriceData
from proxy.pricing.pricebook import Pricebook, build_pricebook


@pytest.fixture(scope="session")
def price_data() -> PriceData:
    return read_price_data()


@pytest.fixture(scope="session")
def pricebook(price_data: PriceData) -> Pricebook:
    return build_pricebook({}, price_data)
