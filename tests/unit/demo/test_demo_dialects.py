"""What the fake provider writes is what the meter reads: every dialect, whole and streamed, against the provider's own entry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.demo.book import Entry
from proxy.demo.call import Call, Dialect, make_call
from proxy.demo.dialects import anthropic_messages, cohere, gemini, ollama, openai_chat, openai_media, openai_responses
from proxy.demo.knobs import Knobs
from proxy.usage.meter import Meter
from proxy.usage.request_facts import read_request
from proxy.usage.tokens import Exactness, Reading

MESSAGES = [{"role": "user", "content": "How much does a lorry weigh, and who says so?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "road_weather", "parameters": SCHEMA}}]
CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": MESSAGES}
ASKED = {"stream_options": {"include_usage": True}}
GEMINI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "How much?"}]}]}
GEMINI_TOOLS = [{"functionDeclarations": [{"name": "road_weather", "parameters": SCHEMA}]}]
RICH = Knobs(words=17, cached=4, reasoning=5)

CASES: dict[str, tuple[Dialect, str, dict[str, Any], Knobs]] = {
    "chat": (openai_chat.CHAT, "/v1/chat/completions", CHAT, RICH),
    "chat, two choices": (openai_chat.CHAT, "/v1/chat/completions", CHAT | {"n": 2}, RICH),
    "chat, tool": (openai_chat.CHAT, "/v1/chat/completions", CHAT | {"tools": TOOLS}, Knobs()),
    "chat stream": (openai_chat.CHAT, "/v1/chat/completions", CHAT | {"stream": True} | ASKED, RICH),
    "chat stream, tool": (openai_chat.CHAT, "/v1/chat/completions", CHAT | {"stream": True, "tools": TOOLS} | ASKED, Knobs()),
    "mistral stream": (
        openai_chat.CHAT,
        "/v1/chat/completions",
        CHAT | {"model": "mistral-large-latest", "stream": True},
        Knobs(cached=4),
    ),
    "groq stream": (
        openai_chat.CHAT,
        "/openai/v1/chat/completions",
        CHAT | {"model": "llama-3.3-70b-versatile", "stream": True},
        RICH,
    ),
    "together stream": (
        openai_chat.CHAT,
        "/v1/chat/completions",
        CHAT | {"model": "meta-llama/x", "stream": True},
        Knobs(cached=4),
    ),
    "completions": (openai_chat.COMPLETIONS, "/v1/completions", {"model": "gpt-4o-mini", "prompt": "Why?"}, Knobs(words=5)),
    "completions stream": (
        openai_chat.COMPLETIONS,
        "/v1/completions",
        {"model": "gpt-4o-mini", "prompt": "Why?", "stream": True} | ASKED,
        Knobs(words=5),
    ),
    "responses": (openai_responses.RESPONSES, "/v1/responses", {"model": "gpt-5.1", "input": "Why?"}, RICH),
    "responses stream": (openai_responses.RESPONSES, "/v1/responses", {"model": "gpt-5.1", "input": "Why?", "stream": True}, RICH),
    "responses stream, capped": (
        openai_responses.RESPONSES,
        "/v1/responses",
        {"model": "gpt-5.1", "input": "Why?", "stream": True, "max_output_tokens": 9},
        Knobs(words=30),
    ),
    "embeddings": (openai_media.EMBEDDINGS, "/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a b", "c"]}, Knobs()),
    "images": (openai_media.IMAGES, "/v1/images/generations", {"model": "gpt-image-1", "prompt": "a lorry", "n": 2}, Knobs()),
    "messages": (anthropic_messages.MESSAGES, "/v1/messages", CHAT | {"max_tokens": 99}, Knobs(words=17, cached=4, cache_write=3)),
    "messages stream": (
        anthropic_messages.MESSAGES,
        "/v1/messages",
        CHAT | {"max_tokens": 99, "stream": True},
        Knobs(words=17, cached=4, cache_write=3),
    ),
    "gemini": (gemini.GENERATE, "/v1beta/models/gemini-2.5-flash:generateContent", GEMINI, RICH),
    "gemini, tool": (gemini.GENERATE, "/v1beta/models/gemini-2.5-flash:generateContent", GEMINI | {"tools": GEMINI_TOOLS}, Knobs()),
    "gemini stream": (gemini.STREAM, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GEMINI, RICH),
    "gemini array": (gemini.STREAM_ARRAY, "/v1beta/models/gemini-2.5-flash:streamGenerateContent", GEMINI, RICH),
    "cohere": (cohere.CHAT, "/v2/chat", CHAT | {"model": "command-a-03-2025"}, Knobs(words=17)),
    "cohere stream": (cohere.CHAT, "/v2/chat", CHAT | {"model": "command-a-03-2025", "stream": True}, Knobs(words=17)),
    "ollama": (ollama.CHAT, "/api/chat", CHAT | {"model": "llama3.2", "stream": False}, Knobs(words=17)),
    "ollama stream": (ollama.CHAT, "/api/chat", CHAT | {"model": "llama3.2"}, Knobs(words=17)),
    "ollama generate": (ollama.GENERATE, "/api/generate", {"model": "llama3.2", "prompt": "Why?"}, Knobs(words=17)),
}


def the_call(name: str, **knobs: Any) -> Call:
    dialect, url, body, given = CASES[name]
    path, _, query = url.partition("?")
    raw = json.dumps(body).encode()
    entry = Entry("req_1", "", dialect.api, "POST", path)
    values = {"model": path.rsplit("/", 1)[1].partition(":")[0], "method": path.partition(":")[2]} if ":" in path else {}
    chosen = Knobs(**{field: getattr(given, field) for field in Knobs.__dataclass_fields__} | knobs)
    return make_call(entry, chosen, body, raw, 1, dialect, values, dict(pair.split("=") for pair in query.split("&") if pair))


def metered(name: str, call: Call) -> Reading:
    dialect, url, body, _ = CASES[name]
    path, _, query = url.partition("?")
    facts = read_request("POST", path, query, "application/json", json.dumps(body).encode())
    content_type = dialect.stream_type if call.is_stream else dialect.whole_type
    meter = Meter(facts, 200, [(b"content-type", content_type.encode())], call.is_stream)
    if call.is_stream:
        assert dialect.frames is not None
        for frame in dialect.frames(call):
            meter.feed(frame.data)
    else:
        answer = dialect.whole(call)
        meter.feed(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    return meter.finish(True, 0)


@pytest.mark.parametrize("name", CASES)
def test_the_meter_reads_what_was_entered(name: str) -> None:
    call = the_call(name)
    reading = metered(name, call)
    assert reading.exactness is Exactness.EXACT
    assert reading.usage is not None
    entry, usage = call.entry, reading.usage
    assert (usage.input_tokens, usage.output_tokens or 0) == (entry.input_tokens, entry.output_tokens)
    assert entry.input_tokens > 0
    assert (usage.cache_read_tokens or 0, usage.cache_write_tokens or 0) == (entry.cache_read_tokens, entry.cache_write_tokens)
    assert (usage.reasoning_tokens or 0) == entry.reasoning_tokens
    assert reading.api == entry.api
    names_its_model = not entry.api.startswith(("cohere.", "openai.images"))
    assert reading.response_model == (entry.response_model if names_its_model else None)


@pytest.mark.parametrize("name", [name for name, (_, _, body, _) in CASES.items() if body.get("stream") or "array" in name])
def test_frames_carry_every_output_token(name: str) -> None:
    """Reasoning is not sent; everything else that is counted has been in a frame, and usage in at least one."""
    call = the_call(name)
    frames = CASES[name][0].frames
    assert frames is not None
    made = list(frames(call))
    assert sum(frame.tokens for frame in made) == call.entry.output_tokens - call.entry.reasoning_tokens
    assert any(frame.has_usage for frame in made)


@pytest.mark.parametrize("name", ["chat", "chat stream", "messages stream", "gemini stream", "cohere stream", "ollama stream"])
def test_usage_can_be_left_out(name: str) -> None:
    reading = metered(name, the_call(name, usage=False, cached=0, cache_write=0, reasoning=0))
    assert reading.exactness is not Exactness.EXACT


def test_the_same_request_gets_the_same_answer() -> None:
    assert the_call("chat").answer == the_call("chat").answer


def test_a_cap_is_kept() -> None:
    dialect, path, body, _ = CASES["chat"]
    capped = body | {"max_tokens": 6}
    entry = Entry("req_1", "", dialect.api, "POST", path)
    call = make_call(entry, Knobs(words=40), capped, json.dumps(capped).encode(), 1, dialect, {}, {})
    assert call.output_tokens == 6
    answer = dialect.whole(call)
    assert isinstance(answer, dict)
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_tools_result_is_answered_in_words() -> None:
    dialect, path, body, _ = CASES["chat, tool"]
    after = body | {"messages": [*MESSAGES, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]}
    call = make_call(Entry("req_1", "", dialect.api, "POST", path), Knobs(), after, json.dumps(after).encode(), 1, dialect, {}, {})
    assert call.answer.tool is None
    assert call.answer.words
