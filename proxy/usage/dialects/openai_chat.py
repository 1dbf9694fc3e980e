"""OpenAI chat completions and completions, and the many that speak them (Azure, Mistral, Groq, xAI, DeepSeek, OpenRouter, vLLM …).

Usage may come on any chunk (with or without choices, once or on every chunk, in `x_groq`, inside a choice): the last one
that holds counts wins. Model and id may be empty on the first chunk (Azure).
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, mapping, mappings, text
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.openai_counts import has_counts, read_cost_usd, read_counts, read_service_tier, read_units


class OpenAIChat:
    """`chat.completion`, `chat.completion.chunk`, `text_completion`."""

    api = "openai.chat"
    needles = (b'tokens"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By `choices`, or by the object's name."""
        kind = text(event.get("object")) or ""
        return isinstance(event.get("choices"), list) or kind.startswith(("chat.completion", "text_completion"))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """One body or one chunk."""
        kind = text(event.get("object")) or ""
        choices = mappings(event.get("choices"))
        if kind.startswith("text_completion") or any("text" in choice and "message" not in choice for choice in choices):
            found.api = "openai.completions"
        usage = _usage(event, choices)
        if usage:
            if has_counts(usage):
                found.report(read_counts, usage)
            found.cost_usd = read_cost_usd(usage) if found.cost_usd is None else read_cost_usd(usage) or found.cost_usd
            found.units.update(read_units(usage))
            found.is_final = not choices or any(choice.get("finish_reason") for choice in choices)
        found.set_labels(text(event.get("model")), text(event.get("id")), read_service_tier(event, usage))
        found.error = error_text(event) or next(filter(None, map(error_text, choices)), found.error)
        if kind == "chat.completion.done":  # Perplexity's last chunk
            found.has_ended = True


def _usage(event: Object, choices: list[Object]) -> Object:
    """The chunk's usage object, wherever it is; an empty one where there is none that says anything."""
    usage = mapping(event.get("usage")) or mapping(mapping(event.get("x_groq")).get("usage"))
    if not usage:
        usage = next((inner for choice in choices if (inner := mapping(choice.get("usage")))), usage)  # Moonshot
    return usage if has_counts(usage) or "cost" in usage or "seconds" in usage else {}
