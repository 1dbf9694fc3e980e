"""Vercel AI Gateway's own API, which the `ai` package speaks by default: a language model's result, and the parts of its stream.

Counts are inclusive. The older form has plain numbers (`inputTokens`, `cachedInputTokens`, `reasoningTokens`), the newer one an
object for each side (`{"total", "noCache", "cacheRead", "cacheWrite"}`, `{"total", "text", "reasoning"}`).
Source: ai-sdk packages/provider, LanguageModelV2Usage and LanguageModelV3Usage, read 2026-11-29.
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, amount, count, first_count, mapping, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import TokenUsage

_PARTS = ("stream-start", "response-metadata", "text-start", "text-delta", "reasoning-start", "reasoning-delta", "tool-input-start")


class VercelModel:
    """`{"content": […], "finishReason": …, "usage": …}` and parts up to `finish`."""

    api = "vercel.language_model"
    needles = (b'"finish"', b'"error"', b'"response-metadata"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the part's type, or by the reason beside the usage object."""
        if event.get("type") in _PARTS:
            return True
        return "finishReason" in event and "inputTokens" in mapping(event.get("usage"))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A result, or a part."""
        found.error = error_text(event) or found.error
        response = event if event.get("type") == "response-metadata" else mapping(event.get("response"))
        found.set_labels(text(response.get("modelId")), text(response.get("id")), None)
        usage = mapping(event.get("usage"))
        inputs, outputs = mapping(usage.get("inputTokens")), mapping(usage.get("outputTokens"))
        input_tokens = count(inputs.get("total") if inputs else usage.get("inputTokens"))
        output = count(outputs.get("total") if outputs else usage.get("outputTokens"))
        if input_tokens is None and output is None:
            return
        found.usage = TokenUsage(
            input_tokens,
            output,
            cache_read_tokens=count(inputs.get("cacheRead")) if inputs else count(usage.get("cachedInputTokens")),
            cache_write_tokens=count(inputs.get("cacheWrite")),
            reasoning_tokens=count(outputs.get("reasoning")) if outputs else count(usage.get("reasoningTokens")),
            total_tokens=first_count(usage, "totalTokens") or total((input_tokens, output)),
        )
        found.cost_usd = amount(mapping(mapping(event.get("providerMetadata")).get("gateway")).get("cost"))
        found.is_final = True
        found.has_ended = event.get("type") == "finish"
