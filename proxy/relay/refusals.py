"""Refusals and failures in the words of the API that the caller speaks: status, headers and body that its SDK understands.

Rules of this file: the shape follows what the request speaks (`facts.api`), else what the provider speaks; every text is a real
text, never a "None"; `x-should-retry: false` wherever waiting a minute cannot help, because SDKs would hammer the door.

What is not here: deciding to refuse (exchange, limits).

Sources: the providers' error references and SDK sources (openai-python 3.3.1, anthropic 0.121.0, google-genai, botocore),
read 2026-11-21.
"""

from __future__ import annotations

import math
from random import random
from typing import NamedTuple
from urllib.parse import quote
from zlib import crc32

import orjson

Headers = tuple[tuple[bytes, bytes], ...]

MAX_HELPFUL_WAIT_SECONDS = 60.0
"""What a caller can be expected to sit out; SDKs honour no longer retry-after than 60 (Anthropic) or 120 seconds (OpenAI)."""
SPREAD_SECONDS = 2.0
"""Over how long the returns of callers that were refused at the same time are spread."""


class WholeAnswer(NamedTuple):
    """An answer of our own, to be framed by the connection."""

    status: int
    content_type: bytes
    body: bytes
    headers: Headers
    """All others: the dialect's own, when to come back, which limit it was."""


class _Kind(NamedTuple):
    status: int
    openai_type: str
    openai_code: str
    anthropic_type: str
    google_status: str
    bedrock_type: str


_KINDS: dict[str, _Kind] = {
    "unauthorized": _Kind(
        401, "invalid_request_error", "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "UnrecognizedClientException"
    ),
    "forbidden": _Kind(403, "invalid_request_error", "forbidden", "permission_error", "PERMISSION_DENIED", "AccessDeniedException"),
    "forbidden_model": _Kind(
        403, "invalid_request_error", "model_not_allowed", "permission_error", "PERMISSION_DENIED", "AccessDeniedException"
    ),
    "unpriced_refused": _Kind(
        403, "invalid_request_error", "model_not_priced", "permission_error", "PERMISSION_DENIED", "AccessDeniedException"
    ),
    "not_found": _Kind(404, "invalid_request_error", "not_found", "not_found_error", "NOT_FOUND", "ResourceNotFoundException"),
    "bad_request": _Kind(
        400, "invalid_request_error", "bad_request", "invalid_request_error", "INVALID_ARGUMENT", "ValidationException"
    ),
    "too_large": _Kind(
        413, "invalid_request_error", "request_too_large", "request_too_large", "INVALID_ARGUMENT", "ValidationException"
    ),
    "head_too_large": _Kind(
        431, "invalid_request_error", "headers_too_large", "invalid_request_error", "INVALID_ARGUMENT", "ValidationException"
    ),
    "rate_limited": _Kind(
        429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "ThrottlingException"
    ),
    "quota_exceeded": _Kind(
        429, "insufficient_quota", "insufficient_quota", "rate_limit_error", "RESOURCE_EXHAUSTED", "ServiceQuotaExceededException"
    ),
    "stopped": _Kind(503, "server_error", "stopped", "api_error", "UNAVAILABLE", "ServiceUnavailableException"),
    "store_away": _Kind(503, "server_error", "limits_unavailable", "api_error", "UNAVAILABLE", "ServiceUnavailableException"),
    "upstream_unreachable": _Kind(
        502, "server_error", "upstream_unreachable", "api_error", "UNAVAILABLE", "ServiceUnavailableException"
    ),
    "upstream_broken": _Kind(502, "server_error", "upstream_broken", "api_error", "UNAVAILABLE", "ServiceUnavailableException"),
    "upstream_timeout": _Kind(504, "server_error", "upstream_timeout", "api_error", "DEADLINE_EXCEEDED", "ModelTimeoutException"),
    "provider_unconfigured": _Kind(
        503, "server_error", "provider_key_missing", "api_error", "UNAVAILABLE", "ServiceUnavailableException"
    ),
    "internal": _Kind(500, "server_error", "internal_error", "api_error", "INTERNAL", "InternalServerException"),
}
KINDS = frozenset(_KINDS)
_INTERNAL = _KINDS["internal"]
_NEVER_RETRY = frozenset({"stopped", "provider_unconfigured"})

_FAMILIES = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex": "google",
    "google": "google",
    "bedrock": "bedrock",
    "cohere": "cohere",
    "ollama": "ollama",
}


