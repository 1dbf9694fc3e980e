"""A request on its way to a provider: its head written anew, its body as it came, whole or piece by piece."""

from __future__ import annotations

from proxy.relay.answer import Answer
from proxy.relay.pool import Pool
from proxy.relay.request import Request
from proxy.relay.upstream import UpstreamConnection
from proxy.routing.provider import Provider
from proxy.routing.request_lines import query_for, request_lines
from proxy.usage.decoding import ContentDecoder

MAX_DECODED_BYTES = 8 * 1024 * 1024
"""A compressed body that holds more is not read: its call counts with what its answer reports."""


def send(
    request: Request,
    body: bytes | None,
    connection: UpstreamConnection,
    answer: Answer,
    pool: Pool,
    provider: Provider,
    is_swapped: bool,
    is_stream: bool,
    *,
    ours: bytes = b"",
) -> None:
    """Write the request; a body that is not held follows as it arrives.

    Args:
        body: of a request whose body is held.
        is_swapped: the provider's key stands in place of the caller's.
        is_stream: the answer will be a stream, which no encoder shall hold back.
        ours: header lines of this program, each with its CRLF.
    """
    head, where = request.head, request.route
    target = provider.base_path + where.path + query_for(head, where.query, is_swapped)
    is_held = request.body_kind == "json"
    whole = (body or b"") if is_held else None
    framing = ours
    if whole is not None:
        if whole or head.content_length is not None:
            framing += b"Content-Length: %d\r\n" % len(whole)
    elif head.content_length is not None:
        framing += b"Content-Length: %d\r\n" % head.content_length
    else:
        framing += b"Transfer-Encoding: chunked\r\n"
    if head.upgrade:
        framing += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if provider.proxy_url and provider.scheme == "http":
        target = b"http://" + pool.host_header + target  # absolute-form, RFC 9112 §3.2.2
        framing += pool.proxy_lines
    if request.known is not None:
        key, host = request.credentials[0].key, pool.host_header
        lines = request.known.lines(key, target, host, is_swapped=is_swapped, wants_identity=is_stream) + framing + b"\r\n"
    else:
        lines = request_lines(head, target, pool.host_header, framing, provider, is_swapped=is_swapped, wants_identity=is_stream)
    connection.send(answer, lines, whole, head.method == "HEAD")
    if whole is None:
        continue_if_expected(request)
        _pass_on(request, connection)


def _pass_on(request: Request, connection: UpstreamConnection) -> None:
    """Pieces of an upload go on as they arrive."""
    is_chunked = request.head.content_length is None

    def forward(piece: bytes, is_last: bool) -> None:
        if piece:
            connection.send_body(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_last:
            if is_chunked:
                connection.send_body(b"0\r\n\r\n")
            connection.end_body()

    request.stream_to(forward)


def continue_if_expected(request: Request) -> None:
    """Tell a client that waits for it to send its body."""
    head = request.head
    if head.expects_continue and not request.is_complete:
        head.expects_continue = False
        request.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def decoded(body: bytes, encoding: bytes) -> bytes | None:
    """A compressed body's text, as far as it is worth decoding; it is forwarded as it came."""
    if not body:
        return body
    decoder, pieces, size = ContentDecoder(encoding.decode("latin-1")), [], 0
    for piece in decoder.decode(body):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_DECODED_BYTES:
            return None
    return None if decoder.blind_reason else b"".join(pieces)
