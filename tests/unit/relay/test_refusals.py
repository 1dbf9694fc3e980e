"""Refusals in every dialect: shapes that SDKs read, honest retry headers, nothing odd in a header."""

from __future__ import annotations

import struct
from zlib import crc32

import orjson
import pytest

from proxy.relay.refusals import KINDS, dialect_of, plain_refusal, refusal, refusal_headers, status_of, stream_error

DIALECTS = [
    ("openai", "openai.chat"),
    ("azure", "openai.chat"),
    ("anthropic", "anthropic.messages"),
    ("gemini", "gemini.generate_content"),
    ("vertex", "vertex.predict"),
    ("bedrock", "bedrock.converse"),
    ("cohere", "cohere.chat"),
    ("ollama", "ollama.chat"),
    ("", ""),
    ("something-new", "unknown"),
]


def headers_of(answer) -> dict[bytes, bytes]:
    return dict(answer.headers)


@pytest.mark.parametrize(("family", "api"), DIALECTS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_a_body_of_its_dialect(family: str, api: str, kind: str) -> None:
    status, content_type, body, headers = refusal(family, api, kind, "Because.", request_id="id-1", limit=None)
    document = orjson.loads(body)
    assert status == status_of(kind, dialect_of(family, api))
    assert content_type.startswith(b"application/json")
    assert b"Because." in body
    assert b"None" not in body
    assert all(isinstance(name, bytes) and isinstance(value, bytes) and value for name, value in headers)
    assert SHAPES[dialect_of(family, api)](document, status)


def is_openai(document: dict, status: int) -> bool:
    error = document["error"]
    return list(error) == ["message", "type", "param", "code"] and error["param"] is None and bool(error["type"] and error["code"])


def is_anthropic(document: dict, status: int) -> bool:
    error = document["error"]
    return document["type"] == "error" and document["request_id"] == "id-1" and bool(error["type"] and error["message"])


def is_google(document: dict, status: int) -> bool:
    error = document["error"]
    return error["code"] == status and error["status"].isupper() and bool(error["message"])


SHAPES = {
    "openai": is_openai,
    "azure": is_openai,
    "anthropic": is_anthropic,
    "google": is_google,
    "bedrock": lambda document, status: document == {"message": "Because."},
    "cohere": lambda document, status: document == {"id": "id-1", "message": "Because."},
    "ollama": lambda document, status: document == {"error": "Because."},
}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("unauthorized", 401),
        ("forbidden_model", 403),
        ("unpriced_refused", 403),
        ("not_found", 404),
        ("rate_limited", 429),
        ("quota_exceeded", 429),
        ("stopped", 503),
        ("bad_request", 400),
        ("too_large", 413),
        ("head_too_large", 431),
        ("upstream_unreachable", 502),
        ("upstream_timeout", 504),
        ("store_away", 503),
        ("provider_unconfigured", 503),
        ("internal", 500),
        ("a kind that does not exist", 500),
    ],
)
def test_statuses(kind: str, status: int) -> None:
    assert refusal("openai", "openai.chat", kind, "x").status == status
    assert refusal("anthropic", "anthropic.messages", kind, "x").status == status


def test_what_the_request_speaks_goes_before_what_the_provider_speaks() -> None:
    assert dialect_of("ollama", "openai.chat") == "openai"
    assert dialect_of("vertex", "anthropic.messages") == "anthropic"
    assert dialect_of("gemini", "openai.chat") == "openai"
    assert dialect_of("azure", "openai.responses") == "azure"
    assert dialect_of("azure", "anthropic.messages") == "anthropic"
    assert dialect_of("vertex", "unknown") == "google"
    assert dialect_of("mistral", "mistral.ocr") == "openai"


def test_openai_codes() -> None:
    rate = orjson.loads(refusal("openai", "openai.chat", "rate_limited", "x").body)["error"]
    money = orjson.loads(refusal("openai", "openai.chat", "quota_exceeded", "x", "project_spend_limit_exceeded").body)["error"]
    assert rate["code"] == "rate_limit_exceeded"
    assert (money["type"], money["code"]) == ("insufficient_quota", "project_spend_limit_exceeded")
    assert orjson.loads(refusal("openai", "", "unauthorized", "x").body)["error"]["code"] == "invalid_api_key"
    assert orjson.loads(refusal("azure", "openai.chat", "rate_limited", "x").body)["error"]["code"] == "429"


