"""What one request asks for: API, model, stream, output cap, end users; read from its path and body.

Rules of this file: decided by path suffix and body, never by the provider's name; nothing raises; what cannot be read is None. The
model that a path names runs whatever the body says (Gemini, Bedrock); for a deployment in the path see `deployment`.

What is not here: classifying paths (request_paths), parsing bodies (request_body, multipart_fields), caps by API (output_caps),
editing a body (edits).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl

from proxy.usage.media_payloads import MAX_IMAGE_BYTES, bytes_without_media
from proxy.usage.multipart_fields import form_fields
from proxy.usage.output_caps import as_tokens, output_cap
from proxy.usage.request_body import LONG_BODY_BYTES, MARK, parse_body, parse_large_body
from proxy.usage.request_paths import PathFacts, read_path

_NO_UNITS: Mapping[str, Decimal] = MappingProxyType({})
_OLLAMA_STREAMS = ("ollama.chat", "ollama.generate")
_INJECTABLE = {"openai.chat": "messages", "openai.completions": "prompt"}
_COUNTS_ELSEWHERE = ("openai.completions", "gemini.generate_content")  # besides `n`: `best_of`, several prompts, `candidateCount`
_FIXING = ("openai.images", "openai.audio")  # the request itself says what is billed
_SHARED = ("vertex.predict", "mistral.conversations", "unknown")  # paths that several APIs share
_DEFAULT_IMAGES = Decimal(1)
_make = tuple.__new__
"""As in whole_body.py: a NamedTuple without its constructor."""


class RequestFacts(NamedTuple):
    """What the limits, the meter and the record need to know before the request is forwarded."""

    api: str
    is_metered: bool
    """True: a call that makes billable work; False: GET, list, delete, files, counting tokens."""
    model: str | None = None
    is_stream: bool = False
    """The caller asks for a stream."""
    output_cap_tokens: int | None = None
    """Per choice, as the caller set it."""
    choice_count: int = 1
    """Answers generated and billed: `n`, `best_of`, `candidateCount`, times the prompts of a completions batch."""
    body_bytes: int = 0
    """Size of the body given (of a form: of the prefix given)."""
    input_bytes: int = 0
    """Upper part of it that can become input tokens."""
    asks_for_usage: bool | None = None
    """`stream_options.include_usage` as the client gave it; None: not given."""
    can_inject_usage: bool = False
    """An OpenAI-style stream whose client did not say whether it wants usage, in a body that can be edited."""
    end_users: tuple[tuple[str, str], ...] = ()
    """Whom the body names: ("body:user", …), ("body:safety_identifier", …), ("body:metadata.user_id", …)."""
    service_tier: str | None = None
    """As asked."""
    units: Mapping[str, Decimal] = _NO_UNITS
    """What the request itself fixes and is billed by: characters (speech), images."""
    deployment: str | None = None
    """The model or deployment in the path where the body may name another (Azure runs this one): an allow-list must admit both."""
    has_stream_options: bool = False
    """The body has a `stream_options` already, so that asking for usage means merging into it."""
    is_retrieval: bool = False
    """Reads a stored answer, whose usage may be seen here for the first time (batches, background responses)."""
    document: dict[str, object] | None = None
    """The parsed body, long strings perhaps left out; None where it was not read, or is no JSON object."""


def body_kind(method: str, path: str, content_type: str) -> str:
    """How much of the body to read: `json`: all of it · `multipart`: its first 64 KiB · `none`: stream it through.

    A path that only takes JSON is read as JSON whatever its content type says: several servers do not look at it either
    (`curl -d` sends JSON as a form), and a wrong label must not hide the model from the limits.
    """
    reads = read_path(method, path).reads
    if reads != "any":
        return reads
    kind = content_type.lstrip()[:20].lower()
    if kind.startswith("multipart/"):
        return "multipart"
    return "none" if kind.startswith(("audio/", "image/", "video/", "application/sdp")) else "json"


def read_request(method: str, path: str, query: str, content_type: str, body: bytes | None) -> RequestFacts:
    """Read a request. `path` is below the provider's prefix, percent-encoded as sent; `body` is what body_kind asked for."""
    at = read_path(method, path)
    if at.reads != "none" and body:
        if at.reads == "any" and content_type.lstrip()[:10].lower() == "multipart/":
            return _from_form(at, query, form_fields(content_type, body), len(body))
        return _from_json(at, query, body)
    model = at.model
    if at.is_realtime and query:
        model = _query_value(query, "model") or _query_value(query, "deployment")
    return RequestFacts(
        at.api,
        at.is_metered,
        model,
        at.is_stream or (bool(query) and "stream=true" in query and at.is_retrieval),
        body_bytes=len(body) if body else 0,
        input_bytes=len(body) if body else 0,
        is_retrieval=at.is_retrieval,
    )


