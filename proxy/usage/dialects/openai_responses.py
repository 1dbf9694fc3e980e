"""OpenAI's Responses API and its look-alikes (Azure, xAI, OpenRouter, DeepSeek, Bedrock mantle), also `/responses/compact`.

Usage stands in the `response` object of the terminal event only; before, it is null. A response in the background has no usage
until it is read later: then it is billed by its id, once.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, mapping, mappings, text
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.openai_counts import read_cost_usd, read_counts, read_service_tier, read_units

_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done")
_OBJECTS = ("response", "response.compaction")
_PENDING = ("queued", "in_progress")


class OpenAIResponses:
    """`response`, `response.compaction` and the `response.*` events."""

    api = "openai.responses"
    needles = (b'"response"', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the object's name or the event's type."""
        return event.get("object") in _OBJECTS or (text(event.get("type")) or name).startswith("response.")

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A whole response, or an event; only events that hold the response object matter."""
        kind = text(event.get("type")) or name
        response = event if event.get("object") in _OBJECTS else mapping(event.get("response"))
        found.error = error_text(response) or error_text(event) or found.error
        if not response:
            return
        usage = mapping(response.get("usage"))
        found.set_labels(text(response.get("model")), text(response.get("id")), read_service_tier(response, usage))
        found.is_pending = response.get("status") in _PENDING
        if counts := read_counts(usage):
            found.usage = counts
            found.cost_usd = read_cost_usd(usage)
            found.units = _tool_calls(response) | read_units(usage)
            if response.get("background") is True and found.response_id:
                found.billing_key = f"response:{found.response_id}"
        if kind in _TERMINAL:
            found.has_ended = True
            found.is_final = found.usage is not None


def _tool_calls(response: Object) -> dict[str, Decimal]:
    """Tools that are billed by the call, counted in the output; a code session is one per container."""
    output = mappings(response.get("output"))
    counts = Counter(text(item.get("type")) for item in output if _is_billed(item))
    sessions = {text(item.get("container_id")) for item in output if item.get("type") == "code_interpreter_call"}
    found = {
        "web_searches": counts["web_search_call"],
        "file_searches": counts["file_search_call"],
        "code_sessions": len(sessions),
    }
    return {name: Decimal(number) for name, number in found.items() if number}


def _is_billed(item: Object) -> bool:
    """Opening a page or looking for a text in it is part of the search before."""
    return mapping(item.get("action")).get("type") not in ("open_page", "find", "find_in_page")
