"""The usage object that OpenAI began and most others copied: counts are inclusive, details are subsets of them.

Read here: `prompt_tokens`/`completion_tokens` and `input_tokens`/`output_tokens`, details under four spellings, and what
look-alikes do otherwise:
- cached tokens under other names (DeepSeek, Together, Hugging Face, Mistral, Moonshot), reasoning at the top (Copilot);
- xAI chat leaves reasoning out of completion: total = prompt + completion + reasoning says so;
- Mistral Voxtral leaves audio out of prompt: total = prompt + completion + audio says so;
- Mistral's conversations count what connectors (web search) fed to the model apart, as `connector_tokens`: input;
- a total above its parts with no such explanation: audio input where audio seconds are reported (Voxtral transcription), else
  thinking that was not itemised (Gemini's OpenAI-compatible endpoint); it is billed, so it counts.
Figures that contradict each other (cached > prompt, reasoning > completion) stay as they were reported.
Source: openai-python types/completion_usage.py; recordings of the providers named.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from proxy.usage.dialects.fields import Object, amount, count, first_count, first_mapping, mapping, text
from proxy.usage.tokens import NO_UNITS, TokenUsage

_USD_PER_TICK = Decimal("1e-10")
"""xAI `cost_in_usd_ticks`. Source: docs.x.ai, cost tracking, read 2026-11-21."""
_COUNT_KEYS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")


def has_counts(usage: Object) -> bool:
    """Whether the object holds token counts in this shape."""
    for key in _COUNT_KEYS:  # noqa: SIM110 - a loop takes a third of the time of any(), and this is asked three times an answer
        if count(usage.get(key)) is not None:
            return True
    return False


def read_counts(usage: Object) -> TokenUsage | None:
    """Counts of one usage object; None where it has none (costs alone, units alone)."""
    if not has_counts(usage):
        return None
    # Gateways that fill both spellings leave 0 in the one they do not use.
    input_tokens = first_count(usage, "prompt_tokens", "input_tokens") or first_count(usage, "input_tokens", "prompt_tokens")
    output_tokens = first_count(usage, "completion_tokens", "output_tokens") or first_count(
        usage, "output_tokens", "completion_tokens"
    )
    total_tokens = count(usage.get("total_tokens"))
    if input_tokens is None and output_tokens is None:  # Voyage and rerankers report a total alone: all of it is input
        input_tokens, output_tokens = total_tokens, 0
    inputs = first_mapping(usage, "prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details")
    outputs = first_mapping(
        usage, "completion_tokens_details", "output_tokens_details", "completion_token_details", "output_token_details"
    )
    reasoning = count(outputs.get("reasoning_tokens"))
    if reasoning is None:
        reasoning = count(usage.get("reasoning_tokens"))
    cache_write = first_count(inputs, "cache_write_tokens", "cache_creation_tokens")
    if cache_write is None:
        cache_write = first_count(usage, "cache_creation_input_tokens", "cache_write_tokens")
    input_audio = count(inputs.get("audio_tokens"))
    if "prompt_tokens" in usage:
        input_tokens, output_tokens, reasoning = _with_hidden(usage, input_tokens, output_tokens, reasoning, input_audio)
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=_cache_read(usage, inputs),
        cache_write_tokens=cache_write,
        cache_write_1h_tokens=count(mapping(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")),
        reasoning_tokens=reasoning,
        input_audio_tokens=input_audio,
        output_audio_tokens=count(outputs.get("audio_tokens")),
        cache_read_audio_tokens=count(mapping(inputs.get("cached_tokens_details")).get("audio_tokens")),
        input_image_tokens=count(inputs.get("image_tokens")),
        output_image_tokens=count(outputs.get("image_tokens")),
        total_tokens=total_tokens,
        billed_output_tokens=_billed_output(usage, output_tokens, reasoning),
        units=_token_units(usage, inputs),
    )


def _billed_output(usage: Object, output_tokens: int | None, reasoning: int | None) -> int | None:
    """Perplexity's deep research bills reasoning and citations beside the completion, and its total has neither."""
    citations = count(usage.get("citation_tokens"))
    if citations is None or output_tokens is None or (reasoning or 0) <= output_tokens:
        return None
    return output_tokens + (reasoning or 0) + citations