def test_anthropic_types() -> None:
    def kind(name: str) -> str:
        return orjson.loads(refusal("anthropic", "anthropic.messages", name, "x").body)["error"]["type"]

    assert kind("rate_limited") == kind("quota_exceeded") == "rate_limit_error"
    assert kind("unauthorized") == "authentication_error"
    assert kind("forbidden_model") == "permission_error"
    assert kind("bad_request") == "invalid_request_error"
    assert kind("too_large") == "request_too_large"
    assert kind("not_found") == "not_found_error"
    assert kind("internal") == "api_error"


def test_google_says_the_delay_in_the_body() -> None:
    answer = refusal(
        "gemini", "gemini.generate_content", "rate_limited", "full", retry_after_seconds=12.2, limit="users.ann.tokens.per_minute"
    )
    assert orjson.loads(answer.body) == {
        "error": {
            "code": 429,
            "message": "full",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"subject": "users.ann.tokens.per_minute", "description": "full"}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13s"},
            ],
        }
    }
    long = orjson.loads(refusal("gemini", "", "quota_exceeded", "full", retry_after_seconds=7200.0, limit="l").body)
    assert [detail["@type"].rpartition(".")[2] for detail in long["error"]["details"]] == ["QuotaFailure"]
    assert "details" not in orjson.loads(refusal("gemini", "", "unauthorized", "x").body)["error"]


def test_bedrock_names_the_error_in_a_header() -> None:
    rate = refusal("bedrock", "bedrock.converse", "rate_limited", "x", request_id="r")
    assert headers_of(rate)[b"x-amzn-errortype"] == b"ThrottlingException"
    assert headers_of(rate)[b"x-amzn-requestid"] == b"r"
    quota = refusal("bedrock", "bedrock.converse", "quota_exceeded", "x")
    assert headers_of(quota)[b"x-amzn-errortype"] == b"ServiceQuotaExceededException"
    assert refusal("bedrock", "bedrock.converse", "unauthorized", "x").status == 403


@pytest.mark.parametrize(
    ("wait", "spread", "expected"),
    [
        (0.0, 0.0, {b"retry-after": b"1", b"retry-after-ms": b"1"}),
        (0.2, 0.0, {b"retry-after": b"1", b"retry-after-ms": b"200"}),
        (1.0, 0.0, {b"retry-after": b"1", b"retry-after-ms": b"1000"}),
        (1.001, 0.0, {b"retry-after": b"2", b"retry-after-ms": b"1001"}),
        (12.3, 0.5, {b"retry-after": b"14", b"retry-after-ms": b"13300"}),
        (59.9, 1.0, {b"retry-after": b"60", b"retry-after-ms": b"60000"}),
        (60.0, 0.0, {b"retry-after": b"60", b"retry-after-ms": b"60000"}),
        (60.1, 0.0, {b"retry-after": b"61", b"x-should-retry": b"false"}),
        (86_399.5, 1.0, {b"retry-after": b"86400", b"x-should-retry": b"false"}),
        (None, 0.0, {b"x-should-retry": b"false"}),
    ],
)
def test_when_to_come_back(wait: float | None, spread: float, expected: dict[bytes, bytes]) -> None:
    assert dict(refusal_headers(wait, None, spread)) == expected


def test_callers_refused_at_once_are_not_sent_back_at_once() -> None:
    waits = {
        headers_of(refusal("openai", "openai.chat", "rate_limited", "x", retry_after_seconds=10.0))[b"retry-after-ms"]
        for _ in range(50)
    }
    assert len(waits) > 10
    assert all(10_000 <= int(wait) <= 12_000 for wait in waits)


def test_a_days_limit_that_ends_in_seconds_may_be_tried_again() -> None:
    headers = headers_of(refusal("openai", "openai.chat", "quota_exceeded", "x", retry_after_seconds=5.0, window="day", spread=0.0))
    assert headers[b"retry-after"] == b"5"
    assert b"x-should-retry" not in headers


@pytest.mark.parametrize("kind", ["stopped", "provider_unconfigured"])
def test_what_lasts_is_not_tried_again(kind: str) -> None:
    assert headers_of(refusal("openai", "", kind, "x"))[b"x-should-retry"] == b"false"


