"""Output tokens of a stream that ended before its usage came, estimated from the text that passed.

How: the first events are parsed anyway, and their text is counted in full. After that most events are not looked at; one in
16 KiB is parsed as a sample, always the event that crosses a fixed byte of the stream, so that the result does not
depend on how the network cut it. A sample drawn by bytes favours long events, so ratios to the event's own size are averaged
and multiplied by the bytes that passed (probability proportional to size). Tokens are text bytes / 4, but no fewer than
events with text: most providers send one event a token.

This is an estimate, always marked as one; nothing here is used when a provider reports usage.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

BYTES_PER_TOKEN = 4
SAMPLE_EVERY_BYTES = 16 << 10
_TEXT_KEYS = frozenset(
    {
        "content",
        "text",
        "delta",
        "thinking",
        "reasoning",
        "reasoning_content",
        "reasoningContent",
        "refusal",
        "arguments",
        "partial_json",
        "completion",
        "response",
        "outputText",
        "generation",
        "input",
        "transcript",
    }
)
_NOT_TEXT = frozenset({"reasoning_details", "annotations", "logprobs", "obfuscation", "citations", "usage", "amazon-bedrock-trace"})
_REPEATING = (".done", ".added", ".completed", ".created", ".in_progress")


def text_bytes(event: object, depth: int = 0) -> int:
    """Bytes (UTF-8) of generated text in one event of any dialect: content, reasoning, arguments of tool calls."""
    if depth > 8:
        return 0
    if isinstance(event, list):
        return sum(text_bytes(item, depth + 1) for item in event)
    if not isinstance(event, Mapping):
        return 0
    kind = event.get("type")
    if isinstance(kind, str) and kind.endswith(_REPEATING):
        return 0
    total = 0
    for key, value in event.items():
        if isinstance(value, str):
            if key in _TEXT_KEYS:
                total += len(value.encode("utf-8", "replace"))
        elif key == "args" and isinstance(value, dict):
            total += len(orjson.dumps(value))
        elif isinstance(value, dict | list) and key not in _NOT_TEXT:
            total += text_bytes(value, depth + 1)
    return total


class OutputEstimate:
    """Sums of what was parsed, and ratios of what was sampled."""

    __slots__ = ("_event_ratio", "_parsed_bytes", "_parsed_events", "_parsed_text", "_samples", "_text_ratio")

    def __init__(self) -> None:
        self._parsed_text = self._parsed_events = self._parsed_bytes = 0
        self._text_ratio = self._event_ratio = 0.0
        self._samples = 0

    @property
    def has_text(self) -> bool:
        """Whether any generated text was seen."""
        return self._parsed_text > 0 or self._text_ratio > 0

    def add_parsed(self, event: object, size_bytes: int) -> None:
        """An event of the beginning, which was parsed like all before it."""
        found = text_bytes(event)
        if found:
            self._parsed_text += found
            self._parsed_events += 1
            self._parsed_bytes += size_bytes

    def add_sample(self, event: object, size_bytes: int) -> None:
        """An event that stands for the others around it."""
        found = text_bytes(event)
        size_bytes = max(size_bytes, 1)
        self._samples += 1
        self._text_ratio += min(found / size_bytes, 1.0)
        self._event_ratio += (found > 0) / size_bytes

    def output_tokens(self, unparsed_bytes: int) -> int:
        """The estimate, in tokens.

        Args:
            unparsed_bytes: how much of the stream passed after the events that were all parsed.
        """
        text, events = float(self._parsed_text), float(self._parsed_events)
        if unparsed_bytes > 0:
            if self._samples:
                text += unparsed_bytes * self._text_ratio / self._samples
                events += unparsed_bytes * self._event_ratio / self._samples
            elif self._parsed_bytes:
                text += unparsed_bytes * self._parsed_text / self._parsed_bytes
                events += unparsed_bytes * self._parsed_events / self._parsed_bytes
        return max(-(-int(text) // BYTES_PER_TOKEN), round(events))
