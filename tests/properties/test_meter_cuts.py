"""Any cut of the same bytes gives the same reading, whole or broken off, plain or packed; and no bytes make the meter raise."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise

import brotli
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.usage.decoding import zstd
from proxy.usage.tokens import Exactness
from tests.weighing import AWS, JSON, NDJSON, SSE, chunk_frame, facts, frame, lines, meter, sse

COUNTS = st.integers(0, 10**6)
TEXTS = st.text(max_size=40) | st.sampled_from(['"usage"', "[DONE]", "\\", "tokens", '{"error":1}', "data: x\n\n", "\r\n\r\n"])


def chat_body(texts, a, b, is_null):
    more = {"usage": None} if is_null else {}
    events = [{"object": "chat.completion.chunk", "model": "m", "choices": [{"delta": {"content": text}}]} | more for text in texts]
    last = {"object": "chat.completion.chunk", "model": "m", "choices": [], "usage": {"prompt_tokens": a, "completion_tokens": b}}
    return facts("openai.chat", is_stream=True), SSE, sse(*events, last, done=True)


def anthropic_body(texts, a, b, is_padded):
    start = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": a, "output_tokens": 1}}}
    events = [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in texts]
    end = [{"type": "message_delta", "usage": {"output_tokens": b}}, {"type": "message_stop"}]
    body = sse(start, *events, *end)
    return facts("anthropic.messages", is_stream=True), SSE, body.replace(b"}\n\n", b"}    \n\n") if is_padded else body


def gemini_body(texts, a, b, is_array):
    events = [
        {
            "candidates": [{"content": {"parts": [{"text": text}]}}],
            "usageMetadata": {"promptTokenCount": a, "candidatesTokenCount": b},
        }
        for text in texts
    ]
    asked = facts("gemini.generate_content", model="g", is_stream=True)
    if is_array:
        return asked, JSON, b"[" + b"\n,\r\n".join(json.dumps(event, indent=1).encode() for event in events) + b"\n]"
    return asked, SSE, sse(*events, end="\r\n\r\n")


def ollama_body(texts, a, b, is_named):
    events = [{"model": "m", "response": text, "done": False} for text in texts]
    body = lines(*events, {"model": "m", "response": "", "done": True, "prompt_eval_count": a, "eval_count": b})
    return facts("ollama.generate", is_stream=True), NDJSON if is_named else JSON, body


def bedrock_body(texts, a, b, is_native):
    usage = {"inputTokens": a, "outputTokens": b}
    asked = facts("bedrock.invoke" if is_native else "bedrock.converse", model="m", is_stream=True)
    if is_native:
        events = [{"contentBlockDelta": {"delta": {"text": text}}} for text in texts]
        return asked, AWS, b"".join(map(chunk_frame, [*events, {"metadata": {"usage": usage}}]))
    frames = [frame("contentBlockDelta", {"delta": {"text": text}}) for text in texts]
    return asked, AWS, b"".join([*frames, frame("metadata", {"usage": usage})])


ANSWERS = st.builds(
    lambda make, texts, a, b, flag: make(texts, a, b, flag),
    st.sampled_from([chat_body, anthropic_body, gemini_body, ollama_body, bedrock_body]),
    st.lists(TEXTS, min_size=1, max_size=40),
    COUNTS,
    COUNTS,
    st.booleans(),
)
PACKERS = {b"": bytes, b"gzip": gzip.compress, b"br": lambda body: brotli.compress(body, quality=1), b"zstd": zstd.compress}


def read(asked, content_type, parts, encoding, is_complete):
    scale = meter(asked, 200, content_type, [(b"content-encoding", encoding)])
    for part in parts:
        scale.feed(part)
    return scale.finish(is_complete, 123)


def cut(body, cuts):
    at = sorted({0, len(body), *(place % (len(body) + 1) for place in cuts)})
    return [body[start:end] for start, end in pairwise(at)]


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.lists(st.integers(0, 10**6), max_size=12), st.sampled_from(sorted(PACKERS)))
def test_any_cut_of_a_whole_answer_gives_the_same_exact_reading(answer, cuts, encoding):
    asked, content_type, body = answer
    whole = read(asked, content_type, [body], b"", True)
    assert whole.exactness is Exactness.EXACT
    packed = PACKERS[encoding](body)
    assert read(asked, content_type, cut(packed, cuts), encoding, True) == whole
    assert read(asked, content_type, [packed[at : at + 1] for at in range(len(packed))], encoding, True) == whole


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.floats(0, 1), st.lists(st.integers(0, 10**6), max_size=12))
def test_any_cut_of_a_broken_answer_gives_the_same_reading(answer, share, cuts):
    asked, content_type, body = answer
    seen = body[: int(share * len(body))]
    whole = read(asked, content_type, [seen], b"", False)
    assert read(asked, content_type, cut(seen, cuts), b"", False) == whole
    assert read(asked, content_type, [seen[at : at + 1] for at in range(len(seen))], b"", False) == whole


@settings(max_examples=150, deadline=None)
@given(
    ANSWERS,
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=20),
    st.lists(st.integers(0, 10**6), max_size=8),
    st.sampled_from(sorted(PACKERS)),
)
def test_damaged_bytes_never_raise(answer, damage, cuts, encoding):
    asked, content_type, body = answer
    packed = bytearray(PACKERS[encoding](body))
    for place, byte in damage:
        packed[place % len(packed)] = byte
    reading = read(asked, content_type, cut(bytes(packed), cuts), encoding, True)
    assert reading.usage is None or (reading.usage.input_tokens or 0) >= 0


KEYS = re.findall(
    r"\w+",
    """usage choices type object message usageMetadata response delta error model id data text done meta billed_units tokens output
    prompt_tokens completion_tokens input_tokens output_tokens total_tokens cost iterations candidates embeddings embedding
    predictions interaction metadata inputTokens result custom_id completion results prompt completions status finish_reason
    cache_creation server_tool_use promptTokensDetails modality tokenCount promptTokenCount""",
)
"""Names that dialects look for, so that random JSON gets deep into them."""
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(JSON_VALUES, min_size=1, max_size=6), st.sampled_from([200, 400]))
def test_no_json_of_any_shape_is_a_fault(values, status):
    scale = meter(facts("unknown", is_stream=True), status, SSE)
    for value in values:
        scale.feed(b"data: " + json.dumps(value).encode() + b"\n\n")
    assert scale.finish(True, 5).blind_reason is None
    single = meter(facts("unknown"), status, JSON)
    single.feed(json.dumps(values[0]).encode())
    assert single.finish(True, 5).blind_reason is None
