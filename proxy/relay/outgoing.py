"""How an answer is framed towards the client: its head, its body in the framing the client can read, one write a turn.

Framing follows the client, not the provider: a length where it is known and nothing is taken out or added, chunks for
HTTP/1.1, the end of the connection for HTTP/1.0 (RFC 9112 §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from proxy.routing.headers import Header, RequestHead
from proxy.routing.response_head import ResponseHead, response_lines

if TYPE_CHECKING:
    from proxy.relay.downstream import ClientConnection

_FORBIDDEN_TRAILERS = frozenset(
    (b"content-length", b"transfer-encoding", b"content-encoding", b"content-type", b"host", b"trailer", b"connection")
)


class Outgoing:
    """One answer's way out. Nothing is written before `flush`."""

    __slots__ = ("_client", "_is_close_delimited", "_parts", "_request", "has_begun", "is_chunked", "keep_alive")

    def __init__(self, client: ClientConnection, request: RequestHead, keep_alive: bool) -> None:
        self.has_begun = False
        """Bytes of an answer have gone to the client: from here on only the connection's end can say that something failed."""
        self.keep_alive = keep_alive
        """Whether the client's connection can carry another request after this answer."""
        self._client = client
        self._request = request
        self._parts: list[bytes] = []
        self.is_chunked = False
        """The client gets chunks."""
        self._is_close_delimited = False

    def informational(self, status: int, headers: Sequence[Header]) -> None:
        """A 1xx on the way (103 Early Hints); 100 is answered by this program itself."""
        if status != 100 and not self._request.is_http10:
            self._client.write(response_lines(status, b"", [name + b": " + value for name, value in headers], b""))

    def begin(self, head: ResponseHead, ours: bytes, size: int | None) -> None:
        """The head. `ours`: header lines of this program; `size`: of the body, None where only its end will tell."""
        framing = b""
        if size is not None:
            framing = b"Content-Length: %d\r\n" % size
        elif head.status not in (204, 304) and self._request.method != "HEAD":
            if self._request.is_http10:
                self._is_close_delimited, self.keep_alive = True, False
            else:
                self.is_chunked, framing = True, b"Transfer-Encoding: chunked\r\n"
        if self._client.state.is_stopping:
            self.keep_alive = False
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        elif self._request.is_http10:
            framing += b"Connection: keep-alive\r\n"
        self.has_begun = True
        self._parts.append(response_lines(head.status, head.reason, head.lines, ours + framing))

    def body(self, data: bytes) -> None:
        """A piece of the body."""
        if not data:
            return
        if self.is_chunked:
            self._parts += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._parts.append(data)

    def end(self, trailers: Iterable[Header]) -> None:
        """The body is complete."""
        if self.is_chunked:
            lines = [name + b": " + value + b"\r\n" for name, value in trailers if name.lower() not in _FORBIDDEN_TRAILERS]
            self._parts.append(b"0\r\n%b\r\n" % b"".join(lines))

    def cut(self) -> None:
        """The body will never be complete, and the client must see that."""
        self.keep_alive = False
        self.flush()
        if self._is_close_delimited:
            self._client.abort()  # its end would look like a good one
        else:
            self._client.abort_after_writing()

    def drop(self) -> None:
        """The client is gone."""
        self.keep_alive = False
        self._parts = []

    def flush(self) -> None:
        """Write what this turn brought."""
        parts = self._parts
        if parts:
            self._parts = []
            self._client.write(parts[0] if len(parts) == 1 else b"".join(parts))
