"""Meta's Llama API in its native form: counts are a list of metrics, at the end of a body or in the stream's last event.

Source: llama-api-python types (CreateChatCompletionResponse.metrics, …StreamChunk.event), read 2026-11-29.
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, mapping, mappings, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import TokenUsage

_EVENTS = ("start", "progress", "complete", "metrics")


class LlamaApi:
    """`completion_message` with `metrics`, and `{"event": {"event_type": …}}` of its stream."""

    api = "llama_api.chat"
    needles = (b'"metrics"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the message's name, or the event's type."""
        return "completion_message" in event or mapping(event.get("event")).get("event_type") in _EVENTS

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event; the last one has the metrics."""
        found.error = error_text(event) or found.error
        inner = mapping(event.get("event")) or event
        found.set_labels(text(event.get("model")), text(event.get("id")), None)
        metrics = {item.get("metric"): count(item.get("value")) for item in mappings(inner.get("metrics"))}
        input_tokens, output = metrics.get("num_prompt_tokens"), metrics.get("num_completion_tokens")
        if input_tokens is None and output is None:
            return
        found.usage = TokenUsage(
            input_tokens, output, total_tokens=metrics.get("num_total_tokens") or total((input_tokens, output))
        )
        found.is_final = True
        found.has_ended = "event" in event
