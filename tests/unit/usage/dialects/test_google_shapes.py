"""Google's formats, from the documented shapes: SSE with CRLF, JSON array, single bodies; cut in every way and zipped."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from proxy.usage.tokens import Exactness
from tests.weighing import JSON, SSE, counts, exact, facts, sse, weigh

ASKED = facts("gemini.generate_content", model="gemini-asked", is_stream=True)
USAGE = {
    "promptTokenCount": 50,
    "cachedContentTokenCount": 20,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 12,
    "toolUsePromptTokenCount": 8,
    "totalTokenCount": 100,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}, {"modality": "AUDIO", "tokenCount": 10}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 25}],
}


def part(text="hello", usage=None, finish=None, **more):
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0} | ({"finishReason": finish} if finish else {})
    event = {"candidates": [candidate], "modelVersion": "gemini-x-001", "responseId": "r1"} | more
    return event | ({"usageMetadata": usage} if usage is not None else {})


def array(*events):
    return ("[" + "\n,\r\n".join(json.dumps(event, indent=2) for event in events) + "\n]").encode()


def test_thoughts_and_tool_use_are_added():
    reading = weigh(sse(part(usage=USAGE, finish="STOP"))[6:], facts("gemini.generate_content", model="p"))
    assert counts(exact(reading)) == (50 + 8, 20, None, 30 + 12, 12)
    usage = reading.usage
    assert (usage.input_audio_tokens, usage.output_image_tokens, usage.total_tokens) == (10, 25, 100)
    assert (reading.response_model, reading.provider_response_id) == ("gemini-x-001", "r1")


def test_twenty_cumulative_chunks_are_not_summed():
    steps = [part(usage={"promptTokenCount": 9, "candidatesTokenCount": n, "totalTokenCount": 9 + n}) for n in range(1, 20)]
    last = part(usage={"promptTokenCount": 9, "candidatesTokenCount": 20, "totalTokenCount": 29}, finish="STOP")
    assert counts(exact(weigh(sse(*steps, last, end="\r\n\r\n"), ASKED, content_type=SSE))) == (9, None, None, 20, None)


def test_counts_that_go_down_end_with_the_last():
    figures = [(20, 90), (89, 20), (30, 21)]
    steps = [part(usage={"promptTokenCount": p, "candidatesTokenCount": c, "totalTokenCount": p + c}) for p, c in figures]
    assert counts(exact(weigh(sse(*steps, end="\r\n\r\n"), ASKED, content_type=SSE))) == (30, None, None, 21, None)


def test_json_array_without_alt_sse_with_brackets_and_quotes_in_the_text():
    steps = [part('a "quoted" ]}, [{ \\ text'), part(usage={"trafficType": "ON_DEMAND"}), part(usage=USAGE, finish="STOP")]
    reading = weigh(array(*steps), ASKED, content_type=JSON)
    assert counts(exact(reading)) == (58, 20, None, 42, 12)
    assert reading.service_tier == "ON_DEMAND"


def test_usage_without_candidates_is_zero_output():
    assert (
        exact(
            weigh(
                sse(part(usage={"promptTokenCount": 7, "totalTokenCount": 7}, finish="SAFETY"))[6:],
                facts("gemini.generate_content"),
            )
        ).output_tokens
        == 0
    )


def test_usage_absent_is_missing_unless_nothing_was_asked():
    reading = weigh(sse(part(finish="STOP"))[6:], facts("gemini.generate_content"))
    assert (reading.usage, reading.is_usage_missing) == (None, True)
    traffic = weigh(
        sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"trafficType": 1}})[6:],
        facts("gemini.generate_content"),
    )
    assert (traffic.usage, traffic.is_usage_missing) == (None, True)


def test_enums_as_numbers():
    usage = {
        "promptTokenCount": 9,
        "totalTokenCount": 9,
        "promptTokensDetails": [{"modality": 4, "tokenCount": 5}],
        "trafficType": 1,
    }
    assert exact(weigh(sse(part(usage=usage))[6:], facts("gemini.generate_content"))).input_audio_tokens == 5


def test_cut_stream_keeps_the_running_counts_as_a_lower_bound():
    steps = [part(usage={"promptTokenCount": 9, "candidatesTokenCount": n, "totalTokenCount": 9 + n}) for n in (4, 8)]
    reading = weigh(sse(*steps), ASKED, content_type=SSE, is_complete=False)
    assert (reading.exactness, reading.usage.input_tokens, reading.usage.output_tokens) == (Exactness.LOWER_BOUND, 9, 8)
    early = weigh(
        sse(part("x" * 80, usage={"promptTokenCount": 9, "totalTokenCount": 9})), ASKED, content_type=SSE, is_complete=False
    )
    assert (early.exactness, early.usage.output_tokens) == (Exactness.LOWER_BOUND, 80 // 4)


def test_stream_broken_off_by_a_plain_json_error():
    error = (
        b'{\n  "error": {\n    "code": 499,\n    "message": "The operation was cancelled.",\n    "status": "CANCELLED"\n  }\n}\n'
    )
    reading = weigh(sse(part("first"), end="\r\n\r\n") + error, ASKED, content_type=SSE)
    assert reading.error == "CANCELLED: The operation was cancelled."
    assert reading.exactness is Exactness.ESTIMATED


def test_error_body_under_a_stream_content_type_and_as_an_array():
    error = {"error": {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}}
    assert (
        weigh(json.dumps(error, indent=2).encode(), ASKED, content_type=SSE, status=404).error == "NOT_FOUND: models/x is not found"
    )
    assert weigh(array(error), ASKED, content_type=JSON, status=404).error == "NOT_FOUND: models/x is not found"


def test_model_from_the_path_where_the_body_has_none():
    body = {"candidates": [], "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}}
    assert weigh(sse(body)[6:], facts("gemini.generate_content", model="gemini-path")).response_model == "gemini-path"


def test_searches_of_grounding_are_counted_once():
    grounded = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}, "finishReason": "STOP"}
    event = part(usage=USAGE) | {"candidates": [grounded]}
    assert exact(weigh(sse(event, event), ASKED, content_type=SSE)).units == {"web_searches": Decimal(2)}


@pytest.mark.parametrize("key", ["promptTokenDetails", "promptTokensDetails"])
def test_embeddings_with_and_without_usage(key):
    vectors = {"embeddings": [{"values": [0.1, 0.2]}]}
    none = weigh(sse(vectors)[6:], facts("gemini.embed_content", model="e-1"))
    assert (none.usage, none.is_usage_missing, none.response_model) == (None, False, "e-1")
    usage = {"promptTokenCount": 6, key: [{"modality": "TEXT", "tokenCount": 6}]}
    reading = weigh(sse(vectors | {"usageMetadata": usage})[6:], facts("gemini.embed_content", model="e-2"))
    assert (reading.api, exact(reading).input_tokens, reading.usage.output_tokens) == ("gemini.embed_content", 6, 0)


def interaction(**more):
    return {"id": "i1", "object": "interaction", "model": "gemini-x", "status": "completed", "service_tier": "standard"} | more


INTERACTION_USAGE = {
    "total_input_tokens": 50,
    "total_tool_use_tokens": 5,
    "total_cached_tokens": 0,
    "total_output_tokens": 3,
    "total_thought_tokens": 56,
    "total_tokens": 114,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 50}],
    "grounding_tool_count": [{"type": "google_search", "count": 2}],
}


def test_interactions_single_and_streamed():
    reading = weigh(sse(interaction(usage=INTERACTION_USAGE))[6:], facts("gemini.interactions"))
    assert counts(exact(reading)) == (55, 0, None, 59, 56)
    assert (reading.usage.units, reading.billing_key) == ({"web_searches": Decimal(2)}, None)
    begun = {"event_type": "interaction.created", "interaction": interaction(status="in_progress")}
    step = {"event_type": "step.delta", "index": 0, "delta": {"text": "hello", "type": "text"}}
    done = {"event_type": "interaction.completed", "interaction": interaction(usage=INTERACTION_USAGE)}
    body = sse(("interaction.created", begun), *[("step.delta", step)] * 12, ("interaction.completed", done), ("done", 1))
    stream = weigh(body, facts("gemini.interactions", is_stream=True), content_type=SSE)
    assert (counts(exact(stream)), stream.response_model, stream.service_tier) == ((55, 0, None, 59, 56), "gemini-x", "standard")


def test_agents_work_in_the_background_and_are_billed_when_read():
    begun = weigh(
        b'{"id":"i1","status":"in_progress","object":"interaction","agent":"deep-research"}', facts("gemini.interactions")
    )
    assert (begun.usage, begun.is_usage_missing) == (None, False)
    done = weigh(
        sse(interaction(agent="deep-research", usage=INTERACTION_USAGE))[6:], facts("gemini.interactions", is_metered=False)
    )
    assert done.billing_key == "interaction:i1"


def test_vertex_predictions():
    vectors = {
        "predictions": [{"embeddings": {"statistics": {"token_count": n}, "values": [0.1]}} for n in (1, 1, 2)],
        "metadata": {"billableCharacterCount": 20},
    }
    reading = weigh(sse(vectors)[6:], facts("vertex.predict", model="text-embedding-x"))
    assert (exact(reading).input_tokens, reading.usage.output_tokens, reading.response_model) == (4, 0, "text-embedding-x")
    images = weigh(
        b'{"predictions":[{"bytesBase64Encoded":"aGk=","mimeType":"image/png"}]}', facts("vertex.predict", model="imagen")
    )
    assert exact(images).units == {"images": Decimal(1)}


def test_interaction_without_its_object_name():
    bare = {name: value for name, value in interaction(usage=INTERACTION_USAGE).items() if name != "object"}
    assert counts(exact(weigh(sse(bare)[6:], facts("gemini.interactions")))) == (55, 0, None, 59, 56)


def test_texts_of_predict_count_in_the_metadata():
    sides = {
        "inputTokenCount": {"totalTokens": 5, "totalBillableCharacters": 20},
        "outputTokenCount": {"totalTokens": 6, "totalBillableCharacters": 21},
    }
    answer = {"predictions": [{"content": "x"}], "metadata": {"tokenMetadata": sides}}
    assert counts(exact(weigh(sse(answer)[6:], facts("vertex.predict", model="text-x")))) == (5, None, None, 6, None)


def test_batch_is_billed_when_it_has_ended_and_once():
    begun = {"name": "batches/b1", "metadata": {"model": "models/gemini-x", "state": "BATCH_STATE_PENDING"}}
    reading = weigh(sse(begun)[6:], facts("gemini.batches"))
    assert (reading.usage, reading.is_usage_missing, reading.billing_key) == (None, False, None)
    answers = [{"response": part(usage=USAGE)}, {"error": {"code": 4}}, {"response": part(usage=USAGE)}]
    done = begun | {"done": True, "response": {"inlinedResponses": {"inlinedResponses": answers}}}
    reading = weigh(sse(done)[6:], facts("openai.batches", is_metered=False))
    assert (reading.api, counts(exact(reading))) == ("gemini.batches", (2 * 58, 2 * 20, None, 2 * 42, 2 * 12))
    assert (reading.billing_key, reading.service_tier, reading.response_model) == ("batch:batches/b1", "batch", "gemini-x-001")


def test_a_batch_that_failed_says_why():
    failed = {"name": "batches/b1", "metadata": {"model": "models/gemini-x"}, "done": True, "error": {"code": 13, "message": "no"}}
    reading = weigh(sse(failed)[6:], facts("gemini.batches"))
    assert (reading.usage, reading.api) == (None, "gemini.batches")
    assert "no" in reading.error


def test_documents_are_images_and_video_has_a_price_of_its_own():
    details = [("TEXT", 10), ("IMAGE", 20), ("DOCUMENT", 30), ("VIDEO", 40)]
    usage = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 50,
        "totalTokenCount": 150,
        "promptTokensDetails": [{"modality": name, "tokenCount": tokens} for name, tokens in details],
        "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}, {"modality": "DOCUMENT", "tokenCount": 6}],
        "candidatesTokensDetails": [{"modality": "VIDEO", "tokenCount": 50}],
    }
    for reading in (weigh(sse(part(usage=usage))[6:], facts("gemini.generate_content")), weigh(array(part(usage=usage)), ASKED)):
        assert exact(reading).input_image_tokens == 20 + 30
        assert {name: int(number) for name, number in reading.usage.units.items()} == {
            "input_video_tokens": 40,
            "output_video_tokens": 50,
            "cache_read_image_tokens": 11,
        }
