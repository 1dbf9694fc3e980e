"""What can make the input larger than the body that asks for it, read from the body's bytes.

Text cannot: no tokenizer makes more tokens than the text has bytes (byte-level BPE and byte fallback yield at most one per
byte), and JSON escapes are longer than what they stand for. These can: a picture or a page sent by address or file id, an
earlier answer named by id, what a provider's own tool finds on the web, prompts that a provider puts in front.
Rules of this file: when in doubt, say that there is more; a word in the caller's own text that looks like such a field makes
the bound looser and never tighter. Costs about 3 µs per kilobyte; only strict limits ask. Of 1,055 recorded
requests of 30 providers, 6 used more input than bytes + these allowances (a mocked count, a "pro" mode, prompts of resellers);
what is beyond them is learned per model from the first such answer (learned.py).

Sources: Anthropic "Tool use pricing" and "Web search tool", OpenAI "Images and vision" and "Conversation state", Gemini
"Tokens" and "Context caching" (documentation, read 2026-11); hidden prompts: counts that providers report for one-line requests.
"""

from __future__ import annotations

import re

PLAIN = 0
TOOLS = 1
"""Tools or an answer's schema are declared: providers put instructions of their own in front of them."""
OPEN_ENDED = 2
"""Something outside the body, or a medium whose tokens do not follow from its bytes: only the model's context bounds it."""

TOOL_PROMPT_TOKENS = 1_024
"""Largest seen for declared functions: Anthropic up to 530, Nova 550, Llama 4 250, Mistral 500, Cohere 1,000."""
HIDDEN_PROMPT_TOKENS = 64
"""Chat template and a provider's opening lines, beside the JSON around the text (60 bytes and more, each counted as a token)."""
KNOWN_HIDDEN_PROMPTS = (("compound", 8_192), ("command", 1_536), ("venice", 2_048), ("grok", 320), ("gpt-oss", 128))
"""Part of a model's key → tokens that its provider puts in front of every request. Others are learned from their first answer."""

_OPEN_ENDED = re.compile(
    rb'"(?:image|input_[ifav]|inputAudio|file|audio|video|document|previous_|conversation"|prompt_id|prompt":\s*\{|cached|container"'
    rb"|web_|web\"|google|url_?[cC]ontext|code_?[eE]xecution|code_interp|computer|mcp|thread|assistant_id|inline|search_|connectors|plugins|openrouter:)"
)
"""Field names and type names that stand for content outside the body or for a medium; each begins a JSON string."""
_ESCAPED_LETTER = re.compile(rb"\\u00(?:[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")
"""No serialiser escapes plain letters; who does may be hiding a field name from the search above."""


def hidden_input(body: bytes | None) -> int:
    """Flags of what may come on top of the body: PLAIN, or TOOLS and OPEN_ENDED or-ed together.

    Args:
        body: the request body as JSON; None (not read, or not JSON) counts as open-ended.
    """
    if body is None:
        return OPEN_ENDED | TOOLS
    flags = TOOLS if b'"tool' in body or b'"function' in body or b"_schema" in body else PLAIN
    if _OPEN_ENDED.search(body) or (b"\\u00" in body and _ESCAPED_LETTER.search(body)):
        flags |= OPEN_ENDED
    return flags


def known_hidden_tokens(model_key: str) -> int:
    """Tokens in front of every request to this model, as far as they are known beforehand."""
    for part, tokens in KNOWN_HIDDEN_PROMPTS:
        if part in model_key:
            return tokens
    return HIDDEN_PROMPT_TOKENS
