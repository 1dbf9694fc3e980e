"""The meter itself: the quick way, cut streams and estimates, blindness, bounds of memory, and that nothing raises."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest

from proxy.usage import meter as meter_module
from proxy.usage.tokens import Exactness
from tests.weighing import JSON, SSE, exact, facts, lines, meter, sse, weigh

CHAT = facts("openai.chat", model="asked", is_stream=True)
LAST = {
    "id": "c",
    "object": "chat.completion.chunk",
    "model": "gpt-x",
    "choices": [],
    "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16},
}


def chunk(text="hello", **more):
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-x", "choices": choices} | more


def test_content_is_not_parsed_once_dialect_and_model_are_known(monkeypatch):
    parsed = []
    real = meter_module.parse
    monkeypatch.setattr(meter_module, "parse", lambda payload: parsed.append(payload) or real(payload))
    scale = meter(CHAT)
    for _ in range(60):
        scale.feed(sse(chunk(usage=None)))
    assert len(parsed) == meter_module.PARSED_FIRST
    scale.feed(sse(LAST, done=True))
    assert len(parsed) == meter_module.PARSED_FIRST + 1  # the usage; the end is no JSON and not parsed
    assert exact(scale.finish(True, 0)).output_tokens == 7


def test_a_needle_split_between_chunks_is_not_missed():
    body = sse(*[chunk()] * 20, LAST, done=True)
    for at in range(body.rfind(b'"usage"') - 3, len(body)):
        scale = meter(CHAT)
        for part in (*[sse(chunk())] * 20, body[20 * len(sse(chunk())) : at], body[at:]):
            scale.feed(part)
        assert exact(scale.finish(True, 0)).output_tokens == 7


def test_usage_and_end_are_known_when_they_are_seen():
    scale = meter(CHAT)
    states = []
    for part in (sse(chunk()), sse(LAST), b"data: [DONE]\n\n"):
        scale.feed(part)
        states.append((scale.has_usage, scale.has_ended, scale.reading().exactness))
    assert states == [(False, False, Exactness.NONE), (True, False, Exactness.EXACT), (True, True, Exactness.EXACT)]


def test_running_usage_is_a_lower_bound_until_the_end():
    scale = meter(CHAT)
    scale.feed(sse(chunk(usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6})))
    assert (scale.has_usage, scale.reading().exactness) == (False, Exactness.LOWER_BOUND)
    scale.feed(b"data: [DONE]\n\n")
    assert (scale.has_usage, scale.reading().exactness) == (True, Exactness.EXACT)


def test_a_client_that_leaves_at_done_pays_the_exact_usage():
    reading = weigh(sse(*[chunk()] * 5, LAST, done=True), CHAT, content_type=SSE, is_complete=False)
    assert (exact(reading).input_tokens, reading.usage.output_tokens) == (9, 7)


def test_cut_before_the_first_byte():
    reading = weigh(b"", CHAT, content_type=SSE, is_complete=False, expected_input_tokens=55)
    assert (reading.exactness, reading.usage.input_tokens, reading.usage.output_tokens) == (Exactness.ESTIMATED, 55, 0)


@pytest.mark.parametrize("count", [1, 3, 10, 100, 3000])
def test_cut_in_the_text_is_estimated_from_what_was_seen(count):
    chance = random.Random(count)
    words = [" " + "x" * chance.randint(1, 9) for _ in range(count)]
    body = sse(*(chunk(word) for word in words))
    reading = weigh(body[:-9], CHAT, content_type=SSE, is_complete=False, expected_input_tokens=55, is_zipped_too=count < 1000)
    truth = max(sum(map(len, words)) / 4, count)
    assert (reading.exactness, reading.usage.input_tokens) == (Exactness.ESTIMATED, 55)
    assert 0.7 * truth - 1 <= reading.usage.output_tokens <= 1.4 * truth + 1


def test_single_body_broken_off_is_estimated():
    body = b'{"id":"c","object":"chat.completion","choices":[{"message":{"content":"' + b"word " * 400
    reading = weigh(body, facts("openai.chat"), is_complete=False, expected_input_tokens=5)
    assert (reading.exactness, reading.usage.input_tokens) == (Exactness.ESTIMATED, 5)
    assert 500 <= reading.usage.output_tokens <= 520  # 2,071 bytes / 4


def test_embeddings_broken_off_have_no_output():
    reading = weigh(
        b'{"object":"list","data":[{"embedding":[0.1', facts("openai.embeddings"), is_complete=False, expected_input_tokens=5
    )
    assert (reading.exactness, reading.usage.output_tokens) == (Exactness.ESTIMATED, 0)


def test_finish_twice_and_feed_after_it_change_nothing():
    scale = meter(CHAT)
    scale.feed(sse(LAST))
    first = scale.finish(False, 0)
    scale.feed(sse(LAST | {"usage": {"prompt_tokens": 999, "completion_tokens": 1, "total_tokens": 1000}}))
    assert scale.finish(True, 77) is first is scale.reading()


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 529])
def test_a_failure_has_an_error_and_no_usage(status):
    body = b'{"error":{"message":"You exceeded it","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}'
    reading = weigh(body, CHAT, status=status)
    assert (reading.error, reading.usage, reading.exactness) == ("insufficient_quota: You exceeded it", None, Exactness.NONE)
    assert not reading.is_usage_missing


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"Not Found\n", "Not Found"),
        (b"error code: 1020", "error code: 1020"),
        (b"", None),
        (b'{"error":"model is not loaded"}', "model is not loaded"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "overloaded_error: Overloaded"),
        (b'{"message":"invalid api token","id":"x"}', "invalid api token"),
        (b'{"detail":"Method Not Allowed"}', "Method Not Allowed"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "[{'loc': ['body'], 'msg': 'field required'}]"),
        (b'{"error":{"code":400,"message":"bad"}}', "400: bad"),
        (b'[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]', "INVALID_ARGUMENT: bad"),
        (b'{"object":"error","message":"no model","code":40401}', "40401: no model"),
    ],
)
def test_errors_of_every_shape(body, error):
    assert weigh(body, facts("openai.chat"), status=404).error == error


def test_error_text_is_bounded():
    assert len(weigh(json.dumps({"error": {"message": "x" * 9000}}).encode(), CHAT, status=400).error) == 500


def test_damaged_encoding_goes_blind_and_says_so():
    scale = meter(CHAT, headers=[(b"Content-Encoding", b"gzip")])
    scale.feed(b"\x1f\x8b\x08\x00garbage" * 50)
    reading = scale.finish(True, 30)
    assert "damaged" in reading.blind_reason
    assert reading.is_usage_missing
    assert (reading.exactness, reading.usage.input_tokens) == (Exactness.ESTIMATED, 30)


def test_unknown_encoding_is_blind():
    scale = meter(CHAT, headers=[(b"content-encoding", b"sdch")])
    scale.feed(b"x" * 400)
    reading = scale.finish(True, 30)
    assert (reading.exactness, reading.usage.output_tokens, reading.is_usage_missing) == (Exactness.ESTIMATED, 100, True)


def test_a_fault_inside_goes_blind_and_never_raises(monkeypatch):
    def fail(payload):
        raise RuntimeError("broken dialect")

    monkeypatch.setattr(meter_module, "parse", fail)
    scale = meter(CHAT)
    scale.feed(sse(chunk()))
    scale.feed(sse(LAST))
    reading = scale.finish(True, 30)
    assert "broken dialect" in reading.blind_reason
    assert reading.is_usage_missing


@pytest.mark.parametrize(
    "event", [b"null", b"1", b'"x"', b"[]", b"{", b"{}", b'{"choices":{}}', b'{"usage":[]}', b"\xff\xfe", b'{"a":"\\ud83d"}']
)
def test_events_that_make_no_sense_are_passed_over(event):
    body = b"data: " + event + b"\n\n" + sse(LAST, done=True)
    assert exact(weigh(body, CHAT, content_type=SSE)).output_tokens == 7


@pytest.mark.parametrize("value", [-1, 1.5, True, "many", [], {}, 10**40, float("1e300"), None])
def test_counts_that_make_no_sense_are_not_reported(value):
    body = json.dumps(LAST | {"usage": {"prompt_tokens": value, "completion_tokens": 7}}).encode()
    assert exact(weigh(body, facts("openai.chat"))).input_tokens is None


@pytest.mark.parametrize("value", [9, 9.0, "9"])
def test_counts_come_as_integers_floats_and_strings(value):
    body = json.dumps(LAST | {"usage": {"prompt_tokens": value, "completion_tokens": 7}}).encode()
    assert exact(weigh(body, facts("openai.chat"))).input_tokens == 9


def test_reading_of_what_is_not_metered():
    models = weigh(b'{"object":"list","data":[{"id":"gpt-x","object":"model"}]}', facts("unknown", is_metered=False))
    assert (models.usage, models.exactness, models.is_usage_missing, models.error) == (None, Exactness.NONE, False, None)


@pytest.mark.parametrize("content_type", ["audio/mpeg", "image/png", "application/octet-stream", ""])
def test_binary_bodies_are_let_through(content_type):
    reading = weigh(bytes(range(256)) * 9, facts("openai.audio"), content_type=content_type)
    assert (reading.usage, reading.error, reading.is_usage_missing) == (None, None, False)


def test_memory_of_a_long_stream_is_constant():
    scale = meter(CHAT)
    event = sse(chunk("some words of an answer"))
    for _ in range(100):
        scale.feed(event)
    tracemalloc.start()
    for _ in range(20_000):
        scale.feed(event)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 16 << 10
    assert peak < 64 << 10


def test_a_single_body_beyond_the_bound_still_has_its_usage():
    scale = meter(facts("openai.images"), content_type=JSON)
    scale.feed(b'{"created":1,"data":[{"b64_json":"')
    tracemalloc.start()
    for _ in range(48):
        scale.feed(b"A" * (1 << 20))
    scale.feed(b'"}],"usage":{"input_tokens":14,"output_tokens":272,"total_tokens":286}}')
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4 << 20
    reading = scale.finish(True, 0)
    assert (exact(reading).input_tokens, reading.usage.output_tokens) == (14, 272)


def test_a_long_list_of_vectors_is_read_from_its_end():
    vectors = [{"object": "embedding", "index": number, "embedding": [0.123456789] * 1000} for number in range(30)]
    body = json.dumps(
        {"object": "list", "data": vectors, "model": "embed-x", "usage": {"prompt_tokens": 31, "total_tokens": 31}}
    ).encode()
    assert len(body) > 256 << 10
    scale = meter(facts("openai.embeddings"), content_type=JSON)
    for at in range(0, len(body), 50_000):
        scale.feed(body[at : at + 50_000])
    reading = scale.finish(True, 0)
    assert (exact(reading).input_tokens, reading.usage.output_tokens, reading.response_model) == (31, 0, "embed-x")


def test_several_events_in_one_chunk_and_two_megabytes_in_one_event():
    big = sse(chunk("x" * (2 << 20)))
    reading = weigh(sse(chunk(), chunk()) + big[:100], CHAT, content_type=SSE, is_complete=False)
    assert reading.usage.output_tokens >= 2
    scale = meter(CHAT)
    body = sse(chunk(), chunk()) + big + sse(LAST, done=True)
    for at in range(0, len(body), 16_384):
        scale.feed(body[at : at + 16_384])
    assert exact(scale.finish(True, 0)).output_tokens == 7


def test_dialect_is_told_by_the_bytes_on_any_route():
    message = {
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "usage": {"input_tokens": 1, "cache_read_input_tokens": 4, "output_tokens": 2},
    }
    reading = weigh(json.dumps(message).encode(), facts("openai.chat"))
    assert (reading.api, exact(reading).input_tokens) == ("anthropic.messages", 5)
    ollama = {"model": "llama", "message": {"role": "assistant"}, "done": True, "prompt_eval_count": 3, "eval_count": 4}
    assert weigh(lines(ollama), facts("unknown")).api == "ollama.chat"
