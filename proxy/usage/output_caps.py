"""Where each API's requests cap the length of the answer, in tokens per choice.

Rules of this file: a cap is a path of member names from the top of the body. An API may know several names; the caller's
own name is kept. `None` for a cap that is absent, negative (llama.cpp, Ollama: no cap) or not a whole number.

What is not here: writing caps into a body (edits).
"""

from __future__ import annotations

import re

Path = tuple[str, ...]

_MAX_TOKENS: Path = ("max_tokens",)
_MAX_COMPLETION_TOKENS: Path = ("max_completion_tokens",)
_CAPS: dict[str, tuple[Path, ...]] = {
    "openai.chat": (_MAX_COMPLETION_TOKENS, _MAX_TOKENS),
    "openai.completions": (_MAX_TOKENS,),
    "openai.responses": (("max_output_tokens",),),
    "openai.assistants": (_MAX_COMPLETION_TOKENS,),
    "mistral.fim": (_MAX_TOKENS,),
    "mistral.conversations": (("completion_args", "max_tokens"),),
    "anthropic.messages": (_MAX_TOKENS,),
    "anthropic.complete": (("max_tokens_to_sample",),),
    "gemini.generate_content": (("generationConfig", "maxOutputTokens"), ("generation_config", "max_output_tokens")),
    "gemini.interactions": (("generation_config", "max_output_tokens"),),
    "vertex.predict": (("parameters", "maxOutputTokens"), _MAX_TOKENS),
    "bedrock.converse": (("inferenceConfig", "maxTokens"),),
    "bedrock.invoke": (
        _MAX_TOKENS,
        ("inferenceConfig", "maxTokens"),
        ("inferenceConfig", "max_new_tokens"),
        ("textGenerationConfig", "maxTokenCount"),
        ("max_gen_len",),
        ("max_tokens_to_sample",),
        ("maxTokens",),
    ),
    "cohere.chat": (_MAX_TOKENS,),
    "cohere.generate": (_MAX_TOKENS,),
    "ollama.chat": (("options", "num_predict"),),
    "ollama.generate": (("options", "num_predict"),),
    "huggingface.generate": (("parameters", "max_new_tokens"),),
    "unknown": (_MAX_TOKENS, _MAX_COMPLETION_TOKENS, ("max_output_tokens",), ("max_new_tokens",), ("maximum_tokens",)),
}

_OPENAI_MODELS = re.compile(r"(?:.*/)?(?:ft:)?(?:gpt-(?!oss)|o\d|chatgpt-|codex-|computer-use)", re.IGNORECASE)


def output_cap(document: dict[str, object], api: str) -> int | None:
    """The cap in force. Where a body holds several of the names, the largest: which one counts is the server's secret."""
    largest: int | None = None
    for path in _CAPS.get(api, ()):
        value = document.get(path[0]) if len(path) == 1 else value_at(document, path)
        if value is None:
            continue
        amount = as_tokens(value)
        if amount is not None and (largest is None or amount > largest):
            largest = amount
    return largest


def cap_paths(document: dict[str, object], api: str) -> tuple[Path, ...]:
    """The members to lower, or the one to add, so that an answer cannot be longer; empty where none is sure to be obeyed."""
    known = _CAPS.get(api, ())
    given = tuple(path for path in known if value_at(document, path) is not None)
    if given:
        return given
    if api == "openai.chat":
        return (_cap_for_chat(document.get("model")),)
    if api == "bedrock.invoke":  # each model has its own body; only Anthropic's says which it is
        return (_MAX_TOKENS,) if "anthropic_version" in document else ()
    if api == "gemini.generate_content" and "generation_config" in document:
        return (("generation_config", "max_output_tokens"),)
    return () if api in ("unknown", "vertex.predict") else known[:1]


def value_at(document: dict[str, object], path: Path) -> object:
    """The member at a path; None where any part of it is missing."""
    at: object = document
    for name in path:
        if not isinstance(at, dict):
            return None
        at = at.get(name)
    return at


def as_tokens(value: object) -> int | None:
    """A whole, non-negative number of tokens, or None. Google's JSON also takes numbers in quotes."""
    if type(value) is int:
        return value if value >= 0 else None
    if type(value) is float and value >= 0 and value.is_integer():
        return int(value)
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None


def _cap_for_chat(model: object) -> Path:
    """Which of chat's two names to add.

    OpenAI's own models all take `max_completion_tokens` and some refuse `max_tokens` (o-series, gpt-5). Older compatible servers do
    not know the new name and pass over it in silence, which would leave a strict limit open: everyone else gets `max_tokens`,
    which all know. Both at once is an error at OpenAI.
    """
    return _MAX_COMPLETION_TOKENS if isinstance(model, str) and _OPENAI_MODELS.match(model) else _MAX_TOKENS
