"""Anthropic's formats, from the documented shapes; every stream also byte by byte and zipped."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.usage.tokens import Exactness
from tests.weighing import SSE, counts, exact, facts, sse, weigh

ASKED = facts("anthropic.messages", model="asked", is_stream=True)
START = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 60,
    "output_tokens": 1,
    "service_tier": "standard",
}
TEXT = ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}})
STOP = ("message_stop", {"type": "message_stop"})


def start(usage, model="claude-x"):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    return ("message_start", {"type": "message_start", "message": message})


def delta(usage):
    return ("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})


def stream(*events, **more):
    return weigh(sse(*events), ASKED, content_type=SSE, **more)


def test_cache_reads_and_writes_are_part_of_the_input():
    reading = stream(start(START), *[TEXT] * 20, delta({"output_tokens": 42}), STOP)
    assert counts(exact(reading)) == (10 + 30 + 60, 60, 30, 42, None)
    assert (reading.usage.total_tokens, reading.service_tier, reading.response_model) == (142, "standard", "claude-x")
    assert (reading.api, reading.provider_response_id) == ("anthropic.messages", "msg_1")


def test_the_delta_is_final_though_the_stop_never_comes():
    reading = stream(start(START), *[TEXT] * 20, delta({"output_tokens": 42}), is_complete=False)
    assert counts(exact(reading)) == (100, 60, 30, 42, None)


def test_delta_with_larger_input_replaces_the_start():
    reading = stream(start({"input_tokens": 2750, "output_tokens": 1}), delta({"input_tokens": 12229, "output_tokens": 300}), STOP)
    assert counts(exact(reading)) == (12229, None, None, 300, None)


def test_delta_with_smaller_input_replaces_it_too():
    assert (
        exact(
            stream(start({"input_tokens": 612, "output_tokens": 1}), delta({"input_tokens": 28, "output_tokens": 8}), STOP)
        ).input_tokens
        == 28
    )


def test_zero_or_null_input_in_the_delta_never_erases_the_start():
    usage = {"input_tokens": 0, "cache_read_input_tokens": None, "cache_creation_input_tokens": 0, "output_tokens": 5}
    assert counts(exact(stream(start(START), delta(usage), STOP))) == (100, 60, 30, 5, None)


def test_caches_only_in_the_delta_after_a_start_of_zeros():
    begin = start({"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": None})
    reading = stream(begin, delta({"input_tokens": 32, "cache_read_input_tokens": 7, "output_tokens": 9, "cost": 0.000112}), STOP)
    assert counts(exact(reading)) == (39, 7, None, 9, None)
    assert reading.reported_cost_usd == Decimal("0.000112")


def test_several_deltas_are_cumulative_so_the_last_wins():
    assert exact(stream(start(START), delta({"output_tokens": 10}), delta({"output_tokens": 25}), STOP)).output_tokens == 25


def test_output_zero_replaces_the_placeholder():
    assert exact(stream(start(START), delta({"output_tokens": 0}), STOP)).output_tokens == 0


def test_hour_writes_are_kept_from_the_start():
    split = START | {"cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}
    usage = exact(stream(start(split), delta({"cache_creation_input_tokens": 30, "output_tokens": 4}), STOP))
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (30, 20)
    assert exact(stream(start(START), delta({"output_tokens": 4}), STOP)).cache_write_1h_tokens is None


def test_thinking_searches_and_fast_mode():
    usage = {
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
        "server_tool_use": {"web_search_requests": 3},
        "speed": "fast",
    }
    reading = stream(start(START), delta(usage), STOP)
    assert (exact(reading).reasoning_tokens, reading.usage.units, reading.service_tier) == (
        20,
        {"web_searches": Decimal(3)},
        "fast",
    )


def test_compaction_passes_are_added_and_advisors_stand_apart():
    passes = [
        {"type": "compaction", "input_tokens": 55196, "cache_read_input_tokens": 4, "output_tokens": 125},
        {"type": "message", "input_tokens": 220, "output_tokens": 8},
        {"type": "advisor_message", "model": "claude-advisor", "input_tokens": 900, "output_tokens": 70},
        {"type": "fallback_message", "model": "claude-x", "input_tokens": 220, "output_tokens": 8},
    ]
    reading = stream(start({"input_tokens": 220, "output_tokens": 1}), delta({"output_tokens": 8, "iterations": passes}), STOP)
    assert counts(exact(reading)) == (220 + 55196 + 4, 4, None, 8 + 125, None)
    ((model, usage),) = reading.also_used
    assert (model, usage.input_tokens, usage.output_tokens) == ("claude-advisor", 900, 70)


def test_error_after_three_deltas_keeps_the_input_as_a_lower_bound():
    error = ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    reading = stream(start(START), TEXT, TEXT, TEXT, error)
    assert (reading.error, reading.exactness) == ("overloaded_error: Overloaded", Exactness.LOWER_BOUND)
    # three events of 5 bytes: 15 / 4, rounded up, is 4
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (100, 4)


def test_cut_after_the_start_is_a_lower_bound():
    reading = stream(start(START), *[TEXT] * 3, is_complete=False, expected_input_tokens=7)
    assert (reading.exactness, reading.usage.input_tokens, reading.usage.output_tokens) == (Exactness.LOWER_BOUND, 100, 4)
    only = stream(start(START), is_complete=False)
    assert (only.exactness, only.usage.output_tokens) == (Exactness.LOWER_BOUND, 1)


def test_pings_padding_and_unknown_events_are_stood():
    body = b": hello\n\n" + sse(("ping", {"type": "ping"}), start(START)) + b'event: future\ndata: {"type":"future"}      \n\n'
    body += sse(delta({"output_tokens": 5})).replace(b"}}\n\n", b"}}        \n\n") + sse(STOP)
    assert exact(weigh(body, ASKED, content_type=SSE)).output_tokens == 5


@pytest.mark.parametrize("api", ["anthropic.messages", "vertex.predict", "unknown"])
def test_single_message_on_any_route(api):
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "usage": START | {"output_tokens": 7},
    }
    reading = weigh(sse(message)[6:], facts(api, model="path-model"))
    assert (reading.api, exact(reading).input_tokens, reading.response_model) == ("anthropic.messages", 100, "claude-x")


def test_usage_inside_a_tool_call_is_text_and_not_usage():
    content = [
        {"type": "tool_use", "id": "t", "name": "f", "input": {"usage": {"input_tokens": 9999999, "output_tokens": 9999999}}}
    ]
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": content,
        "usage": {"input_tokens": 5, "output_tokens": 6},
    }
    assert counts(exact(weigh(sse(message)[6:], facts("anthropic.messages")))) == (5, None, None, 6, None)


def test_old_completions_never_report_so_they_are_missing():
    reading = weigh(
        b'{"type":"completion","id":"compl_1","completion":" hi","stop_reason":"stop_sequence","model":"claude-2.1"}',
        facts("anthropic.complete"),
    )
    assert (reading.usage, reading.response_model, reading.is_usage_missing) == (None, "claude-2.1", True)


def test_batch_results_are_summed_and_billed_by_the_first_message():
    body = b""
    for number in (1, 2):
        usage = {"input_tokens": 10 * number, "cache_read_input_tokens": 1, "output_tokens": number, "service_tier": "batch"}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-x", "usage": usage}
        body += sse({"custom_id": str(number), "result": {"type": "succeeded", "message": message}})[6:-1]
    body += b'{"custom_id":"3","result":{"type":"errored"}}\n'
    reading = weigh(body, facts("anthropic.batches", is_metered=False), content_type="application/x-jsonl")
    assert counts(exact(reading)) == (32, 2, None, 3, None)
    assert (reading.billing_key, reading.service_tier) == ("batch:msg_1", "batch")


def test_counting_tokens_uses_none():
    assert weigh(b'{"input_tokens":14}', facts("anthropic.count_tokens", is_metered=False)).usage is None
