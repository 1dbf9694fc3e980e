"""Anthropic: messages (direct, on Bedrock, on Vertex, and look-alikes), the old completions, and results of message batches.

Messages report cache reads and writes beside `input_tokens`, so that all three are added up. `message_start` has the input and a
placeholder for the output; `message_delta` is cumulative and may replace any field (server tools raise the input, compaction
lowers it): the last value of each field wins. Missing and null never erase; nor does a 0 (some gateways send zeros for
what they do not know), except for `output_tokens`, whose first value is only a placeholder.
`iterations`: compaction passes are billed and outside the totals, so they are added; advisor passes are another model's.
Source: anthropic-sdk-python types/usage.py, beta iterations usage; recordings.
"""

from __future__ import annotations

from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, count, mapping, mappings, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.openai_counts import read_cost_usd
from proxy.usage.tokens import TokenUsage

_MESSAGE_EVENTS = ("message_start", "message_delta", "message_stop")
_BLOCK_EVENTS = ("content_block_start", "content_block_delta", "content_block_stop")


def read_counts(usage: Object) -> TokenUsage:
    """One usage object or one iteration, with the cache counts added to the input. Not for OpenAI's inclusive counts."""
    read, write = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    plain, output = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    split = mapping(usage.get("cache_creation"))
    if write is None and split:
        write = total(map(count, split.values()))
    hour = count(split.get("ephemeral_1h_input_tokens"))
    input_tokens = total((plain, read, write))
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=hour if hour is None or write is None else min(hour, write),
        reasoning_tokens=count(mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
        total_tokens=total((input_tokens, output)),
    )


def _added(first: TokenUsage, second: TokenUsage) -> TokenUsage:
    input_tokens = total((first.input_tokens, second.input_tokens))
    output_tokens = total((first.output_tokens, second.output_tokens))
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=total((first.cache_read_tokens, second.cache_read_tokens)),
        cache_write_tokens=total((first.cache_write_tokens, second.cache_write_tokens)),
        cache_write_1h_tokens=total((first.cache_write_1h_tokens, second.cache_write_1h_tokens)),
        reasoning_tokens=total((first.reasoning_tokens, second.reasoning_tokens)),
        total_tokens=total((input_tokens, output_tokens)),
    )


class AnthropicMessages:
    """`message`, and the events from `message_start` to `message_stop`."""

    api = "anthropic.messages"
    needles = (b'"message_', b'"error"')

    def __init__(self) -> None:
        self._fields: dict[str, object] = {}

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the type; other APIs have objects of type `message` too, but inside of theirs."""
        kind = event.get("type")
        return kind in _MESSAGE_EVENTS or kind in _BLOCK_EVENTS or (kind == "message" and ("role" in event or "usage" in event))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A whole message, or an event."""
        kind = event.get("type")
        if kind in ("message", "message_start"):
            message = event if kind == "message" else mapping(event.get("message"))
            found.set_labels(text(message.get("model")), text(message.get("id")), None)
            if self._merge(message.get("usage"), found):
                found.is_placeholder = kind == "message_start"
        elif kind == "message_delta":
            if self._merge(event.get("usage"), found):
                found.is_final, found.is_placeholder = True, False
        elif kind == "message_stop":
            found.has_ended = True
        found.error = error_text(event) or found.error

    def _merge(self, usage: object, found: Findings) -> bool:
        if not isinstance(usage, dict) or not usage:
            return False
        for key, value in usage.items():
            if value is None or (value == 0 and key != "output_tokens" and self._fields.get(key)):
                continue
            self._fields[key] = value
        self._report(found)
        return True

    def _report(self, found: Findings) -> None:
        fields = self._fields
        usage = read_counts(fields)
        advisors: list[tuple[str, TokenUsage]] = []
        for iteration in mappings(fields.get("iterations")):
            if iteration.get("type") == "compaction":
                usage = _added(usage, read_counts(iteration))
            elif iteration.get("type") == "advisor_message":
                advisors.append((text(iteration.get("model")) or found.model or "unknown", read_counts(iteration)))
        found.usage, found.also_used = usage, tuple(advisors)
        found.cost_usd = read_cost_usd(fields)
        is_fast = fields.get("speed") == "fast"
        found.service_tier = "fast" if is_fast else text(fields.get("service_tier")) or found.service_tier
        searches = count(mapping(fields.get("server_tool_use")).get("web_search_requests"))
        if searches:
            found.units["web_searches"] = Decimal(searches)


class AnthropicComplete:
    """The old `/v1/complete`: it never reports usage, so that only model, end and errors are read."""

    api = "anthropic.complete"
    needles = (b'"stop_reason":"', b'"stop_reason": "', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the text's name; `usage` beside it is of another format."""
        return isinstance(event.get("completion"), str) and "usage" not in event

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A whole answer, or the next piece of one."""
        found.set_labels(text(event.get("model")), text(event.get("id")), None)
        found.error = error_text(event) or found.error
        found.has_ended = bool(event.get("stop_reason"))


class AnthropicBatchResults:
    """Results of a message batch, one a line: the sum of all, billed once by the id of the first message."""

    api = "anthropic.batches"
    needles = ()

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the envelope of a line."""
        return "custom_id" in event and isinstance(event.get("result"), dict)

    def read(self, name: str, event: Object, found: Findings) -> None:
        """One line."""
        message = mapping(mapping(event.get("result")).get("message"))
        if not isinstance(message.get("usage"), dict):
            return
        counts = read_counts(mapping(message.get("usage")))
        found.usage = counts if found.usage is None else _added(found.usage, counts)
        found.set_labels(text(message.get("model")), found.response_id or text(message.get("id")), "batch")
        if found.response_id:
            found.billing_key = f"batch:{found.response_id}"
