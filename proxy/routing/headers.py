"""Request heads: what is hop-by-hop, what is a credential, what is ours, and what goes on as it came.

Rules of this file: a header that is nobody's business here is forwarded with its name, case, value and place unchanged;
a caller's virtual key leaves this file in no direction; framing headers are written by whoever writes the body.
Sources: RFC 9110 §7.6.1 (Connection), RFC 9112 §6 (message body length), RFC 6455 §11.3.4 (subprotocols).
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from proxy.routing.callers import VIRTUAL_KEY_PREFIX

Header = tuple[bytes, bytes]

HOP, HOST, LENGTH, CREDENTIAL, LABEL, EXPECT, ENCODING, TYPE, BODY_ENCODING, RETRY, CONNECTION, TRANSFER, UPGRADE, SUBPROTOCOL = (
    range(1, 15)
)
_KINDS: Final[dict[bytes, int]] = {
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"proxy-authenticate": HOP,
    b"proxy-authorization": HOP,
    b"te": HOP,
    b"trailer": HOP,
    b"transfer-encoding": TRANSFER,
    b"upgrade": UPGRADE,
    b"host": HOST,
    b"content-length": LENGTH,
    b"expect": EXPECT,
    b"authorization": CREDENTIAL,
    b"x-api-key": CREDENTIAL,
    b"api-key": CREDENTIAL,
    b"x-goog-api-key": CREDENTIAL,
    b"accept-encoding": ENCODING,
    b"content-type": TYPE,
    b"content-encoding": BODY_ENCODING,
    b"x-stainless-retry-count": RETRY,
    b"sec-websocket-protocol": SUBPROTOCOL,
}
# What a name is, by the bytes it arrived as: one dict look-up a header instead of lower() and two (0.05 against 0.2 µs).
_seen: dict[bytes, int] = {}
SEEN_SIZE: Final = 4096
LABEL_PREFIX: Final = b"x-weighbridge-"
WEBSOCKET_KEY_PREFIX: Final = b"openai-insecure-api-key."
QUERY_KEYS: Final = (b"key", b"api-key")


def kind_of(name: bytes) -> int:
    """What a header name means to a proxy: one of the constants above, 0 for a name that is forwarded as it is."""
    kind = _seen.get(name)
    if kind is None:
        lower = name.lower()
        kind = LABEL if lower.startswith(LABEL_PREFIX) else _KINDS.get(lower, 0)
        if len(_seen) < SEEN_SIZE:
            _seen[name] = kind
    return kind


class Credential(NamedTuple):
    """A key as the caller sent it, and where."""

    place: str
    """bearer, x-api-key, api-key, x-goog-api-key, query or subprotocol."""
    key: str

    def __repr__(self) -> str:
        """Without the key: heads end up in logs."""
        return f"Credential(place={self.place!r})"


_NO_LABELS: Final[dict[bytes, bytes]] = {}
"""Shared by all heads without labels, never written to."""


@dataclass(slots=True)
class RequestHead:
    """A request's head, read once: what the proxy needs to know, and what it will forward.

    What most heads do not have is an empty tuple that all share: seven containers fewer to make and to collect per request.
    """

    method: str
    target: bytes
    """As it stood in the request line, credentials in the query included: never log it."""
    is_http10: bool
    headers: list[Header]
    """As received, in order."""
    forwarded: list[Header]
    """Those that go to the provider untouched, in order; `request_lines` takes out what must not."""
    swapped_at: tuple[int, ...] = ()
    """Where credentials stand in `forwarded`, backwards: taken out where the provider's key goes instead."""
    encoding_at: tuple[int, ...] = ()
    """Where Accept-Encoding stands in `forwarded`."""
    query_as_sent: bytes = b""
    """The query with the caller's own key in it; empty where it holds none."""
    has_host: bool = False
    content_length: int | None = None
    is_chunked: bool = False
    content_type: str = ""
    content_encoding: bytes = b""
    expects_continue: bool = False
    wants_close: bool = False
    upgrade: bytes = b""
    """`websocket` where the client asks for one and can get it; else empty."""
    credentials: tuple[Credential, ...] = ()
    labels: dict[bytes, bytes] = field(default_factory=lambda: _NO_LABELS)
    """x-weighbridge-* headers by the rest of their name, lower case."""
    retry_count: int | None = None
    subprotocols: tuple[bytes, ...] = ()
    """Those that are no key."""

    def with_headers(self, headers: list[Header], forwarded: list[Header], labels: dict[bytes, bytes]) -> RequestHead:
        """The same head with other lines (`dataclasses.replace` takes six times as long)."""
        return RequestHead(
            self.method,
            self.target,
            self.is_http10,
            headers,
            forwarded,
            self.swapped_at,
            self.encoding_at,
            self.query_as_sent,
            self.has_host,
            self.content_length,
            self.is_chunked,
            self.content_type,
            self.content_encoding,
            self.expects_continue,
            self.wants_close,
            self.upgrade,
            self.credentials,
            labels,
            self.retry_count,
            self.subprotocols,
        )


class MalformedHead(ValueError):
    """The head cannot be understood in one way only, so it is refused (RFC 9112 §6.3: possible request smuggling)."""


