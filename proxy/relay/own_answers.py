"""Answers of this program itself: refusals and failures in the caller's dialect, health, unknown paths.

Rules of this file: bytes only; when an answer is given and what the record says is exchange.py's business.
"""

from __future__ import annotations

import orjson

from proxy.relay.identity import Denied
from proxy.relay.refusals import Headers, refusal
from proxy.relay.state import RelayState
from proxy.routing.provider import Provider
from proxy.routing.route import Route

JSON: Headers = ((b"Content-Type", b"application/json"),)
_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    529: b"Overloaded",
}


def whole_answer(status: int, body: bytes, headers: Headers, *, has_body: bool, keep_alive: bool) -> bytes:
    """Status line, headers and body. `has_body`: False for an answer to HEAD."""
    parts = [b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\n" % (status, _REASONS.get(status, b"Error"), len(body))]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n" if keep_alive else b"Connection: close\r\n\r\n")
    if has_body:
        parts.append(body)
    return b"".join(parts)


def refusing(denied: Denied, provider: Provider | None, api: str, request_id: str) -> tuple[int, bytes, Headers]:
    """Status, body and headers of a refusal or failure.

    Args:
        api: what the request speaks, where it was read.
        request_id: the record's; empty where there is none.
    """
    answer = refusal(
        provider.api if provider is not None else "openai",
        api,
        denied.kind,
        denied.message,
        denied.code,
        retry_after_seconds=denied.retry_after_seconds,
        limit=denied.limit,
        window=denied.window,
        request_id=request_id,
    )
    headers = ((b"Content-Type", answer.content_type), *answer.headers)
    if request_id:
        headers += ((b"x-weighbridge-request-id", request_id.encode()),)
    if denied.store_mode != "normal":
        headers += ((b"x-weighbridge-on-store-failure", denied.store_mode.encode()),)
    return answer.status, answer.body, headers


def readiness(state: RelayState) -> tuple[int, bytes, Headers]:
    """The answer to /readyz."""
    is_ready = state.is_ready and not state.is_stopping and not state.spool.is_refusing
    spool = state.spool.stats()
    body = {
        "status": "ready" if is_ready else "not ready",
        "rules_version": state.rules.version,
        "stopping": state.is_stopping,
        "spool": {
            "segments": spool.segments,
            "bytes": spool.bytes,
            "oldest_segment_age_seconds": round(spool.oldest_age_seconds, 3),
            "lost": spool.lost + state.stats.records_lost,
            "is_full": spool.is_full,
        },
    }
    return 200 if is_ready else 503, orjson.dumps(body), JSON


def nowhere(where: Route, state: RelayState) -> Denied:
    """Why a path leads nowhere."""
    if where.kind == "control":
        message = "The control API, the dashboard and the metrics are on another port here (--control-port)."
        return Denied("not_found", "not_found", message)
    rules = state.rules
    name = where.path.lstrip(b"/").partition(b"/")[0].decode("latin-1")
    if name in rules.disabled:
        return Denied("not_found", "not_found", f"The provider '{name}' is switched off here: {rules.disabled[name]}.")
    names = ", ".join(sorted(rules.providers))
    message = f"No such path. Calls go to /<provider>/… ({names}) or /v1/…; the control API is /api/v1/…, the dashboard /dashboard."
    return Denied("not_found", "not_found", message)