def _token_units(usage: Object, inputs: Object) -> Mapping[str, Decimal]:
    """Subsets that have no field of their own."""
    cached_image = count(mapping(inputs.get("cached_tokens_details")).get("image_tokens"))
    citations = count(usage.get("citation_tokens"))
    if not cached_image and not citations:
        return NO_UNITS
    found = {"cache_read_image_tokens": cached_image, "output_citation_tokens": citations}
    return {name: Decimal(value) for name, value in found.items() if value}


def read_cost_usd(usage: Object) -> Decimal | None:
    """The cost that the provider itself reports: OpenRouter and Vercel a number, Perplexity an object, xAI ticks."""
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return amount(cost.get("total_cost"))
    found = amount(cost)
    if found is None:
        ticks = count(usage.get("cost_in_usd_ticks"))
        found = ticks * _USD_PER_TICK if ticks else None  # Azure copies the field and always sends 0
    return amount(usage.get("estimated_cost")) if found is None else found


def read_units(usage: Object) -> dict[str, Decimal]:
    """Billed things beside tokens: searches, sessions, seconds of audio. Nearly all usage objects have none."""
    found: dict[str, Decimal | int | None] = {}
    tools = first_mapping(usage, "server_tool_use_details", "server_side_tool_usage_details", "server_tool_use")
    if tools:
        found["web_searches"] = first_count(tools, "web_search_requests", "web_search_calls")
        found["social_searches"] = count(tools.get("x_search_calls"))
        found["file_searches"] = first_count(tools, "file_search_calls", "document_search_calls")
        found["code_sessions"] = count(tools.get("code_interpreter_calls"))
    if "connectors" in usage:  # Mistral's conversations
        found["web_searches"] = found.get("web_searches") or count(mapping(usage["connectors"]).get("web_search"))
    if "tool_calls_details" in usage:  # Perplexity's Responses
        searched = mapping(mapping(usage["tool_calls_details"]).get("search_web"))
        found["web_searches"] = found.get("web_searches") or count(searched.get("invocation"))
    if "num_search_queries" in usage:
        found["web_searches"] = found.get("web_searches") or count(usage["num_search_queries"])
    if "seconds" in usage or "prompt_audio_seconds" in usage:
        found["audio_seconds"] = amount(usage.get("seconds")) or amount(usage.get("prompt_audio_seconds"))
    return {name: Decimal(value) for name, value in found.items() if value}


def read_service_tier(event: Object, usage: Object) -> str | None:
    """The tier that served the call; Mistral puts it into the usage object."""
    return text(event.get("service_tier")) or text(usage.get("service_tier"))


def _cache_read(usage: Object, inputs: Object) -> int | None:
    found = first_count(inputs, "cached_tokens", "cache_read_input_tokens")
    if found is not None:
        return found
    return first_count(usage, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")


def _with_hidden(
    usage: Object, input_tokens: int | None, output_tokens: int | None, reasoning: int | None, audio: int | None
) -> tuple[int | None, int | None, int | None]:
    """Tokens that the total has and the parts leave out, put where they are billed."""
    total_tokens = count(usage.get("total_tokens"))
    if input_tokens is None or output_tokens is None or total_tokens is None:
        return input_tokens, output_tokens, reasoning
    hidden = total_tokens - input_tokens - output_tokens
    if hidden <= 0:
        return input_tokens, output_tokens, reasoning
    if hidden == count(usage.get("connector_tokens")):
        return input_tokens + hidden, output_tokens, reasoning
    if hidden == reasoning:
        return input_tokens, output_tokens + hidden, reasoning
    if hidden == audio or amount(usage.get("prompt_audio_seconds")):
        return input_tokens + hidden, output_tokens, reasoning
    return input_tokens, output_tokens + hidden, (reasoning or 0) + hidden
