"""Cohere's and Ollama's own formats, from the documented shapes; every stream also byte by byte and zipped."""

from __future__ import annotations

from decimal import Decimal

from proxy.usage.tokens import Exactness
from tests.weighing import NDJSON, SSE, exact, facts, lines, sse, weigh

V2_USAGE = {
    "billed_units": {"input_tokens": 12, "output_tokens": 3},
    "tokens": {"input_tokens": 507, "output_tokens": 6},
    "cached_tokens": 16,
}
OLLAMA_END = {
    "model": "llama",
    "created_at": "x",
    "done": True,
    "done_reason": "stop",
    "total_duration": 5,
    "prompt_eval_count": 26,
    "eval_count": 298,
}


def test_cohere_limits_by_tokens_and_bills_by_billed_units():
    body = {"id": "c1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}, "usage": V2_USAGE}
    reading = weigh(sse(body)[6:], facts("cohere.chat"))
    usage = exact(reading)
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (507, 6, 16)
    assert (usage.billed_input_tokens, usage.billed_output_tokens) == (12, 3)
    assert (reading.api, reading.response_model) == ("cohere.chat", None)


def test_cohere_v2_stream_reports_at_message_end():
    begin = ("message-start", {"id": "c1", "type": "message-start", "delta": {"message": {"role": "assistant"}}})
    text = ("content-delta", {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "hello"}}}})
    end = ("message-end", {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": V2_USAGE}})
    reading = weigh(sse(begin, *[text] * 30, end, done=True), facts("cohere.chat", is_stream=True), content_type=SSE)
    assert (exact(reading).input_tokens, reading.provider_response_id) == (507, "c1")


def test_cohere_v2_stream_that_fails_says_why():
    end = ("message-end", {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "invalid tool generation"}})
    reading = weigh(sse(end, done=True), facts("cohere.chat", is_stream=True), content_type=SSE)
    assert (reading.error, reading.usage) == ("invalid tool generation", None)


def test_cohere_may_say_no_more_than_that_it_failed():
    for reason, error in (("ERROR", "ERROR: the stream ended with finish_reason ERROR"), ("COMPLETE", None)):
        end = ("message-end", {"type": "message-end", "delta": {"finish_reason": reason, "usage": V2_USAGE}})
        reading = weigh(sse(end, done=True), facts("cohere.chat", is_stream=True), content_type=SSE)
        assert (reading.error, reading.usage.input_tokens) == (error, 507)


def test_cohere_is_known_by_its_usage_alone():
    for usage in ({"billed_units": {"input_tokens": 5}}, {"api_version": {"version": "2"}, "tokens": {"input_tokens": 5}}):
        reading = weigh(sse({"id": "x", "meta": usage})[6:], facts("unknown"))
        assert reading.api.startswith("cohere.")
        assert exact(reading).input_tokens == 5
    assert weigh(sse({"id": "x", "meta": {"api_version": "2"}})[6:], facts("unknown")).api == "unknown"


def test_cohere_v1_stream_is_json_lines():
    meta = {
        "api_version": {"version": "1"},
        "billed_units": {"input_tokens": 9, "output_tokens": 4},
        "tokens": {"input_tokens": 75, "output_tokens": 4},
    }
    text = {"is_finished": False, "event_type": "text-generation", "text": "hello"}
    end = {
        "is_finished": True,
        "event_type": "stream-end",
        "finish_reason": "COMPLETE",
        "response": {"generation_id": "g1", "meta": meta},
    }
    body = lines({"is_finished": False, "event_type": "stream-start", "generation_id": "g1"}, *[text] * 20, end)
    reading = weigh(body, facts("cohere.chat", is_stream=True), content_type="application/stream+json")
    assert (exact(reading).input_tokens, reading.usage.billed_input_tokens, reading.provider_response_id) == (75, 9, "g1")


def test_cohere_generate_stream_ends_without_an_event_type():
    meta = {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 4, "output_tokens": 20}}
    end = {"is_finished": True, "finish_reason": "COMPLETE", "response": {"id": "g", "generations": [], "meta": meta}}
    body = lines(*[{"text": "hello", "is_finished": False}] * 20, end)
    reading = weigh(body, facts("cohere.generate", is_stream=True), content_type="application/stream+json")
    assert (reading.api, exact(reading).input_tokens, reading.usage.output_tokens) == ("cohere.generate", 4, 20)


