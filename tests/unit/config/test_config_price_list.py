"""The compiled price list: made once, read by everybody, made anew for another release."""

from decimal import Decimal
from pathlib import Path

import pytest

from proxy.config import price_list as module
from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.config.price_list import ensure_price_list, price_list
from proxy.config.snapshot import make_snapshot
from proxy.errors import ConfigError
from proxy.pricing import genai_source


def test_it_is_made_once_by_another_process_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "prices.json"
    ensure_price_list(path)
    made_at = path.stat().st_mtime_ns
    ensure_price_list(path)
    assert path.stat().st_mtime_ns == made_at
    expected = genai_source.read_price_data()

    def never() -> None:
        raise AssertionError("made here, though it lies ready")

    monkeypatch.setattr(genai_source, "read_price_data", never)
    assert price_list(path).source == expected.source
    prices = "prices: {openai: {gpt-4o-mini: {input_mtok: 2, output_mtok: 3}}}"
    rules = build_rules(make_snapshot(load_texts({"prices.yaml": prices}, {})), {}, price_list=path)
    tariff = rules.pricebook.tariff("openai", "openai", "gpt-4o-mini")
    assert tariff is not None
    # a million tokens in at 2 USD and two million out at 3 USD
    assert tariff.usual_nano_usd(1_000_000, 2_000_000) == int(Decimal(2 + 2 * 3) * 10**9)
    assert rules.pricebook.tariff("openai", "openai", "gpt-4o") is not None


def test_another_release_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.json"
    path.write_text("genai-prices 0.0.1\n{}")
    assert module._read(path) is None
    assert price_list(path).source.startswith("genai-prices ")
    ensure_price_list(path)
    assert module._read(path) is not None


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the price list cannot be compiled"):
        ensure_price_list(tmp_path / "file" / "prices.json")
