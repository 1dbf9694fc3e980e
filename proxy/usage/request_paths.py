"""What a method and a path say of a request: the API, whether it makes billable work, the model where the path names it.

Rules of this file: decided by the end of the path, below any prefix, never by the provider's name. A POST that is not
known to be free is metered, because a path that nobody listed must not be a way around the limits; the free ones are
listed one by one. Dot segments, double slashes, percent-encoding and case are levelled first, as servers do.

What is not here: anything the body says (request_facts).

Sources: the providers' API references (read 2026-11-21).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote


class PathFacts(NamedTuple):
    """What the path alone decides."""

    api: str = "unknown"
    is_metered: bool = False
    model: str | None = None
    is_model_from_path: bool = False
    """The path's model is the one that runs, whatever the body says (Gemini, Bedrock); else the body's goes first."""
    is_stream: bool = False
    is_retrieval: bool = False
    """Reads an answer that is stored: its usage may appear here for the first time (a batch, a background response)."""
    reads: str = "none"
    """`json`: always JSON · `any`: JSON or a form, by content type · `none`: the body is of no interest."""
    is_realtime: bool = False
    """A WebSocket; the model stands in the query."""


_FREE = PathFacts()

# (last segment but one, last segment) -> api. "" stands for any segment before.
_JSON_CALLS: dict[tuple[str, str], str] = {
    ("chat", "completions"): "openai.chat",
    ("agents", "completions"): "openai.chat",
    ("fim", "completions"): "mistral.fim",
    ("", "completions"): "openai.completions",
    ("", "responses"): "openai.responses",
    ("responses", "compact"): "openai.responses",
    ("api", "embeddings"): "ollama.embed",
    ("", "embeddings"): "openai.embeddings",
    ("", "multimodalembeddings"): "openai.embeddings",
    ("", "contextualizedembeddings"): "openai.embeddings",
    ("images", "generations"): "openai.images",
    ("audio", "speech"): "openai.audio",
    ("", "moderations"): "openai.moderations",
    ("chat", "moderations"): "openai.moderations",
    ("threads", "runs"): "openai.assistants",
    ("", "submit_tool_outputs"): "openai.assistants",
    ("", "batches"): "openai.batches",
    ("fine_tuning", "jobs"): "openai.fine_tuning",
    ("messages", "batches"): "anthropic.batches",
    ("", "messages"): "anthropic.messages",
    ("v1", "complete"): "anthropic.complete",
    ("", "interactions"): "gemini.interactions",
    ("", "cachedcontents"): "gemini.cached_contents",
    ("api", "chat"): "ollama.chat",
    ("api", "generate"): "ollama.generate",
    ("api", "embed"): "ollama.embed",
    ("", "chat"): "cohere.chat",
    ("", "embed"): "cohere.embed",
    ("", "rerank"): "cohere.rerank",
    ("v1", "generate"): "cohere.generate",
    ("", "classify"): "cohere.classify",
    ("", "summarize"): "cohere.generate",
    ("", "generate"): "huggingface.generate",
    ("", "generate_stream"): "huggingface.generate",
    ("", "completion"): "llamacpp.completion",
    ("", "infill"): "llamacpp.completion",
    ("text", "generation"): "watsonx.generate",
    ("text", "generation_stream"): "watsonx.generate",
    ("text", "chat"): "openai.chat",
    ("text", "chat_stream"): "openai.chat",
    ("", "language-model"): "vercel.language_model",
    ("", "async-invoke"): "bedrock.invoke",
    ("", "ocr"): "mistral.ocr",
    ("", "predictions"): "replicate.predictions",
}
_STREAMING = ("generate_stream", "generation_stream", "chat_stream")
"""Paths that answer with a stream whatever the body says."""
_FORM_CALLS: dict[tuple[str, str], str] = {
    ("images", "edits"): "openai.images",
    ("images", "variations"): "openai.images",
    ("audio", "transcriptions"): "openai.audio",
    ("audio", "translations"): "openai.audio",
    ("", "videos"): "openai.videos",
    ("realtime", "calls"): "openai.realtime",
}
_FREE_CALLS: dict[tuple[str, str], str] = {
    ("messages", "count_tokens"): "anthropic.count_tokens",
    ("responses", "input_tokens"): "openai.count_tokens",
    ("", "files"): "openai.files",
    ("", "uploads"): "openai.files",
    ("", "assistants"): "openai.assistants",
    ("", "threads"): "openai.assistants",
    ("", "vector_stores"): "openai.files",
    ("realtime", "sessions"): "openai.realtime",
    ("realtime", "client_secrets"): "openai.realtime",
    ("realtime", "transcription_sessions"): "openai.realtime",
    ("", "tokenize"): "count_tokens",
    ("", "tokenize-text"): "count_tokens",
    ("", "detokenize"): "count_tokens",
    ("", "apply-template"): "count_tokens",
    ("", "check-api-key"): "unknown",
    ("api", "show"): "ollama.models",
    ("api", "pull"): "ollama.models",
    ("api", "push"): "ollama.models",
    ("api", "create"): "ollama.models",
    ("api", "copy"): "ollama.models",
    ("api", "delete"): "ollama.models",
}
# Google's `resource:method`, lower case -> (api, is a stream).
_COLON_METHODS: dict[str, tuple[str, bool]] = {
    "generatecontent": ("gemini.generate_content", False),
    "streamgeneratecontent": ("gemini.generate_content", True),
    "batchgeneratecontent": ("gemini.batches", False),
    "generateanswer": ("gemini.generate_content", False),
    "embedcontent": ("gemini.embed_content", False),
    "batchembedcontents": ("gemini.embed_content", False),
    "asyncbatchembedcontent": ("gemini.batches", False),
    "rawpredict": ("vertex.predict", False),
    "streamrawpredict": ("vertex.predict", True),
    "predict": ("vertex.predict", False),
    "predictlongrunning": ("vertex.predict", False),
    "serverstreamingpredict": ("vertex.predict", True),
}
_FREE_COLON_METHODS = {
    "counttokens": "gemini.count_tokens",
    "computetokens": "gemini.count_tokens",
    "fetchpredictoperation": "vertex.predict",
}
_BEDROCK_METHODS: dict[str, tuple[str, bool]] = {
    "converse": ("bedrock.converse", False),
    "converse-stream": ("bedrock.converse", True),
    "invoke": ("bedrock.invoke", False),
    "invoke-with-response-stream": ("bedrock.invoke", True),
    "invoke-with-bidirectional-stream": ("bedrock.invoke", True),
}
# Collections whose single items may carry usage when they are read: GET …/<collection>/<id>[/results].
_STORED_ANSWERS = {
    "responses": "openai.responses",
    "batches": "openai.batches",
    "runs": "openai.assistants",
    "interactions": "gemini.interactions",
    "predictions": "replicate.predictions",
    "videos": "openai.videos",
    "batch-jobs": "openai.batches",
}


@lru_cache(maxsize=1024)
def read_path(method: str, path: str) -> PathFacts:
    """Classify a request line. `path` is below the provider's prefix, percent-encoded as sent, without the query."""
    parts = _segments(path)
    if not parts:
        return PathFacts(is_metered=method == "POST", reads="any") if method == "POST" else _FREE
    lower = [part.lower() for part in parts]
    if method == "POST":
        return _free_post(lower) or _google(parts, lower) or _bedrock(parts, lower) or _post(parts, lower)
    return _get(lower) if method == "GET" else _other(lower)


