"""An answer on its way from a provider to a client, while the meter reads a copy.

Rules of this file: what the provider sent goes out as it came, in the loop turn in which it came, one write a turn;
the record is on disk before the last byte goes out (for a stream: before the event that ends it); a client that leaves
does not end the metering: what the provider still sends is read to its usage, within caps. Whatever happens, `done` is
resolved exactly once.

Three ways an answer is passed on:
    streamed   forwarded piece by piece: streams, files, audio, answers that are not metered
    held       a metered JSON answer, kept until it is complete so that its head can carry tokens and cost
    judged     a 400 to a request into which we put `stream_options`: kept until we know whether that was the reason
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import orjson

from proxy.errors import UpstreamError
from proxy.records import UsageRecord
from proxy.relay.clock import NEVER, Watched
from proxy.relay.weighing import Weighing, token_lines
from proxy.routing.headers import Header, ResponseHead, response_lines
from proxy.usage.edits import UsageEventRemover
from proxy.usage.meter import Meter

if TYPE_CHECKING:
    from proxy.relay.downstream import Request
    from proxy.relay.state import RelayState
    from proxy.relay.upstream import UpstreamConnection

STREAM_TYPES = (
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/stream+json",
    b"application/vnd.amazon.eventstream",
    b"application/jsonl",
)
JUDGED_BYTES = 64 * 1024
_FORBIDDEN_TRAILERS = frozenset(
    (b"content-length", b"transfer-encoding", b"content-encoding", b"content-type", b"host", b"trailer", b"connection")
)


class UsageRefused(Exception):
    """The provider did not accept `stream_options`: the request is to be sent again as the client wrote it."""


class Answer(Watched):
    """One answer. Takes what the provider sends (upstream.AnswerSink) and hears of what the client does."""

    def __init__(
        self,
        state: RelayState,
        request: Request,
        connection: UpstreamConnection,
        weighing: Weighing | None,
        is_injected: bool,
        keep_alive: bool,
    ) -> None:
        self.state = state
        self.client = request.client
        self._request = request.head
        self.connection = connection
        self.weighing = weighing
        self.is_injected = is_injected
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.keep_alive = keep_alive
        """Whether the client's connection can carry another request after this answer."""
        self.has_begun = False
        """Bytes of an answer have gone to the client: from here on only the connection's end can say that something failed."""
        self.upgraded: ResponseHead | None = None
        self.is_draining = False
        self.deadline = NEVER
        self._head: ResponseHead | None = None
        self._meter: Meter | None = None
        self._remover: UsageEventRemover | None = None
        self._way = "streamed"
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._drained_bytes = 0
        self._out: list[bytes] = []
        self._is_chunked = False
        self._is_counted_drain = False

    # ── from the provider ──

    def answer_informational(self, status: int, headers: list[Header]) -> None:
        if status != 100 and not self._request.is_http10:
            self.client.write(response_lines(status, b"", headers, b"", b""))

    def answer_head(self, head: ResponseHead) -> None:
        self._head = head
        weighing = self.weighing
        if head.status == 101:
            self.upgraded = head
            return
        if weighing is not None:
            weighing.first_byte_at = time.perf_counter()
            weighing.provider_request_id = head.request_id
            is_stream = _is_stream(head, weighing)
            weighing.streamed = is_stream
            self._meter = Meter(weighing.facts, head.status, head.headers, is_stream)
            if self.is_injected and head.status in (400, 422):
                self._way = "judged"
            elif is_stream:
                if self.is_injected and head.status < 300 and not head.content_encoding:
                    self._remover = UsageEventRemover()
            elif self._can_be_held(head, weighing):
                self._way = "held"
        if self._way == "streamed":
            self._begin(b"", self._passing_framing())

    def answer_body(self, data: bytes) -> None:
        meter, weighing = self._meter, self.weighing
        if meter is not None and weighing is not None:
            meter.feed(data)
            if self.is_draining:
                self._drain(meter, len(data))
                return
            if meter.has_ended and not weighing.is_closed and self._way == "streamed":
                self._close_weighing("ok", meter, True)
        elif self.is_draining:
            return
        if self._way == "streamed":
            self._emit(self._remover.feed(data) if self._remover is not None else data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        most = JUDGED_BYTES if self._way == "judged" else self.state.rules.settings.max_held_answer_bytes
        if self._held_bytes > most:
            self._let_go()

    def answer_ended(self, trailers: list[Header]) -> None:
        self.deadline = NEVER
        if self.upgraded is not None:
            self._resolve()
            return
        if self._way == "judged" and self._was_usage_refused():
            self._resolve(UsageRefused())
            return
        record = self._close_weighing("client_aborted" if self.is_draining else "ok", self._meter, True)
        if not self.is_draining:
            if self._way == "streamed":
                self._end_stream(trailers)
            else:
                body = b"".join(self._held)
                self._begin(token_lines(record) if record is not None else b"", self._whole_framing(len(body)))
                if body:
                    self._out.append(body)
        self.answer_flush()
        self._resolve()

    def answer_failed(self, error: UpstreamError) -> None:
        self.deadline = NEVER
        if self._head is None:
            self._resolve(error)
            return
        outcome = "client_aborted" if self.is_draining else "upstream_aborted"
        self._close_weighing(outcome, self._meter, False, str(error))
        if not self.is_draining:
            if self._way != "streamed":
                self._let_go()
            elif self._remover is not None:
                self._emit(self._remover.flush())
            self.answer_flush()
            self.client.abort_after_writing()
        self.keep_alive = False
        self._resolve()

    def answer_broke(self, fault: Exception) -> None:
        self._resolve(fault)

    def answer_flush(self) -> None:
        out = self._out
        if out:
            self._out = []
            self.client.write(out[0] if len(out) == 1 else b"".join(out))

    def upload_paused(self, is_paused: bool) -> None:
        self.client.pause_upload(is_paused)

    # ── from the client ──

    def client_paused(self, is_paused: bool) -> None:
        """The client reads slower than the provider sends: so does this program (what waits here is one socket buffer)."""
        if self.is_draining:
            return
        if is_paused:
            self.connection.pause()
        else:
            self.connection.resume()

    def client_lost(self, is_upload_complete: bool) -> None:
        """The client is gone. Its answer is still worth its usage: read on within the caps, else cut and estimate."""
        if self.done.done() or self.is_draining:
            return
        self.is_draining = True
        self.keep_alive = False
        self._out = []
        stats, settings = self.state.stats, self.state.rules.settings
        meter = self._meter
        if (
            self.weighing is None
            or not is_upload_complete
            or self.weighing.is_closed
            or not self.weighing.facts.is_metered
            or (meter is not None and meter.has_usage)
        ):
            self._cut("client_aborted")
        elif stats.drains >= settings.max_drains:
            stats.drains_cut += 1
            self._cut("client_aborted")
        else:
            stats.drains += 1
            self._is_counted_drain = True
            self.deadline = self.state.clock.now + settings.drain_seconds
            self.state.clock.watched.add(self)
            self.connection.resume()

    def give_up(self, error: Exception) -> None:
        """The request turned out to be unusable while it was being sent: nothing is asked any more."""
        if not self.done.done():
            self.connection.cut()
            self.keep_alive = False
            self._resolve(error)

    def expire(self, now: float) -> None:
        """The drain took too long (called by the worker's tick)."""
        self.state.stats.drains_cut += 1
        self._cut("client_aborted")

    def cut(self, error: str) -> None:
        """The worker stops, or an emergency stop cuts running answers: settle on what was seen."""
        if not self.done.done():
            self._cut("client_aborted" if self.is_draining else "proxy_error", error)
            if not self.is_draining:
                self.client.abort()

    # ── inside ──

    def _drain(self, meter: Meter, size: int) -> None:
        self._drained_bytes += size
        if meter.has_usage or meter.has_ended:
            self._cut("client_aborted")
        elif self._drained_bytes > self.state.rules.settings.drain_bytes:
            self.state.stats.drains_cut += 1
            self._cut("client_aborted")

    def _cut(self, outcome: str, error: str | None = None) -> None:
        self.deadline = NEVER
        self.connection.cut()
        self._close_weighing(outcome, self._meter, False, error)
        self.keep_alive = False
        self._resolve()

    def _close_weighing(self, outcome: str, meter: Meter | None, is_complete: bool, error: str | None = None) -> UsageRecord | None:
        weighing = self.weighing
        if weighing is None or weighing.is_closed:
            return None
        weighing.last_byte_at = time.perf_counter()
        reading = None
        if meter is not None:
            expected = weighing.admitted.expected_input_tokens if weighing.admitted is not None else 0
            reading = meter.finish(is_complete, expected)
        status = self._head.status if self._head is not None else 0
        if outcome == "ok" and (status >= 400 or (reading is not None and reading.error is not None)):
            outcome = "upstream_error"
        return weighing.close(outcome, status, reading, error)

    def _resolve(self, error: Exception | None = None) -> None:
        if self._is_counted_drain:
            self._is_counted_drain = False
            self.state.clock.watched.discard(self)
            self.state.stats.drains -= 1
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)

    def _can_be_held(self, head: ResponseHead, weighing: Weighing) -> bool:
        if not weighing.facts.is_metered or head.status in (204, 304) or weighing.head.method == "HEAD":
            return False
        kind = head.content_type.lower()
        if kind and b"json" not in kind and not kind.startswith(b"text/"):
            return False
        return (head.content_length or 0) <= self.state.rules.settings.max_held_answer_bytes

    def _was_usage_refused(self) -> bool:
        text = b"".join(self._held)
        return b"stream_options" in text or b"include_usage" in text

    def _let_go(self) -> None:
        """Too large to be held (or cut while it was): on as a stream, without tokens in its head."""
        self._way = "streamed"
        self._begin(b"", self._passing_framing())
        held, self._held = self._held, []
        for data in held:
            self._emit(data)

    def _begin(self, lines: bytes, framing: bytes) -> None:
        head, weighing = self._head, self.weighing
        assert head is not None
        self.has_begun = True
        if weighing is not None:
            lines = b"x-weighbridge-request-id: " + weighing.request_id.encode() + b"\r\n" + lines
        if not self.keep_alive:
            framing += b"Connection: close\r\n"
        elif self._request.is_http10:
            framing += b"Connection: keep-alive\r\n"
        self._out.append(response_lines(head.status, head.reason, head.forwarded, lines, framing))

    def _passing_framing(self) -> bytes:
        """How the end of a body is shown that is passed on before it is complete."""
        head = self._head
        assert head is not None
        if head.content_length is not None and self._remover is None and not self._adds_usage_event():
            return b"Content-Length: %d\r\n" % head.content_length
        if head.status in (204, 304) or self._request.method == "HEAD":
            return b""
        if self._request.is_http10:
            self.keep_alive = False
            return b""
        self._is_chunked = True
        return b"Transfer-Encoding: chunked\r\n"

    def _whole_framing(self, size: int) -> bytes:
        return b"Content-Length: %d\r\n" % size

    def _emit(self, data: bytes) -> None:
        if not data:
            return
        if self._is_chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def _end_stream(self, trailers: list[Header]) -> None:
        if self._remover is not None:
            self._emit(self._remover.flush())
        if self._adds_usage_event() and self.weighing is not None and self.weighing.record is not None:
            self._emit(_usage_event(self.weighing.record))
        if self._is_chunked:
            lines = b"".join(
                [name + b": " + value + b"\r\n" for name, value in trailers if name.lower() not in _FORBIDDEN_TRAILERS]
            )
            self._out.append(b"0\r\n" + lines + b"\r\n")

    def _adds_usage_event(self) -> bool:
        """The client asked for a last event with tokens and cost (`x-weighbridge-usage: sse`)."""
        head, weighing = self._head, self.weighing
        if head is None or weighing is None or weighing.head.labels.get(b"usage", b"").lower() != b"sse":
            return False
        return head.status == 200 and not head.content_encoding and head.content_type.lower().startswith(b"text/event-stream")


def _is_stream(head: ResponseHead, weighing: Weighing) -> bool:
    kind = head.content_type.lower()
    if kind.startswith(STREAM_TYPES):
        return True
    return weighing.facts.is_stream and head.status < 400


def _usage_event(record: UsageRecord) -> bytes:
    payload = {
        "request_id": record.id,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cache_read_tokens": record.cache_read_tokens,
        "cache_write_tokens": record.cache_write_tokens,
        "reasoning_tokens": record.reasoning_tokens,
        "total_tokens": record.total_tokens,
        "usage_source": record.usage_source,
        "cost_usd": record.cost_usd,
    }
    return b"event: weighbridge.usage\ndata: " + orjson.dumps(payload) + b"\n\n"
