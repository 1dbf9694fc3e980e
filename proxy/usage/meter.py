"""The meter: reads a copy of one answer as it passes and says what the provider used.

Rules of this file: nothing raises out of here (a fault goes blind and says so in the reading); memory is constant for
streams and bounded for single bodies; no event is parsed that cannot matter. Decoding is chosen by content-encoding, framing by
content type and first bytes, the dialect by what is in the events.

The short cut, taken by nearly every answer that is no stream: a body that can only be one JSON document is gathered as it is and
parsed at its end, without decoder, framing and events (44 µs a request with them, 11 without). What does not turn out to be
such a document, and whoever asks before the end, gets the general way: the same bytes, fed again.

The quick way, taken by nearly every chunk of a stream: the chunk ends where an event ends, no event is half read, and none
of the dialect's needles is in it; then its length is counted and that is all. A needle that is split between chunks is not
missed, because a chunk that ends inside an event is never taken quickly, nor the one after it.

Not here: what events mean (dialects/), what is estimated (output_estimate.py), what was asked (request_facts.py), the
composition of the reading (readings.py).
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence

from proxy.usage import readings
from proxy.usage.decoding import ContentDecoder
from proxy.usage.dialects import Dialect
from proxy.usage.dialects.bedrock import METRICS, read_metrics
from proxy.usage.dialects.failures import MAX_ERROR_CHARACTERS, error_text, failed_body_text
from proxy.usage.dialects.fields import parse
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.header_counts import read_header_counts
from proxy.usage.dialects.registry import choose
from proxy.usage.framing import Event, Framing
from proxy.usage.framing.aws_eventstream import AwsEventStreamFraming
from proxy.usage.framing.json_document import LONG_BYTES, JsonDocumentFraming
from proxy.usage.framing.sniffing import sniff
from proxy.usage.output_estimate import SAMPLE_EVERY_BYTES, OutputEstimate
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import Reading
from proxy.usage.whole_body import api_of, read_whole_body

_DONE = b"[DONE]"
PARSED_FIRST = 4
"""Events at the beginning that are always parsed: they tell the dialect, the model, and how large the text in an event is."""
PARSED_AT_MOST = 16
"""After so many events without a model's name there will be none (Cohere)."""
_MEDIA_TYPES = ("audio/", "image/", "video/", "application/pdf", "application/zip")


