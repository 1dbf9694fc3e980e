"""Cohere v2: chat with typed events, embed, rerank. What is billed (`billed_units`) is less than what the model saw (`tokens`)."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.demo.call import Call, Dialect, Frame, Json, sse
from proxy.demo.dialects.openai_media import vector

PREAMBLE_TOKENS = 60
"""Put before each prompt by the provider: seen by the model, not billed."""
DOCUMENTS_PER_SEARCH = 100


def error_body(status: int, message: str, request_id: str) -> Json:
    return {"id": request_id, "message": message}


def error_frame(message: str) -> bytes:
    return sse({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message}}, "message-end")


def usage(call: Call) -> Json:
    entry = call.entry
    return {
        "billed_units": {"input_tokens": entry.input_tokens - PREAMBLE_TOKENS, "output_tokens": entry.output_tokens},
        "tokens": {"input_tokens": entry.input_tokens, "output_tokens": entry.output_tokens},
        "cached_tokens": entry.cache_read_tokens,
    }


def _see_preamble(call: Call) -> None:
    call.entry.input_tokens += PREAMBLE_TOKENS


def _finish(call: Call) -> str:
    if call.answer.tool:
        return "TOOL_CALL"
    return "MAX_TOKENS" if call.answer.is_capped else "COMPLETE"


def _tool(call: Call, arguments: str) -> Json:
    tool = call.answer.tool
    assert tool is not None
    return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": arguments}}


def whole(call: Call) -> Json:
    _see_preamble(call)
    message: Json = {"role": "assistant"}
    if call.answer.tool:
        message["tool_plan"] = "I will call the tool."
        message["tool_calls"] = [_tool(call, call.answer.tool.arguments)]
    else:
        message["content"] = [{"type": "text", "text": call.answer.text}]
    body: Json = {"id": call.id, "finish_reason": _finish(call), "message": message}
    if call.knobs.usage:
        body["usage"] = usage(call)
    return body


def frames(call: Call) -> Iterator[Frame]:
    _see_preamble(call)

    def event(kind: str, tokens: int = 0, has_usage: bool = False, **fields: object) -> Frame:
        return Frame(sse({"type": kind, **fields}, kind), tokens, has_usage)

    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    yield event("message-start", id=call.id, delta=start)
    if call.answer.tool:
        yield event("tool-call-start", index=0, delta={"message": {"tool_calls": _tool(call, "")}})
        piece = {"message": {"tool_calls": {"function": {"arguments": call.answer.tool.arguments}}}}
        yield event("tool-call-delta", call.answer.tool_tokens, index=0, delta=piece)
        yield event("tool-call-end", index=0)
    else:
        yield event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
        for word in call.answer.words:
            yield event("content-delta", 1, index=0, delta={"message": {"content": {"text": word}}})
        yield event("content-end", index=0)
    end: Json = {"finish_reason": _finish(call)}
    if call.knobs.usage:
        end["usage"] = usage(call)
    yield event("message-end", 0, call.knobs.usage, delta=end)


def embed_whole(call: Call) -> Json:
    texts = call.body.get("texts") or []
    meta: Json = {"api_version": {"version": "2"}}
    if call.knobs.usage:
        meta["billed_units"] = {"input_tokens": call.entry.input_tokens}
    return {"id": call.id, "embeddings": {"float": [vector(call.rng) for _ in texts]}, "texts": texts, "meta": meta}


def rerank_whole(call: Call) -> Json:
    """Billed by searches of up to a hundred documents, not by tokens."""
    call.entry.input_tokens = 0
    count = len(call.body.get("documents") or ())
    results = [{"index": index, "relevance_score": round(1 / (index + 1), 4)} for index in range(count)]
    units = {"search_units": -(-count // DOCUMENTS_PER_SEARCH)}
    return {"id": call.id, "results": results, "meta": {"api_version": {"version": "2"}, "billed_units": units}}


CHAT = Dialect("cohere.chat", whole, frames, error_body, error_frame, stream_type="text/event-stream")
EMBED = Dialect("cohere.embed", embed_whole, None, error_body, error_frame, has_output=False)
RERANK = Dialect("cohere.rerank", rerank_whole, None, error_body, error_frame, has_output=False)
