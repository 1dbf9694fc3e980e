"""Cohere: chat v1 and v2, embed, rerank, generate, classify. What is billed differs from what the model saw.

`tokens` (what the model saw) become the counts, for limits; `billed_units` go beside them, for prices. Embed and generate have
billed units alone: then these are the counts. No answer names its model.
`tokens.reasoning_tokens`, seen in recordings, is not documented (not even whether it is part of the output): it is not read.
Source: docs.cohere.com/reference (chat, chat-v1, embed, rerank), read 2026-11-21; recordings.
"""

from __future__ import annotations

from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, amount, count, mapping, text, total
from proxy.usage.dialects.findings import Findings
from proxy.usage.tokens import TokenUsage

_V2_EVENTS = ("message-start", "content-start", "content-delta", "content-end", "message-end", "tool-plan-delta", "tool-call-start")
_V1_EVENTS = ("stream-start", "text-generation", "stream-end", "tool-calls-chunk", "tool-calls-generation", "citation-generation")
_UNITS = {"search_units": "search_units", "images": "images", "classifications": "classifications"}


class Cohere:
    """Bodies with `meta.billed_units` or `usage.billed_units`, and the events of both streams."""

    api = "cohere.chat"
    needles = (b'"billed_units"', b'"message-end"', b'"is_finished":true', b'"error"')

    @staticmethod
    def matches(name: str, event: Object) -> bool:
        """By the events' types, or by Cohere's own usage object."""
        if event.get("type") in _V2_EVENTS or event.get("event_type") in _V1_EVENTS or "is_finished" in event:
            return True
        usage = _usage(event)
        return "billed_units" in usage or ("api_version" in usage and "version" in mapping(usage.get("api_version")))

    def read(self, name: str, event: Object, found: Findings) -> None:
        """A body, or an event; the last one has the usage."""
        kind = event.get("type") or event.get("event_type")
        if kind in ("message-end", "stream-end") or event.get("is_finished") is True:
            found.has_ended = True
            inner = mapping(event.get("delta")) or mapping(event.get("response")) or event
        else:
            inner = event
        found.api = _api(inner) or found.api
        usage = _usage(inner)
        counts = _counts(usage)
        if counts:
            found.usage, found.is_final = counts, True
        billed = mapping(usage.get("billed_units"))
        units = {ours: amount(billed.get(theirs)) for theirs, ours in _UNITS.items()}
        found.units.update({name: Decimal(value) for name, value in units.items() if value})
        found.set_labels(None, text(event.get("id")) or text(event.get("generation_id")) or text(inner.get("generation_id")), None)
        found.error = error_text(inner) or error_text(event) or _failed(inner) or found.error


def _usage(event: Object) -> Object:
    return mapping(event.get("usage")) or mapping(event.get("meta"))


def _api(event: Object) -> str | None:
    """Which call it was, where the body tells."""
    if "embeddings" in event:
        return "cohere.embed"
    if "results" in event:
        return "cohere.rerank"
    return "cohere.generate" if "generations" in event else None


def _counts(usage: Object) -> TokenUsage | None:
    seen, billed = mapping(usage.get("tokens")), mapping(usage.get("billed_units"))
    billed_input = total((count(billed.get("input_tokens")), count(billed.get("image_tokens"))))
    billed_output = count(billed.get("output_tokens"))
    input_tokens, output_tokens = count(seen.get("input_tokens")), count(seen.get("output_tokens"))
    if input_tokens is None and output_tokens is None:
        if billed_input is None and billed_output is None:
            return None
        input_tokens, output_tokens = billed_input, billed_output or 0
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=count(usage.get("cached_tokens")),
        input_image_tokens=count(seen.get("image_tokens")) if seen else count(billed.get("image_tokens")),
        billed_input_tokens=billed_input,
        billed_output_tokens=billed_output,
        total_tokens=total((input_tokens, output_tokens)),
    )


def _failed(inner: Object) -> str | None:
    """A stream that ends with the reason ERROR may say no more than that."""
    return "ERROR: the stream ended with finish_reason ERROR" if inner.get("finish_reason") == "ERROR" else None