class Meter:
    """One per answer. feed() every chunk, then finish(); `has_usage`, `has_ended` and reading() may be asked at any moment."""

    __slots__ = (
        "_boundary",
        "_content_type",
        "_decoder",
        "_dialect",
        "_error_type",
        "_estimate",
        "_event_count",
        "_facts",
        "_final",
        "_found",
        "_framing",
        "_gathered",
        "_gathered_bytes",
        "_head",
        "_header_usage",
        "_headers",
        "_is_identity",
        "_is_locked",
        "_is_opaque",
        "_is_quick",
        "_is_stream",
        "_is_wrapped",
        "_needles",
        "_offset",
        "_parsed_to",
        "_raw_bytes",
        "_sample_at",
        "_status",
        "blind_reason",
        "framed_ends",
        "has_ended",
        "has_usage",
    )

    def __init__(
        self,
        facts: RequestFacts,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        is_stream: bool,
        *,
        is_plain_json: bool = False,
    ) -> None:
        """
        Args:
            is_plain_json: the headers announce JSON that is not packed and say nothing of its usage themselves.
        """
        self.has_ended = False
        """The dialect's terminal event was seen: nothing billable can follow."""
        self.has_usage = False
        """The final usage is known: an upstream that is only being drained may be cut now."""
        self.blind_reason: str | None = None
        self._facts, self._status, self._headers = facts, status, headers
        self._is_stream = is_stream or facts.is_stream
        self._final: Reading | None = None
        self._is_quick = False
        self.framed_ends: tuple[bytes, ...] = ()
        """How an HTTP chunk of whole events ends."""
        self._gathered: list[bytes] | None = []
        """The body so far, where the short cut may read it; None: the general way is being gone."""
        self._gathered_bytes = 0
        if self._is_stream or not facts.is_metered or not 200 <= status < 300 or not is_plain_json:
            self._go_general_way()

    def _go_general_way(self) -> None:
        """Make what the general way needs, and feed it what was gathered."""
        headers, status = self._headers, self._status
        named = {name.lower(): value for name, value in headers}
        self._error_type = named[b"x-amzn-errortype"].decode("latin-1").partition(":")[0] if b"x-amzn-errortype" in named else None
        self._content_type = named.get(b"content-type", b"").decode("latin-1").lower()
        self._decoder = ContentDecoder(named.get(b"content-encoding", b"").decode("latin-1"))
        self._is_identity = self._decoder.is_identity
        self._header_usage = read_header_counts(named) if status < 300 else None
        self._is_opaque = self._content_type.startswith(_MEDIA_TYPES)
        self._found = Findings()
        self._framing: Framing | None = None
        self._dialect: Dialect | None = None
        self._estimate = OutputEstimate()
        self._head = b""
        self._boundary: tuple[bytes, ...] = ()
        self._needles: tuple[bytes, ...] = ()
        self._is_locked = self._is_wrapped = False
        self._event_count = self._offset = self._parsed_to = self._raw_bytes = 0
        self._sample_at = SAMPLE_EVERY_BYTES
        gathered, self._gathered = self._gathered, None
        for chunk in gathered or ():
            self._feed_slowly(chunk)

    def feed(self, chunk: bytes) -> None:
        """Take a chunk of the body, still encoded, transfer framing removed."""
        if self._is_quick and self.skips(chunk, len(chunk), self._boundary):
            return
        if self._gathered is None or self._final is not None:
            self._feed_slowly(chunk)
            return
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes > LONG_BYTES:  # perhaps vectors, which are not parsed whole
            self._go_general_way()

    def skips(self, data: bytes, size: int, ends: tuple[bytes, ...]) -> bool:
        """Whether whole events of a stream have nothing that is counted: then they are taken as if they had been fed. If not, feed
        them. Nearly every chunk of a stream ends here.

        Args:
            data: the payload, or one whole HTTP chunk around it.
            size: of the payload.
            ends: `framed_ends` for a chunk.
        """
        if not self._is_quick or not data.endswith(ends):
            return False
        offset = self._offset + size
        if offset >= self._sample_at:
            return False
        for needle in self._needles:
            if data.rfind(needle) >= 0:  # twice as fast as `in`, and three times as `re`
                return False
        self._offset = offset
        return True

    def reading(self) -> Reading:
        """What is known now; estimates come with finish() only."""
        if self._final is not None:
            return self._final
        if self._gathered is not None:
            self._go_general_way()
        return self._compose(None)

    def finish(self, is_complete: bool, expected_input_tokens: int) -> Reading:
        """The body has ended. Called again, it gives the same reading.

        Args:
            is_complete: the answer came whole; False where either side broke off.
            expected_input_tokens: what the limits expect the input to be, for an answer that never says.
        """
        if self._final is not None:
            return self._final
        if self._gathered is not None:
            if is_complete:
                self._final = read_whole_body(b"".join(self._gathered), self._facts, self._status, expected_input_tokens)
            if self._final is not None:
                self.has_usage, self._gathered = self._final.usage is not None, []
                return self._final
            self._go_general_way()
        try:
            self._flush()
        except Exception as error:  # noqa: BLE001 - the promise that metering cannot break a call
            self._go_blind(f"the meter failed: {error!r}")
        ended = readings.Ending(is_complete, expected_input_tokens, self._estimated_output(), self._estimate.has_text)
        self._final = self._compose(ended)
        self._is_quick, self._framing = False, None
        return self._final

    def _compose(self, ended: readings.Ending | None) -> Reading:
        api = api_of(self._facts, self._found, self._dialect)
        return readings.compose(self._facts, self._status, self._found, api, self._header_usage, self.blind_reason, ended)

    def _feed_slowly(self, chunk: bytes) -> None:
        self._raw_bytes += len(chunk)
        if self._final is not None or self._is_opaque or not chunk:
            return
        try:
            if self._is_identity:
                self._take(chunk)
            else:
                for piece in self._decoder.decode(chunk):
                    self._take(piece)
                if self._decoder.blind_reason:
                    self._go_blind(self._decoder.blind_reason)
        except Exception as error:  # noqa: BLE001 - the promise that metering cannot break a call
            self._go_blind(f"the meter failed: {error!r}")

    def _take(self, piece: bytes) -> None:
        framing = self._framing
        if framing is None:
            is_stream = self._facts.is_stream or self._is_stream
            framing, piece = sniff(self._head + piece, self._content_type, is_failure=self._status >= 400, is_stream=is_stream)
            if framing is None:
                self._head = piece
                return
            self._framing, self._boundary, self._head = framing, framing.quick_ends, b""
            self.framed_ends = tuple([end + b"\r\n" for end in framing.quick_ends])
            self._found.is_stream = not isinstance(framing, JsonDocumentFraming)
            self._is_wrapped = isinstance(framing, AwsEventStreamFraming)
        block = framing.take(piece)
        if block:
            self._read_block(framing, block)
        if framing.broken_reason:
            self._go_blind(framing.broken_reason)
        else:
            self._is_quick = self._is_locked and self._is_identity and bool(self._boundary) and not framing.has_pending

    def _read_block(self, framing: Framing, block: bytes) -> None:
        start, end = self._offset, self._offset + len(block)
        self._offset = end
        if self._is_locked and end < self._sample_at and not self._is_wrapped and not self._matters(block):
            return
        if isinstance(framing, JsonDocumentFraming) and framing.is_lines:
            self._found.is_stream = True
        previous = start
        for event in framing.split(block):
            self._read_event(event, previous, start + event.end)
            previous = start + event.end

    def _read_event(self, event: Event, start: int, end: int) -> None:
        payload = event.payload
        if event.is_exception:
            message = failed_body_text(parse(payload), event.name.decode("latin-1"))
            self._found.error = message or payload[:MAX_ERROR_CHARACTERS].decode("utf-8", "replace")
            return
        if self._is_wrapped and event.name == b"chunk":
            payload = _inside(payload)
        matters = not self._is_locked or self._matters(payload)
        is_sample = self._is_locked and end > self._sample_at
        if not matters and not is_sample:
            return
        content = None if payload == _DONE else parse(payload)  # it is no JSON, which two parsers took 8 µs to say
        if is_sample:
            self._estimate.add_sample(content, end - start)
            self._sample_at = end + SAMPLE_EVERY_BYTES
        elif self._is_locked:
            self._parsed_to += end - start  # an event apart from the text: no part of what is estimated
        if isinstance(content, dict):
            if matters:
                self._read_object(event.name.decode("latin-1"), content)
            if not self._is_locked:
                if self._found.is_stream and (not self._found.has_usage or self._found.is_placeholder):
                    self._estimate.add_parsed(content, end - start)
                self._parsed_to = end
                self._lock()
        elif isinstance(content, list) and isinstance(self._framing, JsonDocumentFraming):
            self._found.error = error_text(content) or self._found.error
            for item in content:
                if isinstance(item, dict):
                    self._read_object("", item)
        elif payload.strip() == _DONE:
            self._found.has_ended = self.has_ended = True
            self.has_usage = self._found.has_usage
        elif self._status >= 400:
            self._found.error = payload[:MAX_ERROR_CHARACTERS].decode("utf-8", "replace").strip() or None

    def _matters(self, block: bytes) -> bool:
        """Whether these bytes may hold anything but text."""
        for needle in self._needles:
            if block.rfind(needle) >= 0:
                return True
        return _DONE in block

    def _read_object(self, name: str, content: dict[str, object]) -> None:
        found = self._found
        if self._status >= 400:
            found.error = failed_body_text(content, self._error_type) or found.error
            return
        if self._dialect is None:
            self._dialect = choose(name, content)
        if self._dialect is None:
            found.error = error_text(content) or found.error
        else:
            self._dialect.read(name, content, found)
        if METRICS in content:
            read_metrics(content, found)
        self.has_ended = found.has_ended
        self.has_usage = found.is_final or (found.has_ended and found.has_usage)

    def _lock(self) -> None:
        """From here on only events with a needle are parsed, and samples."""
        self._event_count += 1
        if self._dialect is None or not self._dialect.needles or self._event_count < PARSED_FIRST:
            return
        if self._found.model or self._event_count >= PARSED_AT_MOST:
            self._is_locked, self._needles = True, self._dialect.needles
            self._sample_at = self._parsed_to + SAMPLE_EVERY_BYTES

    def _flush(self) -> None:
        framing = self._framing
        if framing is None or self.blind_reason:
            return
        rest = framing.flush()
        if rest:
            self._read_block(framing, rest)
        if framing.skipped_count and self._found.usage is None:
            self._go_blind(f"{framing.skipped_count} event(s) could not be read: too large or damaged")
        if isinstance(framing, JsonDocumentFraming) and not framing.is_lines and self._dialect is not None:
            self._found.is_final, self._found.is_placeholder = True, False

    def _go_blind(self, reason: str) -> None:
        self.blind_reason = self.blind_reason or reason[:200]
        self._is_quick, self._is_opaque = False, True

    def _estimated_output(self) -> int:
        if self.blind_reason:
            return max(self._estimate.output_tokens(0), readings.tokens_of_unread(self._raw_bytes))
        if isinstance(self._framing, JsonDocumentFraming) and not self._framing.is_lines:
            return readings.tokens_of_unread(self._framing.size_bytes)
        return self._estimate.output_tokens(self._offset - self._parsed_to)


def _inside(payload: bytes) -> bytes:
    """The model's own JSON in a chunk of InvokeModelWithResponseStream: `{"bytes": "<base64>"}`."""
    content = parse(payload)
    encoded = content.get("bytes") if isinstance(content, dict) else None
    if not isinstance(encoded, str):
        return payload
    try:
        return b64decode(encoded)
    except (Base64Error, ValueError):
        return b""
