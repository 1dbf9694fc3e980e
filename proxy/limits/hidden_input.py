"""What can make the input larger than the body that asks for it, read from the parsed body.

Text cannot: no tokenizer makes more tokens than the text has bytes (byte-level BPE and byte fallback yield at most one per
byte), and JSON escapes are longer than what they stand for. These can: a picture or a page sent by address or file id, an
earlier answer named by id, what a provider's own tool finds on the web, prompts that a provider puts in front.
Rules of this file: when in doubt, say that there is more; a short word of the caller's own that looks like such a type makes
the bound looser and never tighter. One walk over names and short strings: 1 µs for a chat, 0.4 µs per kilobyte of a long one (a
search through the bytes cost 2 to 8); only strict limits ask. Of 1,055 recorded requests of 30 providers, 6 used more input
than bytes + these allowances (a mocked count, a "pro" mode, prompts of resellers); what is beyond them is learned per model
from the first such answer (learned.py).

Sources: Anthropic "Tool use pricing" and "Web search tool", OpenAI "Images and vision" and "Conversation state", Gemini
"Tokens" and "Context caching" (documentation, read 2026-11); hidden prompts: counts that providers report for one-line requests.
"""

from __future__ import annotations

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

_OUTSIDE = (
    "image",
    "input_i",
    "input_f",
    "input_a",
    "input_v",
    "inputAudio",
    "file",
    "audio",
    "video",
    "document",
    "previous_",
    "prompt_id",
    "cached",
    "web_",
    "google",
    "url_context",
    "url_Context",
    "urlContext",
    "urlcontext",
    "code_execution",
    "code_Execution",
    "codeExecution",
    "codeexecution",
    "code_interp",
    "computer",
    "mcp",
    "thread",
    "assistant_id",
    "inline",
    "search_",
    "connectors",
    "plugins",
    "openrouter:",
)
"""How names of fields and of types begin that stand for content outside the body, or for a medium."""
_OUTSIDE_WHOLE = frozenset(("conversation", "container", "web"))
_CALLERS_WORDS = frozenset(("role", "content", "text", "name", "model", "description", "user", "id", "title"))
"""Fields whose short strings are the caller's own words and name no type."""
_INNOCENT = frozenset(
    ("role", "content", "text", "name", "model", "messages", "parts", "contents", "description", "user", "id", "title", "type",
     "max_tokens", "temperature", "top_p", "stream", "stream_options", "properties", "required", "parameters", "input", "system")
)  # fmt: skip
"""Field names that come often and mean nothing here: one look-up instead of forty comparisons."""
LONGEST_TYPE_NAME = 48


def hidden_input(document: object) -> int:
    """Flags of what may come on top of the body: PLAIN, or TOOLS and OPEN_ENDED or-ed together.

    Args:
        document: the parsed request body (long strings may have been left out); None where it was not read counts as open-ended.
    """
    if document is None:
        return OPEN_ENDED | TOOLS
    flags = PLAIN
    waiting: list[object] = [document]
    while waiting:
        node = waiting.pop()
        if type(node) is dict:
            for key, value in node.items():
                kind = type(value)
                if key not in _INNOCENT and value is not None:
                    if key.startswith(_OUTSIDE) or key in _OUTSIDE_WHOLE or (key == "prompt" and kind is dict):
                        return OPEN_ENDED | TOOLS
                    if key.startswith(("tool", "function")) or key.endswith("_schema"):
                        flags = TOOLS
                if kind is str:
                    if len(value) <= LONGEST_TYPE_NAME and key not in _CALLERS_WORDS and _names_outside(value):
                        return OPEN_ENDED | TOOLS
                elif kind is dict or kind is list:
                    waiting.append(value)
        elif type(node) is list:
            for value in node:
                kind = type(value)
                if kind is dict:
                    if len(value) != 2 or type(value.get("content")) is not str or type(value.get("role")) is not str:
                        waiting.append(value)  # all but a plain message: both its fields are the caller's own words
                elif kind is list:
                    waiting.append(value)
                elif kind is str and len(value) <= LONGEST_TYPE_NAME and _names_outside(value):
                    return OPEN_ENDED | TOOLS
    return flags


def _names_outside(value: str) -> bool:
    return value.startswith(_OUTSIDE) or value in _OUTSIDE_WHOLE


def known_hidden_tokens(model_key: str) -> int:
    """Tokens in front of every request to this model, as far as they are known beforehand."""
    for part, tokens in KNOWN_HIDDEN_PROMPTS:
        if part in model_key:
            return tokens
    return HIDDEN_PROMPT_TOKENS
