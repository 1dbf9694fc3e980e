"""What kind of answer a provider's head announces, and the one event that may be added to a stream. Pure."""

from __future__ import annotations

import orjson

from proxy.records import UsageRecord
from proxy.routing.response_head import ResponseHead
from proxy.usage.decoding import ContentDecoder
from proxy.usage.request_facts import RequestFacts

STREAM_TYPES = (
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/stream+json",
    b"application/vnd.amazon.eventstream",
    b"application/jsonl",
)


def is_stream_answer(head: ResponseHead, facts: RequestFacts) -> bool:
    """Whether its pieces are to be passed on as they come."""
    return head.content_type.lower().startswith(STREAM_TYPES) or (facts.is_stream and head.status < 400)


def can_be_held(head: ResponseHead, facts: RequestFacts, method: str, most_bytes: int) -> bool:
    """Whether it may wait until it is complete, so that tokens and cost can stand in its head."""
    if not facts.is_metered or head.status in (204, 304) or method == "HEAD":
        return False
    kind = head.content_type.lower()
    if kind and b"json" not in kind and not kind.startswith(b"text/"):
        return False
    return (head.content_length or 0) <= most_bytes


def was_usage_refused(head: ResponseHead, body: bytes) -> bool:
    """Whether a 400 is about the `stream_options` that were put into the request."""
    if head.content_encoding:
        body = b"".join(ContentDecoder(head.content_encoding.decode("latin-1")).decode(body)) if body else b""
    return b"stream_options" in body or b"include_usage" in body


def usage_event(record: UsageRecord) -> bytes:
    """The last event for who asked: tokens and cost (`x-weighbridge-usage: sse`)."""
    payload = {
        "request_id": record.id,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cache_read_tokens": record.cache_read_tokens,
        "cache_write_tokens": record.cache_write_tokens,
        "reasoning_tokens": record.reasoning_tokens,
        "total_tokens": record.total_tokens,
        "usage_source": record.usage_source,
        "cost_usd": record.cost_usd,
    }
    return b"event: weighbridge.usage\ndata: " + orjson.dumps(payload) + b"\n\n"
