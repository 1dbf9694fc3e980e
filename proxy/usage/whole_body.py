"""A body that came whole and is one JSON object, read in one go: no decoder, no framing, no events.

Rules of this file: it knows less than the general way (meter.py) and must never say anything else. What is not one JSON object is
left to it. The two answers that nearly all calls get, a chat completion of OpenAI's and a message of Anthropic's, are read here
without a dialect; wherever one holds what this file does not know (a key beside the plain ones, a count that is no plain int,
a total with hidden tokens in it), its dialect reads it. tests/weighing.py and test_whole_body.py hold both ways against each other.
Measured on the way of a request: 44 µs for the general way, 8 for a plain answer, most of it in the parser.
Not here: streams, packed bodies, failures (meter.py); what other formats say (dialects/).
"""

from __future__ import annotations

import orjson

from proxy.usage import readings
from proxy.usage.dialects import Dialect, Object
from proxy.usage.dialects.bedrock import METRICS
from proxy.usage.dialects.fields import MAX_COUNT
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.registry import choose
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import Exactness, Reading, TokenUsage

_CHAT_USAGE = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
_CHAT_INPUT = frozenset(("cached_tokens", "audio_tokens", "text_tokens"))
_CHAT_OUTPUT = frozenset(
    ("reasoning_tokens", "audio_tokens", "text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
)
_CHOICE = frozenset(("index", "message", "finish_reason", "logprobs", "content_filter_results", "stop_reason"))
_MESSAGE_USAGE = frozenset(
    (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "service_tier",
        "inference_geo",
    )
)
_NO_DETAILS: dict[str, object] = {}
_make = tuple.__new__
"""Makes a NamedTuple as the tuple it is; its own constructor is a Python function (1,600 instructions a call)."""
_NO_MORE = TokenUsage()[8:11]
_NO_OTHERS = TokenUsage()[12:]
_PLAINLY = Reading("")[6:]
"""The rest of a usage (before and behind its total) and of a reading, at their defaults."""


def api_of(facts: RequestFacts, found: Findings, dialect: Dialect | None) -> str:
    """The wire format: the bytes' own, but what Bedrock wraps keeps Bedrock's name."""
    if facts.api.startswith("bedrock."):
        return facts.api
    return found.api or (dialect.api if dialect else "") or facts.api


def read_whole_body(body: bytes, facts: RequestFacts, status: int, expected_input_tokens: int) -> Reading | None:
    """The reading of a successful answer to a metered request; None where the general way has to be gone."""
    if not body.startswith(b"{"):
        return None
    try:
        document = orjson.loads(body)
        if not facts.units and not facts.api.startswith("bedrock."):
            plain = read_plainly(document)
            if plain is not None:
                return plain
        dialect = choose("", document)
        if dialect is None or METRICS in document:
            return None
        found = Findings()
        dialect.read("", document, found)
        found.is_final, found.is_placeholder = True, False
        ended = readings.Ending(True, expected_input_tokens, readings.tokens_of_unread(len(body)), has_text=False)
        return readings.compose(facts, status, found, api_of(facts, found, dialect), None, None, ended)
    except Exception:  # noqa: BLE001 - not JSON, or a fault of ours: the general way says which
        return None


def read_plainly(document: dict[str, object]) -> Reading | None:
    """The reading of a whole, successful answer to a metered request; None where a dialect has to read it."""
    usage = document.get("usage")
    if type(usage) is not dict or document.get("error"):
        return None
    kind = document.get("object")
    if kind == "chat.completion":
        return _chat(document, usage)
    if kind is None and document.get("type") == "message" and "role" in document and "choices" not in document:
        return _message(document, usage)
    return None


def _chat(document: Object, usage: dict[str, object]) -> Reading | None:
    choices = document.get("choices")
    model, answer_id, tier = document.get("model"), document.get("id"), document.get("service_tier")
    if type(choices) is not list or not _are_texts(model, answer_id, tier) or not usage.keys() <= _CHAT_USAGE:
        return None
    for choice in choices:
        if type(choice) is not dict or "message" not in choice or not choice.keys() <= _CHOICE:
            return None
    inputs = usage.get("prompt_tokens_details") or _NO_DETAILS
    outputs = usage.get("completion_tokens_details") or _NO_DETAILS
    if type(inputs) is not dict or not inputs.keys() <= _CHAT_INPUT:
        return None
    if type(outputs) is not dict or not outputs.keys() <= _CHAT_OUTPUT:
        return None
    input_tokens, output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total_tokens = usage.get("total_tokens")
    cached, reasoning = inputs.get("cached_tokens"), outputs.get("reasoning_tokens")
    input_audio, output_audio = inputs.get("audio_tokens"), outputs.get("audio_tokens")
    if not (
        type(input_tokens) is int
        and type(output_tokens) is int
        and type(total_tokens) is int
        and 0 <= input_tokens <= MAX_COUNT
        and 0 <= output_tokens <= MAX_COUNT
        and 0 <= total_tokens <= input_tokens + output_tokens  # a total above its parts hides something: see openai_counts.py
        and total_tokens <= MAX_COUNT
        and (cached is None or (type(cached) is int and 0 <= cached <= MAX_COUNT))
        and (reasoning is None or (type(reasoning) is int and 0 <= reasoning <= MAX_COUNT))
        and (input_audio is None or (type(input_audio) is int and 0 <= input_audio <= MAX_COUNT))
        and (output_audio is None or (type(output_audio) is int and 0 <= output_audio <= MAX_COUNT))
    ):
        return None
    counts = _make(
        TokenUsage,
        (
            input_tokens,
            output_tokens,
            cached,
            None,
            None,
            reasoning,
            input_audio,
            output_audio,
            *_NO_MORE,
            total_tokens,
            *_NO_OTHERS,
        ),
    )
    return _make(Reading, ("openai.chat", counts, Exactness.EXACT, model, answer_id, tier, *_PLAINLY))


def _message(document: Object, usage: dict[str, object]) -> Reading | None:
    model, answer_id, tier = document.get("model"), document.get("id"), usage.get("service_tier")
    if not _are_texts(model, answer_id, tier) or not usage.keys() <= _MESSAGE_USAGE:
        return None
    plain, output_tokens = usage.get("input_tokens"), usage.get("output_tokens")
    read, write = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    split = usage.get("cache_creation") or _NO_DETAILS
    hour = split.get("ephemeral_1h_input_tokens") if type(split) is dict else ""
    if not (
        type(plain) is int
        and type(output_tokens) is int
        and 0 <= plain <= MAX_COUNT
        and 0 <= output_tokens <= MAX_COUNT
        and (read is None or (type(read) is int and 0 <= read <= MAX_COUNT))
        and (write is None or (type(write) is int and 0 <= write <= MAX_COUNT))
        and (write is not None or not split)
        and (hour is None or (type(hour) is int and 0 <= hour <= MAX_COUNT))
    ):
        return None
    input_tokens = plain + (read or 0) + (write or 0)
    hour = hour if hour is None or write is None else min(hour, write)
    counts = _make(
        TokenUsage,
        (input_tokens, output_tokens, read, write, hour, None, None, None, *_NO_MORE, input_tokens + output_tokens, *_NO_OTHERS),
    )
    return _make(Reading, ("anthropic.messages", counts, Exactness.EXACT, model, answer_id, tier, *_PLAINLY))


def _are_texts(model: object, answer_id: object, tier: object) -> bool:
    """A model that is named; an id and a tier that are named or absent."""
    return (
        type(model) is str
        and model != ""
        and (answer_id is None or (type(answer_id) is str and answer_id != ""))
        and (tier is None or (type(tier) is str and tier != ""))
    )
