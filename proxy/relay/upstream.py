"""The provider's side of the wire: one keep-alive connection, one request at a time on it.

Rules of this file: bytes in, callbacks out; no metering, no limits, no records. A connection has one `Answer` while it
serves and none while it waits (pool.py). Timeouts are deadlines that the worker's tick compares (one loop over all connections
every 0.1 s instead of a timer per request). A retry is the business of exchange.py; this file only says whether a
connection had served before and whether a byte of an answer had come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import httptools

from proxy.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from proxy.relay.chunks import LOST, after_head, missing_of_chunk, whole_chunk
from proxy.relay.clock import NEVER, Watched
from proxy.routing.headers import Header, MalformedHead
from proxy.routing.response_head import ResponseHead, read_response_head

if TYPE_CHECKING:
    from proxy.relay.pool import Pool

MAX_RESPONSE_HEAD_BYTES = 256 * 1024
"""Anthropic's largest recorded head is 3 KB; 256 KB is what Envoy allows at most."""

MOST_WALKED_CHUNKS = 4


class AnswerSink(Protocol):
    """Who takes an answer as it arrives. Calls come in this order; nothing comes after ended or failed."""

    def answer_informational(self, status: int, headers: list[Header]) -> None: ...
    def answer_head(self, head: ResponseHead) -> None: ...
    def answer_chunk(self, data: bytes, size: int) -> bool:
        """One whole chunk of `size` bytes, framing included, which the parser has not seen. False: not taken."""

    def answer_body(self, data: bytes) -> None: ...
    def answer_ended(self, trailers: list[Header]) -> None: ...
    def answer_failed(self, error: UpstreamError) -> None: ...
    def answer_broke(self, fault: Exception) -> None:
        """Taking the answer failed through a fault of ours."""

    def answer_flush(self) -> None:
        """All that one read brought has been handed over: write it out now."""

    def upload_paused(self, is_paused: bool) -> None:
        """The provider reads slower than the client sends."""


