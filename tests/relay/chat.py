"""Chat completions as OpenAI writes them, whole and streamed, for the relay's tests. Counts are small so that sums can be read."""

from __future__ import annotations

import json

from tests.relay.scripted_upstream import chunk, chunked_head

PROMPT_TOKENS, COMPLETION_TOKENS = 9, 3
COST_USD = "0.00000315"
"""gpt-4o-mini: $0.15 and $0.60 per million tokens: 9 × 0.15 + 3 × 0.60 = 3.15 millionths."""
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 12}
STREAMING = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"stream":true}'
STREAMING_WITH_USAGE = STREAMING[:-1] + b',"stream_options":{"include_usage":true}}'


def completion(**fields: object) -> bytes:
    """A whole answer."""
    content = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini", "choices": [], "usage": USAGE, **fields}
    return json.dumps(content).encode()


def event(**fields: object) -> bytes:
    """One event of a streamed answer."""
    content = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini", **fields}
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def words(*texts: str) -> list[bytes]:
    """Events that carry text."""
    return [event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in texts]


FINISH = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
USAGE_EVENT = event(choices=[], usage=USAGE)
DONE = b"data: [DONE]\n\n"
SHORT_STREAM = b"".join([*words("Hel", "lo"), FINISH])
"""Without usage and without its end."""


def streamed(*pieces: bytes, content_type: str = "text/event-stream", is_ended: bool = True) -> bytes:
    """A whole streamed answer, each piece a chunk of its own."""
    return chunked_head(content_type) + b"".join(chunk(piece) for piece in pieces) + (chunk(b"") if is_ended else b"")
