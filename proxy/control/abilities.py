"""What kind of work a model is made for, by its name: only models of one class are offered in each other's place. Pure.

Names follow providers' lists of models (platform.openai.com/docs/models, docs.anthropic.com/en/docs/about-claude/models,
ai.google.dev/gemini-api/docs/models; read 2026-11-29). The first pattern that fits decides. A name that none fits has no class:
its owner may compare it with whatever they like.
"""

from __future__ import annotations

import re
from functools import lru_cache

CLASSES = ("embedding", "rerank", "image", "audio", "moderation", "reasoning", "small", "large")
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("moderation", r"moderation|guard"),
    ("rerank", r"rerank"),
    ("embedding", r"embed|\bbge-|\be5-"),
    ("image", r"dall-e|image|imagen|flux|stable-diffusion|sora|veo"),
    ("audio", r"whisper|tts|audio|transcribe|realtime|speech"),
    ("reasoning", r"\bo[134](-|$)|reasoner|thinking|\br1\b|magistral|deep-research|qwq"),
    ("small", r"gpt-[45][\w.]*-(mini|nano)|haiku|flash|ministral|mistral-small|nova-(micro|lite)|command-r7b|gemma|\bphi-"),
    ("small", r"llama[\w.-]*?[-:_](1|3|7|8|11)b|qwen[\w.-]*?[-:_](0\.5|1\.5|3|4|7|8)b|gpt-3\.5|-(mini|nano|small|lite)$"),
    ("large", r"gpt-4|gpt-5|chatgpt|claude|gemini[\w.-]*pro|mistral-(large|medium)|command-(r|a)|grok|deepseek|nova-(pro|premier)"),
    ("large", r"llama[\w.-]*?[-:_](70|90|405)b|llama-4|qwen"),
)
_COMPILED = tuple((name, re.compile(pattern)) for name, pattern in _PATTERNS)
WELL_KNOWN: tuple[tuple[str, str], ...] = (
    ("openai", "gpt-4o"), ("openai", "gpt-4.1"), ("openai", "gpt-5"), ("openai", "gpt-4o-mini"), ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-4.1-nano"), ("openai", "gpt-5-mini"), ("openai", "gpt-5-nano"), ("openai", "o3"), ("openai", "o4-mini"),
    ("openai", "text-embedding-3-small"), ("openai", "text-embedding-3-large"), ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-haiku-4-5"), ("gemini", "gemini-2.5-pro"), ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-2.5-flash-lite"), ("mistral", "mistral-large-latest"), ("mistral", "mistral-small-latest"),
    ("deepseek", "deepseek-chat"), ("deepseek", "deepseek-reasoner"), ("groq", "llama-3.3-70b-versatile"),
    ("groq", "llama-3.1-8b-instant"),
)  # fmt: skip
"""Offered where their provider is configured and their price is known, beside the models in use."""


@lru_cache(maxsize=5000)
def ability_class(model: str) -> str | None:
    """One of CLASSES; None for a name that says nothing."""
    name = model.lower().rpartition("/")[2]
    return next((word for word, pattern in _COMPILED if pattern.search(name)), None)
