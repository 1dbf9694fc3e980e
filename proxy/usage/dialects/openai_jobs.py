"""OpenAI's work that goes on behind the answer: assistants' runs and batches. Each is billed once, by its id, whenever it is read.

A run's usage comes in its last event, or when it is polled; steps have figures of their own that the run's adds up, so a step
counts only where the run never says. A batch reports usage since 2025-09; before its end the figures are running.
"""

from __future__ import annotations

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, mapping, text
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.openai_counts import read_counts

_ENDED = ("completed", "failed", "cancelled", "expired", "incomplete")


class OpenAIRuns:
    """`thread.run`, `thread.run.step` and the `thread.*` events."""

    api = "openai.assistants"
    needles = (b'tokens"', b'"error"')

    def __init__(self) -> None:
        self._has_run_usage = False

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the object's name."""
        kind = event.get("object")
        return isinstance(kind, str) and (kind == "thread" or kind.startswith("thread."))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A run, a step, or something of no interest (a message, its delta)."""
        kind, usage = event.get("object"), read_counts(mapping(event.get("usage")))
        found.error = error_text(event) or error_text({"error": event.get("last_error")}) or found.error
        if kind == "thread.run":
            found.set_labels(text(event.get("model")), text(event.get("id")), text(event.get("service_tier")))
            found.is_pending = event.get("status") not in _ENDED
            if usage:
                self._has_run_usage = True
                found.usage, found.is_final = usage, True
                found.billing_key = f"run:{found.response_id}" if found.response_id else None
        elif kind == "thread.run.step" and usage and not self._has_run_usage:
            found.usage = usage


class OpenAIBatch:
    """A `batch` object."""

    api = "openai.batches"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the object's name."""
        return event.get("object") == "batch"

    def read(self, name: str, event: Object, found: Findings) -> None:
        """The object is the only event."""
        found.set_labels(text(event.get("model")), text(event.get("id")), "batch")
        found.usage = read_counts(mapping(event.get("usage")))
        has_ended = event.get("status") in _ENDED
        found.is_pending, found.is_final = not has_ended, True
        if has_ended and found.response_id and found.usage and found.usage.input_tokens:
            found.billing_key = f"batch:{found.response_id}"
