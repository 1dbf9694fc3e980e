"""Ollama's own API: NDJSON unless `stream` is false; counts in the last line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from proxy.demo.call import Call, Dialect, Frame, Json
from proxy.demo.dialects.openai_media import vector

NANOSECONDS_PER_TOKEN = 20_000_000


def error_body(status: int, message: str, request_id: str) -> Json:
    return {"error": message}


def error_frame(message: str) -> bytes:
    return json.dumps({"error": message}).encode() + b"\n"


def _line(call: Call, **fields: object) -> Json:
    created_at = datetime.fromtimestamp(call.created, UTC).isoformat().replace("+00:00", "Z")
    return {"model": call.model, "created_at": created_at, **fields}


def _end(call: Call) -> Json:
    entry = call.entry
    reason = "length" if call.answer.is_capped else "stop"
    end: Json = {"done": True, "done_reason": reason, "total_duration": 5_000_000_000, "load_duration": 1_000_000}
    if call.knobs.usage:
        end |= {
            "prompt_eval_count": entry.input_tokens,
            "prompt_eval_duration": entry.input_tokens * NANOSECONDS_PER_TOKEN,
            "eval_count": entry.output_tokens,
            "eval_duration": entry.output_tokens * NANOSECONDS_PER_TOKEN,
        }
    return end


def _message(call: Call, text: str) -> Json:
    message: Json = {"role": "assistant", "content": text}
    tool = call.answer.tool
    if tool:
        message["tool_calls"] = [{"function": {"name": tool.name, "arguments": json.loads(tool.arguments)}}]
    return message


def chat_whole(call: Call) -> Json:
    return _line(call, message=_message(call, call.answer.text), **_end(call))


def chat_frames(call: Call) -> Iterator[Frame]:
    if call.answer.tool:
        yield _frame(_line(call, message=_message(call, ""), done=False), call.answer.tool_tokens)
    for word in call.answer.words:
        yield _frame(_line(call, message=_message(call, word), done=False), 1)
    yield _frame(_line(call, message={"role": "assistant", "content": ""}, **_end(call)), 0, call.knobs.usage)


def generate_whole(call: Call) -> Json:
    return _line(call, response=call.answer.text, context=[1, 2, 3], **_end(call))


def generate_frames(call: Call) -> Iterator[Frame]:
    for word in call.answer.words:
        yield _frame(_line(call, response=word, done=False), 1)
    yield _frame(_line(call, response="", context=[1, 2, 3], **_end(call)), 0, call.knobs.usage)


def embed_whole(call: Call) -> Json:
    asked = call.body.get("input")
    count = len(asked) if isinstance(asked, list) else 1
    vectors = [vector(call.rng) for _ in range(count)]
    return {"model": call.model, "embeddings": vectors, "total_duration": 14_000_000, "prompt_eval_count": call.entry.input_tokens}


def _frame(line: Json, tokens: int, has_usage: bool = False) -> Frame:
    return Frame(json.dumps(line, separators=(",", ":")).encode() + b"\n", tokens, has_usage)


def _cap(body: Json) -> object:
    options = body.get("options")
    return options.get("num_predict") if isinstance(options, dict) else None


CHAT = Dialect(
    "ollama.chat",
    chat_whole,
    chat_frames,
    error_body,
    error_frame,
    is_stream=lambda body, path, query: body.get("stream") is not False,
    cap=_cap,
    stream_type="application/x-ndjson",
)
GENERATE = CHAT._replace(api="ollama.generate", whole=generate_whole, frames=generate_frames)
EMBED = Dialect("ollama.embed", embed_whole, None, error_body, error_frame, has_output=False)
TAGS: Json = {
    "models": [
        {"name": "llama3.2", "model": "llama3.2", "modified_at": "2025-10-01T00:00:00Z", "size": 2019393189, "digest": "demo"},
    ]
}
