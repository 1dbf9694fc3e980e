"""Which part of a large body can become input tokens."""

from __future__ import annotations

import json

import pytest

from proxy.usage.media_payloads import MAX_IMAGE_BYTES
from proxy.usage.request_facts import read_request

PAYLOAD = "iVBORw0KGgo+/" * 20_000  # 260,000 characters of base64
URL = "data:image/png;base64," + PAYLOAD
TEXT = "words and more words. " * 10_000


def input_bytes(body: dict[str, object], path: str = "/v1/chat/completions") -> tuple[int, int]:
    text = json.dumps(body).encode()
    facts = read_request("POST", path, "", "application/json", text)
    assert facts.body_bytes == len(text)
    return facts.input_bytes, len(text)


def user(*parts: dict[str, object], member: str = "content") -> dict[str, object]:
    return {"role": "user", member: list(parts)}


IMAGE_CALLS = [
    ("/v1/chat/completions", {"messages": [user({"type": "image_url", "image_url": {"url": URL}})]}, len(URL)),
    ("/v1/responses", {"input": [user({"type": "input_image", "image_url": URL})]}, len(URL)),
    ("/v1/responses", {"input": [{"type": "image_generation_call", "result": PAYLOAD}]}, len(PAYLOAD)),
    ("/v1/messages", {"messages": [user({"type": "image", "source": {"type": "base64", "data": PAYLOAD}})]}, len(PAYLOAD)),
    (
        "/v1/messages",
        {
            "messages": [
                user({"type": "tool_result", "content": [{"type": "image", "source": {"type": "base64", "data": PAYLOAD}}]})
            ]
        },
        len(PAYLOAD),
    ),
    (
        "/v1beta/models/m:generateContent",
        {"contents": [user({"inlineData": {"mimeType": "image/png", "data": PAYLOAD}}, member="parts")]},
        len(PAYLOAD),
    ),
    (
        "/v1beta/models/m:generateContent",
        {"contents": user({"inline_data": {"mime_type": "image/png", "data": PAYLOAD}}, member="parts")},
        len(PAYLOAD),
    ),
    ("/v1beta/interactions", {"input": [{"type": "image", "data": PAYLOAD}]}, len(PAYLOAD)),
    ("/model/m/converse", {"messages": [user({"image": {"format": "png", "source": {"bytes": PAYLOAD}}})]}, len(PAYLOAD)),
    (
        "/model/m/converse",
        {"messages": [user({"toolResult": {"content": [{"image": {"source": {"bytes": PAYLOAD}}}]}})]},
        len(PAYLOAD),
    ),
    ("/api/chat", {"messages": [{"role": "user", "content": "look", "images": [PAYLOAD]}]}, len(PAYLOAD)),
    ("/api/generate", {"prompt": "look", "images": [PAYLOAD]}, len(PAYLOAD)),
]


@pytest.mark.parametrize(("path", "body", "payload_bytes"), IMAGE_CALLS)
def test_an_image_counts_with_what_it_can_cost_at_most(path: str, body: dict[str, object], payload_bytes: int) -> None:
    counted, size = input_bytes(body, path)
    assert counted == size - payload_bytes + MAX_IMAGE_BYTES


SOUND_CALLS = [
    ("/v1/chat/completions", {"messages": [user({"type": "input_audio", "input_audio": {"data": PAYLOAD, "format": "wav"}})]}),
    (
        "/v1beta/models/m:generateContent",
        {"contents": [user({"inlineData": {"mimeType": "audio/wav", "data": PAYLOAD}}, member="parts")]},
    ),
    (
        "/v1beta/models/m:generateContent",
        {"contents": [user({"inlineData": {"mimeType": "video/mp4", "data": PAYLOAD}}, member="parts")]},
    ),
    ("/model/m/converse", {"messages": [user({"video": {"source": {"bytes": PAYLOAD}}})]}),
]


@pytest.mark.parametrize(("path", "body"), SOUND_CALLS)
def test_sound_and_film_count_with_an_eighth(path: str, body: dict[str, object]) -> None:
    counted, size = input_bytes(body, path)
    assert counted == size - len(PAYLOAD) + len(PAYLOAD) // 8


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": URL}]},
        {"messages": [user({"type": "text", "text": URL, "image_url": {"url": URL}})]},
        {"messages": [user({"type": "text", "text": TEXT})]},
        {"messages": [user({"type": "file", "file": {"file_data": "data:application/pdf;base64," + PAYLOAD}})]},
        {"messages": [user({"inlineData": {"mimeType": "application/pdf", "data": PAYLOAD}})]},
        {"messages": [user({"type": "tool_use", "input": {"type": "image", "source": {"data": PAYLOAD}}})]},
        {
            "messages": [
                user({"functionCall": {"args": {"inlineData": {"mimeType": "image/png", "data": PAYLOAD}}}}, member="parts")
            ]
        },
        {"tools": [{"type": "image_url", "image_url": {"url": URL}}], "messages": []},
        {"messages": {"a": 1}, "x": PAYLOAD},
        {"messages": [[PAYLOAD], PAYLOAD, None]},
    ],
)
def test_all_that_is_or_may_be_text_counts_in_full(body: dict[str, object]) -> None:
    counted, size = input_bytes(body)
    assert counted == size


def test_several_images_and_text() -> None:
    image = {"type": "image_url", "image_url": {"url": URL}}
    counted, size = input_bytes({"messages": [user(image, {"type": "text", "text": TEXT}, image), user(image)]})
    assert counted == size - 3 * (len(URL) - MAX_IMAGE_BYTES)


def test_a_small_image_counts_in_full() -> None:
    counted, size = input_bytes(
        {"pad": TEXT, "messages": [user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})]}
    )
    assert counted == size


def test_a_text_that_looks_like_a_stand_in_is_no_stand_in() -> None:
    body = {
        "messages": [user({"type": "image_url", "image_url": {"url": "\x01wb:0"}}, {"type": "text", "text": PAYLOAD})],
        "model": "\x01wb:0",
    }
    counted, size = input_bytes(body)
    assert counted == size


def test_the_other_facts_of_a_large_body_are_read() -> None:
    body = {
        "messages": [user({"type": "image_url", "image_url": {"url": URL}})],
        "model": "gpt-4o",
        "stream": True,
        "max_tokens": 5,
    }
    facts = read_request("POST", "/v1/chat/completions", "", "", json.dumps(body).encode())
    assert (facts.model, facts.is_stream, facts.output_cap_tokens, facts.can_inject_usage) == ("gpt-4o", True, 5, True)
    assert read_request("POST", "/v1/chat/completions", "", "", json.dumps({"model": PAYLOAD}).encode()).model is None
