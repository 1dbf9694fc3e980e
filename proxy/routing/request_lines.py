"""The head of a request as it goes on to the provider, and the query behind its path.

Rules of this file: what `read_head` (headers.py) keeps as forwarded goes on in its order, name and case; where keys are swapped,
the provider's stands in place of the caller's, never beside it. Pure.
"""

from __future__ import annotations

from typing import Final

from proxy.routing.headers import RequestHead
from proxy.routing.provider import Provider

_KEY_LINES: Final = {
    "bearer": b"Authorization: Bearer ",
    "x-api-key": b"x-api-key: ",
    "api-key": b"api-key: ",
    "x-goog-api-key": b"x-goog-api-key: ",
}


def request_lines(
    head: RequestHead,
    target: bytes,
    host: bytes,
    framing: bytes,
    provider: Provider,
    *,
    is_swapped: bool,
    wants_identity: bool,
) -> bytes:
    """The head that goes to the provider, blank line included.

    Args:
        target: with the caller's own `?key=` in it, or without: `query_for`.
        framing: `Content-Length: n\r\n`, `Transfer-Encoding: chunked\r\n` or nothing, and what else this hop needs.
        is_swapped: the provider's key goes in place of whatever the caller sent; else the caller's own go on as they came.
        wants_identity: ask for an uncompressed answer (streams only: a compressed one would be held back by encoders).
    """
    # Lines are added with + and joined by CRLF: a third of the time of a join of all their pieces (0.5 µs against 1.5).
    lines = [head.method.encode("latin-1") + b" " + target + b" HTTP/1.1\r\nHost: " + host]
    forwarded = head.forwarded
    if (wants_identity and head.encoding_at) or (is_swapped and head.swapped_at):
        forwarded = list(forwarded)
        if wants_identity:
            for at in head.encoding_at:
                forwarded[at] = (forwarded[at][0], b"identity")
        if is_swapped:
            for at in head.swapped_at:
                del forwarded[at]
    if is_swapped:
        if provider.api_key is not None and provider.credential in _KEY_LINES:
            lines.append(_KEY_LINES[provider.credential] + provider.api_key.encode("latin-1"))
        if head.subprotocols:
            lines.append(b"Sec-WebSocket-Protocol: " + b", ".join(head.subprotocols))
    for name, value in forwarded:
        lines.append(name + b": " + value)
    if provider.headers:
        present = {name.lower() for name, _ in forwarded}
        for name, value in provider.headers:
            if name.lower() not in present:
                lines.append(name + b": " + value)
    lines.append(framing + b"\r\n")
    return b"\r\n".join(lines)


def query_for(head: RequestHead, query: bytes, is_swapped: bool) -> bytes:
    """What stands behind the path: `?` and the query, a caller's own key in its place."""
    if head.query_as_sent and not is_swapped:
        query = head.query_as_sent
    return b"?" + query if query else b""
