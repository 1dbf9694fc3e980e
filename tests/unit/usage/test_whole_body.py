"""The short cut for whole JSON bodies: it is taken where it should be, and never says anything else than the general way."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.usage import meter as meter_module
from proxy.usage import whole_body
from proxy.usage.framing.json_document import LONG_BYTES
from proxy.usage.tokens import Exactness
from tests.weighing import JSON, facts, meter

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-x",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 21,
        "total_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 7, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5, "accepted_prediction_tokens": 0},
    },
    "service_tier": "default",
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello"}],
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15},
        "output_tokens": 8,
        "service_tier": "standard",
    },
}


def both_ways(document, **asked):
    """What the short cut and the general way say of one body."""
    body = json.dumps(document).encode()
    short, general = meter(facts(**asked), content_type=JSON), meter(facts(**asked), content_type=JSON)
    short.feed(body)
    general.feed(body)
    general.reading()  # whoever asks before the end gets the general way
    return short.finish(True, 9), general.finish(True, 9)


def test_plain_answers_are_read_without_framing_and_dialect(monkeypatch):
    monkeypatch.setattr(meter_module, "sniff", None)
    monkeypatch.setattr(whole_body, "choose", None)
    for document, counts in ((CHAT, (19, 7, None, 21, 5, 40)), (MESSAGE, (123, 100, 20, 8, None, 131))):
        body = json.dumps(document).encode()
        scale = meter(facts(), content_type="application/json; charset=utf-8")
        scale.feed(body[:70])
        scale.feed(body[70:])
        reading = scale.finish(True, 0)
        usage = reading.usage
        assert usage is not None
        assert reading.exactness is Exactness.EXACT
        assert (reading.provider_response_id, reading.service_tier) == (
            document["id"],
            "default" if document is CHAT else "standard",
        )
        found = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens, usage.reasoning_tokens)
        assert (*found, usage.total_tokens) == counts
        assert scale.has_usage


def test_other_documents_are_read_without_framing(monkeypatch):
    monkeypatch.setattr(meter_module, "sniff", None)
    scale = meter(facts(), content_type=JSON)
    scale.feed(b'{"object":"list","data":[{"embedding":[1]}],"model":"e","usage":{"prompt_tokens":4,"total_tokens":4}}')
    reading = scale.finish(True, 0)
    assert (reading.usage is not None and reading.usage.input_tokens, reading.response_model) == (4, "e")


@pytest.mark.parametrize(
    ("status", "content_type", "headers", "asked"),
    [
        (200, "text/event-stream", [], {}),
        (200, "application/jsonl", [], {}),
        (400, JSON, [], {}),
        (200, JSON, [(b"content-encoding", b"gzip")], {}),
        (200, JSON, [(b"X-Amzn-Bedrock-Input-Token-Count", b"4")], {}),
        (200, JSON, [], {"is_stream": True}),
        (200, JSON, [], {"is_metered": False}),
    ],
)
def test_what_may_be_more_than_one_document_goes_the_general_way(monkeypatch, status, content_type, headers, asked):
    monkeypatch.setattr(meter_module, "read_whole_body", None)
    scale = meter(facts(**asked), status, content_type, headers)
    scale.feed(json.dumps(CHAT).encode())
    scale.finish(True, 0)
    assert scale._gathered is None


def test_a_long_body_is_not_gathered_for_ever():
    scale = meter(facts(), content_type=JSON)
    for _ in range(3):
        scale.feed(b" " * (LONG_BYTES // 2))
    assert scale._gathered is None


def test_a_body_that_broke_off_is_read_by_the_general_way():
    body = json.dumps(CHAT).encode()
    scale = meter(facts("openai.chat"), content_type=JSON)
    scale.feed(body[:-100])
    assert scale.finish(False, 9).exactness is Exactness.ESTIMATED


VALUES = st.sampled_from(
    [None, 0, 1, 7, 40, 10**12, 10**12 + 1, -1, True, 3.0, 3.5, "5", "", "x", [], {}, {"audio_tokens": 2}, [{}]]
)
PLACES = st.sampled_from(
    [
        ("usage",),
        *(
            (name,)
            for name in ("id", "object", "type", "role", "model", "choices", "service_tier", "error", "x_groq", "search_units")
        ),
        *(
            ("usage", name)
            for name in (*CHAT["usage"], *MESSAGE["usage"], "cost", "iterations", "server_tool_use", "speed", "seconds")
        ),
        *(
            ("usage", "prompt_tokens_details", name)
            for name in ("cached_tokens", "audio_tokens", "image_tokens", "cache_write_tokens")
        ),
        *(("usage", "completion_tokens_details", name) for name in ("reasoning_tokens", "audio_tokens", "image_tokens")),
        *(("usage", "cache_creation", name) for name in ("ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens")),
        *(("choices", 0, name) for name in ("text", "usage", "error", "message", "finish_reason", "index")),
    ]
)
GONE = object()
APIS = st.sampled_from(["openai.chat", "unknown", "bedrock.invoke", "gemini.generate_content"])
CHANGES = st.lists(st.tuples(PLACES, VALUES | st.just(GONE)), max_size=4)


def changed(document, changes):
    document = json.loads(json.dumps(document))
    for place, value in changes:
        at = document
        for step in place[:-1]:
            if isinstance(step, int):
                at = at[step] if isinstance(at, list) and at else None
            else:
                at = at.get(step) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(place[-1], None)
            if value is not GONE:
                at[place[-1]] = json.loads(json.dumps(value))
    return document


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from([CHAT, MESSAGE]), CHANGES, APIS)
@example(CHAT, [], "openai.chat")
@example(MESSAGE, [(("usage", "cache_creation_input_tokens"), GONE)], "anthropic.messages")
@example(CHAT, [(("usage", "total_tokens"), 41)], "openai.chat")
def test_the_short_cut_says_what_the_general_way_says(document, changes, api):
    short, general = both_ways(changed(document, changes), api=api)
    assert short == general


def test_both_plain_formats_are_plain():
    assert whole_body.read_plainly(CHAT) is not None
    assert whole_body.read_plainly(MESSAGE) is not None
