"""Bedrock's formats, from the documented shapes: Converse, InvokeModel with native models, frames cut at every byte."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.usage.tokens import Exactness
from tests.weighing import AWS, JSON, chunk_frame, counts, exact, facts, frame, sse, weigh

CONVERSE = facts("bedrock.converse", model="eu.anthropic.claude-x-v1:0", is_stream=True)
INVOKE = facts("bedrock.invoke", model="some.model-v1:0", is_stream=True)
USAGE = {
    "inputTokens": 10,
    "outputTokens": 20,
    "totalTokens": 100,
    "cacheReadInputTokens": 40,
    "cacheReadInputTokenCount": 40,
    "cacheWriteInputTokens": 30,
    "cacheDetails": [{"inputTokens": 12, "ttl": "1h"}, {"inputTokens": 18, "ttl": "5m"}],
    "serverToolUsage": {},
}
METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 28, "outputTokenCount": 188, "invocationLatency": 9}}
HEADERS = (
    (b"X-Amzn-Bedrock-Input-Token-Count", b"16"),
    (b"X-Amzn-Bedrock-Output-Token-Count", b"11"),
    (b"X-Amzn-Bedrock-Cache-Read-Input-Token-Count", b"5"),
)
TEXT = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello"}, "p": "abc"})


def test_converse_adds_the_cache_to_the_input():
    body = sse({"output": {"message": {"role": "assistant"}}, "stopReason": "end_turn", "usage": USAGE})[6:]
    reading = weigh(body, facts("bedrock.converse", model="m%3A0"))
    assert counts(exact(reading)) == (10 + 40 + 30, 40, 30, 20, None)
    assert (reading.usage.cache_write_1h_tokens, reading.usage.total_tokens, reading.response_model) == (12, 100, "m%3A0")


def test_converse_is_known_without_its_usage():
    whole = weigh(sse({"output": {"message": {"role": "assistant"}}, "stopReason": "end_turn"})[6:], facts("unknown"))
    cut = weigh(TEXT * 5, facts("unknown", is_stream=True), content_type=AWS, is_complete=False)
    assert [(each.api, each.is_usage_missing) for each in (whole, cut)] == [("bedrock.converse", True)] * 2


@pytest.mark.parametrize("content_type", [AWS, "", "application/octet-stream"])
def test_converse_stream_reports_in_metadata(content_type):
    body = frame("messageStart", {"role": "assistant"}) + TEXT * 20 + frame("messageStop", {"stopReason": "end_turn"})
    body += frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 5}, "serviceTier": {"type": "priority"}})
    reading = weigh(body, CONVERSE, content_type=content_type)
    assert counts(exact(reading)) == (80, 40, 30, 20, None)
    assert (reading.api, reading.response_model, reading.service_tier) == ("bedrock.converse", CONVERSE.model, "priority")


def test_cut_before_metadata_is_estimated():
    body = frame("messageStart", {"role": "assistant"}) + TEXT * 3
    reading = weigh(body + TEXT[:50], CONVERSE, content_type=AWS, is_complete=False, expected_input_tokens=77)
    assert (reading.exactness, reading.usage.input_tokens, reading.usage.output_tokens) == (Exactness.ESTIMATED, 77, 4)


def test_exception_frame_inside_a_stream():
    body = TEXT + frame("modelStreamErrorException", {"message": "The system encountered an error."}, kind="exception")
    reading = weigh(body, CONVERSE, content_type=AWS)
    assert reading.error == "modelStreamErrorException: The system encountered an error."
    assert not reading.is_usage_missing


def test_damaged_frame_makes_the_meter_blind_and_never_raises():
    body = TEXT + b"\x00\x00\x00\x50garbage-garbage-garbage" + TEXT
    reading = weigh(body, CONVERSE, content_type=AWS, is_zipped_too=False)  # what was not read is estimated by its size
    assert reading.blind_reason
    assert reading.is_usage_missing
    assert reading.exactness is Exactness.ESTIMATED


def test_claude_under_invoke_counts_by_its_own_usage_and_not_by_the_metrics():
    start = {
        "type": "message_start",
        "message": {"id": "m", "model": "claude-x", "usage": {"input_tokens": 37, "output_tokens": 1}},
    }
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
    delta = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 133}}
    stop = {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 37, "outputTokenCount": 97}}
    body = b"".join(map(chunk_frame, [start, *[text] * 20, delta, stop]))
    reading = weigh(body, INVOKE, content_type=AWS)
    assert counts(exact(reading)) == (37, None, None, 133, None)
    assert (reading.api, reading.response_model) == ("bedrock.invoke", "claude-x")


def test_nova_under_invoke_is_converse_inside():
    events = [{"messageStart": {"role": "assistant"}}, *[{"contentBlockDelta": {"delta": {"text": "a"}}}] * 9]
    last = {"metadata": {"usage": {"inputTokens": 30, "outputTokens": 55, "cacheReadInputTokenCount": 2}, "metrics": {}}} | METRICS
    reading = weigh(b"".join(map(chunk_frame, [*events, last])), INVOKE, content_type=AWS)
    assert counts(exact(reading)) == (32, 2, None, 55, None)
    assert reading.response_model == "some.model-v1:0"


@pytest.mark.parametrize(
    "last",
    [
        {"outputText": "Once upon", "index": 0, "totalOutputTextTokenCount": 188, "inputTextTokenCount": 28},
        {"generation": "", "prompt_token_count": None, "generation_token_count": 26, "stop_reason": "stop"},
        {"completion": "", "stop_reason": "stop_sequence"},
        {"outputs": [{"text": "x", "stop_reason": "stop"}]},
    ],
)
def test_other_models_under_invoke_count_by_the_metrics(last):
    reading = weigh(chunk_frame(last | METRICS), INVOKE, content_type=AWS)
    assert counts(exact(reading)) == (28, None, None, 188, None)


def test_prompt_blocked_by_a_guardrail_reached_no_model():
    blocked = {
        "outputText": "Input blocked",
        "totalOutputTextTokenCount": 3.0,
        "inputTextTokenCount": 6.0,
        "amazon-bedrock-guardrailAction": "INTERVENED",
    }
    reading = weigh(chunk_frame(blocked), INVOKE, content_type=AWS)
    assert reading.exactness is Exactness.ESTIMATED
    assert reading.is_usage_missing


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputTextTokenCount": 9, "results": [{"tokenCount": 17, "outputText": "x"}]}, (9, 17)),
        ({"inputTextTokenCount": 9.0, "results": [{"tokenCount": 17.0, "outputText": "x"}]}, (9, 17)),
        ({"embedding": [0.1], "inputTextTokenCount": 12}, (12, 0)),
        ({"generation": "x", "prompt_token_count": 8, "generation_token_count": 35}, (8, 35)),
        ({"prompt": {"tokens": [1, 2, 3]}, "completions": [{"data": {"tokens": [1, 2]}}, {"data": {"tokens": [1]}}]}, (3, 3)),
        ({"outputs": [{"text": "Paris"}]}, (16 + 5, 11)),
        ({"type": "completion", "completion": " Paris", "stop_reason": "stop_sequence"}, (16 + 5, 11)),
        ({"usage": {"prompt_tokens": 17, "completion_tokens": 8, "total_tokens": 25}, "choices": []}, (17, 8)),
    ],
)
def test_single_native_bodies_count_by_themselves_else_by_the_headers(body, expected):
    usage = exact(weigh(sse(body)[6:], facts("bedrock.invoke", model="m"), content_type=JSON, headers=HEADERS))
    assert (usage.input_tokens, usage.output_tokens) == expected


def test_embeddings_by_header_have_an_input_alone():
    headers = ((b"x-amzn-bedrock-input-token-count", b"4"),)
    usage = exact(weigh(b'{"embeddings":[[0.1]],"id":"x"}', facts("bedrock.invoke", model="cohere.embed"), headers=headers))
    assert (usage.input_tokens, usage.output_tokens) == (4, None)


def test_error_type_comes_from_the_header():
    headers = ((b"x-amzn-errortype", b"ThrottlingException:http://internal.amazon.com/x"),)
    reading = weigh(b'{"message":"Too many tokens"}', facts("bedrock.converse"), status=429, headers=headers)
    assert (reading.error, reading.usage) == ("ThrottlingException: Too many tokens", None)


@pytest.mark.parametrize(
    "body",
    [
        {"images": ["aGk=", "aGk="], "error": None},
        {"seeds": [1, 2], "finish_reasons": [None, None], "images": ["aGk=", "aGk="]},
        {"result": "success", "artifacts": [{"base64": "aGk=", "finishReason": "SUCCESS"}, {"base64": "aGk="}]},
    ],
)
def test_pictures_are_counted_one_by_one(body):
    usage = exact(weigh(sse(body)[6:], facts("bedrock.invoke", model="amazon.titan-image")))
    assert (usage.input_tokens, usage.units) == (None, {"images": Decimal(2)})


def test_pictures_of_others_are_not_bedrocks():
    reading = weigh(b'{"images":["aGk="],"parameters":{},"info":"{}"}', facts("unknown"))
    assert (reading.api, reading.usage) == ("unknown", None)
