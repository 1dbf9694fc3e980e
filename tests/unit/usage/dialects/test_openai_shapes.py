"""OpenAI's formats and those of its look-alikes, from the documented shapes; every stream also byte by byte and zipped."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.usage.tokens import Exactness
from tests.weighing import JSON, SSE, counts, exact, facts, sse, weigh

CHAT = facts("openai.chat", model="asked", is_stream=True)
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 16, "audio_tokens": 3, "rejected_prediction_tokens": 0},
}


def chunk(text="hello", finish=None, **more):
    choices = more.pop("choices", [{"index": 0, "delta": {"content": text}, "finish_reason": finish}])
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-x-2026", "choices": choices} | more


def chat(usage, **more):
    message = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return sse({"id": "c1", "object": "chat.completion", "model": "m-1", "choices": [message], "usage": usage} | more)[6:]


def test_usage_in_its_own_last_chunk_with_null_on_all_before():
    body = sse(*(chunk(usage=None) for _ in range(30)), chunk(finish="stop", usage=None), chunk(choices=[], usage=USAGE), done=True)
    reading = weigh(body, CHAT, content_type=SSE)
    assert counts(exact(reading)) == (100, 64, 8, 40, 16)
    assert (reading.usage.input_audio_tokens, reading.usage.output_audio_tokens, reading.usage.total_tokens) == (5, 3, 140)
    assert (reading.api, reading.response_model, reading.provider_response_id) == ("openai.chat", "gpt-x-2026", "chatcmpl-1")


def test_usage_on_the_chunk_that_has_choices():
    assert counts(exact(weigh(sse(chunk(), chunk(finish="stop", usage=USAGE), done=True), CHAT, content_type=SSE)))[0] == 100


def test_usage_after_finish_reason_in_a_chunk_with_an_empty_delta():
    late = chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], usage=USAGE)
    assert exact(weigh(sse(chunk(), chunk(finish="stop"), late, done=True), CHAT, content_type=SSE)).output_tokens == 40


def test_usage_on_every_chunk_is_cumulative_so_the_last_wins():
    steps = [chunk(usage={"prompt_tokens": 7, "completion_tokens": n, "total_tokens": 7 + n}) for n in range(1, 20)]
    assert exact(weigh(sse(*steps, done=True), CHAT, content_type=SSE)).output_tokens == 19


def test_running_counts_of_a_cut_stream_are_taken_as_they_stand_and_not_estimated_over():
    steps = [chunk("many words " * 40, usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}) for _ in range(60)]
    cut = weigh(sse(*steps), CHAT, content_type=SSE, is_complete=False)
    assert (cut.exactness, counts(cut.usage)) == (Exactness.LOWER_BOUND, (7, None, None, 2, None))


def test_the_last_usage_wins_even_when_it_is_smaller():
    first, last = ({"prompt_tokens": n, "completion_tokens": n, "total_tokens": 2 * n} for n in (50, 20))
    assert (
        exact(weigh(sse(chunk(usage=first), chunk(choices=[], usage=last), done=True), CHAT, content_type=SSE)).input_tokens == 20
    )


def test_an_empty_usage_object_does_not_erase_the_counts():
    body = sse(chunk(finish="stop", usage=USAGE), chunk(choices=[], usage={}), done=True)
    assert exact(weigh(body, CHAT, content_type=SSE)).input_tokens == 100


def test_groq_puts_it_under_x_groq_and_moonshot_inside_the_choice():
    groq = chunk(finish="stop", x_groq={"id": "req_1", "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
    assert exact(weigh(sse(chunk(), groq, done=True), CHAT, content_type=SSE)).output_tokens == 4
    moonshot = chunk(
        choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 5}}]
    )
    assert exact(weigh(sse(chunk(), moonshot, done=True), CHAT, content_type=SSE)).output_tokens == 5


def test_azure_names_the_model_only_in_the_second_chunk():
    first = {"choices": [], "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]}
    reading = weigh(sse(first, chunk(), chunk(choices=[], usage=USAGE), done=True), CHAT, content_type=SSE)
    assert (reading.response_model, exact(reading).output_tokens) == ("gpt-x-2026", 40)


def test_no_usage_at_all_is_missing_and_estimated_never_zero():
    body = sse(*(chunk(" word") for _ in range(50)), chunk(finish="stop"), done=True)
    reading = weigh(body, CHAT, content_type=SSE, expected_input_tokens=321)
    assert reading.is_usage_missing
    assert reading.exactness is Exactness.ESTIMATED
    assert reading.usage.input_tokens == 321
    # 51 events with " word" or "hello": 5 bytes each, /4 = 64 tokens; sampled, so a little off
    assert 50 <= reading.usage.output_tokens <= 80


def test_explicit_zero_is_a_report_and_missing_is_not():
    zero = weigh(chat({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), facts("openai.chat"))
    assert (exact(zero).input_tokens, zero.usage.output_tokens, zero.is_usage_missing) == (0, 0, False)
    none = weigh(chat(None), facts("openai.chat"))
    assert (none.usage, none.exactness, none.is_usage_missing) == (None, Exactness.NONE, True)


def test_single_answer_after_keep_alive_blank_lines():
    reading = weigh(b"\n         \n\n" * 20 + chat(USAGE, service_tier="flex"), facts("openai.chat"), content_type=JSON)
    assert counts(exact(reading)) == (100, 64, 8, 40, 16)
    assert reading.service_tier == "flex"


def test_completions_are_told_by_their_object():
    body = sse({"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": [{"text": "x"}], "usage": USAGE})[6:]
    assert weigh(body, facts("unknown")).api == "openai.completions"


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
        {"cached_tokens": 6},
        {"num_cached_tokens": 6},
        {"prompt_tokens_details": None, "cached_tokens": 6},
        {"prompt_tokens_details": {"cached_tokens": None}, "num_cached_tokens": 6},
        {"prompt_token_details": {"cached_tokens": 6}},
    ],
)
def test_cached_tokens_under_other_names(usage):
    whole = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12} | usage
    assert exact(weigh(chat(whole), facts("openai.chat"))).cache_read_tokens == 6


def test_xai_leaves_reasoning_out_and_the_total_says_so():
    usage = {
        "prompt_tokens": 468,
        "completion_tokens": 82,
        "total_tokens": 870,
        "completion_tokens_details": {"reasoning_tokens": 320},
    }
    assert counts(exact(weigh(chat(usage), facts("openai.chat")))) == (468, None, None, 82 + 320, 320)


def test_voxtral_leaves_audio_out_and_the_total_says_so():
    usage = {"prompt_tokens": 9, "completion_tokens": 248, "total_tokens": 632, "prompt_tokens_details": {"audio_tokens": 375}}
    reading = weigh(chat(usage), facts("openai.chat"))
    assert (exact(reading).input_tokens, reading.usage.output_tokens) == (9 + 375, 248)


def test_a_total_above_its_parts_is_thinking_or_audio_that_was_not_itemised():
    thinking = exact(weigh(chat({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}), facts("openai.chat")))
    assert counts(thinking) == (35, None, None, 12 + 62, 62)
    heard = {
        "text": "hi",
        "model": "voxtral",
        "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 20, "prompt_audio_seconds": 5},
    }
    audio = exact(weigh(sse(heard)[6:], facts("openai.audio")))
    assert (audio.input_tokens, audio.output_tokens, audio.units["audio_seconds"]) == (4 + 10, 6, Decimal(5))


def test_figures_that_contradict_each_other_stay_as_reported():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 161}}
    assert counts(exact(weigh(chat(usage), facts("openai.chat"))))[:2] == (10, 161)
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 10,
        "total_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 96},
    }
    assert counts(exact(weigh(chat(usage), facts("openai.chat"))))[3:] == (10, 96)


def test_reasoning_at_the_top_of_usage():
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 30,
        "total_tokens": 40,
        "reasoning_tokens": 20,
        "completion_tokens_details": None,
    }
    assert exact(weigh(chat(usage), facts("openai.chat"))).reasoning_tokens == 20


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.000543}, "0.000543"),
        ({"cost": 3.4e-7}, "3.4E-7"),
        ({"cost": 0}, "0"),
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.3}}, "0.3"),
        ({"cost_in_usd_ticks": 37756000}, "0.0037756"),
        ({"cost_in_usd_ticks": 0}, None),
        ({}, None),
    ],
)
def test_cost_that_the_provider_reports_is_exact_decimal(usage, cost):
    whole = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2} | usage
    assert weigh(chat(whole), facts("openai.chat")).reported_cost_usd == (None if cost is None else Decimal(cost))


def test_searches_are_units():
    usage = USAGE | {"server_tool_use_details": {"web_search_requests": 2}}
    assert exact(weigh(chat(usage), facts("openai.chat"))).units == {"web_searches": Decimal(2)}


def test_error_inside_a_200_stream():
    fail = ("error", {"error": {"message": "no tool was called", "type": "invalid_request_error", "code": "tool_use_failed"}})
    reading = weigh(sse(chunk(), chunk(), fail), CHAT, content_type=SSE)
    assert reading.error == "tool_use_failed: no tool was called"
    assert not reading.is_usage_missing
    assert reading.exactness is Exactness.ESTIMATED  # two pieces of text were made and are paid for
    at_once = weigh(sse(fail), CHAT, content_type=SSE)
    assert (at_once.usage, at_once.exactness) == (None, Exactness.NONE)


def test_error_in_a_normal_chunk_then_usage_and_done():
    body = sse(chunk(), chunk("", error={"code": 502, "message": "upstream died"}), chunk(choices=[], usage=USAGE), done=True)
    reading = weigh(body, CHAT, content_type=SSE)
    assert (reading.error, exact(reading).output_tokens) == ("502: upstream died", 40)


def test_embeddings_and_reranking():
    vectors = {
        "object": "list",
        "data": [{"object": "embedding", "embedding": [0.1]}],
        "model": "e",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
    reading = weigh(sse(vectors)[6:], facts("openai.embeddings"))
    assert (reading.api, exact(reading).input_tokens, reading.usage.output_tokens) == ("openai.embeddings", 8, 0)
    voyage = {"object": "list", "data": [{"relevance_score": 0.5, "index": 0}], "model": "r", "usage": {"total_tokens": 43}}
    reading = weigh(sse(voyage)[6:], facts("cohere.rerank"))
    assert (reading.api, exact(reading).input_tokens, reading.usage.output_tokens) == ("openai.rerank", 43, 0)


def responses(kind, usage, **more):
    inner = {"id": "resp_1", "object": "response", "model": "gpt-y", "status": kind, "usage": usage} | more
    return (f"response.{kind}", {"type": f"response.{kind}", "response": inner})


RESPONSES_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 4},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 10},
    "total_tokens": 80,
}
RESPONSES = facts("openai.responses", is_stream=True)
DELTA = ("response.output_text.delta", {"type": "response.output_text.delta", "item_id": "m", "delta": "hello"})


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_responses_report_in_the_terminal_event(kind):
    body = sse(responses("created", None), responses("in_progress", None), *[DELTA] * 20, responses(kind, RESPONSES_USAGE))
    reading = weigh(body, RESPONSES, content_type=SSE)
    assert counts(exact(reading)) == (50, 20, 4, 30, 10)
    assert (reading.response_model, reading.provider_response_id, reading.billing_key) == ("gpt-y", "resp_1", None)


def test_failed_response_without_usage_is_an_error_not_a_missing_usage():
    body = sse(responses("created", None), responses("failed", None, error={"code": "server_error", "message": "sorry"}))
    reading = weigh(body, RESPONSES, content_type=SSE)
    assert (reading.error, reading.usage, reading.is_usage_missing) == ("server_error: sorry", None, False)


def test_background_response_is_billed_when_it_is_read_and_once():
    started = sse(responses("queued", None, background=True)[1]["response"])[6:]
    reading = weigh(started, facts("openai.responses"))
    assert (reading.usage, reading.billing_key, reading.is_usage_missing) == (None, None, False)
    done = sse(responses("completed", RESPONSES_USAGE, background=True)[1]["response"])[6:]
    keys = {weigh(done, facts("openai.responses", is_metered=False)).billing_key for _ in range(2)}
    assert keys == {"response:resp_1"}


def test_reading_a_foreground_response_again_has_no_bill_of_its_own():
    body = sse(responses("completed", RESPONSES_USAGE)[1]["response"])[6:]
    made = weigh(body, facts("openai.responses"))
    read = weigh(body, facts("openai.responses", is_metered=False))
    assert (exact(made).input_tokens, made.billing_key) == (50, None)
    assert (read.usage, read.exactness, read.response_model) == (None, Exactness.NONE, "gpt-y")


def test_tool_calls_of_a_response_are_units():
    calls = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "container_id": "a"},
        {"type": "code_interpreter_call", "container_id": "a"},
        {"type": "message"},
    ]
    usage = exact(weigh(sse(responses("completed", RESPONSES_USAGE, output=calls)), RESPONSES, content_type=SSE))
    assert usage.units == {"web_searches": Decimal(1), "file_searches": Decimal(1), "code_sessions": Decimal(1)}


def test_images_by_tokens_and_by_the_piece():
    usage = {"input_tokens": 14, "output_tokens": 272, "total_tokens": 286, "output_tokens_details": {"image_tokens": 272}}
    tokens = exact(weigh(sse({"created": 1, "data": [{"b64_json": "aGk="}], "usage": usage})[6:], facts("openai.images")))
    assert (tokens.output_tokens, tokens.output_image_tokens, dict(tokens.units)) == (272, 272, {})
    pieces = exact(weigh(sse({"created": 1, "data": [{"url": "x"}, {"url": "y"}]})[6:], facts("openai.images")))
    assert (pieces.input_tokens, pieces.units) == (None, {"images": Decimal(2)})
    event = {"type": "image_generation.completed", "b64_json": "aGk=", "usage": usage}
    stream = sse(("image_generation.partial_image", {"type": "image_generation.partial_image", "b64_json": "YQ=="}), ("x", event))
    assert exact(weigh(stream, facts("openai.images", is_stream=True), content_type=SSE)).output_tokens == 272


def test_the_last_cost_that_is_named_counts():
    def cost(*costs):
        usages = [USAGE | ({} if one is None else {"cost": one}) for one in costs]
        body = sse(*(chunk(usage=usage) for usage in usages), chunk(choices=[], usage=USAGE), done=True)
        return weigh(body, CHAT, content_type=SSE).reported_cost_usd

    assert (cost(0.1, 0.3), cost(0.1, None), cost(None)) == (Decimal("0.3"), Decimal("0.1"), None)


def test_xai_images_report_a_cost_alone():
    reading = weigh(sse({"data": [{"url": "x"}], "usage": {"cost_in_usd_ticks": 200000000}})[6:], facts("openai.images"))
    assert (reading.reported_cost_usd, exact(reading).units) == (Decimal("0.02"), {"images": Decimal(1)})


def test_transcriptions_by_tokens_or_by_seconds():
    tokens = {
        "type": "tokens",
        "input_tokens": 14,
        "output_tokens": 45,
        "total_tokens": 59,
        "input_token_details": {"audio_tokens": 14},
    }
    usage = exact(weigh(sse({"text": "hi", "usage": tokens})[6:], facts("openai.audio")))
    assert (usage.input_tokens, usage.input_audio_tokens, usage.output_tokens) == (14, 14, 45)
    seconds = exact(weigh(sse({"text": "hi", "usage": {"type": "duration", "seconds": 317}})[6:], facts("openai.audio")))
    assert (seconds.input_tokens, seconds.units) == (None, {"audio_seconds": Decimal(317)})
    verbose = exact(weigh(sse({"task": "transcribe", "duration": 8.47, "text": "hi"})[6:], facts("openai.audio")))
    assert verbose.units == {"audio_seconds": Decimal("8.47")}
    stream = sse(
        {"type": "transcript.text.delta", "delta": "hi"},
        {"type": "transcript.text.done", "text": "hi", "usage": tokens},
        end="\r\n\r\n",
    )
    assert exact(weigh(stream, facts("openai.audio", is_stream=True), content_type=SSE)).output_tokens == 45


def test_speech_is_billed_by_what_the_request_fixes():
    asked = facts("openai.audio", units={"characters": Decimal(90)})
    reading = weigh(b"\xff\xf3\x00binary" * 50, asked, content_type="audio/mpeg")
    assert exact(reading).units == {"characters": Decimal(90)}
    assert weigh(b'{"error":{"message":"no"}}', asked, status=400).usage is None


def test_assistants_run_counts_the_run_and_not_its_steps():
    step = {"id": "step_1", "object": "thread.run.step", "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}}
    run = {
        "id": "run_1",
        "object": "thread.run",
        "status": "completed",
        "model": "gpt-4",
        "usage": {"prompt_tokens": 30, "completion_tokens": 6, "total_tokens": 36},
    }
    begun = run | {"status": "queued", "usage": None}
    body = sse(("thread.run.created", begun), ("thread.run.step.completed", step), ("thread.run.completed", run))
    reading = weigh(body + b"event: done\ndata: [DONE]\n\n", facts("openai.assistants", is_stream=True), content_type=SSE)
    assert (exact(reading).input_tokens, reading.billing_key, reading.response_model) == (30, "run:run_1", "gpt-4")
    late_step = sse(("thread.run.completed", run), ("thread.run.step.completed", step))
    assert exact(weigh(late_step, facts("openai.assistants", is_stream=True), content_type=SSE)).input_tokens == 30


def test_batch_read_five_times_has_one_key_and_none_before_its_end():
    batch = {"id": "batch_1", "object": "batch", "status": "completed", "model": "gpt-x", "usage": RESPONSES_USAGE}
    readings = [weigh(sse(batch)[6:], facts("openai.batches", is_metered=False)) for _ in range(5)]
    assert {reading.billing_key for reading in readings} == {"batch:batch_1"}
    assert {reading.service_tier for reading in readings} == {"batch"}
    assert exact(readings[0]).input_tokens == 50
    running = weigh(sse(batch | {"status": "in_progress"})[6:], facts("openai.batches", is_metered=False))
    assert running.billing_key is None


def test_unknown_formats_are_counted_by_their_usage_object():
    ocr = weigh(b'{"pages":[],"model":"ocr-1","usage_info":{"pages_processed":6}}', facts("mistral.ocr"))
    assert (exact(ocr).units, ocr.response_model) == ({"pages": Decimal(6)}, "ocr-1")
    separate = {"answer": "x", "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 3}}
    assert exact(weigh(sse(separate)[6:], facts("unknown"))).input_tokens == 5 + 7


def test_connectors_of_mistral_feed_the_model_and_searches_are_units():
    usage = {"prompt_tokens": 188, "completion_tokens": 55, "total_tokens": 7355, "connector_tokens": 7112}
    answer = {"object": "conversation.response", "usage": usage | {"connectors": {"web_search": 2}}, "outputs": []}
    reading = weigh(sse(answer)[6:], facts("mistral.conversations"))
    assert counts(exact(reading)) == (188 + 7112, None, None, 55, None)
    assert reading.usage.units == {"web_searches": Decimal(2)}
    begun = ("conversation.response.started", {"type": "conversation.response.started", "conversation_id": "c"})
    piece = ("message.output.delta", {"type": "message.output.delta", "content": "hello", "model": "mistral-x"})
    done = ("conversation.response.done", {"type": "conversation.response.done", "usage": usage | {"connector_tokens": 7112}})
    stream = weigh(sse(begun, *[piece] * 25, done), facts("mistral.conversations", is_stream=True), content_type=SSE)
    assert counts(exact(stream)) == (188 + 7112, None, None, 55, None)


def test_gateways_that_fill_both_spellings_leave_a_zero_in_one():
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert counts(exact(weigh(chat(usage), facts("openai.chat")))) == (10, None, None, 20, None)


def test_deep_research_bills_reasoning_and_citations_beside_the_completion():
    usage = {
        "prompt_tokens": 33,
        "completion_tokens": 7163,
        "total_tokens": 7196,
        "citation_tokens": 20016,
        "num_search_queries": 18,
        "reasoning_tokens": 73997,
        "cost": {"total_cost": 0.42},
    }
    reading = weigh(chat(usage), facts("openai.chat"))
    assert counts(exact(reading)) == (33, None, None, 7163, 73997)  # the record says what the provider said
    assert reading.usage.billed_output_tokens == 7163 + 73997 + 20016
    assert reading.usage.units == {"output_citation_tokens": Decimal(20016), "web_searches": Decimal(18)}
    assert exact(weigh(chat(usage | {"reasoning_tokens": 10}), facts("openai.chat"))).billed_output_tokens is None


def test_tools_of_xai_and_perplexity_are_units():
    xai = RESPONSES_USAGE | {"server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 3, "mcp_calls": 1}}
    usage = exact(weigh(sse(responses("completed", xai)), RESPONSES, content_type=SSE))
    assert usage.units == {"web_searches": Decimal(2), "social_searches": Decimal(3)}
    searched = {"tool_calls_details": {"search_web": {"invocation": 4}}, "input_tokens_details": {"cache_read_input_tokens": 9}}
    usage = exact(weigh(sse(responses("completed", RESPONSES_USAGE | searched)), RESPONSES, content_type=SSE))
    assert (usage.units, usage.cache_read_tokens) == ({"web_searches": Decimal(4)}, 9)


def test_cached_images_have_a_price_of_their_own():
    details = {"image_tokens": 300, "cached_tokens": 200, "cached_tokens_details": {"text_tokens": 20, "image_tokens": 180}}
    usage = {"input_tokens": 400, "output_tokens": 10, "total_tokens": 410, "input_tokens_details": details}
    read = exact(weigh(sse({"created": 1, "data": [{"b64_json": "aGk="}], "usage": usage})[6:], facts("openai.images")))
    assert (read.cache_read_tokens, read.input_image_tokens) == (200, 300)
    assert read.units == {"cache_read_image_tokens": Decimal(180)}


@pytest.mark.parametrize(
    "annotated", [{"document_annotation": '{"title":"x"}'}, {"pages": [{"images": [{"image_annotation": "a cat"}]}]}]
)
def test_annotated_pages_cost_more(annotated):
    answer = {"pages": [{"index": 0, "images": [{"id": "i"}]}], "model": "ocr-1", "usage_info": {"pages_processed": 2}}
    assert exact(weigh(sse(answer)[6:], facts("mistral.ocr"))).units == {"pages": Decimal(2)}
    assert exact(weigh(sse(answer | annotated)[6:], facts("mistral.ocr"))).units == {"annotated_pages": Decimal(2)}
