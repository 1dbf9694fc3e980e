"""What a WebSocket conversation used so far: OpenAI Realtime, the Responses API over WebSocket, Gemini Live.

Rules of this file: the meter reads copies of both directions and never raises. Each response bills its whole context again, so
usages are added up per response (complaint C22: details are subsets and are never added to their totals). Gemini reports per
turn and may repeat itself within one: the last of a turn counts. Usage of other models (transcription, a second model in one
session) stands apart in `also_used`.

Sources: OpenAI Realtime server events (openai-python types/realtime), Gemini Live API reference, python-genai issue threads on
per-turn usage; read 2026-11-21.
"""

from __future__ import annotations

import re
from decimal import Decimal

from proxy.usage.dialects.failures import error_text
from proxy.usage.dialects.fields import Object, amount, mapping, parse, text
from proxy.usage.dialects.findings import Findings
from proxy.usage.dialects.gemini import read_usage_metadata
from proxy.usage.dialects.openai_counts import read_counts
from proxy.usage.dialects.openai_responses import OpenAIResponses
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import Exactness, Reading, TokenUsage
from proxy.usage.websocket_frames import FrameReader, deflate_of

UNKNOWN_TRANSCRIBER = "unknown transcription model"
"""Stands for the model of transcriptions where the session does not name it: priced as unknown, never as the session's."""
MAX_CLIENT_MESSAGES = 16
"""How many of the client's messages are read to find the model it sets up."""
MAX_CLIENT_SETUP_BYTES = 1024 * 1024
MAX_MODELS = 32
MAX_OPEN_RESPONSES = 256
_SMALL_MESSAGE_BYTES = 4096
_HEAD_BYTES = 160

_DELTA = re.compile(rb'"type"\s*:\s*"[^"]*\.delta"')
_OF_INTEREST = re.compile(
    rb'"(?:usage|usageMetadata|usage_metadata|turnComplete|turn_complete|toolCall|session\.(?:created|updated)|response\.(?:created|done)|error)"'
)
_RESPONSE_ENDS = ("response.done", "response.completed", "response.incomplete", "response.failed", "response.cancelled")
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
_COUNTS = tuple(name for name in TokenUsage._fields if name != "units")


