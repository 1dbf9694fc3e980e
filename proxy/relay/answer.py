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

import structlog

from proxy.errors import UpstreamBroken, UpstreamError
from proxy.records import UsageRecord
from proxy.relay.answer_kinds import can_be_held, is_stream_answer, usage_event, was_usage_refused
from proxy.relay.clock import NEVER, Watched
from proxy.relay.outgoing import Outgoing
from proxy.relay.weighing import Weighing, token_lines
from proxy.routing.headers import Header
from proxy.routing.response_head import ResponseHead
from proxy.usage.edits import UsageEventRemover
from proxy.usage.meter import Meter
from proxy.usage.tokens import Reading

if TYPE_CHECKING:
    from proxy.relay.request import Request
    from proxy.relay.state import RelayState
    from proxy.relay.upstream import UpstreamConnection

log = structlog.get_logger(__name__)
JUDGED_BYTES = 64 * 1024
END_SECONDS = 1.0
"""How long the end of an answer is waited for whose usage is known and whose client has left: its connection can serve again."""
GONE = "client_aborted"


class UsageRefused(Exception):
    """The provider did not accept `stream_options`: the request is to be sent again as the client wrote it."""


class CutShort(Exception):
    """This program ends the call before an answer has begun (it stops, an emergency stop)."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Answer(Watched):
    """One answer. Takes what the provider sends (upstream.AnswerSink) and hears of what the client does."""

    __slots__ = (
        "_drained_bytes",
        "_head",
        "_held",
        "_held_bytes",
        "_is_counted_drain",
        "_is_verbatim",
        "_meter",
        "_meter_fault",
        "_remover",
        "_request",
        "_way",
        "client",
        "connection",
        "deadline",
        "done",
        "is_draining",
        "is_injected",
        "out",
        "state",
        "upgraded",
        "weighing",
    )

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
        self.connection = connection
        self.weighing = weighing
        self.is_injected = is_injected
        self.out = Outgoing(request.client, request.head, keep_alive)
        self.done: asyncio.Future[None] = state.loop.create_future()
        self.upgraded: ResponseHead | None = None
        self.is_draining = False
        """The client is gone; what still comes is read for its usage only."""
        self.deadline = NEVER
        self._request = request.head
        self._head: ResponseHead | None = None
        self._meter: Meter | None = None
        self._meter_fault: str | None = None
        self._remover: UsageEventRemover | None = None
        self._way = "streamed"
        self._is_verbatim = False
        """A stream whose chunks can go to the client in the provider's framing."""
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._drained_bytes = 0
        self._is_counted_drain = False

    # ── from the provider ──

    def answer_informational(self, status: int, headers: list[Header]) -> None:
        self.out.informational(status, headers)

    def answer_head(self, head: ResponseHead) -> None:
        weighing = self.weighing
        if head.status == 101:
            if not self._request.upgrade:
                raise UpstreamBroken("the provider changed to another protocol, which nobody had asked for")
            self.upgraded = head
        self._head = head
        if weighing is not None:
            weighing.first_byte_at = time.perf_counter()
            weighing.provider_request_id = head.request_id
            if self.upgraded is None:
                self._choose_way(head, weighing)
        if self._way == "streamed" and self.upgraded is None and not self.is_draining:
            self._begin_streaming()

    def answer_chunk(self, data: bytes, size: int) -> bool:
        """Nearly every chunk of a stream: nothing in it is counted, taken out or held back, so it goes out as it is. Through
        parser, meter and framing it would go 280 bytecodes, so it goes 190."""
        meter, remover = self._meter, self._remover
        if (
            self._is_verbatim
            and (remover is None or remover.passes(data))
            and (meter is None or meter.skips(data, size, meter.framed_ends))
        ):
            self.client.write(data)
            return True
        return False

    def answer_body(self, data: bytes) -> None:
        meter, weighing = self._meter, self.weighing
        if meter is not None and weighing is not None:
            try:
                meter.feed(data)
            except Exception as fault:  # noqa: BLE001 logged
                self._lose_meter(fault)
            if meter.has_ended and not weighing.is_closed and self._way == "streamed" and not self.is_draining:
                self._close_weighing("ok", True)
        if self.is_draining:
            self._drain(len(data))
        elif self._way == "streamed":
            self.out.body(self._remover.feed(data) if self._remover is not None else data)
        else:
            self._held.append(data)
            self._held_bytes += len(data)
            most = JUDGED_BYTES if self._way == "judged" else self.state.rules.settings.max_held_answer_bytes
            if self._held_bytes > most:
                self._let_go()

    def answer_ended(self, trailers: list[Header]) -> None:
        if self.upgraded is not None:
            self._resolve()
            return
        if self._way == "judged" and self._head is not None and was_usage_refused(self._head, b"".join(self._held)):
            self._resolve(UsageRefused())
            return
        record = self._close_weighing(GONE if self.is_draining else "ok", True)
        if not self.is_draining:
            if self._way == "streamed":
                self._end_stream(trailers)
            else:
                body = b"".join(self._held)
                self._begin(token_lines(record) if record is not None else b"", len(body))
                self.out.body(body)
            self.out.flush()
        self._resolve()

    def answer_failed(self, error: UpstreamError) -> None:
        if self._head is None:
            self._resolve(error)
            return
        self._close_weighing(GONE if self.is_draining else "upstream_aborted", False, str(error))
        if not self.is_draining:
            if self._way != "streamed":
                self._let_go()
            elif self._remover is not None:
                self.out.body(self._remover.flush())
            self.out.cut()
        self._resolve()

    def answer_broke(self, fault: Exception) -> None:
        """Taking the answer failed: it was impossible, or the fault is ours. The exchange tells the client."""
        if self.out.has_begun or self.is_draining:
            self._close_weighing(GONE if self.is_draining else "proxy_error", False, "an error inside the proxy")
        self._resolve(fault)

    def answer_flush(self) -> None:
        self.out.flush()

    def upload_paused(self, is_paused: bool) -> None:
        self.client.pause_upload(is_paused)

    # ── from the client ──

    def client_paused(self, is_paused: bool) -> None:
        """The client reads slower than the provider sends: so does this program (what waits here is one socket buffer)."""
        if self.is_draining or self.connection.sink is not self:
            return  # the connection may serve another answer by now
        if is_paused:
            self.connection.pause()
        else:
            self.connection.resume()

    def client_lost(self, is_upload_complete: bool) -> None:
        """The client is gone. Its answer is still worth its usage: read on within the caps, else cut and estimate."""
        if self.done.done() or self.is_draining:
            return
        self.is_draining = True
        self._is_verbatim = False
        self.out.drop()
        weighing = self.weighing
        stats, settings = self.state.stats, self.state.rules.settings
        if weighing is None or not is_upload_complete or not weighing.facts.is_metered or self._request.upgrade:
            self._cut(GONE)
        elif weighing.is_closed or (self._meter is not None and self._meter.has_usage):
            self._await_end()
        elif stats.drains >= settings.max_drains:
            stats.drains_cut += 1
            self._cut(GONE)
        else:
            stats.drains += 1
            self._is_counted_drain = True
            self._read_on_until(self.state.clock.now + settings.drain_seconds)

    def give_up(self, error: Exception) -> None:
        """The request turned out to be unusable while it was being sent: nothing is asked any more."""
        if not self.done.done():
            self.connection.cut()
            self._resolve(error)

    def cut(self, reason: str, kind: str = "internal") -> None:
        """The worker stops, or an emergency stop cuts running answers: settle on what was seen."""
        if self.done.done():
            return
        if self.is_draining:
            self._cut(GONE, reason)
        elif self.out.has_begun:
            self._cut("proxy_error", reason)
            self.client.abort()
        else:
            self.connection.cut()
            self._resolve(CutShort(reason, kind))

    def expire(self, now: float) -> None:
        """The client is gone and the answer took too long to end (called by the worker's tick)."""
        self._give_up_draining()

    # ── a client that left ──

    def _drain(self, size: int) -> None:
        self._drained_bytes += size
        meter, weighing = self._meter, self.weighing
        if self._drained_bytes > self.state.rules.settings.drain_bytes:
            self._give_up_draining()
        elif weighing is not None and not weighing.is_closed and meter is not None and (meter.has_usage or meter.has_ended):
            self._await_end()

    def _await_end(self) -> None:
        """Nothing that is billed can follow: the record is written, and the connection gets a moment to become free."""
        self._close_weighing(GONE, self._meter is not None and self._meter.has_ended)
        self._read_on_until(self.state.clock.now + END_SECONDS)

    def _read_on_until(self, deadline: float) -> None:
        self.deadline = deadline
        self.state.clock.watched.add(self)
        self.connection.resume()

    def _give_up_draining(self) -> None:
        if self.weighing is not None and not self.weighing.is_closed:
            self.state.stats.drains_cut += 1
        self._cut(GONE)

    def _cut(self, outcome: str, error: str | None = None) -> None:
        self.connection.cut()
        self.out.keep_alive = False
        self._close_weighing(outcome, False, error)
        self._resolve()

    # ── the record ──

    def _close_weighing(self, outcome: str, is_complete: bool, error: str | None = None) -> UsageRecord | None:
        weighing = self.weighing
        if weighing is None or weighing.is_closed:
            return None
        weighing.last_byte_at = time.perf_counter()
        reading = self._reading(is_complete)
        status = self._head.status if self._head is not None else 0
        if outcome == "ok":
            if status >= 400 or (reading is not None and reading.error is not None):
                outcome = "upstream_error"
            elif self.client.is_reset:
                outcome, error = GONE, "the client had left when its answer was complete"
        elif self.is_draining and not self.out.has_begun:
            status = 0
        return weighing.close(outcome, status, reading, error)

    def reading_so_far(self, is_unanswered_counted: bool) -> Reading | None:
        """What was used of an answer that ends here. `is_unanswered_counted`: the input is estimated where nothing came yet."""
        return None if self._head is None and not is_unanswered_counted else self._reading(False)

    def _reading(self, is_complete: bool) -> Reading | None:
        weighing = self.weighing
        if weighing is None:
            return None
        facts = weighing.facts
        expected = weighing.admitted.expected_input_tokens if weighing.admitted is not None else 0
        meter = self._meter
        if meter is None and self._meter_fault is None:
            if self._head is not None or not facts.is_metered:
                return None
            meter = Meter(facts, 200, (), facts.is_stream)  # asked, and cut before it answered: its input counts, by estimate
        if meter is not None:
            try:
                return meter.finish(is_complete, expected)
            except Exception as fault:  # noqa: BLE001 logged
                self._lose_meter(fault)
        return Reading(facts.api, is_usage_missing=facts.is_metered, blind_reason=self._meter_fault)

    def _lose_meter(self, fault: Exception) -> None:
        """A meter promises not to raise. Should one do it, the call goes on without it, and is charged what it holds."""
        log.error("meter_failed", request_id=self.weighing.request_id if self.weighing is not None else None, exc_info=fault)
        self._meter, self._meter_fault = None, "the meter failed"

    def _resolve(self, error: Exception | None = None) -> None:
        self.deadline = NEVER
        if self.is_draining:
            self.state.clock.watched.discard(self)
        if self._is_counted_drain:
            self._is_counted_drain = False
            self.state.stats.drains -= 1
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)

    # ── the way out ──

    def _choose_way(self, head: ResponseHead, weighing: Weighing) -> None:
        is_stream = weighing.streamed = is_stream_answer(head, weighing.facts)
        try:
            self._meter = Meter(weighing.facts, head.status, head.headers, is_stream, is_plain_json=head.is_plain_json)
        except Exception as fault:  # noqa: BLE001 logged
            self._lose_meter(fault)
        if self.is_injected and head.status in (400, 422):
            self._way = "judged"
        elif is_stream:
            if self.is_injected and head.status < 300 and not head.content_encoding:
                self._remover = UsageEventRemover()
        elif can_be_held(head, weighing.facts, self._request.method, self.state.rules.settings.max_held_answer_bytes):
            self._way = "held"

    def _begin_streaming(self) -> None:
        assert self._head is not None
        is_changed = self._remover is not None or self._adds_usage_event()
        self._begin(b"", None if is_changed else self._head.content_length)
        self._is_verbatim = self.out.is_chunked

    def _begin(self, lines: bytes, size: int | None) -> None:
        assert self._head is not None
        if self.weighing is not None:
            lines = (
                b"x-weighbridge-request-id: " + self.weighing.request_id.encode() + b"\r\n" + self.weighing.policy_line() + lines
            )
        self.out.begin(self._head, lines, size)

    def _let_go(self) -> None:
        """Too large to be held (or cut while it was): on as a stream, without tokens in its head."""
        self._way = "streamed"
        self._begin_streaming()
        held, self._held = self._held, []
        for data in held:
            self.out.body(data)

    def _end_stream(self, trailers: list[Header]) -> None:
        if self._remover is not None:
            self.out.body(self._remover.flush())
        if self._adds_usage_event() and self.weighing is not None and self.weighing.record is not None:
            self.out.body(usage_event(self.weighing.record))
        self.out.end(trailers)

    def _adds_usage_event(self) -> bool:
        """The client asked for a last event with tokens and cost (`x-weighbridge-usage: sse`)."""
        head, weighing = self._head, self.weighing
        if head is None or weighing is None or weighing.head.labels.get(b"usage", b"").lower() != b"sse":
            return False
        return head.status == 200 and not head.content_encoding and head.content_type.lower().startswith(b"text/event-stream")
