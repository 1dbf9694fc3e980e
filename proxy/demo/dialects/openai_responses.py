"""OpenAI's Responses API: items and typed events; usage inside the `response.completed` event, no `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.demo.call import Call, Dialect, Frame, Json, sse
from proxy.demo.dialects.openai_chat import error_body


def usage(call: Call) -> Json:
    """Totals inclusive: cached ⊂ input, reasoning ⊂ output."""
    entry = call.entry
    return {
        "input_tokens": entry.input_tokens,
        "input_tokens_details": {"cached_tokens": entry.cache_read_tokens, "cache_write_tokens": entry.cache_write_tokens},
        "output_tokens": entry.output_tokens,
        "output_tokens_details": {"reasoning_tokens": entry.reasoning_tokens},
        "total_tokens": entry.input_tokens + entry.output_tokens,
    }


def _item(call: Call, is_done: bool) -> Json:
    tool = call.answer.tool
    status = "completed" if is_done else "in_progress"
    if tool:
        arguments = tool.arguments if is_done else ""
        item = {"id": f"fc_{call.id}", "type": "function_call", "status": status}
        return item | {"arguments": arguments, "call_id": tool.id, "name": tool.name}
    content = [_text_part(call.answer.text)] if is_done else []
    return {"id": f"msg_{call.id}", "type": "message", "status": status, "role": "assistant", "content": content}


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response(call: Call, is_done: bool) -> Json:
    is_capped = call.answer.is_capped and is_done
    tools = call.body.get("tools") or []
    return {
        "id": f"resp_{call.id}",
        "object": "response",
        "created_at": call.created,
        "status": ("incomplete" if is_capped else "completed") if is_done else "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_capped else None,
        "instructions": call.body.get("instructions"),
        "max_output_tokens": call.body.get("max_output_tokens"),
        "metadata": call.body.get("metadata") or {},
        "model": call.response_model,
        "output": [_item(call, True)] if is_done else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": tools,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage(call) if is_done and call.knobs.usage else None,
        "user": None,
    }


def whole(call: Call) -> Json:
    return _response(call, True)


def frames(call: Call) -> Iterator[Frame]:
    number = -1

    def event(kind: str, tokens: int = 0, has_usage: bool = False, **fields: object) -> Frame:
        nonlocal number
        number += 1
        return Frame(sse({"type": kind, "sequence_number": number, **fields}, kind), tokens, has_usage)

    yield event("response.created", response=_response(call, False))
    yield event("response.in_progress", response=_response(call, False))
    yield event("response.output_item.added", output_index=0, item=_item(call, False))
    if call.answer.tool:
        place: Json = {"item_id": f"fc_{call.id}", "output_index": 0}
        arguments = call.answer.tool.arguments
        yield event("response.function_call_arguments.delta", call.answer.tool_tokens, delta=arguments, **place)
        yield event("response.function_call_arguments.done", arguments=arguments, name=call.answer.tool.name, **place)
    else:
        part: Json = {"item_id": f"msg_{call.id}", "output_index": 0, "content_index": 0}
        yield event("response.content_part.added", part=_text_part(""), **part)
        for word in call.answer.words:
            yield event("response.output_text.delta", 1, delta=word, logprobs=[], **part)
        yield event("response.output_text.done", text=call.answer.text, logprobs=[], **part)
        yield event("response.content_part.done", part=_text_part(call.answer.text), **part)
    yield event("response.output_item.done", output_index=0, item=_item(call, True))
    kind = "response.incomplete" if call.answer.is_capped else "response.completed"
    yield event(kind, 0, call.knobs.usage, response=_response(call, True))


def error_frame(message: str) -> bytes:
    return sse({"type": "error", "sequence_number": 99, "code": "server_error", "message": message, "param": None}, "error")


RESPONSES = Dialect("openai.responses", whole, frames, error_body, error_frame, cap=lambda body: body.get("max_output_tokens"))
