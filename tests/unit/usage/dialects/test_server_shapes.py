"""Native formats of model servers and smaller gateways, from the documented shapes; streams byte by byte and zipped."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.usage.tokens import Exactness
from tests.weighing import SSE, counts, exact, facts, sse, weigh


def body(event):
    return sse(event)[6:]


def stream(api, *events, done=False, **more):
    return weigh(sse(*events, done=done), facts(api, model="asked", is_stream=True), content_type=SSE, **more)


def test_text_generation_inference_counts_in_its_details():
    details = {"finish_reason": "length", "generated_tokens": 20, "prefill": [{"id": 1}, {"id": 2}], "tokens": []}
    one = weigh(body({"generated_text": "x", "details": details}), facts("huggingface.generate"))
    assert counts(exact(one)) == (2, None, None, 20, None)
    as_list = b"[" + body({"generated_text": "x", "details": details | {"prefill": []}}) + b"]"
    assert counts(exact(weigh(as_list, facts("huggingface.generate")))) == (None, None, None, 20, None)


def test_text_generation_inference_counts_every_sequence_of_best_of():
    best = {"generated_tokens": 5, "input_length": 3, "best_of_sequences": [{"generated_tokens": 6}, {"generated_tokens": 7}]}
    assert exact(weigh(body({"generated_text": "x", "details": best}), facts("huggingface.generate"))).output_tokens == 5 + 6 + 7


def test_text_generation_inference_streams_tokens_and_then_the_details():
    token = {"index": 1, "token": {"id": 7, "text": "a"}, "generated_text": None, "details": None}
    last = token | {"generated_text": "aa", "details": {"finish_reason": "eos_token", "generated_tokens": 2, "input_length": 7}}
    assert counts(exact(stream("huggingface.generate", *[token] * 30, last))) == (7, None, None, 2, None)
    cut = stream("huggingface.generate", *[token] * 30, is_complete=False)
    assert cut.exactness is Exactness.ESTIMATED


def test_text_generation_inference_without_details_counts_in_headers():
    headers = ((b"X-Prompt-Tokens", b"7"), (b"X-Generated-Tokens", b"9"))
    plain = weigh(body({"generated_text": "x"}), facts("huggingface.generate"), headers=headers)
    assert counts(exact(plain)) == (7, None, None, 9, None)
    nonsense = weigh(body({"generated_text": "x"}), facts("unknown"), headers=((b"x-generated-tokens", b"many"),))
    assert nonsense.usage is None


FAILS = {"error": {"message": "out of memory", "type": "server_error"}}
PIECES = {
    "huggingface.generate": {"token": {"text": "a"}, "generated_text": None, "details": None},
    "llamacpp.completion": {"content": "a", "stop": False, "tokens_predicted": 1, "tokens_evaluated": 9},
    "watsonx.generate": {"model_id": "m", "results": [{"generated_token_count": 1, "input_token_count": 9}]},
    "llama_api.chat": {"event": {"event_type": "progress", "delta": {"text": "a"}}},
}


@pytest.mark.parametrize("api", PIECES)
@pytest.mark.parametrize("event", [FAILS, None], ids=["an event of its own", "beside a piece"])
def test_an_error_amid_a_servers_stream_is_the_calls(api, event):
    reading = stream(api, *[PIECES[api]] * 5, event or PIECES[api] | FAILS)
    assert (reading.error, reading.api) == ("server_error: out of memory", api)


LLAMA_CPP = {"index": 0, "content": "x", "stop": False, "tokens_predicted": 1, "tokens_evaluated": 9}


def test_llama_cpp_counts_the_whole_prompt_and_what_it_reused():
    end = LLAMA_CPP | {"stop": True, "model": "m", "tokens_predicted": 40, "tokens_cached": 49, "timings": {"cache_n": 6}}
    whole = weigh(body(end), facts("llamacpp.completion"))
    assert (counts(exact(whole)), whole.response_model) == ((9, 6, None, 40, None), "m")
    running = [LLAMA_CPP | {"tokens_predicted": n} for n in range(1, 40)]
    assert counts(exact(stream("llamacpp.completion", *running, end))) == (9, 6, None, 40, None)
    cut = stream("llamacpp.completion", *running, is_complete=False)
    assert (cut.exactness, cut.usage.output_tokens) == (Exactness.LOWER_BOUND, 39)


def watsonx(text, generated, read, reason):
    result = {"generated_text": text, "generated_token_count": generated, "input_token_count": read, "stop_reason": reason}
    return {"model_id": "ibm/granite-x", "created_at": "2026-01-01T00:00:00Z", "results": [result]}


def test_watsonx_counts_in_its_results():
    one = weigh(body(watsonx("x", 6, 4, "max_tokens")), facts("watsonx.generate"))
    assert (counts(exact(one)), one.response_model) == ((4, None, None, 6, None), "ibm/granite-x")


@pytest.mark.parametrize("reads", [(11, 0, 0), (0, 0, 11), (11, 11, 11)])
def test_watsonx_names_the_input_in_some_event_of_the_stream(reads):
    steps = zip((" four", " thousand", ""), (1, 3, 4), reads, ("NOT_FINISHED", "not_finished", "EOS_TOKEN"), strict=True)
    events = [("message", watsonx(*step)) for step in steps]
    assert counts(exact(stream("watsonx.generate", ("message", {}), *events))) == (11, None, None, 4, None)


def test_watsonx_embeddings_and_reranking():
    vectors = weigh(body({"model_id": "e", "results": [{"embedding": [0.1]}], "input_token_count": 10}), facts("openai.embeddings"))
    assert (vectors.api, counts(exact(vectors))) == ("openai.embeddings", (10, None, None, 0, None))
    ranked = weigh(body({"model_id": "r", "results": [{"index": 0, "score": 1.5}], "input_token_count": 20}), facts("unknown"))
    assert (ranked.api, exact(ranked).input_tokens, ranked.response_model) == ("openai.rerank", 20, "r")


METRICS = [
    {"metric": "num_completion_tokens", "value": 8, "unit": "tokens"},
    {"metric": "num_prompt_tokens", "value": 25, "unit": "tokens"},
    {"metric": "num_total_tokens", "value": 33, "unit": "tokens"},
]


def test_llama_api_counts_in_a_list_of_metrics():
    message = {"role": "assistant", "stop_reason": "stop", "content": {"type": "text", "text": "hi"}}
    one = weigh(body({"id": "c", "completion_message": message, "metrics": METRICS}), facts("openai.chat"))
    assert (one.api, counts(exact(one)), one.usage.total_tokens) == ("llama_api.chat", (25, None, None, 8, None), 33)


def test_llama_api_streams_its_metrics_last():
    steps = [{"event": {"event_type": kind, "delta": {"type": "text", "text": "hello"}}} for kind in ("start", *["progress"] * 25)]
    last = {"event": {"event_type": "metrics", "delta": {"type": "text", "text": ""}, "metrics": METRICS}}
    reading = stream("openai.chat", *steps, {"event": {"event_type": "complete", "stop_reason": "stop"}}, last)
    assert counts(exact(reading)) == (25, None, None, 8, None)


def test_vercel_gateway_counts_in_plain_numbers():
    usage = {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30, "reasoningTokens": 5, "cachedInputTokens": 4}
    answer = {
        "content": [{"type": "text", "text": "x"}],
        "finishReason": "stop",
        "usage": usage,
        "response": {"id": "gen_1", "modelId": "gpt-x"},
        "providerMetadata": {"gateway": {"cost": "0.0012"}},
    }
    reading = weigh(body(answer), facts("vercel.language_model"))
    assert (reading.api, counts(exact(reading))) == ("vercel.language_model", (10, 4, None, 20, 5))
    assert (reading.response_model, reading.reported_cost_usd) == ("gpt-x", Decimal("0.0012"))


def test_vercel_gateway_counts_in_objects_at_the_end_of_its_stream():
    usage = {
        "inputTokens": {"total": 10, "noCache": 3, "cacheRead": 6, "cacheWrite": 1},
        "outputTokens": {"total": 20, "text": 15, "reasoning": 5},
    }
    parts = [{"type": "stream-start", "warnings": []}, {"type": "response-metadata", "id": "gen_1", "modelId": "claude-x"}]
    parts += [{"type": "text-delta", "id": "0", "delta": "hello"}] * 25
    reading = stream("vercel.language_model", *parts, {"type": "finish", "finishReason": "stop", "usage": usage}, done=True)
    assert (counts(exact(reading)), reading.response_model) == ((10, 6, 1, 20, 5), "claude-x")


def test_usage_in_an_envelope_or_under_another_name():
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    cloudflare = {"result": {"response": "hi", "usage": usage}, "success": True, "errors": [], "messages": []}
    assert counts(exact(weigh(body(cloudflare), facts("unknown")))) == (5, None, None, 6, None)
    sglang = {"text": "x", "meta_info": {"id": "1", "prompt_tokens": 5, "completion_tokens": 6, "cached_tokens": 2}}
    assert counts(exact(weigh(body(sglang), facts("huggingface.generate")))) == (5, 2, None, 6, None)
    running = {"text": "x", "meta_info": {"prompt_tokens": 5, "completion_tokens": 2}}
    assert exact(stream("unknown", *[running] * 9, sglang, done=True)).output_tokens == 6


def test_dashscope_streams_events_with_ids_and_comments_and_no_space():
    def event(number, output):
        usage = {
            "total_tokens": 10 + output,
            "input_tokens": 10,
            "output_tokens": output,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
        data = body({"output": {"choices": [{"message": {"content": "a"}}]}, "usage": usage, "request_id": "r"}).strip()
        return b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%b\n\n" % (number, data)

    whole = b"".join(event(number, number) for number in range(1, 30))
    reading = weigh(whole, facts("unknown", is_stream=True), content_type="text/event-stream;charset=UTF-8")
    assert counts(exact(reading)) == (10, 4, None, 29, None)


def test_replicate_bills_by_the_token_where_its_metrics_say_so_and_once():
    links = {"get": "https://api.example/v1/predictions/p1", "cancel": "https://api.example/v1/predictions/p1/cancel"}
    begun = {"id": "p1", "model": "meta/x", "version": "v", "status": "starting", "urls": links, "error": None, "metrics": {}}
    waiting = weigh(body(begun), facts("replicate.predictions"), status=201)
    assert (waiting.usage, waiting.is_usage_missing, waiting.billing_key) == (None, False, None)
    done = begun | {"status": "succeeded", "output": ["a"], "metrics": {"input_token_count": 5, "output_token_count": 6}}
    for is_metered in (True, False):
        reading = weigh(body(done), facts("replicate.predictions", is_metered=is_metered))
        assert (counts(exact(reading)), reading.billing_key) == ((5, None, None, 6, None), "prediction:p1")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "1004: login fail"),
        ({"error_code": 336003, "error_msg": "messages empty"}, "336003: messages empty"),
        ({"success": False, "errors": [{"code": 7003, "message": "no route"}]}, "7003: no route"),
        ({"errors": [{"code": "model_not_supported", "message": "unknown"}], "trace": "t"}, "model_not_supported: unknown"),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_errors_under_other_names_also_inside_a_200(answer, error, status):
    reading = weigh(body(answer), facts("openai.chat"), status=status)
    assert (reading.error, reading.usage, reading.is_usage_missing) == (error, None, False)


NO_ERRORS = [
    {"base_resp": {"status_code": 0, "status_msg": "success"}},
    {"errors": [], "success": True},
    {"error_code": 0, "error_msg": ""},
]


@pytest.mark.parametrize("answer", NO_ERRORS)
def test_empty_lists_and_codes_of_success_are_no_errors(answer):
    usage = {"usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}}
    assert weigh(body(answer | usage), facts("unknown")).error is None
