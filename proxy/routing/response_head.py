"""Response heads: how the body ends, what is hop-by-hop, which id the provider gave, and what goes on as it came.

Rules of this file: as for requests (headers.py): names, case, values and places are kept; a provider cannot speak in our name
(`x-weighbridge-…`); a body whose end is not certain is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.routing.headers import (
    BODY_ENCODING,
    CONNECTION,
    CREDENTIAL,
    HOP,
    LABEL,
    LABEL_PREFIX,
    LENGTH,
    SEEN_SIZE,
    TRANSFER,
    TYPE,
    UPGRADE,
    Header,
    MalformedHead,
)


@dataclass(slots=True)
class ResponseHead:
    """A provider's head: status, reason and headers as they came, and how its body ends."""

    status: int
    reason: bytes
    headers: list[Header]
    lines: list[bytes]
    """What goes on to the client, `name: value` each, without CRLF."""
    content_length: int | None = None
    is_chunked: bool = False
    content_type: bytes = b""
    content_encoding: bytes = b""
    wants_close: bool = False
    request_id: str | None = None
    """The provider's own id of the request: x-request-id, request-id, x-amzn-requestid, …"""
    is_plain_json: bool = False
    """The body is announced as JSON that is not packed, and no header says more of its usage than it does."""


_REQUEST_ID_NAMES: Final = frozenset(
    (b"x-request-id", b"request-id", b"x-amzn-requestid", b"apim-request-id", b"cf-ray", b"x-goog-request-id")
)
_RESPONSE_KINDS: Final[dict[bytes, int]] = {
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"proxy-authenticate": HOP,
    b"te": HOP,
    b"trailer": HOP,
    b"transfer-encoding": TRANSFER,
    b"upgrade": UPGRADE,
    b"content-length": LENGTH,
    b"content-type": TYPE,
    b"content-encoding": BODY_ENCODING,
    **dict.fromkeys(_REQUEST_ID_NAMES, CREDENTIAL),
}
_TELLING: Final = b"x-amzn-"
"""How names begin that may count tokens (Bedrock's do)."""
_TELLS: Final = 100
"""The kind of such a name, beside those of headers.py."""
_JSON: Final = b"application/json"
_seen_response: dict[bytes, int] = {}


def read_response_head(status: int, reason: bytes, headers: list[Header]) -> ResponseHead:
    """Sort a provider's headers.

    Raises:
        MalformedHead: the end of the body cannot be told for certain.
    """
    lines: list[bytes] = []
    head = ResponseHead(status, reason, headers, lines)
    named: set[bytes] | None = None
    is_telling = False
    seen = _seen_response.get
    for header in headers:
        name, value = header
        kind = seen(name)
        if kind is None:
            lower = name.lower()
            usual = _TELLS if lower.startswith(_TELLING) else 0
            kind = LABEL if lower.startswith(LABEL_PREFIX) else _RESPONSE_KINDS.get(lower, usual)
            if len(_seen_response) < SEEN_SIZE:
                _seen_response[name] = kind
        if not kind:
            lines.append(name + b": " + value)
        elif kind == LENGTH:
            if not value.isdigit() or (head.content_length is not None and head.content_length != int(value)):
                raise MalformedHead("Content-Length of the answer is not one number")
            head.content_length = int(value)
        elif kind == TYPE:
            head.content_type = value
            lines.append(name + b": " + value)
        elif kind == TRANSFER:
            if value.strip().lower() != b"chunked":
                raise MalformedHead("the answer's Transfer-Encoding is not `chunked`")
            head.is_chunked = True
        elif kind == BODY_ENCODING:
            head.content_encoding = value.strip().lower()
            lines.append(name + b": " + value)
        elif kind == CONNECTION:
            named = {token.strip().lower() for token in value.split(b",")} | (named or set())
        elif kind == CREDENTIAL:
            if head.request_id is None or name.lower() != b"cf-ray":
                head.request_id = value.decode("latin-1")[:200]
            is_telling = is_telling or name[: len(_TELLING)].lower() == _TELLING
            lines.append(name + b": " + value)
        elif kind == _TELLS:
            is_telling = True
            lines.append(name + b": " + value)
    kind_of_body = head.content_type
    if (
        (kind_of_body == _JSON or (kind_of_body[:16].lower() == _JSON and kind_of_body[16:17] in b"; "))
        and not head.content_encoding
        and not is_telling
    ):
        head.is_plain_json = True
    if head.is_chunked:
        head.content_length = None  # RFC 9112 §6.3: chunked overrides a length, which must not be passed on
    if named:
        head.wants_close = b"close" in named
        extra = named - {b"close", b"keep-alive", b"upgrade", b""}
        if extra:
            head.lines = [line for line in lines if line[: line.index(b":")].lower() not in extra]
    return head


def response_lines(status: int, reason: bytes, lines: Sequence[bytes], ours: bytes) -> bytes:
    """The head that goes to the client, blank line included.

    Args:
        lines: without CRLF.
        ours: header lines of this program and of this hop, each with its CRLF.
    """
    return b"\r\n".join((b"HTTP/1.1 %d %b" % (status, reason), *lines, ours + b"\r\n"))
