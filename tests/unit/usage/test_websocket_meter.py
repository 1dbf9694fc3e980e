"""Usage of Realtime, Responses over WebSocket and Gemini Live conversations."""

from __future__ import annotations

import itertools
import json
import random
from decimal import Decimal

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from proxy.usage.request_facts import RequestFacts, read_request
from proxy.usage.tokens import Exactness, Reading, TokenUsage
from proxy.usage.websocket_meter import MAX_CLIENT_MESSAGES, UNKNOWN_TRANSCRIBER, WebSocketMeter

REALTIME = read_request("GET", "/v1/realtime", "model=gpt-realtime", "", None)
RESPONSES = read_request("GET", "/v1/responses", "", "", None)
LIVE = read_request("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", "", "", None)

Event = dict[str, object]


def frame(event: Event, *, mask: bool = False, opcode: Opcode = Opcode.TEXT, packer: PerMessageDeflate | None = None) -> bytes:
    return Frame(opcode, json.dumps(event).encode()).serialize(mask=mask, extensions=[packer] if packer else [])


def meter_of(facts: RequestFacts, server: list[Event], client: list[Event] = []) -> WebSocketMeter:  # noqa: B006
    """A meter that has read these events, the server's byte by byte."""
    meter = WebSocketMeter(facts)
    for event in client:
        meter.feed_client(frame(event, mask=True))
    for byte in b"".join(map(frame, server)):
        meter.feed_server(bytes([byte]))
    return meter


def read(facts: RequestFacts, server: list[Event], client: list[Event] = []) -> Reading:  # noqa: B006
    return meter_of(facts, server, client).reading()


def created(number: int) -> Event:
    return {
        "type": "response.created",
        "event_id": "e",
        "response": {"id": f"resp_{number}", "object": "realtime.response", "usage": None},
    }


def done(number: int, usage: Event | None, status: str = "completed") -> Event:
    return {
        "type": "response.done",
        "event_id": "e",
        "response": {"id": f"resp_{number}", "object": "realtime.response", "status": status, "usage": usage},
    }