def test_cohere_embed_generate_and_rerank():
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 5}}
    embed = weigh(sse({"id": "e", "embeddings": {"float": [[0.1]]}, "texts": ["x"], "meta": meta})[6:], facts("cohere.embed"))
    assert (embed.api, exact(embed).input_tokens, embed.usage.output_tokens) == ("cohere.embed", 5, 0)
    images = weigh(
        sse({"id": "e", "embeddings": {"float": [[0.1]]}, "meta": meta | {"billed_units": {"images": 1}}})[6:],
        facts("cohere.embed"),
    )
    assert (exact(images).input_tokens, images.usage.units) == (None, {"images": Decimal(1)})
    meta = {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 4, "output_tokens": 20}}
    made = weigh(sse({"id": "g", "generations": [{"text": "x"}], "prompt": "p", "meta": meta})[6:], facts("cohere.generate"))
    assert (made.api, exact(made).input_tokens, made.usage.output_tokens) == ("cohere.generate", 4, 20)
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    ranked = weigh(sse({"id": "r", "results": [{"index": 0, "relevance_score": 0.9}], "meta": meta})[6:], facts("cohere.rerank"))
    assert (ranked.api, exact(ranked).input_tokens, ranked.usage.units) == ("cohere.rerank", None, {"search_units": Decimal(1)})


def test_ollama_reports_in_the_last_line():
    text = {"model": "llama", "created_at": "x", "message": {"role": "assistant", "content": "hello"}, "done": False}
    reading = weigh(
        lines(*[text] * 30, OLLAMA_END | {"message": {"role": "assistant", "content": ""}}),
        facts("ollama.chat", is_stream=True),
        content_type=NDJSON,
    )
    assert (exact(reading).input_tokens, reading.usage.output_tokens, reading.usage.total_tokens) == (26, 298, 324)
    assert (reading.api, reading.response_model) == ("ollama.chat", "llama")


def test_ollama_lines_under_a_wrong_content_type():
    text = {"model": "llama", "created_at": "x", "response": "hello", "done": False}
    body = lines(*[text] * 9, OLLAMA_END | {"response": ""})
    reading = weigh(body, facts("ollama.generate", is_stream=True), content_type="application/json")
    assert (reading.api, exact(reading).output_tokens) == ("ollama.generate", 298)


def test_ollama_with_a_cached_prompt_does_not_say_zero():
    end = {name: value for name, value in OLLAMA_END.items() if name != "prompt_eval_count"} | {"response": "x"}
    usage = exact(weigh(lines(end), facts("ollama.generate")))
    assert (usage.input_tokens, usage.output_tokens) == (None, 298)


def test_ollama_embeddings():
    body = {"model": "embed", "embeddings": [[0.1, 0.2]], "total_duration": 5, "load_duration": 1, "prompt_eval_count": 8}
    reading = weigh(lines(body), facts("ollama.embed"))
    assert (reading.api, exact(reading).input_tokens, reading.usage.output_tokens) == ("ollama.embed", 8, 0)


def test_ollama_error_in_the_middle():
    text = {"model": "llama", "created_at": "x", "message": {"role": "assistant", "content": "hello"}, "done": False}
    reading = weigh(
        lines(*[text] * 20, {"error": "an unexpected error"}), facts("ollama.chat", is_stream=True), content_type=NDJSON
    )
    assert (reading.error, reading.exactness) == ("an unexpected error", Exactness.ESTIMATED)