def dialect_of(provider_api: str, api: str) -> str:
    """The error shape of a call: openai, azure, anthropic, google, bedrock, cohere or ollama; openai where nothing tells.

    Args:
        provider_api: what the provider speaks (`Provider.api`).
        api: what the request speaks (`RequestFacts.api`); goes first, since one provider may speak several (Ollama's /v1).
    """
    spoken = _FAMILIES.get(api.partition(".")[0])
    if spoken == "openai" and provider_api == "azure":
        return "azure"
    return spoken or _FAMILIES.get(provider_api, "openai")


def status_of(kind: str, dialect: str) -> int:
    """Amazon answers unknown credentials with 403; all else is common."""
    return 403 if dialect == "bedrock" and kind == "unauthorized" else _KINDS.get(kind, _INTERNAL).status


def refusal(
    family: str,
    api: str,
    kind: str,
    message: str,
    code: str = "",
    *,
    retry_after_seconds: float | None = None,
    limit: str | None = None,
    window: str | None = None,
    request_id: str = "",
    spread: float | None = None,
) -> WholeAnswer:
    """The whole answer for a refusal or failure.

    Args:
        family: what the provider speaks (`Provider.api`).
        api: what the request speaks (`RequestFacts.api`); empty where it was not read.
        kind: one of KINDS.
        message: for the person who reads the caller's log; no secrets.
        code: a finer code where the dialect has one (OpenAI's `error.code`).
        retry_after_seconds: when it may fit; None: not known, or never.
        limit: which limit refused, as in the configuration.
        window: that limit's window. The wait decides, not this: the end of a day may be seconds away.
        request_id: the record's id.
        spread: 0 to 1: where in SPREAD_SECONDS this caller is asked to return; None: drawn here.
    """
    dialect = dialect_of(family, api)
    entry = _KINDS.get(kind, _INTERNAL)
    status = status_of(kind, dialect)
    wait = retry_after_seconds if retry_after_seconds is not None and math.isfinite(retry_after_seconds) else None
    payload = _payload(dialect, kind, _clean(message), code or entry.openai_code, request_id, limit, wait)
    headers: list[tuple[bytes, bytes]] = []
    if dialect == "bedrock":
        headers.append((b"x-amzn-errortype", entry.bedrock_type.encode()))
    if request_id:
        headers.append((_REQUEST_ID_HEADERS.get(dialect, b"x-request-id"), _ascii(request_id)))
    if status == 429:
        headers += refusal_headers(wait, limit, random() if spread is None else spread)  # noqa: S311 spreading, no secret
    elif kind in _NEVER_RETRY:
        headers.append((b"x-should-retry", b"false"))
    elif wait is not None:
        headers.append((b"retry-after", b"%d" % max(math.ceil(wait), 1)))
    return WholeAnswer(status, _CONTENT_TYPES.get(dialect, b"application/json"), orjson.dumps(payload), tuple(headers))


def plain_refusal(status: int, code: str, message: str) -> bytes:
    """A whole HTTP/1.1 answer for bytes that were no readable request, in nobody's dialect. The connection ends with it."""
    error = {
        "message": _clean(message),
        "type": "invalid_request_error" if status < 500 else "server_error",
        "param": None,
        "code": code,
    }
    body = orjson.dumps({"error": error})
    reason = _REASONS.get(status, b"Error")
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (
        status,
        reason,
        len(body),
    )
    return head + body


