"""The configuration as the API shows it holds no credential, however it was written."""

from __future__ import annotations

import pytest

from proxy.control.config_in_force import HIDDEN, without_secrets


def test_literal_keys_are_hidden_and_references_shown() -> None:
    written = {"openai": {"api_key": "sk-real", "base_url": "https://api.example"}, "local": {"api_key": "${LOCAL_KEY}"}}
    assert without_secrets(written) == {
        "openai": {"api_key": HIDDEN, "base_url": "https://api.example"},
        "local": {"api_key": "${LOCAL_KEY}"},
    }


@pytest.mark.parametrize("value", ["${A}sk-real", "sk-${A}", "${A}${B}", "sk-real"])
def test_a_key_that_is_more_than_a_reference_is_hidden(value: str) -> None:
    assert without_secrets({"headers": {"authorization": value}, "x": [{"api_key": value}]}) == {
        "headers": {"authorization": HIDDEN},
        "x": [{"api_key": HIDDEN}],
    }


def test_passwords_in_addresses_are_hidden() -> None:
    assert without_secrets({"proxy": "http://ann:pw@proxy:3128/a@b"}) == {"proxy": f"http://{HIDDEN}@proxy:3128/a@b"}
    assert without_secrets(["mail@example", "https://host/path@x", 5, None]) == ["mail@example", "https://host/path@x", 5, None]
