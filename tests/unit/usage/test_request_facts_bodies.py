"""What a body says: model, stream, caps, choices, end users, units."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal

import pytest

from proxy.usage.request_facts import RequestFacts, read_request

CHAT = "/v1/chat/completions"


def read(
    body: bytes | dict[str, object], path: str = CHAT, query: str = "", content_type: str = "application/json"
) -> RequestFacts:
    return read_request("POST", path, query, content_type, json.dumps(body).encode() if isinstance(body, dict) else body)


def test_a_chat_call_in_full() -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "gpt-4o",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 77,
        "n": 3,
        "user": "u1",
        "safety_identifier": "s1",
        "metadata": {"user_id": "m1"},
        "service_tier": "flex",
    }
    text = json.dumps(body).encode()
    facts = read(text)
    assert facts == RequestFacts(
        api="openai.chat",
        is_metered=True,
        model="gpt-4o",
        is_stream=True,
        output_cap_tokens=77,
        choice_count=3,
        body_bytes=len(text),
        input_bytes=len(text),
        asks_for_usage=True,
        can_inject_usage=False,
        end_users=(("body:user", "u1"), ("body:safety_identifier", "s1"), ("body:metadata.user_id", "m1")),
        service_tier="flex",
        has_stream_options=True,
        document=body,
    )


@pytest.mark.parametrize(
    ("extra", "asks", "can_inject", "has_options"),
    [
        ('"stream":true', None, True, False),
        ('"stream":false', None, False, False),
        ('"stream":1', None, False, False),
        ('"n":1', None, False, False),
        ('"stream":true,"stream_options":null', None, True, True),
        ('"stream":true,"stream_options":{}', None, True, True),
        ('"stream":true,"stream_options":{"include_obfuscation":false}', None, True, True),
        ('"stream":true,"stream_options":{"include_usage":true}', True, False, True),
        ('"stream":true,"stream_options":{"include_usage":false}', False, False, True),
        ('"stream":true,"stream_options":{"include_usage":null}', None, False, True),
        ('"stream":true,"stream_options":"x"', None, False, True),
        ('"stream":false,"stream":true', None, True, False),
        ('"stream":true,"stream":false', None, False, False),
        ('"str\\u0065am":true', None, True, False),
    ],
)
def test_who_asked_for_usage(extra: str, asks: bool | None, can_inject: bool, has_options: bool) -> None:
    facts = read(b'{"model":"m","messages":[],' + extra.encode() + b"}")
    assert (facts.asks_for_usage, facts.can_inject_usage, facts.has_stream_options) == (asks, can_inject, has_options)


def test_usage_is_only_asked_for_where_the_body_is_a_chat_or_a_completion() -> None:
    assert read(b'{"prompt":"x","stream":true}', "/v1/completions").can_inject_usage is True
    assert read(b'{"variables":{},"stream":true}', "/v1/prompts/p/completions").can_inject_usage is False
    assert read(b'{"model":"m","input":"x","stream":true}', "/v1/responses").can_inject_usage is False
    assert read(b'{"model":"m","messages":[],"stream":true}', "/v1/messages").can_inject_usage is False
    assert read(b'{"model":"m","messages":[],"stream":true}', "/api/chat").can_inject_usage is False


def test_names_inside_strings_and_nested_objects_are_not_members() -> None:
    body = {
        "messages": [{"role": "user", "content": '","model":"trap","stream":true,"max_tokens":1,"user":"trap","'}],
        "tools": [
            {"model": "trap", "stream": True, "user": "trap", "max_tokens": 1, "n": 9, "stream_options": {"include_usage": True}}
        ],
        "model": "right",
    }
    facts = read(body)
    assert (facts.model, facts.is_stream, facts.output_cap_tokens, facts.choice_count, facts.end_users) == (
        "right",
        False,
        None,
        1,
        (),
    )
    assert facts.has_stream_options is False


def test_of_a_name_given_twice_the_last_counts() -> None:
    facts = read(b'{"model":"first","max_tokens":1,"model":"last","max_tokens":2}')
    assert (facts.model, facts.output_cap_tokens) == ("last", 2)


@pytest.mark.parametrize(
    ("path", "body", "cap"),
    [
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_completion_tokens": 6, "max_tokens": 5}, 6),
        (CHAT, {"max_completion_tokens": 5, "max_tokens": 6}, 6),
        (CHAT, {"max_tokens": -1}, None),
        (CHAT, {"max_tokens": True}, None),
        (CHAT, {"max_tokens": 5.0}, 5),
        (CHAT, {"max_tokens": 5.5}, None),
        (CHAT, {"max_tokens": None}, None),
        (CHAT, {"max_output_tokens": 5}, None),
        ("/v1/completions", {"max_tokens": 0}, 0),
        ("/v1/responses", {"max_output_tokens": 9}, 9),
        ("/v1/messages", {"max_tokens": 64000}, 64000),
        ("/v1/complete", {"max_tokens_to_sample": 300}, 300),
        ("/v1beta/models/m:generateContent", {"generationConfig": {"maxOutputTokens": 8}}, 8),
        ("/v1beta/models/m:generateContent", {"generationConfig": {"maxOutputTokens": "8"}}, 8),
        ("/v1beta/models/m:generateContent", {"generation_config": {"max_output_tokens": 8}}, 8),
        ("/v1beta/models/m:generateContent", {"generationConfig": None}, None),
        ("/v1beta/interactions", {"generation_config": {"max_output_tokens": 512}}, 512),
        ("/model/m/converse", {"inferenceConfig": {"maxTokens": 7}}, 7),
        ("/model/m/invoke", {"textGenerationConfig": {"maxTokenCount": 10}}, 10),
        ("/model/m/invoke", {"inferenceConfig": {"max_new_tokens": 11}}, 11),
        ("/model/m/invoke", {"max_gen_len": 12}, 12),
        ("/v2/chat", {"max_tokens": 4}, 4),
        ("/api/chat", {"options": {"num_predict": 3}}, 3),
        ("/api/chat", {"options": {"num_predict": -1}}, None),
        ("/models/o/n", {"parameters": {"max_new_tokens": 20}}, 20),
        ("/somewhere/new", {"max_tokens": 5}, 5),
    ],
)
def test_output_caps(path: str, body: dict[str, object], cap: int | None) -> None:
    assert read(body, path).output_cap_tokens == cap


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        (CHAT, {"n": 4}, 4),
        (CHAT, {"n": 0}, 1),
        (CHAT, {"n": None}, 1),
        (CHAT, {"n": "x"}, 1),
        ("/v1/completions", {"n": 2, "best_of": 5, "prompt": "x"}, 5),
        ("/v1/completions", {"n": 2, "prompt": ["a", "b", "c"]}, 6),
        ("/v1/completions", {"n": 2, "prompt": [1, 2, 3]}, 2),
        ("/v1/completions", {"prompt": [[1, 2], [3]]}, 2),
        ("/v1beta/models/m:generateContent", {"generationConfig": {"candidateCount": 3}}, 3),
    ],
)
def test_choice_counts(path: str, body: dict[str, object], count: int) -> None:
    assert read(body, path).choice_count == count


def test_ollama_streams_unless_told_not_to() -> None:
    assert read({"model": "m"}, "/api/chat").is_stream is True
    assert read({"model": "m"}, "/api/generate").is_stream is True
    assert read({"model": "m", "stream": False}, "/api/chat").is_stream is False
    assert read({"model": "m"}, "/api/embed").is_stream is False
    assert read({"model": "m", "messages": []}).is_stream is False


def test_other_ways_to_ask_for_a_stream() -> None:
    assert read({"contents": []}, "/v1beta/models/m:generateContent", "alt=sse").is_stream is True
    assert read({"input": "x", "stream_format": "sse"}, "/v1/audio/speech").is_stream is True


def test_units_that_the_request_fixes() -> None:
    assert read({"model": "tts-1", "input": "naïve 🙂"}, "/v1/audio/speech").units == {"characters": Decimal(7)}
    assert read({"model": "tts-1", "input": "x" * 200_000}, "/v1/audio/speech").units == {"characters": Decimal(200_000)}
    assert read({"prompt": "x", "n": 4}, "/v1/images/generations").units == {"images": Decimal(4)}
    assert read({"prompt": "x"}, "/v1/images/generations").units == {"images": Decimal(1)}
    assert read({"messages": []}).units == {}


def test_vertex_raw_predictions_are_told_apart_by_their_body() -> None:
    path = "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-large:rawPredict"
    assert read({"messages": []}, path).api == "openai.chat"
    assert read({"anthropic_version": "vertex-2023-10-16", "messages": []}, path).api == "anthropic.messages"
    assert read({"instances": []}, path).api == "vertex.predict"


def test_conversations_are_work_at_mistral_and_storage_at_openai() -> None:
    assert (facts := read({"agent_id": "ag:1", "inputs": "hi"}, "/v1/conversations")).api == "mistral.conversations"
    assert (facts.is_metered, facts.model) == (True, "ag:1")
    assert read({"items": []}, "/v1/conversations").is_metered is False
    assert read(b"not json", "/v1/conversations").is_metered is True


def test_a_batch_of_whole_requests() -> None:
    def call(model: str, cap: int) -> dict[str, object]:
        return {"custom_id": "x", "params": {"model": model, "max_tokens": cap, "messages": []}}

    same = read({"requests": [call("claude-a", 100), call("claude-a", 300)]}, "/v1/messages/batches")
    assert (same.api, same.model, same.output_cap_tokens, same.choice_count) == ("anthropic.batches", "claude-a", 300, 2)
    assert read({"requests": [call("claude-a", 1), call("claude-b", 1)]}, "/v1/messages/batches").model is None
    assert read({"requests": "x"}, "/v1/messages/batches").choice_count == 1


def test_end_users_are_non_empty_texts() -> None:
    assert read({"user": "", "metadata": {"user_id": 3}, "safety_identifier": None}).end_users == ()
    assert read({"user": "ü", "metadata": "x"}).end_users == (("body:user", "ü"),)


def test_a_compressed_body_leaves_the_facts_unknown() -> None:
    facts = read(gzip.compress(b'{"model":"m","stream":true}'))
    assert (facts.model, facts.is_stream, facts.is_metered, facts.can_inject_usage) == (None, False, True, False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"seen","temperature":NaN,"stream":true,"messages":[]}',
        b'{"model":"seen","x":"\\ud800","stream":true,"messages":[]}',
        b'\xef\xbb\xbf{"model":"seen","stream":true,"messages":[]}',
        b'{"model":"seen","stream":true,"messages":[]} and more',
        '{"model":"seen","stream":true,"messages":[]}'.encode("utf-16"),
        b'{"model":"seen","x":"\xff","stream":true,"messages":[]}',
        b'{"model":"seen","x":"a\nb","stream":true,"messages":[]}',
    ],
)
def test_what_lenient_servers_read_is_seen_and_never_edited(body: bytes) -> None:
    facts = read(body)
    assert (facts.model, facts.is_stream, facts.can_inject_usage) == ("seen", True, False)


def test_a_lone_name_in_other_case_is_what_gos_json_reads() -> None:
    assert read(b'{"Model":"llama3"}', "/api/chat").model == "llama3"
    assert read(b'{"MODEL":"other","model":"llama3"}', "/api/chat").model == "llama3"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"{", b"3", b" ", b"[" * 100_000, b'{"a":' * 100_000, b"\x00" * 50])
def test_no_object_no_facts(body: bytes) -> None:
    facts = read(body)
    assert (facts.model, facts.is_metered, facts.body_bytes, facts.input_bytes) == (None, True, len(body), len(body))


# ── forms ──

BOUNDARY = "----form7"


def form(*parts: tuple[str, bytes], end: bytes = b"--\r\n") -> bytes:
    lines = [
        b"------form7\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n" for head, value in parts
    ]
    return b"".join(lines) + b"------form7" + end


FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
FILE = ('name="file"; filename="model.wav"\r\nContent-Type: audio/wav', b"RIFF" + bytes(range(256)))


@pytest.mark.parametrize("content_type", [FORM_TYPE, f'multipart/form-data; charset=utf-8; Boundary="{BOUNDARY}"'])
def test_a_form_names_its_model(content_type: str) -> None:
    body = form(('name="model"', b"whisper-1"), ('name="stream"', b"true"), ('name="user"', b"u1"), FILE)
    facts = read(body, "/v1/audio/transcriptions", content_type=content_type)
    assert (facts.api, facts.model, facts.is_stream, facts.end_users) == ("openai.audio", "whisper-1", True, (("body:user", "u1"),))


def test_fields_of_an_image_form() -> None:
    facts = read(form(FILE, ('name="n"', b"3"), ("name=model", b"gpt-image-1")), "/v1/images/edits", content_type=FORM_TYPE)
    assert (facts.model, facts.units) == ("gpt-image-1", {"images": Decimal(3)})


def test_a_forms_prefix_gives_what_is_complete_in_it() -> None:
    whole = form(('name="model"', b"whisper-1"), FILE)
    complete = len(form(('name="model"', b"whisper-1"), end=b""))
    for size in range(len(whole)):
        model = read(whole[:size] or b" ", "/v1/audio/transcriptions", content_type=FORM_TYPE).model
        assert model == ("whisper-1" if size >= complete else None), size


def test_a_form_cannot_name_its_model_inside_a_file() -> None:
    trick = ('name="model"; filename="x"', b"not-this")
    assert read(form(trick, FILE), "/v1/audio/transcriptions", content_type=FORM_TYPE).model is None
    assert read(b"junk", "/v1/audio/transcriptions", content_type="multipart/form-data").model is None