def _segments(path: str) -> list[str]:
    """Decoded, non-empty segments, dot segments resolved (RFC 3986 §5.2.4). An encoded slash stays inside its segment."""
    parts: list[str] = []
    for raw in path.split("/"):
        part = unquote(raw) if "%" in raw else raw
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return parts


def _free_post(lower: list[str]) -> PathFacts | None:
    """POSTs that make no billable work: counting, storing, cancelling, changing labels."""
    last, before = lower[-1], lower[-2] if len(lower) > 1 else ""
    api = _FREE_CALLS.get((before, last)) or _FREE_CALLS.get(("", last))
    if api is not None:
        return PathFacts(api)
    if last == "cancel" or last.endswith(":cancel"):
        return _other(lower)
    if before in ("assistants", "vector_stores"):
        return PathFacts("openai.assistants" if before == "assistants" else "openai.files")
    if lower[-3:-1] == ["api", "blobs"]:
        return PathFacts("ollama.models")
    if "uploads" in lower[-3:] and last in ("parts", "complete"):
        return PathFacts("openai.files")
    if "threads" in lower and last not in ("runs", "submit_tool_outputs"):
        return PathFacts("openai.assistants")  # a thread's messages, changed labels
    if last.startswith("chatcmpl") and lower[-3:-1] == ["chat", "completions"]:
        return PathFacts("openai.chat")  # labels of a stored completion
    if "calls" in lower[-3:-2] and last in ("hangup", "refer", "reject"):
        return PathFacts("openai.realtime")
    return None


