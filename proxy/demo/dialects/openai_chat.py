"""OpenAI chat completions and the old completions, with the habits of Mistral, Groq and Together where their models are asked.

Usage in a stream: OpenAI an extra chunk with `choices: []`, only where asked; Mistral and Together in the last chunk with
a choice; Groq there too, and in `x_groq`. Shapes as the providers document them.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.demo.call import Call, Dialect, Frame, Json, sse

DONE = b"data: [DONE]\n\n"
ERROR_TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error", 429: "requests"}


def error_body(status: int, message: str, request_id: str) -> Json:
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(status)
    return {"error": {"message": message, "type": ERROR_TYPES.get(status, "server_error"), "param": None, "code": code}}


def error_frame(message: str) -> bytes:
    return sse({"error": {"message": message, "type": "server_error", "param": None, "code": None}})


def flavour(call: Call) -> str:
    """Whose habits: openai, mistral, groq or together."""
    if call.entry.path.startswith("/openai/v1/"):
        return "groq"
    if "/" in call.model:
        return "together"
    return "mistral" if call.model.startswith(("mistral", "ministral", "codestral", "magistral")) else "openai"


def usage(call: Call) -> Json:
    """Totals inclusive: cached ⊂ prompt, reasoning ⊂ completion."""
    entry = call.entry
    counted: Json = {
        "prompt_tokens": entry.input_tokens,
        "completion_tokens": entry.output_tokens,
        "total_tokens": entry.input_tokens + entry.output_tokens,
    }
    kind = flavour(call)
    if kind in ("openai", "groq"):
        counted["prompt_tokens_details"] = {"cached_tokens": entry.cache_read_tokens, "audio_tokens": 0}
        if entry.cache_write_tokens:
            counted["prompt_tokens_details"]["cache_write_tokens"] = entry.cache_write_tokens
        counted["completion_tokens_details"] = {
            "reasoning_tokens": entry.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    elif entry.cache_read_tokens:
        counted["num_cached_tokens" if kind == "mistral" else "cached_tokens"] = entry.cache_read_tokens
    return counted


def _tier(call: Call) -> str:
    asked = call.body.get("service_tier")
    return asked if asked in ("flex", "priority") else "default"


def _finish(call: Call) -> str:
    if call.answer.tool:
        return "tool_calls"
    return "length" if call.answer.is_capped else "stop"


def _tool_calls(call: Call) -> list[Json]:
    tool = call.answer.tool
    if tool is None:
        return []
    return [{"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}]


def chat_whole(call: Call) -> Json:
    tools = _tool_calls(call)
    message: Json = {"role": "assistant", "content": None if tools else call.answer.text, "refusal": None}
    if tools:
        message["tool_calls"] = tools
    choice: Json = {"message": message, "logprobs": None, "finish_reason": _finish(call)}
    body: Json = {
        "id": f"chatcmpl-{call.id}",
        "object": "chat.completion",
        "created": call.created,
        "model": call.response_model,
        "choices": [{"index": index, **choice} for index in range(call.choices)],
        "service_tier": _tier(call),
        "system_fingerprint": "fp_demo",
    }
    if call.knobs.usage:
        body["usage"] = usage(call)
    return body


def chat_frames(call: Call) -> Iterator[Frame]:
    kind = flavour(call)
    asked = call.entry.asks_for_usage
    has_own_chunk = kind == "openai" and asked and call.knobs.usage
    shared: Json = {
        "id": f"chatcmpl-{call.id}",
        "object": "chat.completion.chunk",
        "created": call.created,
        "model": call.response_model,
        "service_tier": _tier(call),
        "system_fingerprint": "fp_demo",
    }
    null_usage: Json = {"usage": None} if has_own_chunk else {}

    def chunk(index: int, delta: Json, finish: str | None = None, **more: object) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**shared, "choices": [choice], **null_usage, **more})

    for index in range(call.choices):
        yield Frame(chunk(index, {"role": "assistant", "content": "", "refusal": None}))
    for word in call.answer.words:
        for index in range(call.choices):
            yield Frame(chunk(index, {"content": word}), 1)
    for tool in _tool_calls(call):
        head = {**tool, "index": 0, "function": {"name": tool["function"]["name"], "arguments": ""}}
        for index in range(call.choices):
            yield Frame(chunk(index, {"tool_calls": [head]}))
            rest = {"index": 0, "function": {"arguments": tool["function"]["arguments"]}}
            yield Frame(chunk(index, {"tool_calls": [rest]}), call.answer.tool_tokens)
    for index in range(call.choices):
        is_last = index == call.choices - 1
        more: Json = {"usage": usage(call)} if kind != "openai" and is_last and call.knobs.usage else {}
        if kind == "groq" and more:
            more["x_groq"] = {"id": f"req_{call.id}", "usage": usage(call)}
        yield Frame(chunk(index, {}, _finish(call), **more), 0, bool(more))
    if has_own_chunk:
        yield Frame(sse({**shared, "choices": [], "usage": usage(call)}), 0, True)
    yield Frame(DONE)


def completion_whole(call: Call) -> Json:
    choice = {"text": call.answer.text, "index": 0, "logprobs": None, "finish_reason": _finish(call)}
    body: Json = {
        "id": f"cmpl-{call.id}",
        "object": "text_completion",
        "created": call.created,
        "model": call.response_model,
        "choices": [{**choice, "index": index} for index in range(call.choices)],
    }
    if call.knobs.usage:
        body["usage"] = usage(call)
    return body


def completion_frames(call: Call) -> Iterator[Frame]:
    shared: Json = {"id": f"cmpl-{call.id}", "object": "text_completion", "created": call.created, "model": call.response_model}
    for number, word in enumerate(call.answer.words, 1):
        for index in range(call.choices):
            finish = _finish(call) if number == len(call.answer.words) else None
            yield Frame(sse({**shared, "choices": [{"text": word, "index": index, "logprobs": None, "finish_reason": finish}]}), 1)
    if call.entry.asks_for_usage and call.knobs.usage:
        yield Frame(sse({**shared, "choices": [], "usage": usage(call)}), 0, True)
    yield Frame(DONE)


CHAT = Dialect("openai.chat", chat_whole, chat_frames, error_body, error_frame)
COMPLETIONS = Dialect("openai.completions", completion_whole, completion_frames, error_body, error_frame)