def _from_json(at: PathFacts, query: str, body: bytes) -> RequestFacts:
    size = len(body)
    is_small = size < LONG_BODY_BYTES or at.api == "openai.audio"  # a speech text is counted in characters: it may not be left out
    document, is_strict, long_strings = parse_body(body) if is_small else parse_large_body(body)
    if document is None:
        return RequestFacts(at.api, at.is_metered, at.model, at.is_stream or "alt=sse" in query, body_bytes=size, input_bytes=size)
    get = document.get
    api, is_metered = _refine(at, document) if at.api in _SHARED else (at.api, at.is_metered)
    model = at.model if at.is_model_from_path else _model(document) or at.model
    stream = get("stream")
    is_stream = at.is_stream or stream is True
    if not is_stream:
        is_stream = (api in _OLLAMA_STREAMS and stream is not False) or "alt=sse" in query or get("stream_format") == "sse"
    asks_for_usage: bool | None = None
    can_inject = False
    if stream is True:
        options = get("stream_options")
        if type(options) is dict:
            asked = options.get("include_usage")
            asks_for_usage = asked if type(asked) is bool else None
        can_inject = (
            is_strict
            and api in _INJECTABLE
            and _INJECTABLE[api] in document
            and (options is None or (type(options) is dict and "include_usage" not in options))
        )
    if api == "anthropic.batches":
        return _from_batch(at, document, size)
    tier = get("service_tier") or get("serviceTier")
    return _make(
        RequestFacts,
        (
            api,
            is_metered,
            model,
            is_stream,
            output_cap(document, api),
            _choice_count(document, api) if "n" in document or api in _COUNTS_ELSEWHERE else 1,
            size,
            bytes_without_media(document, size, long_strings) if size > MAX_IMAGE_BYTES else size,
            asks_for_usage,
            can_inject,
            _end_users(document) if "user" in document or "metadata" in document or "safety_identifier" in document else (),
            tier if type(tier) is str else None,
            _units(document, at.api) if at.api in _FIXING else _NO_UNITS,
            at.model if at.model != model else None,
            "stream_options" in document,
            at.is_retrieval,
            document,
        ),
    )


def _from_batch(at: PathFacts, document: dict[str, object], size: int) -> RequestFacts:
    """Anthropic's batch holds whole requests: the model where they agree on one, the largest cap, as many answers as requests."""
    requests = document.get("requests")
    inner = [entry.get("params") for entry in requests if isinstance(entry, dict)] if isinstance(requests, list) else []
    calls = [params for params in inner if isinstance(params, dict)]
    models = {_model(params) for params in calls}
    caps = [output_cap(params, "anthropic.messages") for params in calls]
    known_caps = [cap for cap in caps if cap is not None]
    return RequestFacts(
        at.api,
        at.is_metered,
        models.pop() if len(models) == 1 else None,
        output_cap_tokens=max(known_caps) if known_caps and len(known_caps) == len(caps) else None,
        choice_count=max(len(calls), 1),
        body_bytes=size,
        input_bytes=size,
        document=document,
    )


def _refine(at: PathFacts, document: dict[str, object]) -> tuple[str, bool]:
    """Paths that several APIs share, told apart by the body."""
    api = at.api
    if api == "vertex.predict":
        if "anthropic_version" in document:
            return "anthropic.messages", True
        return ("openai.chat" if "messages" in document else api), True
    if api == "mistral.conversations" and "inputs" not in document:
        return "openai.conversations", False  # OpenAI's conversations only store items
    if api == "unknown" and "anthropic_version" in document and "messages" in document:
        return "anthropic.messages", True
    return api, at.is_metered


def _model(document: dict[str, object]) -> str | None:
    """The body's model. Some servers match names without regard to case (Go's JSON), so a lone `Model` counts too."""
    model = document.get("model")
    if model is None:
        model = document.get("modelId") or document.get("model_id") or document.get("agent_id") or document.get("version")
        if model is None:
            model = next((value for name, value in document.items() if name.lower() == "model"), None)
    return model if type(model) is str and model and not model.startswith(MARK) else None


def _choice_count(document: dict[str, object], api: str) -> int:
    if api == "gemini.generate_content":
        config = document.get("generationConfig") or document.get("generation_config")
        wanted = (config.get("candidateCount") or config.get("candidate_count")) if isinstance(config, dict) else None
        return max(as_tokens(wanted) or 1, 1)
    if api == "openai.images":
        return 1
    count = max(as_tokens(document.get("n")) or 1, as_tokens(document.get("best_of")) or 1, 1)
    if api == "openai.completions":
        prompt = document.get("prompt")
        if type(prompt) is list and prompt and type(prompt[0]) is not int:  # a list of ints is one prompt in tokens
            count *= len(prompt)
    return count


def _end_users(document: dict[str, object]) -> tuple[tuple[str, str], ...]:
    metadata = document.get("metadata")
    named = (
        ("body:user", document.get("user")),
        ("body:safety_identifier", document.get("safety_identifier")),
        ("body:metadata.user_id", metadata.get("user_id") if type(metadata) is dict else None),
    )
    return tuple((where, who) for where, who in named if type(who) is str and who and not who.startswith(MARK))


def _units(document: dict[str, object], api: str) -> Mapping[str, Decimal]:
    if api == "openai.images":
        return {"images": Decimal(as_tokens(document.get("n")) or 1)}
    if api == "openai.audio":
        text = document.get("input")
        return {"characters": Decimal(len(text))} if type(text) is str else _NO_UNITS
    return _NO_UNITS


def _from_form(at: PathFacts, query: str, fields: dict[str, str], size: int) -> RequestFacts:
    count = fields.get("n", "")
    images = Decimal(count) if count.isascii() and count.isdigit() and int(count) else _DEFAULT_IMAGES
    end_user = fields.get("user")
    model = fields.get("model") or at.model
    return RequestFacts(
        at.api,
        at.is_metered,
        model,
        fields.get("stream", "").lower() in ("true", "1") or "alt=sse" in query,
        body_bytes=size,
        input_bytes=size,
        end_users=(("body:user", end_user),) if end_user else (),
        units={"images": images} if at.api == "openai.images" else _NO_UNITS,
        deployment=at.model if at.model != model else None,
    )


def _query_value(query: str, name: str) -> str | None:
    return next((value for key, value in parse_qsl(query) if key == name and value), None)