class WebSocketMeter:
    """Meters one connection after its 101.

    Args:
        facts: of the request that was upgraded.
        extensions: `sec-websocket-extensions` of the 101.
    """

    def __init__(self, facts: RequestFacts, extensions: str = "") -> None:
        is_deflated, server_keeps, client_keeps = deflate_of(extensions)
        self.server_frames = FrameReader(is_deflated, server_keeps)
        self.version = 0
        """Grows with every usage that is settled for good: the moment to settle the limits."""
        self.request_model = facts.model
        """From the query, or from the client's first messages (Gemini's `setup`, `response.create`)."""
        self._client_frames: FrameReader | None = FrameReader(is_deflated, client_keeps)
        self._client_messages = 0
        self._api = facts.api
        self._response_model: str | None = None
        self._response_id: str | None = None
        self._service_tier: str | None = None
        self._error: str | None = None
        self._transcriber = UNKNOWN_TRANSCRIBER
        self._by_model: dict[str, TokenUsage] = {}
        self._transcribed: dict[str, TokenUsage] = {}
        self._turn: TokenUsage | None = None
        self._open_responses: set[str] = set()
        self._is_usage_missing = False

    def feed_server(self, data: bytes) -> None:
        """Bytes from the provider."""
        for message in self.server_frames.feed(data):
            head = message[:_HEAD_BYTES]
            if b".delta" in head and _DELTA.search(head) is not None:
                continue  # audio and text as they come: nearly all of the traffic, never with usage
            if len(message) <= _SMALL_MESSAGE_BYTES or _OF_INTEREST.search(message) is not None:
                event = parse(message)
                if isinstance(event, dict):
                    self._read_event(event)

    def feed_client(self, data: bytes) -> None:
        """Bytes from the client: read only until the model is known."""
        frames = self._client_frames
        if frames is None:
            return
        for message in frames.feed(data):
            self._client_messages += 1
            event = parse(message) if len(message) <= MAX_CLIENT_SETUP_BYTES else None
            if isinstance(event, dict):
                named = mapping(event.get("setup")) or mapping(event.get("response")) or mapping(event.get("session")) or event
                model = text(named.get("model"))
                if model is not None:
                    self.request_model = model.removeprefix("models/")
        if self.request_model is not None or self._client_messages >= MAX_CLIENT_MESSAGES or frames.error is not None:
            self._client_frames = None

    def reading(self) -> Reading:
        """What was used up to now."""
        used = dict(self._by_model)
        if self._turn is not None:
            _add(used, self._main_model(), self._turn)
        main = next(iter(used), None)
        usage = used.pop(main) if main is not None else None
        is_bound = bool(self._open_responses) or self.server_frames.dropped_messages > 0 or self.server_frames.error is not None
        if is_bound or self._is_usage_missing:
            exactness = Exactness.LOWER_BOUND
        else:
            exactness = Exactness.EXACT if usage is not None or self._transcribed else Exactness.NONE
        return Reading(
            api=self._api,
            usage=usage,
            exactness=exactness,
            response_model=main or self._response_model or (self.request_model if self._api == "gemini.live" else None),
            provider_response_id=self._response_id,
            service_tier=self._service_tier,
            error=self._error,
            is_usage_missing=self._is_usage_missing,
            also_used=tuple(used.items()) + tuple(self._transcribed.items()),
            blind_reason=self.server_frames.error,
        )

    def _main_model(self) -> str:
        return self._response_model or self.request_model or ""

    def _read_event(self, event: Object) -> None:
        kind = text(event.get("type"))
        if kind is None:
            self._read_live(event)
        elif kind == "response.created":
            response = mapping(event.get("response"))
            if len(self._open_responses) < MAX_OPEN_RESPONSES:
                self._open_responses.add(text(response.get("id")) or "")
        elif kind in _RESPONSE_ENDS:
            self._end_response(kind, event)
        elif kind == _TRANSCRIBED:
            self._read_transcription(mapping(event.get("usage")))
        elif kind in ("session.created", "session.updated", "transcription_session.created", "transcription_session.updated"):
            self._read_session(mapping(event.get("session")))
        elif kind == "error":
            self._error = error_text(event) or self._error

    def _end_response(self, kind: str, event: Object) -> None:
        """A response is over, cancelled ones too: its usage counts in full."""
        response = mapping(event.get("response"))
        response_id = text(response.get("id"))
        self._open_responses.discard(response_id or "")
        found = Findings()
        if kind == "response.done":
            self._api = "openai.realtime"
            found.usage = read_counts(mapping(response.get("usage")))
            found.set_labels(text(response.get("model")), response_id, text(response.get("service_tier")))
            found.error = error_text(mapping(response.get("status_details"))) or None
        else:
            self._api = "openai.responses"
            OpenAIResponses().read(kind, event, found)
            self._response_model = found.model or self._response_model
        self._response_id = found.response_id or self._response_id
        self._service_tier = found.service_tier or self._service_tier
        self._error = found.error or self._error
        if found.usage is not None:
            usage = found.usage._replace(units={**found.usage.units, **found.units}) if found.units else found.usage
            _add(self._by_model, found.model or self._main_model(), usage)
            self.version += 1
        elif response.get("status") != "failed":
            self._is_usage_missing = True

    def _read_transcription(self, usage: Object) -> None:
        """Speech recognition of the input is billed at its own model's price: in tokens, or by the second."""
        counts = read_counts(usage)
        seconds = amount(usage.get("seconds"))
        if counts is None and seconds is not None:
            counts = TokenUsage(units={"audio_seconds": seconds})
        if counts is not None:
            _add(self._transcribed, self._transcriber, counts)
            self.version += 1

    def _read_session(self, session: Object) -> None:
        self._response_model = text(session.get("model")) or self._response_model
        listening = mapping(mapping(mapping(session.get("audio")).get("input")).get("transcription")) or mapping(
            session.get("input_audio_transcription")
        )
        self._transcriber = text(listening.get("model")) or self._transcriber

    def _read_live(self, event: Object) -> None:
        """Gemini Live: no `type`; members say what it is."""
        content = mapping(event.get("serverContent") or event.get("server_content"))
        usage = read_usage_metadata(mapping(event.get("usageMetadata") or event.get("usage_metadata")))
        self._error = error_text(event) or self._error
        if usage is not None:
            self._api = "gemini.live"
            self._turn = usage
        is_generation_over = content.get("turnComplete") is True or content.get("turn_complete") is True or "toolCall" in event
        if is_generation_over and self._turn is not None:
            _add(self._by_model, self._main_model(), self._turn)
            self._turn = None
            self.version += 1


def _add(totals: dict[str, TokenUsage], model: str, usage: TokenUsage) -> None:
    """Add to a model's sum; None stays None until something is reported. Past MAX_MODELS the last one takes the rest."""
    if model not in totals and len(totals) >= MAX_MODELS:
        model = next(reversed(totals))
    before = totals.get(model)
    totals[model] = usage if before is None else _sum(before, usage)


def _sum(one: TokenUsage, other: TokenUsage) -> TokenUsage:
    counts = {}
    for name in _COUNTS:
        a, b = getattr(one, name), getattr(other, name)
        counts[name] = b if a is None else a if b is None else a + b
    units = dict(one.units)
    for unit, number in other.units.items():
        units[unit] = units.get(unit, Decimal(0)) + number
    return TokenUsage(**counts, units=units)
