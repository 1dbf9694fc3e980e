"""The most that models can answer with, as data: what a strict limit holds for a request without a cap of its own.

The price data knows context windows and no output limits, so this list is ours. Shell patterns on the lower-case name,
whatever stands before it (a region, a vendor, `models/`); the first that fits counts, so the special stand before the
general. Where members of a family differ or a beta raises the limit, the largest figure stands here: a bound may be too
high, never too low. A model that is not listed has no figure, and then its context window bounds the answer (limits/estimate.py);
`max_output_tokens` in prices.yaml sets it.

Sources: the providers' model pages as far as they were at hand, each figure cross-checked with the model map of LiteLLM 1.109.1
(MIT); read 2026-11-21. Left out on purpose: open-weight models (each host has its own limit).
"""

from __future__ import annotations

from fnmatch import fnmatchcase

MAX_OUTPUT_TOKENS: tuple[tuple[str, int], ...] = (
    # OpenAI, also on Azure and OpenRouter
    ("*gpt-3.5*", 4_096),
    ("*gpt-35-*", 4_096),
    ("*gpt-4-32k*", 32_768),
    ("*gpt-4-0*", 8_192),  # no limit of its own below the 8,192 context
    ("*gpt-4-1106*", 4_096),
    ("*gpt-4-turbo*", 4_096),
    ("*gpt-4-vision*", 4_096),
    ("*gpt-4.1*", 32_768),
    ("*gpt-4.5*", 16_384),
    ("*gpt-4o*", 16_384),
    ("*chatgpt-4o*", 16_384),
    ("*gpt-4", 8_192),
    ("*gpt-5-pro*", 272_000),
    ("*gpt-5*", 128_000),
    ("*gpt-6*", 128_000),
    ("*chat-latest", 128_000),
    ("*gpt-audio*", 16_384),
    ("*codex-mini*", 100_000),
    ("*computer-use-preview*", 16_384),
    ("*o1-mini*", 65_536),
    ("*o1-preview*", 32_768),
    ("o[134]*", 100_000),
    ("openai/o[134]*", 100_000),
    # Anthropic, also on Bedrock, Vertex and OpenRouter
    ("*claude-2*", 4_096),
    ("*claude-v2*", 4_096),
    ("*claude-instant*", 4_096),
    ("*claude-3-5-*", 8_192),
    ("*claude-3.5-*", 8_192),
    ("*claude-3-7-*", 128_000),  # 64,000; 128,000 with the output-128k beta
    ("*claude-3.7-*", 128_000),
    ("*claude-3-*", 4_096),
    ("*claude-opus-4-5*", 64_000),
    ("*claude-opus-4.5*", 64_000),
    ("*claude-opus-4-[6-9]*", 128_000),
    ("*claude-opus-4.[6-9]*", 128_000),
    ("*claude-opus-4*", 32_000),
    ("*claude-sonnet-4-6*", 128_000),
    ("*claude-sonnet-4.6*", 128_000),
    ("*claude-sonnet-4*", 64_000),
    ("*claude-haiku-4*", 64_000),
    ("*claude-*-5*", 128_000),
    ("*claude-mythos*", 128_000),
    # Google
    ("*gemini-1.*", 8_192),
    ("*gemini-2.0-flash-thinking*", 65_536),
    ("*gemini-2.0*", 8_192),
    ("*gemini-2.5-*image*", 32_768),
    ("*gemini-2.5*", 65_536),
    ("*gemini-3*", 65_536),
    ("*gemini-flash*", 65_536),
    ("*gemini-pro-latest", 65_536),
    # Cohere
    ("*command-a-plus*", 64_000),
    ("*command-a-*", 32_000),  # reasoning and vision variants differ: 8,000 to 32,000
    ("*command-r*", 4_096),
    # DeepSeek's own API
    ("deepseek-v4*", 393_216),
    ("deepseek-flash*", 393_216),
    # Embeddings, moderation and reranking answer without tokens
    ("*embed*", 0),
    ("*rerank*", 0),
    ("*moderation*", 0),
)


def max_output_tokens(model: str) -> int | None:
    """The listed limit of a model; None where there is none."""
    name = model.lower()
    return next((tokens for pattern, tokens in MAX_OUTPUT_TOKENS if fnmatchcase(name, pattern)), None)