def read_head(method: str, target: bytes, version: str, headers: list[Header]) -> RequestHead:
    """Sort a request's headers.

    Raises:
        MalformedHead: framing that two readers could understand differently.
    """
    forwarded: list[Header] = []
    head = RequestHead(method, target, version == "1.0", headers, forwarded)
    if head.is_http10:
        head.wants_close = True
    named: tuple[bytes, ...] = ()
    seen = _seen.get
    for header in headers:
        kind = seen(header[0])
        if kind is None:
            kind = kind_of(header[0])
        if not kind or _take(head, kind, header[0], header[1]):
            forwarded.append(header)
        elif kind == CONNECTION:
            named += tuple(token.strip().lower() for token in header[1].split(b","))
    if head.upgrade and not (b"upgrade" in named and head.upgrade == b"websocket" and method == "GET" and not _has_body(head)):
        head.upgrade = b""  # RFC 9110 §7.8: an Upgrade that Connection does not name means nothing; RFC 6455 §4.1: GET
    if named:
        _apply_connection(head, named)
    if head.is_chunked and head.content_length is not None:
        raise MalformedHead("both Content-Length and Transfer-Encoding")
    if b"?" in target:
        _take_query_key(head)
    return head


def _has_body(head: RequestHead) -> bool:
    return head.is_chunked or bool(head.content_length)


def _take(head: RequestHead, kind: int, name: bytes, value: bytes) -> bool:
    """Note what a special header says; whether it is forwarded all the same. In the order of how often they come."""
    if kind == HOST:
        if head.has_host:
            raise MalformedHead("Host is repeated")
        head.has_host = True
    elif kind == LENGTH:
        if head.content_length is not None or not value.isdigit():
            raise MalformedHead("Content-Length is repeated or not a number")
        head.content_length = int(value)
    elif kind == TYPE:
        head.content_type = value.decode("latin-1")
        return True
    elif kind == CREDENTIAL:
        head.swapped_at = (len(head.forwarded), *head.swapped_at)
        _take_credential(head, name, value)
        return True
    elif kind == ENCODING:
        head.encoding_at += (len(head.forwarded),)
        return True
    elif kind == TRANSFER:
        if value.strip().lower() != b"chunked" or head.is_chunked or head.is_http10:
            raise MalformedHead("Transfer-Encoding other than a single `chunked`")
        head.is_chunked = True
    elif kind == BODY_ENCODING:
        head.content_encoding = value.strip().lower()
        return True
    elif kind == LABEL:
        if head.labels is _NO_LABELS:
            head.labels = {}
        head.labels[name[len(LABEL_PREFIX) :].lower()] = value
    elif kind == EXPECT:
        head.expects_continue = value.strip().lower() == b"100-continue" and not head.is_http10
    elif kind == RETRY:
        head.retry_count = int(value) if value.isdigit() and len(value) < 6 else None
        return True
    elif kind == UPGRADE:
        head.upgrade = value.strip().lower()
    elif kind == SUBPROTOCOL:
        head.swapped_at = (len(head.forwarded), *head.swapped_at)
        _take_subprotocols(head, value)
        return True
    return False


def _apply_connection(head: RequestHead, named: tuple[bytes, ...]) -> None:
    """RFC 9110 §7.6.1: what Connection names is for this hop only."""
    if b"close" in named:
        head.wants_close = True
    elif b"keep-alive" in named and head.is_http10:
        head.wants_close = False
    extra = {token for token in named if token not in (b"close", b"keep-alive", b"upgrade", b"")}
    if extra:
        head.forwarded = [header for header in head.forwarded if header[0].lower() not in extra]
        kinds = [kind_of(name) for name, _ in head.forwarded]
        head.swapped_at = tuple(at for at in range(len(kinds) - 1, -1, -1) if kinds[at] in (CREDENTIAL, SUBPROTOCOL))
        head.encoding_at = tuple(at for at, kind in enumerate(kinds) if kind == ENCODING)


def _take_credential(head: RequestHead, name: bytes, value: bytes) -> None:
    if value[:7] == b"Bearer " and len(name) == len(b"authorization"):  # nearly all: no other name here is as long
        token = value[7:].strip()
        if token:
            head.credentials += (Credential("bearer", token.decode("latin-1")),)
            return
    lower = name.lower()
    if lower != b"authorization":
        if value:
            head.credentials += (Credential(lower.decode(), value.strip().decode("latin-1")),)
        return
    scheme, _, rest = value.partition(b" ")
    rest = rest.strip()
    if scheme.lower() == b"bearer" and rest:
        head.credentials += (Credential("bearer", rest.decode("latin-1")),)
    elif scheme.lower() == b"basic" and (key := _key_in_basic(rest)):
        head.credentials += (Credential("authorization", key),)
    elif value:
        # Basic, AWS4-HMAC-SHA256 …: not a key that this program knows, but the caller's own all the same.
        head.credentials += (Credential("authorization", value.decode("latin-1")),)


def _key_in_basic(encoded: bytes) -> str | None:
    """A virtual key that came as user name or password."""
    try:
        pair = b64decode(encoded).decode("latin-1")
    except (Base64Error, ValueError):
        return None
    return next((part for part in pair.split(":", 1) if part.startswith(VIRTUAL_KEY_PREFIX)), None)


def _take_subprotocols(head: RequestHead, value: bytes) -> None:
    for token in (part.strip() for part in value.split(b",")):
        if token.startswith(WEBSOCKET_KEY_PREFIX):
            head.credentials += (Credential("subprotocol", token[len(WEBSOCKET_KEY_PREFIX) :].decode("latin-1")),)
        else:
            head.subprotocols += (token,)


def _take_query_key(head: RequestHead) -> None:
    """`?key=` (Google) and `?api-key=` (Azure's WebSockets) name a key; the target goes on without it."""
    path, _, query = head.target.partition(b"?")
    if b"key=" not in query:
        return
    kept = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name in QUERY_KEYS and value:
            head.credentials += (Credential("query", unquote_to_bytes(value).decode("latin-1")),)
        else:
            kept.append(part)
    if len(kept) <= query.count(b"&"):
        head.query_as_sent = query
        head.target = path + (b"?" + b"&".join(kept) if kept else b"")