class UpstreamConnection(asyncio.Protocol, Watched):
    """One connection to a provider."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.sink: AnswerSink | None = None
        self.served = 0
        self.opened_at = pool.clock.now
        self.idle_since = 0.0
        self.deadline = NEVER
        self.is_closed = False
        self.is_counted = False
        """The pool counts it as open (from when it is, until it is forgotten)."""
        self.has_answer_byte = False
        self._parser: httptools.HttpResponseParser | None = None
        self._is_head_request = False
        self._is_reading_paused = False
        self.early_tunnel_bytes = b""
        """What came behind a 101 in the same read."""
        self._reset()

    def _reset(self) -> None:
        self._reason = b""
        self._headers: list[Header] = []
        self._trailers: list[Header] = []
        self._body: list[bytes] = []
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._is_head_given = False
        self._is_complete = False
        self._has_garbage = False
        self._until_close = False
        self._is_waiting_for_upload = False
        self._missing_of_chunk = LOST
        """Bytes until the next chunk begins, where the answer is in chunks."""

    # ── what exchange.py calls ──

    def send(self, sink: AnswerSink, head: bytes, body: bytes | None, is_head_request: bool) -> None:
        """Write a request; body None means that it follows through `send_body`."""
        assert self.transport is not None
        self._reset()
        self.sink = sink
        self.has_answer_byte = False
        self._is_head_request = is_head_request
        self._is_waiting_for_upload = body is None
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self.served += 1
        if self.is_closed:  # between being taken from the pool and now; nobody else would tell the sink
            asyncio.get_running_loop().call_soon(self._end_of_stream, None)
            return
        self.deadline = self.pool.clock.now + self.pool.provider.first_byte_timeout_seconds
        self.transport.write(head + body if body else head)

    def send_body(self, data: bytes) -> None:
        """A piece of a request body that is passed on as it arrives, framing included."""
        if self.transport is not None and not self.is_closed:
            self.deadline = self.pool.clock.now + self.pool.provider.first_byte_timeout_seconds
            self.transport.write(data)

    def end_body(self) -> None:
        """The request body is complete."""
        self._is_waiting_for_upload = False

    def pause(self) -> None:
        """Stop reading: the client is slower than the provider."""
        if not self._is_reading_paused and self.transport is not None and not self.is_closed:
            self._is_reading_paused = True
            self.deadline = NEVER
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._is_reading_paused and self.transport is not None and not self.is_closed:
            self._is_reading_paused = False
            self.deadline = self.pool.clock.now + self.pool.provider.between_bytes_timeout_seconds
            self.transport.resume_reading()

    def cut(self) -> None:
        """Give the answer up: nobody wants it any more. Idempotent."""
        self.sink = None
        self._close()

    def detach(self) -> asyncio.Transport:
        """Hand the transport over (a tunnel); the pool forgets it."""
        assert self.transport is not None
        self.sink = None
        self.is_closed = True
        self.deadline = NEVER
        self.pool.forget(self)
        return self.transport

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit from asyncio's
        self.pool.clock.watched.add(self)

    def data_received(self, data: bytes) -> None:
        sink = self.sink
        if sink is None or self._parser is None:
            self._close()  # bytes that nobody asked for: this connection can't be trusted with another request
            return
        self.has_answer_byte = True
        self.deadline = self.pool.clock.now + self.pool.provider.between_bytes_timeout_seconds
        try:
            if self._missing_of_chunk == 0 and (size := whole_chunk(data)) and sink.answer_chunk(data, size):
                return  # past the parser, which stands between two chunks before and after
            rest, error = self._parse(data)
            if self._missing_of_chunk != LOST:
                self._missing_of_chunk = self._walk_chunks(data, self._missing_of_chunk)
            elif not self._is_head_given and error is None:
                if self._head is not None and self._head.is_chunked and not self._head_bytes:
                    self._missing_of_chunk = self._walk_chunks(data, after_head(data))
                self._head_bytes += len(data)
                if self._head_bytes > MAX_RESPONSE_HEAD_BYTES and self._is_head_too_large():
                    self._head, error = None, UpstreamBroken("the provider's response head is larger than 256 KiB")
            self._hand_over(sink)
            if error is not None and (self._head is None or not self._is_complete):
                self._fail(error)
            elif self._is_complete and self._head is not None and self.sink is sink:
                self._finish(sink, rest, is_clean=error is None and not self._has_garbage)
            sink.answer_flush()
        except Exception as fault:  # noqa: BLE001 told to the exchange, which logs it
            # A fault of ours while an answer passed: the exchange must hear of it, or its client waits for ever.
            self._close()
            sink.answer_broke(fault)

    def _walk_chunks(self, data: bytes, begin: int) -> int:
        """Where the next chunk begins. A flood of them, many in a read, has nothing to gain from being walked through, and pays."""
        return missing_of_chunk(data, begin) if begin != LOST and len(self._body) <= MOST_WALKED_CHUNKS else LOST

    def _is_head_too_large(self) -> bool:
        """What was read may be body for the most part."""
        return self._head is None or sum([len(n) + len(v) + 4 for n, v in self._headers]) > MAX_RESPONSE_HEAD_BYTES

    def _parse(self, data: bytes) -> tuple[bytes, UpstreamBroken | None]:
        """Run the parser; what follows an upgrade, and what is wrong with the bytes."""
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :], None
        except httptools.HttpParserError as error:
            cause = error.__context__ if isinstance(error.__context__, MalformedHead) else error
            return b"", UpstreamBroken(f"the provider's answer is not HTTP/1.1: {cause}")
        return b"", None

    def _hand_over(self, sink: AnswerSink) -> None:
        """Pass on what this read brought, outside the parser's callbacks, where an error would be taken for a bad answer."""
        if self._head is not None and not self._is_head_given:
            self._is_head_given = True
            sink.answer_head(self._head)
        if self._body and self.sink is sink:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
            sink.answer_body(body)

    def eof_received(self) -> bool:
        self._end_of_stream(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_stream(exc)
        self.is_closed = True
        self.deadline = NEVER
        self.pool.clock.watched.discard(self)
        self.pool.forget(self)

    def pause_writing(self) -> None:
        if self.sink is not None and self._is_waiting_for_upload:
            self.sink.upload_paused(True)

    def resume_writing(self) -> None:
        if self.sink is not None:
            self.sink.upload_paused(False)

    def _end_of_stream(self, exc: Exception | None) -> None:
        sink = self.sink
        if sink is None:
            return
        if self._until_close and self._head is not None and exc is None:
            self._finish(sink, b"", is_clean=False)
            sink.answer_flush()
            return
        what = "in the middle of its answer" if self._head is not None else "before it answered"
        self._fail(UpstreamBroken(f"the provider closed the connection {what}"))

    # ── httptools callbacks ──

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._has_garbage = True  # a second answer in the same read: it is nobody's, and this connection is done
            return
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_garbage:
            return
        (self._headers if self._head is None else self._trailers).append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._has_garbage:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        head = read_response_head(status, self._reason, self._headers)
        if not head.is_chunked and head.content_length is None and status not in (101, 204, 304):
            self._until_close = not self._is_head_request
        if self._parser.get_http_version() == "1.0" and not self._parser.should_keep_alive():
            head.wants_close = True
        self._head = head
        if self._is_head_request:
            self._is_complete = True

    def on_body(self, data: bytes) -> None:
        if self._is_complete:
            self._has_garbage = True  # a body behind the answer to a HEAD
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._has_garbage:
            return
        if self._head is None:  # 1xx: the real answer is still to come
            if self.sink is not None and self._parser is not None:
                self.sink.answer_informational(self._parser.get_status_code(), self._headers)
            return
        self._is_complete = True

    # ── endings ──

    def _finish(self, sink: AnswerSink, rest: bytes, is_clean: bool) -> None:
        head = self._head
        assert head is not None
        self.sink = None
        if self._is_head_request:
            self._parser = None  # it waits for the body that the head announces
        self.deadline = NEVER
        if head.status == 101:
            self.early_tunnel_bytes = rest
            sink.answer_ended([])
            return
        if not is_clean or head.wants_close or rest or self._is_waiting_for_upload or self.is_closed:
            self._close()
        else:
            if self._is_reading_paused:
                self.resume()
                self.deadline = NEVER
            self.pool.give_back(self)
        sink.answer_ended(self._trailers)

    def _fail(self, error: UpstreamError) -> None:
        sink, self.sink = self.sink, None
        self._close()
        if sink is not None:
            sink.answer_failed(error)
            sink.answer_flush()

    def _close(self) -> None:
        self.deadline = NEVER
        if not self.is_closed:
            self.is_closed = True
            self.pool.forget(self)
            if self.transport is not None:
                self.transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed (called by the worker's tick)."""
        provider = self.pool.provider
        if self._head is None:
            text = f"the provider did not begin to answer within {provider.first_byte_timeout_seconds:g} s"
        else:
            text = f"the provider was silent for {provider.between_bytes_timeout_seconds:g} s in the middle of its answer"
        self._fail(UpstreamTimeout(text))
