"""The longest answers: bounds that must not be too low."""

from __future__ import annotations

import pytest

from proxy.pricing.output_limits import MAX_OUTPUT_TOKENS, max_output_tokens


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4o-mini-2024-07-18", 16_384),
        ("openai/gpt-4.1-mini", 32_768),
        ("gpt-5.4-nano", 128_000),
        ("gpt-5-pro-2025-10-06", 272_000),
        ("o3-mini", 100_000),
        ("openai/o4-mini", 100_000),
        ("gpt-4", 8_192),
        ("gpt-4-turbo-2024-04-09", 4_096),
        ("gpt-3.5-turbo-0125", 4_096),
        ("claude-3-haiku-20240307", 4_096),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", 8_192),
        ("claude-3-7-sonnet-20250219", 128_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("anthropic/claude-opus-4.5", 64_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("claude-haiku-4-5-20251001", 64_000),
        ("claude-haiku-5-5", 128_000),
        ("models/gemini-1.5-pro", 8_192),
        ("gemini-2.5-pro", 65_536),
        ("GEMINI-3-FLASH-PREVIEW", 65_536),
        ("text-embedding-3-small", 0),
        ("command-r-plus-08-2024", 4_096),
        ("llama-3.3-70b-versatile", None),
        ("gemini-4-argon", None),
        ("openchat", None),
    ],
)
def test_the_longest_answer_of_a_model(model: str, tokens: int | None) -> None:
    assert max_output_tokens(model) == tokens


def test_no_pattern_is_hidden_behind_an_earlier_one() -> None:
    hidden = []
    for number, (pattern, _) in enumerate(MAX_OUTPUT_TOKENS):
        example = pattern.replace("[134]", "1").replace("[6-9]", "6").replace("*", "x")
        before = MAX_OUTPUT_TOKENS[:number]
        if any(max_of == pattern for max_of, _ in before) or max_output_tokens(example) != MAX_OUTPUT_TOKENS[number][1]:
            hidden.append(pattern)
    assert hidden == []
