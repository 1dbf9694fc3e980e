"""Whatever the files hold: documents or ConfigErrors, never anything else."""

import re
import string
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.build import build_rules
from proxy.config.load import builtin_directory, load_texts
from proxy.config.mistakes import ConfigErrors, Mistake
from proxy.config.schema import FILES
from proxy.config.snapshot import make_snapshot
from proxy.routing.callers import Caller

WORDS = sorted(
    {
        *FILES,
        "mode",
        "strict",
        "tokens",
        "per_day",
        "per_model",
        "users",
        "keys",
        "key_sha256",
        "ab" * 32,
        "tier",
        "tiers",
        "teams",
        "max",
        "providers",
        "openai",
        "base_url",
        "https://api.openai.com",
        "${A}",
        "${A:-",
        "${",
        "api_key",
        "prices",
        "input_mtok",
        "base",
        "start",
        "valid_from",
        "service_tiers",
        "alert_at",
        "timezone",
        "UTC",
        "concurrent_requests",
        "global",
        "defaults",
        "models",
        "*",
        "gpt-4o*",
        "[a",
        "cost_usd",
        "unlimited",
        "64 MiB",
        "30s",
        "expires",
        "2026-11-21",
        "headers",
        "<<",
        "identify_by",
        "body:user",
        "max_json_body_bytes",
    }
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.text(string.printable, max_size=8),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judge(file: str, text: str) -> None:
    mistakes: tuple[Mistake, ...] = ()
    try:
        documents = load_texts({file: text}, {"A": "x"})
    except ConfigErrors as errors:
        mistakes = errors.mistakes
    else:
        rules = build_rules(make_snapshot(documents), {"A": "x"}, pricebook=object())  # type: ignore[arg-type]
        rules.limits_for(Caller("ann"), "gpt-4o")
        return
    assert mistakes
    last_line = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text))
    for mistake in mistakes:
        assert mistake.file == file
        assert 1 <= mistake.line <= last_line + 1
        assert mistake.column >= 1
        assert "; " in mistake.message
        assert mistake.message.isprintable()


@pytest.mark.parametrize("file", sorted(FILES))
@FUZZ
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text(file: str, text: str) -> None:
    judge(file, text)


@pytest.mark.parametrize("file", sorted(FILES))
@FUZZ
@given(text=st.text("{}[]:,-?&*!|>'\"%@` \t\n#a1.~<", max_size=80))
def test_any_heap_of_yaml_signs(file: str, text: str) -> None:
    judge(file, text)


@pytest.mark.parametrize("file", sorted(FILES))
@FUZZ
@given(value=VALUES)
def test_any_document(file: str, value: Any) -> None:
    judge(file, yaml.safe_dump(value, allow_unicode=True))


@pytest.mark.parametrize("file", sorted(FILES))
@FUZZ
@given(data=st.data())
def test_any_damage_to_a_right_file(file: str, data: st.DataObject) -> None:
    lines = (builtin_directory() / file).read_text().splitlines()
    text = "\n".join(line.removeprefix("# ") for line in lines)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 5)) :]
    judge(file, text)
