"""Anthropic messages: `input_tokens` leaves both caches out; a stream has usage at its start and, cumulative, near its end."""

from __future__ import annotations

import json
from collections.abc import Iterator

from proxy.demo.call import Call, Dialect, Frame, Json, ToolCall, sse

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
MODELS = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5")


def error_body(status: int, message: str, request_id: str) -> Json:
    return {"type": "error", "error": {"type": ERROR_TYPES.get(status, "api_error"), "message": message}, "request_id": request_id}


def error_frame(message: str) -> bytes:
    return sse({"type": "error", "error": {"type": "overloaded_error", "message": message}}, "error")


def usage(call: Call, output_tokens: int) -> Json:
    """Uncached input, and the caches beside it."""
    entry = call.entry
    return {
        "input_tokens": entry.input_tokens - entry.cache_read_tokens - entry.cache_write_tokens,
        "cache_creation_input_tokens": entry.cache_write_tokens,
        "cache_read_input_tokens": entry.cache_read_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": entry.cache_write_tokens, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _stop_reason(call: Call) -> str:
    if call.answer.tool:
        return "tool_use"
    return "max_tokens" if call.answer.is_capped else "end_turn"


def _message(call: Call, content: list[Json], stop_reason: str | None, output_tokens: int) -> Json:
    message: Json = {
        "id": f"msg_{call.id}",
        "type": "message",
        "role": "assistant",
        "model": call.response_model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
    }
    if call.knobs.usage:
        message["usage"] = usage(call, output_tokens)
    return message


def _tool_block(tool: ToolCall, arguments: Json) -> Json:
    return {"type": "tool_use", "id": tool.id.replace("call", "toolu"), "name": tool.name, "input": arguments}


def whole(call: Call) -> Json:
    tool = call.answer.tool
    block = _tool_block(tool, json.loads(tool.arguments)) if tool else {"type": "text", "text": call.answer.text}
    return _message(call, [block], _stop_reason(call), call.entry.output_tokens)


def frames(call: Call) -> Iterator[Frame]:
    def event(kind: str, tokens: int = 0, has_usage: bool = False, **fields: object) -> Frame:
        return Frame(sse({"type": kind, **fields}, kind), tokens, has_usage)

    yield event("message_start", message=_message(call, [], None, 1))
    tool = call.answer.tool
    if tool:
        yield event("content_block_start", index=0, content_block=_tool_block(tool, {}))
        yield event("ping")
        piece = {"type": "input_json_delta", "partial_json": tool.arguments}
        yield event("content_block_delta", call.answer.tool_tokens, index=0, delta=piece)
    else:
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield event("ping")
        for word in call.answer.words:
            yield event("content_block_delta", 1, index=0, delta={"type": "text_delta", "text": word})
    yield event("content_block_stop", index=0)
    final: Json = {"usage": {"output_tokens": call.entry.output_tokens}} if call.knobs.usage else {}
    yield event("message_delta", 0, call.knobs.usage, delta={"stop_reason": _stop_reason(call), "stop_sequence": None}, **final)
    yield event("message_stop")


def count_whole(call: Call) -> Json:
    """Free of charge: nothing is used."""
    counted, call.entry.input_tokens = call.entry.input_tokens, 0
    return {"input_tokens": counted}


def model_list() -> Json:
    data = [{"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"} for name in MODELS]
    return {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


MESSAGES = Dialect("anthropic.messages", whole, frames, error_body, error_frame, request_id_header="request-id")
COUNT_TOKENS = MESSAGES._replace(api="anthropic.count_tokens", whole=count_whole, frames=None, has_output=False)