def test_other_failures_leave_retrying_to_the_sdk() -> None:
    for kind in ("upstream_unreachable", "upstream_timeout", "store_away", "internal"):
        assert b"x-should-retry" not in headers_of(refusal("openai", "", kind, "x"))
    assert headers_of(refusal("openai", "", "store_away", "x", retry_after_seconds=4.5))[b"retry-after"] == b"5"


def test_a_name_can_neither_break_nor_add_a_header() -> None:
    name = "users.josé\r\nx-evil: 1\x00\udc80%.tokens"
    value = dict(refusal_headers(None, name))[b"x-weighbridge-limit"]
    assert value.isascii()
    assert value == b"users.jos%C3%A9%0D%0Ax-evil: 1%00?%25.tokens"
    assert dict(refusal_headers(None, "users.alice.tokens.per_day"))[b"x-weighbridge-limit"] == b"users.alice.tokens.per_day"
    for family, api in DIALECTS:
        orjson.loads(refusal(family, api, "rate_limited", name, limit=name, retry_after_seconds=1.0).body)


def test_infinite_waits_are_no_waits() -> None:
    assert headers_of(refusal("openai", "", "rate_limited", "x", retry_after_seconds=float("inf"))) == {b"x-should-retry": b"false"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, b"Bad Request"), (408, b"Request Timeout"), (431, b"Request Header Fields Too Large"), (499, b"Error")],
)
def test_a_plain_refusal_is_a_whole_answer(status: int, reason: bytes) -> None:
    head, _, body = plain_refusal(status, "bad_request", "The request is ambiguous.").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 %d %b" % (status, reason)
    assert b"Content-Length: %d" % len(body) in lines
    assert b"Connection: close" in lines
    assert orjson.loads(body)["error"]["code"] == "bad_request"


# ── after the 200 ──


def data_of(event: bytes) -> object:
    line = next(line for line in event.splitlines() if line.startswith(b"data: "))
    return orjson.loads(line[6:])


def test_stream_errors() -> None:
    chat = stream_error("openai", "openai.chat", "upstream_timeout", "gone")
    assert chat.endswith(b"\n\n")
    assert data_of(chat)["error"]["message"] == "gone"

    responses = stream_error("openai", "openai.responses", "internal", "gone")
    assert responses.startswith(b"event: error\n")
    assert data_of(responses) == {"type": "error", "code": "internal_error", "message": "gone", "param": None, "sequence_number": 0}

    claude = stream_error("anthropic", "anthropic.messages", "internal", "gone", request_id="r")
    assert claude.startswith(b"event: error\n")
    assert data_of(claude) == {"type": "error", "error": {"type": "api_error", "message": "gone"}, "request_id": "r"}

    gemini = stream_error("google", "gemini.generate_content", "upstream_unreachable", "gone")
    assert gemini.endswith(b"\r\n\r\n")
    assert data_of(gemini)["error"]["status"] == "UNAVAILABLE"
    array = stream_error("google", "gemini.generate_content", "internal", "gone", framing="json_array")
    assert orjson.loads(b"[{}" + array)[1]["error"]["status"] == "INTERNAL"

    assert stream_error("ollama", "ollama.chat", "internal", "gone", framing="ndjson") == b'{"error":"gone"}\n'
    assert data_of(stream_error("cohere", "cohere.chat", "internal", "gone"))["delta"]["finish_reason"] == "ERROR"
    assert orjson.loads(stream_error("cohere", "cohere.chat", "internal", "gone", framing="ndjson"))["is_finished"] is True


def test_bedrocks_stream_error_is_a_frame_with_right_sums() -> None:
    frame = stream_error("bedrock", "bedrock.converse", "rate_limited", "slow")
    total, headers_size, prelude_sum = struct.unpack(">III", frame[:12])
    assert total == len(frame)
    assert prelude_sum == crc32(frame[:8])
    assert struct.unpack(">I", frame[-4:])[0] == crc32(frame[:-4])
    at, found = 12, {}
    while at < 12 + headers_size:
        name_size = frame[at]
        name = frame[at + 1 : at + 1 + name_size].decode()
        at += 1 + name_size
        assert frame[at] == 7
        value_size = int.from_bytes(frame[at + 1 : at + 3], "big")
        found[name] = frame[at + 3 : at + 3 + value_size].decode()
        at += 3 + value_size
    assert found == {":exception-type": "throttlingException", ":content-type": "application/json", ":message-type": "exception"}
    assert orjson.loads(frame[at:-4]) == {"message": "slow"}