SESSION: Event = {
    "type": "session.created",
    "session": {"model": "gpt-realtime-2026", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
}
FIRST_USAGE: Event = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
SECOND_USAGE: Event = {
    "total_tokens": 300,
    "input_tokens": 260,
    "output_tokens": 40,
    "input_token_details": {"text_tokens": 200, "audio_tokens": 60, "cached_tokens": 128},
    "output_token_details": {"text_tokens": 40, "audio_tokens": 0},
}


def test_responses_are_added_up_and_details_are_not() -> None:
    reading = read(REALTIME, [SESSION, created(1), done(1, FIRST_USAGE), created(2), done(2, SECOND_USAGE)])
    assert reading.usage == TokenUsage(
        input_tokens=132 + 260,
        output_tokens=121 + 40,
        cache_read_tokens=64 + 128,
        input_audio_tokens=13 + 60,
        output_audio_tokens=91 + 0,
        cache_read_audio_tokens=4,
        total_tokens=253 + 300,
    )
    assert (reading.api, reading.exactness, reading.response_model) == ("openai.realtime", Exactness.EXACT, "gpt-realtime-2026")
    assert reading.provider_response_id == "resp_2"


def test_a_cancelled_response_counts_too() -> None:
    reading = read(REALTIME, [created(1), done(1, FIRST_USAGE), created(2), done(2, SECOND_USAGE, "cancelled")])
    assert reading.usage is not None
    assert reading.usage.input_tokens == 392
    assert reading.response_model == "gpt-realtime"


def test_a_response_under_way_makes_it_a_lower_bound() -> None:
    reading = read(REALTIME, [created(1), done(1, FIRST_USAGE), created(2)])
    assert reading.exactness is Exactness.LOWER_BOUND
    assert reading.usage is not None
    assert read(REALTIME, [created(1)]) == Reading("openai.realtime", exactness=Exactness.LOWER_BOUND)


def test_a_response_without_usage_is_an_alarm_and_a_failed_one_is_not() -> None:
    missing = read(REALTIME, [done(1, None)])
    assert (missing.is_usage_missing, missing.exactness) == (True, Exactness.LOWER_BOUND)
    failed = read(REALTIME, [done(1, None, "failed")])
    assert (failed.is_usage_missing, failed.exactness) == (False, Exactness.NONE)


def test_nothing_was_used() -> None:
    assert read(REALTIME, [SESSION, {"type": "rate_limits.updated", "rate_limits": []}]).exactness is Exactness.NONE
    assert read(REALTIME, []).usage is None


def transcribed(usage: Event) -> Event:
    return {"type": "conversation.item.input_audio_transcription.completed", "item_id": "i", "transcript": "hello", "usage": usage}


def test_transcriptions_stand_apart_under_their_own_model() -> None:
    tokens: Event = {
        "type": "tokens",
        "input_tokens": 26,
        "output_tokens": 17,
        "total_tokens": 43,
        "input_token_details": {"audio_tokens": 26},
    }
    reading = read(REALTIME, [SESSION, transcribed(tokens), transcribed(tokens), created(1), done(1, SECOND_USAGE)])
    assert reading.usage is not None
    assert reading.usage.input_tokens == 260
    assert reading.also_used == (
        ("whisper-1", TokenUsage(input_tokens=52, output_tokens=34, input_audio_tokens=52, total_tokens=86)),
    )


def test_transcriptions_by_the_second() -> None:
    reading = read(REALTIME, [transcribed({"type": "duration", "seconds": 3.5}), transcribed({"type": "duration", "seconds": 2})])
    assert reading.also_used == ((UNKNOWN_TRANSCRIBER, TokenUsage(units={"audio_seconds": Decimal("5.5")})),)
    assert (reading.usage, reading.exactness) == (None, Exactness.EXACT)


def test_older_sessions_name_the_transcriber_elsewhere() -> None:
    session: Event = {"type": "session.updated", "session": {"input_audio_transcription": {"model": "gpt-4o-transcribe"}}}
    reading = read(REALTIME, [session, transcribed({"type": "duration", "seconds": 1})])
    assert reading.also_used[0][0] == "gpt-4o-transcribe"


def test_errors_are_kept() -> None:
    error: Event = {"type": "error", "error": {"type": "invalid_request_error", "code": "bad_audio", "message": "no"}}
    assert read(REALTIME, [error]).error == "bad_audio: no"


# ── the Responses API over a WebSocket ──


def completed(number: int, model: str, usage: Event | None, kind: str = "response.completed") -> Event:
    response = {
        "id": f"resp_{number}",
        "object": "response",
        "model": model,
        "status": "completed",
        "usage": usage,
        "service_tier": "flex",
    }
    return {"type": kind, "response": response | {"output": [{"type": "web_search_call", "action": {"type": "search"}}]}}


def test_responses_api() -> None:
    usage: Event = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 20},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 130,
    }
    server = [completed(1, "gpt-5", usage), completed(2, "gpt-5", usage, "response.incomplete"), completed(3, "gpt-5-mini", usage)]
    reading = read(RESPONSES, server, [{"type": "response.create", "model": "gpt-5", "input": []}])
    single = TokenUsage(
        input_tokens=100,
        output_tokens=30,
        cache_read_tokens=20,
        reasoning_tokens=10,
        total_tokens=130,
        units={"web_searches": Decimal(1)},
    )
    double = TokenUsage(
        input_tokens=200,
        output_tokens=60,
        cache_read_tokens=40,
        reasoning_tokens=20,
        total_tokens=260,
        units={"web_searches": Decimal(2)},
    )
    assert (reading.api, reading.usage, reading.also_used) == ("openai.responses", double, (("gpt-5-mini", single),))
    assert (reading.response_model, reading.service_tier, reading.exactness) == ("gpt-5", "flex", Exactness.EXACT)


# ── Gemini Live ──

SETUP: Event = {"setup": {"model": "models/gemini-2.5-flash-live", "generationConfig": {}}}


def turn(prompt: int, response: int, *, over: bool, thoughts: int = 0) -> Event:
    return {
        "serverContent": {"turnComplete": True} if over else {"modelTurn": {"parts": [{"inlineData": {"data": "AAAA"}}]}},
        "usageMetadata": {
            "promptTokenCount": prompt,
            "responseTokenCount": response,
            "thoughtsTokenCount": thoughts,
            "totalTokenCount": prompt + response,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": prompt}],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": response}],
        },
    }


def test_the_last_usage_of_a_turn_counts_and_turns_are_added_up() -> None:
    server = [{"setupComplete": {}}, turn(100, 5, over=False), turn(100, 19, over=True), turn(143, 24, over=True, thoughts=7)]
    reading = read(LIVE, server, [SETUP])
    assert reading.usage == TokenUsage(
        input_tokens=100 + 143,
        output_tokens=19 + 24 + 7,
        reasoning_tokens=7,
        input_audio_tokens=243,
        output_audio_tokens=43,
        total_tokens=119 + 167,
    )
    assert (reading.api, reading.response_model, reading.exactness) == ("gemini.live", "gemini-2.5-flash-live", Exactness.EXACT)