def _google(parts: list[str], lower: list[str]) -> PathFacts | None:
    """`…/models/NAME:method` of Gemini and Vertex; NAME itself may hold no colon."""
    name, colon, _ = parts[-1].rpartition(":")
    if not colon:
        return None
    method = lower[-1].rpartition(":")[2]
    collection = lower[-2] if len(lower) > 1 else ""
    if method in _FREE_COLON_METHODS:
        return PathFacts(_FREE_COLON_METHODS[method], model=name, is_model_from_path=True)
    if method not in _COLON_METHODS:
        return None
    api, is_stream = _COLON_METHODS[method]
    if collection == "models" and name.lower() == "count-tokens":
        return PathFacts("anthropic.count_tokens")
    if api == "vertex.predict" and "anthropic" in lower[:-2]:
        api = "anthropic.messages"
    model = name if collection == "models" or len(parts) < 2 else f"{parts[-2]}/{name}"
    return PathFacts(api, True, model or None, True, is_stream, reads="json")


def _bedrock(parts: list[str], lower: list[str]) -> PathFacts | None:
    """`/model/ID/converse` and its like; ID may be an ARN with slashes."""
    if "model" not in lower[:-2]:
        return None
    model = "/".join(parts[lower.index("model") + 1 : -1]) or None
    if lower[-1] == "count-tokens":
        return PathFacts("bedrock.count_tokens", model=model, is_model_from_path=True)
    if lower[-1] not in _BEDROCK_METHODS:
        return None
    api, is_stream = _BEDROCK_METHODS[lower[-1]]
    return PathFacts(api, True, model, True, is_stream, reads="json")


def _post(parts: list[str], lower: list[str]) -> PathFacts:
    """All other POSTs: known by their end, or unknown; metered either way."""
    last, before = lower[-1], lower[-2] if len(lower) > 1 else ""
    model = _model_in_path(parts, lower)
    api = _FORM_CALLS.get((before, last)) or _FORM_CALLS.get(("", last))
    if api is not None:
        return PathFacts(api, True, model, reads="any")
    if len(lower) > 2 and lower[-3] == "prompts" and last == "completions":
        return PathFacts("openai.chat", True, model, reads="json")  # a stored prompt, answered as chat (Portkey)
    if last == "runs" and "threads" in lower:
        return PathFacts("openai.assistants", True, model, reads="json")
    if last == "requests" and "batches" in lower:
        return PathFacts("openai.batches", True, model, reads="json")
    if "conversations" in lower[-3:]:
        return PathFacts("mistral.conversations", True, model, reads="json")
    api = _JSON_CALLS.get((before, last)) or _JSON_CALLS.get(("", last))
    if api is not None:
        return PathFacts(api, True, model, is_stream=last in _STREAMING, reads="json")
    if "models" in lower[:-1]:
        named = parts[lower.index("models") + 1 :]
        return PathFacts("huggingface.generate", True, "/".join(named[:2]) or None, reads="any")
    return PathFacts("unknown", True, model, reads="any")


def _model_in_path(parts: list[str], lower: list[str]) -> str | None:
    """`deployments/NAME/…` and `engines/NAME/…` (Azure), `models/OWNER/NAME/predictions`, `ai/run/NAME`."""
    for collection in ("deployments", "engines"):
        if collection in lower[:-2]:
            return parts[lower.index(collection) + 1]
    if lower[-1] == "invocations" and len(parts) > 2:  # Databricks serving endpoints, SageMaker
        return parts[-2]
    if lower[-1] == "predictions" and "models" in lower[:-1]:
        return "/".join(parts[lower.index("models") + 1 : -1]) or None
    if "run" in lower[:-1] and lower[lower.index("run") - 1] == "ai":
        return "/".join(parts[lower.index("run") + 1 :])
    return None


def _get(lower: list[str]) -> PathFacts:
    """WebSockets begin as a GET and make billable work; stored answers may show their usage; all else is free."""
    last = lower[-1]
    if last == "realtime":
        return PathFacts("openai.realtime", True, is_stream=True, is_realtime=True)
    if last.endswith(("bidigeneratecontent", "bidigeneratecontentconstrained")):
        return PathFacts("gemini.live", True, is_stream=True, is_realtime=True)
    if last == "responses":
        return PathFacts("openai.responses", True, is_stream=True, is_realtime=True)
    return _other(lower)._replace(is_retrieval=_is_stored_answer(lower))


def _other(lower: list[str]) -> PathFacts:
    """GET, DELETE, HEAD, OPTIONS, PUT, PATCH: no billable work; the API still tells which error shape is read."""
    if "messages" in lower and "batches" in lower:
        return PathFacts("anthropic.batches")
    for segment in reversed(lower):
        if segment in _STORED_ANSWERS:
            return PathFacts(_STORED_ANSWERS[segment])
    if lower[-1] == "files" or "files" in lower[-3:]:
        return PathFacts("openai.files")
    return _FREE


def _is_stored_answer(lower: list[str]) -> bool:
    last, before = lower[-1], lower[-2] if len(lower) > 1 else ""
    return before in _STORED_ANSWERS or (last == "results" and "batches" in lower)
