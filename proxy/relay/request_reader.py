"""Bytes from a client to requests: HTTP/1.1 read by llhttp, and judged.

Rules of this file: a request that two parsers could understand differently is refused with 400 and a closed connection,
before any byte of it goes anywhere (llhttp in strict mode, then `read_head`); heads and held bodies have their bounds.
What is not here: a request's body on its way (request.py), whose turn it is and how long it may take (downstream.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from proxy.errors import ClientError
from proxy.relay.request import Request
from proxy.routing.headers import Header, MalformedHead, RequestHead, read_head
from proxy.routing.known_heads import Found, KnownHeads, cut
from proxy.routing.route import Route, route
from proxy.usage.request_facts import body_kind

if TYPE_CHECKING:
    from proxy.relay.downstream import ClientConnection

HEAD_SLACK_BYTES = 64 * 1024
"""What one read may bring behind a head that is not over: the exact bound is tested when it is."""


class RequestReader:
    """Reads one client's connection; hands each request over when it can be served."""

    def __init__(self, client: ClientConnection) -> None:
        self.request: Request | None = None
        """The one that is arriving."""
        self.is_in_head = False
        self.has_upgraded = False
        """What comes now is for a tunnel."""
        self._client = client
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._is_declining = False
        self._learning: tuple[Found, bytes] | None = None
        """A request whose head came in one read, and is not known yet."""
        self._body_left = 0
        """Bytes of the arriving request's body that are still to come, where its head was known: the parser sees none of them."""

    def feed(self, data: bytes) -> None:
        """Take what was read.

        Raises:
            ClientError: these bytes can't be served; nothing more may be fed.
        """
        if self.has_upgraded:
            self._client.keep_for_tunnel(data)
            return
        self._learning = None
        if self._body_left:
            data = self._take_body(data)
            if not data:
                return
        if self.is_in_head:
            self._head_bytes += len(data)
            most = self._client.state.rules.settings.max_head_bytes
            if self._head_bytes > most + HEAD_SLACK_BYTES:
                raise _too_large_a_head(most)
        elif self.request is None:
            self._head_bytes += len(data)
            found = cut(data)
            if found is not None:
                if self._is_known(found, data):
                    return
                self._learning = found, data
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if cause is None or isinstance(cause, httptools.HttpParserError):
                raise ClientError(400, "bad_request", f"The request is not HTTP/1.1: {error}.") from None
            if isinstance(cause, MalformedHead):
                raise ClientError(400, "bad_request", f"The request is ambiguous: {cause}.") from None
            raise cause from None  # a ClientError, or a fault of ours

    def _is_known(self, found: Found, data: bytes) -> bool:
        """Begin a request whose head was understood before. The parser stands between two requests and never sees it.

        Many clients send head and body in two writes (httpx, under the Python SDKs), so the body may not be there yet: 667 thousand
        instructions of such a request became 531 (`instructions`).
        """
        state, settings = self._client.state, self._client.state.rules.settings
        if state.heads.rules is not state.rules:
            state.heads = KnownHeads(state.rules)
        known = state.heads.find(found.shape)
        if known is None or found.size > settings.max_json_body_bytes or found.body_at > settings.max_head_bytes:
            return False
        request = Request(self._client, known.head, known.route, known.kind)
        request.known = known
        request.credentials = (known.credential(found.key),)
        body = data[found.body_at :]
        if len(body) < found.size:
            self.request = request
            self._body_left = found.size
            self._take_body(body)
            return True
        if body:
            request.body_parts.append(body)
            request.body_size = found.size
        request.is_complete = True
        self._client.enqueue(request)
        return True

    def _take_body(self, data: bytes) -> bytes:
        """A piece of the body of a request whose head was known; what stands behind it in these bytes."""
        request = self.request
        assert request is not None
        left = self._body_left
        rest = data[left:]
        if rest:
            data = data[:left]
        if data:
            request.take(data)
        self._body_left = left - len(data)
        if not self._body_left:
            self.request = None
            request.complete()
            self._client.enqueue(request)
        return rest

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if self.has_upgraded:
                    self._client.keep_for_tunnel(data)
                    return
                self._decline_upgrade()

    def _decline_upgrade(self) -> None:
        """An offer to speak something else (Java's client offers h2c) is not taken (RFC 9110 §7.8): on in HTTP/1.1.

        llhttp stops behind the head of such a request, whatever body it announces; read as a request, that body would be
        smuggled in. So a new parser is told of the same framing, and goes on where this one stopped.
        """
        request = self.request
        assert request is not None
        framing = b"Transfer-Encoding: chunked\r\n" if request.head.is_chunked else b""
        if request.head.content_length is not None:
            framing = b"Content-Length: %d\r\n" % request.head.content_length
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)

    # ── httptools callbacks ──

    def on_message_begin(self) -> None:
        if self._is_declining:
            return  # the head that is told to a new parser has been read
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self.is_in_head = True

    def on_url(self, url: bytes) -> None:
        if self._is_declining:
            return
        self._url += url
        if len(self._url) > self._client.state.rules.settings.max_head_bytes:
            raise ClientError(431, "head_too_large", "The request target is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_in_head:
            if self.request is not None:
                self.request.trailers.append((name, value))
            return
        headers = self._headers
        headers.append((name, value))
        if len(headers) > self._client.state.rules.settings.max_headers:
            raise ClientError(431, "too_many_headers", f"More than {self._client.state.rules.settings.max_headers} header lines.")

    def on_headers_complete(self) -> None:
        if self._is_declining:
            self._is_declining = False
            return
        self.is_in_head = False
        settings = self._client.state.rules.settings
        size = len(self._url) + sum([len(name) + len(value) + 4 for name, value in self._headers])
        if size > settings.max_head_bytes:
            raise _too_large_a_head(settings.max_head_bytes)
        method = self._parser.get_method().decode()
        if method == "CONNECT":
            raise ClientError(405, "method_not_allowed", "CONNECT is not offered here: this is a reverse proxy.")
        head = read_head(method, self._url, self._parser.get_http_version(), self._headers)
        rules = self._client.state.rules
        where = route(head.target, rules.providers, rules.provider_for_default_path)
        kind = _body_kind(head, where)
        request = self.request = Request(self._client, head, where, kind)
        if self._learning is not None:
            self._client.state.heads.learn(*self._learning, head, where, kind)
        if kind == "json" and (head.content_length or 0) > settings.max_json_body_bytes:
            raise _too_large(settings.max_json_body_bytes)
        if head.upgrade == b"websocket":
            self.has_upgraded = True  # whatever follows is for the tunnel; if there will be none, the connection ends
        elif self._parser.should_upgrade():
            self._is_declining = True
        if head.expects_continue and kind == "json" and self._client.exchange is None:
            head.expects_continue = False
            self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if kind != "json":
            self._client.enqueue(request)

    def on_body(self, data: bytes) -> None:
        request = self.request
        if request is None or request.is_refused:
            return
        request.take(data)
        if request.body_kind == "json" and request.body_size > self._client.state.rules.settings.max_json_body_bytes:
            raise _too_large(self._client.state.rules.settings.max_json_body_bytes)

    def on_message_complete(self) -> None:
        if self._is_declining:
            return  # llhttp takes the head for all of it
        request, self.request = self.request, None
        if request is None:
            return
        request.complete()
        if request.body_kind == "json":
            self._client.enqueue(request)


def _too_large_a_head(most: int) -> ClientError:
    return ClientError(431, "head_too_large", f"The request head is larger than {most} bytes.")


def _body_kind(head: RequestHead, where: Route) -> str:
    if head.content_length in (None, 0) and not head.is_chunked:
        return "json"  # nothing to wait for: complete at once
    if where.kind != "provider":
        return "none"
    return body_kind(head.method, where.path.decode("latin-1"), head.content_type)


def _too_large(most: int) -> ClientError:
    return ClientError(413, "body_too_large", f"A JSON body may be {most} bytes long (server.yaml: max_json_body_bytes).")