def test_usage_may_come_before_or_after_the_end_of_its_turn() -> None:
    over: Event = {"serverContent": {"turnComplete": True}}
    before = read(LIVE, [turn(10, 1, over=False), over, turn(20, 2, over=False), over], [SETUP])
    after = read(LIVE, [over, turn(10, 1, over=False), over, turn(20, 2, over=False)], [SETUP])
    assert before.usage is not None
    assert after.usage is not None
    assert (
        (before.usage.input_tokens, before.usage.output_tokens) == (after.usage.input_tokens, after.usage.output_tokens) == (30, 3)
    )


def test_a_tool_call_ends_a_generation() -> None:
    call = turn(10, 1, over=False) | {"toolCall": {"functionCalls": []}}
    reading = read(LIVE, [call, turn(15, 2, over=True)], [SETUP])
    assert reading.usage is not None
    assert reading.usage.input_tokens == 25


def test_live_messages_come_as_binary_frames_too() -> None:
    meter = WebSocketMeter(LIVE)
    meter.feed_client(frame(SETUP, mask=True))
    meter.feed_server(frame(turn(10, 1, over=True), opcode=Opcode.BINARY))
    assert meter.reading().usage is not None


# ── the wire ──

CONVERSATION = [
    SESSION,
    created(1),
    {"type": "response.output_audio.delta", "delta": "QUJD" * 2000},
    {"type": "response.output_text.delta", "delta": '"type":"response.done","usage":{"input_tokens":9}'},
    done(1, FIRST_USAGE),
    created(2),
    done(2, SECOND_USAGE),
]


@pytest.mark.parametrize("keeps_context", [False, True])
def test_compressed_conversations(keeps_context: bool) -> None:
    packer = PerMessageDeflate(not keeps_context, not keeps_context, 15, 15)
    wire = b"".join(frame(event, packer=packer) for event in CONVERSATION)
    extensions = (
        "permessage-deflate" if keeps_context else "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    )
    expected = read(REALTIME, CONVERSATION)
    for seed in range(30):
        cuts = sorted(random.Random(seed).sample(range(len(wire)), seed % 9))
        meter = WebSocketMeter(REALTIME, extensions)
        for a, b in itertools.pairwise([0, *cuts, len(wire)]):
            meter.feed_server(wire[a:b])
        assert meter.reading() == expected
    assert expected.usage is not None
    assert expected.usage.input_tokens == 392


def test_the_version_grows_with_each_final_usage() -> None:
    meter = WebSocketMeter(REALTIME)
    versions = []
    for event in CONVERSATION:
        meter.feed_server(frame(event))
        versions.append(meter.version)
    assert versions == [0, 0, 0, 0, 1, 1, 2]


def test_what_cannot_be_read_makes_it_a_lower_bound() -> None:
    meter = WebSocketMeter(REALTIME)
    meter.feed_server(frame(done(1, FIRST_USAGE)))
    meter.feed_server(b"\xff" * 20)
    assert meter.reading().exactness is Exactness.LOWER_BOUND
    assert meter.reading().usage is not None


def test_events_of_no_use_are_harmless() -> None:
    odd = [
        {},
        {"type": 3},
        {"type": "response.done"},
        {"type": "response.done", "response": []},
        {"usageMetadata": "x"},
        {"type": "error"},
    ]
    meter = meter_of(REALTIME, odd)
    meter.feed_server(Frame(Opcode.TEXT, b"[1,2]").serialize(mask=False) + Frame(Opcode.TEXT, b"{broken").serialize(mask=False))
    meter.feed_client(b"\xff\xff\xff")
    assert meter.reading().usage is None


def test_the_client_is_read_only_until_the_model_is_known() -> None:
    meter = WebSocketMeter(LIVE)
    meter.feed_client(frame({"realtimeInput": {}}, mask=True))
    assert meter.request_model is None
    meter.feed_client(frame(SETUP, mask=True))
    assert meter.request_model == "gemini-2.5-flash-live"
    meter.feed_client(frame({"setup": {"model": "models/other"}}, mask=True))
    assert meter.request_model == "gemini-2.5-flash-live"
    patient = WebSocketMeter(LIVE)
    for _ in range(MAX_CLIENT_MESSAGES):
        patient.feed_client(frame({"realtimeInput": {}}, mask=True))
    patient.feed_client(frame(SETUP, mask=True))
    assert patient.request_model is None


def test_many_models_stay_within_bounds() -> None:
    usage: Event = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    reading = read(RESPONSES, [completed(n, f"m{n}", usage) for n in range(100)])
    assert len(reading.also_used) == 31
    assert reading.usage is not None
    total = (reading.usage.input_tokens or 0) + sum(used.input_tokens or 0 for _, used in reading.also_used)
    assert total == 100