def refusal_headers(retry_after_seconds: float | None, limit_name: str | None, spread: float = 0.0) -> Headers:
    """When to come back, and which limit it was.

    Up to a minute: `retry-after` (whole seconds, rounded up) and `retry-after-ms`. Longer or never: `x-should-retry: false`, with
    the true `retry-after` where it is known (SDKs that cannot wait that long would otherwise retry at once).
    """
    headers: list[tuple[bytes, bytes]] = []
    if retry_after_seconds is None:
        headers.append((b"x-should-retry", b"false"))
    elif retry_after_seconds <= MAX_HELPFUL_WAIT_SECONDS:
        wait_ms = math.ceil(max(retry_after_seconds, 0.0) * 1000 + spread * SPREAD_SECONDS * 1000)
        wait_ms = min(max(wait_ms, 1), int(MAX_HELPFUL_WAIT_SECONDS * 1000))
        headers.append((b"retry-after", b"%d" % -(-wait_ms // 1000)))
        headers.append((b"retry-after-ms", b"%d" % wait_ms))
    else:
        headers.append((b"retry-after", b"%d" % math.ceil(retry_after_seconds)))
        headers.append((b"x-should-retry", b"false"))
    if limit_name:
        headers.append((b"x-weighbridge-limit", _ascii(limit_name)))
    return tuple(headers)


def stream_error(
    dialect: str, api: str, kind: str, message: str, *, framing: str = "sse", code: str | None = None, request_id: str = ""
) -> bytes:
    """An error for a stream whose 200 is already sent; the connection is closed after it.

    Args:
        api: the request's (`RequestFacts.api`): the Responses API has an event of its own.
        framing: of the answer: sse, ndjson, json_array (elements sent before), aws_eventstream.
    """
    entry = _KINDS.get(kind, _INTERNAL)
    text, code = _clean(message), code or entry.openai_code
    if dialect == "bedrock" or framing == "aws_eventstream":
        return _exception_frame(entry.bedrock_type, text)
    payload = _payload(dialect, kind, text, code, request_id, None, None)
    event = b""
    if dialect == "anthropic":
        event = b"event: error\n"
    elif api == "openai.responses":
        event = b"event: error\n"
        payload = {"type": "error", "code": code, "message": text, "param": None, "sequence_number": 0}
    elif dialect == "cohere":
        if framing == "sse":
            event = b"event: message-end\n"
            payload = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": text}}
        else:
            payload = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR", "error": text}
    line = orjson.dumps(payload)
    if framing == "ndjson":
        return line + b"\n"
    if framing == "json_array":
        return b",\r\n" + line + b"\r\n]"
    return event + b"data: " + line + (b"\r\n\r\n" if dialect == "google" else b"\n\n")


_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    411: b"Length Required",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}
_CONTENT_TYPES = {"google": b"application/json; charset=UTF-8"}
_REQUEST_ID_HEADERS = {"anthropic": b"request-id", "bedrock": b"x-amzn-requestid", "azure": b"apim-request-id"}


def _payload(
    dialect: str, kind: str, message: str, code: str, request_id: str, limit_name: str | None, wait: float | None
) -> dict[str, object]:
    entry = _KINDS.get(kind, _INTERNAL)
    if dialect == "anthropic":
        error: dict[str, object] = {"type": "error", "error": {"type": entry.anthropic_type, "message": message}}
        return error | {"request_id": request_id} if request_id else error
    if dialect == "google":
        return {"error": _google_status(kind, message, limit_name, wait)}
    if dialect == "bedrock":
        return {"message": message}
    if dialect == "cohere":
        return {"id": request_id, "message": message} if request_id else {"message": message}
    if dialect == "ollama":
        return {"error": message}
    if dialect == "azure" and kind in ("rate_limited", "unauthorized"):
        code = str(entry.status)
    return {"error": {"message": message, "type": entry.openai_type, "param": None, "code": code}}


def _google_status(kind: str, message: str, limit_name: str | None, wait: float | None) -> dict[str, object]:
    """google.rpc.Status in JSON; the delay stands in the body, for Google's clients read no headers."""
    entry = _KINDS.get(kind, _INTERNAL)
    status: dict[str, object] = {"code": entry.status, "message": message, "status": entry.google_status}
    details: list[dict[str, object]] = []
    if limit_name:
        violation = {"subject": _clean(limit_name), "description": message}
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
    if wait is not None and wait <= MAX_HELPFUL_WAIT_SECONDS:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{max(math.ceil(wait), 1)}s"})
    if details:
        status["details"] = details
    return status


def _exception_frame(error_type: str, message: str) -> bytes:
    """An `application/vnd.amazon.eventstream` exception message: prelude, its CRC, headers, payload, CRC of all."""
    fields = (
        (":exception-type", error_type[:1].lower() + error_type[1:]),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    )
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode() for name, value in fields
    )
    payload = orjson.dumps({"message": message})
    prelude = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    prelude += crc32(prelude).to_bytes(4, "big")
    frame = prelude + headers + payload
    return frame + crc32(frame).to_bytes(4, "big")


def _clean(text: str) -> str:
    """JSON cannot carry lone surrogates (names that came out of undecodable bytes)."""
    return text.encode("utf-8", "replace").decode()


def _ascii(text: str) -> bytes:
    """A header value: printable ASCII, all else percent-encoded, so that a user's name can neither break a header nor add one."""
    return quote(text.encode("utf-8", "replace"), safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~").encode()
