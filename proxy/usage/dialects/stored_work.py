"""Work that goes on behind its answer, of other providers than OpenAI: Gemini's batches, Replicate's predictions.

Each is billed once, by its id, whenever an answer shows what it used; before its end there is no usage, and none is missing.
Source: Gemini API reference (batch mode, inlined responses), Replicate HTTP API (predictions, metrics), read 2026-11-29.
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, mapping, mappings, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.gemini import read_usage_metadata
from proxy.usage.tokens import TokenUsage

_RUNNING = ("starting", "processing")


class GeminiBatch:
    """An operation whose metadata is a batch of generateContent calls, answered in the operation itself."""

    api = "gemini.batches"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the name of the operation."""
        return (text(event.get("name")) or "").startswith("batches/") and "metadata" in event

    def read(self, name: str, event: Object, found: Findings) -> None:
        """The operation is the only event: the sum of its answers."""
        found.error = error_text(event) or found.error
        found.is_pending = event.get("done") is not True
        answers = mapping(mapping(event.get("response")).get("inlinedResponses")).get("inlinedResponses")
        inner = [mapping(answer.get("response")) for answer in mappings(answers)]
        counted = [usage for one in inner if (usage := read_usage_metadata(mapping(one.get("usageMetadata")))) is not None]
        models = [text(one.get("modelVersion")) for one in inner]
        found.set_labels(next(filter(None, models), None), text(event.get("name")), "batch")
        if counted:
            input_tokens, output = total(one.input_tokens for one in counted), total(one.output_tokens for one in counted)
            found.usage = TokenUsage(
                input_tokens,
                output,
                cache_read_tokens=total(one.cache_read_tokens for one in counted),
                reasoning_tokens=total(one.reasoning_tokens for one in counted),
                input_audio_tokens=total(one.input_audio_tokens for one in counted),
                input_image_tokens=total(one.input_image_tokens for one in counted),
                output_image_tokens=total(one.output_image_tokens for one in counted),
                total_tokens=total((input_tokens, output)),
            )
            found.is_final = True
            found.billing_key = f"batch:{found.response_id}"


class Replicate:
    """A `prediction`; models that are billed by tokens count them in its metrics."""

    api = "replicate.predictions"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the links to itself, beside its status."""
        return "get" in mapping(event.get("urls")) and "status" in event

    def read(self, name: str, event: Object, found: Findings) -> None:
        """The prediction is the only event."""
        found.error = error_text(event) or found.error
        found.is_pending = event.get("status") in _RUNNING
        found.set_labels(text(event.get("model")), text(event.get("id")), None)
        metrics = mapping(event.get("metrics"))
        input_tokens, output = count(metrics.get("input_token_count")), count(metrics.get("output_token_count"))
        if input_tokens is not None or output is not None:
            found.usage, found.is_final = TokenUsage(input_tokens, output, total_tokens=total((input_tokens, output))), True
            found.billing_key = f"prediction:{found.response_id}" if found.response_id else None
