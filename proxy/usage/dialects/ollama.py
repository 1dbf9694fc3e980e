"""Ollama's own API: chat, generate, embed. Counts are in the last object (`done: true`).

`prompt_eval_count` may be missing when the whole prompt was cached: then the input is not known, which is not 0.
Source: github.com/ollama/ollama docs/api.md, read 2026-11-21.
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import TokenUsage


class Ollama:
    """One JSON object a line; single answers are the same object, alone."""

    api = "ollama.chat"
    needles = (b'"done":true', b'"done": true', b'_count"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By `done` and the text's place, or vectors with Ollama's counters beside them."""
        if isinstance(event.get("done"), bool) and ("message" in event or isinstance(event.get("response"), str)):
            return True
        return "embeddings" in event and ("prompt_eval_count" in event or "total_duration" in event)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """One line."""
        is_embedding = "embeddings" in event
        found.api = "ollama.embed" if is_embedding else "ollama.generate" if "response" in event else "ollama.chat"
        found.set_labels(text(event.get("model")), None, None)
        found.error = error_text(event) or found.error
        input_tokens, output_tokens = count(event.get("prompt_eval_count")), count(event.get("eval_count"))
        if is_embedding:
            output_tokens = 0 if input_tokens is not None else None
        if input_tokens is not None or output_tokens is not None:
            found.usage = TokenUsage(input_tokens, output_tokens, total_tokens=total((input_tokens, output_tokens)))
            found.is_final = True
        if event.get("done") is True:
            found.has_ended = True
