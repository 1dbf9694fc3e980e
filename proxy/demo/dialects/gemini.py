"""Gemini generateContent: model and method in the path, CRLF events or one JSON array.

Usage is cumulative and stands on every chunk; thoughts are counted apart from the candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from proxy.demo.call import Call, Dialect, Frame, Json, sse
from proxy.demo.dialects.openai_media import vector

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
WORDS_PER_CHUNK = 4
MODELS = ("gemini-2.5-pro", "gemini-2.5-flash")


def error_body(status: int, message: str, request_id: str) -> Json:
    return {"error": {"code": status, "message": message, "status": STATUS_NAMES.get(status, "UNAVAILABLE")}}


def error_frame(message: str) -> bytes:
    return sse({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}}, end="\r\n")


def usage(call: Call, words: int, is_last: bool) -> Json:
    """Candidates leave thoughts out; prompt includes what was cached."""
    entry = call.entry
    counted: Json = {"promptTokenCount": entry.input_tokens}
    said = entry.output_tokens - entry.reasoning_tokens if is_last else words
    if said:
        counted["candidatesTokenCount"] = said
    counted["totalTokenCount"] = entry.input_tokens + said + entry.reasoning_tokens
    if entry.reasoning_tokens:
        counted["thoughtsTokenCount"] = entry.reasoning_tokens
    if entry.cache_read_tokens:
        counted["cachedContentTokenCount"] = entry.cache_read_tokens
    counted["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": entry.input_tokens}]
    return counted


def _chunk(call: Call, part: Json, words: int, is_last: bool) -> Json:
    candidate: Json = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if is_last:
        candidate["finishReason"] = "MAX_TOKENS" if call.answer.is_capped else "STOP"
    body: Json = {"candidates": [candidate]}
    if call.knobs.usage:
        body["usageMetadata"] = usage(call, words, is_last)
    return body | {"modelVersion": call.response_model, "responseId": call.id}


def _part(call: Call) -> Json:
    tool = call.answer.tool
    if tool:
        return {"functionCall": {"name": tool.name, "args": json.loads(tool.arguments)}}
    return {"text": call.answer.text}


def whole(call: Call) -> Json:
    return _chunk(call, _part(call), 0, True)


def _chunks(call: Call) -> Iterator[tuple[Json, int]]:
    if call.answer.tool:
        yield _chunk(call, _part(call), 0, True), call.answer.tool_tokens
        return
    words = call.answer.words
    for at in range(0, max(1, len(words)), WORDS_PER_CHUNK):
        piece = words[at : at + WORDS_PER_CHUNK]
        said = at + len(piece)
        yield _chunk(call, {"text": "".join(piece)}, said, said >= len(words)), len(piece)


def frames(call: Call) -> Iterator[Frame]:
    has_usage = call.knobs.usage
    if call.query.get("alt") == "sse":
        for body, tokens in _chunks(call):
            yield Frame(sse(body, end="\r\n"), tokens, has_usage and "finishReason" in body["candidates"][0])
        return
    before = "["
    for body, tokens in _chunks(call):
        text = before + json.dumps(body, indent=2)
        yield Frame(text.encode(), tokens, has_usage and "finishReason" in body["candidates"][0])
        before = "\n,\r\n"
    yield Frame(b"\n]")


def embed_whole(call: Call) -> Json:
    """The older embedding models report no usage."""
    call.entry.input_tokens = 0
    if call.path_values.get("method") == "batchEmbedContents":
        return {"embeddings": [{"values": vector(call.rng)} for _ in call.body.get("requests") or ()]}
    return {"embedding": {"values": vector(call.rng)}}


def count_whole(call: Call) -> Json:
    counted, call.entry.input_tokens = call.entry.input_tokens, 0
    return {"totalTokens": counted, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counted}]}


def model_list() -> Json:
    found = [{"name": f"models/{name}", "version": "001", "displayName": name, "outputTokenLimit": 65536} for name in MODELS]
    return {"models": found}


def _cap(body: Json) -> object:
    settings = body.get("generationConfig")
    return settings.get("maxOutputTokens") if isinstance(settings, Mapping) else None


JSON_TYPE = "application/json; charset=UTF-8"
GENERATE = Dialect("gemini.generate_content", whole, None, error_body, error_frame, cap=_cap, whole_type=JSON_TYPE)
STREAM = GENERATE._replace(frames=frames, is_stream=lambda body, path, query: True)
STREAM_ARRAY = STREAM._replace(stream_type=JSON_TYPE)
EMBED = GENERATE._replace(api="gemini.embed_content", whole=embed_whole, has_output=False)
COUNT_TOKENS = GENERATE._replace(api="gemini.count_tokens", whole=count_whole, has_output=False)
METHODS = {
    "generateContent": GENERATE,
    "streamGenerateContent": STREAM,
    "embedContent": EMBED,
    "batchEmbedContents": EMBED,
    "countTokens": COUNT_TOKENS,
}
