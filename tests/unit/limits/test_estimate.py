"""Estimates: usual for balanced limits, upper bounds for strict ones; and what is held and settled."""

from __future__ import annotations

import random
from math import ceil

import pytest

from proxy.limits.estimate import (
    DEFAULT_CONTEXT_TOKENS,
    DEFAULT_MAX_OUTPUT_TOKENS,
    DEFAULT_USUAL_OUTPUT_TOKENS,
    Estimator,
    actual_amounts,
    output_cap_of,
    parts_of,
    wanted_of,
)
from proxy.limits.hidden_input import HIDDEN_PROMPT_TOKENS, OPEN_ENDED, TOOL_PROMPT_TOKENS, TOOLS
from proxy.limits.learned import GENERATION, HIDDEN_MARGIN, TIGHTEN_FLOOR, TIGHTEN_MARGIN, TIGHTEN_SAMPLES, Learned
from proxy.limits.limit import Held, Limit, Reservation
from proxy.usage.tokens import Exactness

MODEL = "openai/gpt-4o"


def bound(
    estimator: Estimator, input_bytes: int = 1_000, cap: int | None = 100, choices: int = 1, *, hidden: int = 0
) -> tuple[int, int]:
    return estimator.upper_bound(MODEL, input_bytes, cap, choices, 16_384, 128_000, hidden=hidden)


def teach(
    estimator: Estimator, samples: int, *, ratio: float = 0.25, input_bytes: int = 1_000, output: int = 100, cap: int | None = None
) -> None:
    for _ in range(samples):
        estimator.learn(MODEL, input_bytes, cap, int(input_bytes * ratio), output)


class TestUpperBound:
    def test_a_byte_is_at_most_a_token(self) -> None:
        assert bound(Estimator()) == (1_000 + HIDDEN_PROMPT_TOKENS, 100)

    def test_tools_bring_instructions(self) -> None:
        assert bound(Estimator(), hidden=TOOLS)[0] == 1_000 + HIDDEN_PROMPT_TOKENS + TOOL_PROMPT_TOKENS

    def test_what_lies_outside_the_body_is_bounded_by_the_context(self) -> None:
        assert bound(Estimator(), hidden=OPEN_ENDED)[0] == 128_000
        assert Estimator().upper_bound(MODEL, 10, 5, 1, None, None, hidden=OPEN_ENDED)[0] == DEFAULT_CONTEXT_TOKENS

    def test_no_body_makes_more_than_the_context(self) -> None:
        assert bound(Estimator(), input_bytes=5_000_000)[0] == 128_000

    def test_output_is_cap_times_choices(self) -> None:
        assert bound(Estimator(), cap=100, choices=3)[1] == 300
        assert bound(Estimator(), cap=0)[1] == 0

    @pytest.mark.parametrize(
        ("max_output", "context", "expected"),
        [(16_384, 128_000, 16_384), (None, 8_192, 8_192), (None, None, DEFAULT_MAX_OUTPUT_TOKENS)],
    )
    def test_without_a_cap_the_model_bounds_the_output(self, max_output: int | None, context: int | None, expected: int) -> None:
        assert Estimator().upper_bound(MODEL, 10, None, 1, max_output, context)[1] == expected
        assert Estimator().upper_bound(MODEL, 10, None, 2, max_output, context)[1] == 2 * expected

    def test_a_cap_beyond_the_context_is_the_context(self) -> None:
        assert bound(Estimator(), cap=10**9)[1] == 128_000

    def test_it_tightens_only_after_enough_samples_and_with_a_margin(self) -> None:
        estimator = Estimator()
        teach(estimator, TIGHTEN_SAMPLES - 1, ratio=0.2)
        assert bound(estimator)[0] == 1_000 + HIDDEN_PROMPT_TOKENS
        teach(estimator, 1, ratio=0.2)
        assert bound(estimator)[0] == 400 + HIDDEN_PROMPT_TOKENS

    def test_one_dense_request_loosens_it_again(self) -> None:
        estimator = Estimator()
        teach(estimator, 10 * TIGHTEN_SAMPLES, ratio=0.2)
        teach(estimator, 1, ratio=0.45)
        assert bound(estimator)[0] == 900 + HIDDEN_PROMPT_TOKENS
        teach(estimator, 1, ratio=0.9)
        assert bound(estimator)[0] == 1_000 + HIDDEN_PROMPT_TOKENS

    def test_it_never_tightens_below_a_quarter(self) -> None:
        estimator = Estimator()
        teach(estimator, TIGHTEN_SAMPLES, ratio=0.01)
        assert bound(estimator)[0] == 250 + HIDDEN_PROMPT_TOKENS

    def test_a_prompt_that_a_provider_puts_in_front_is_learned_from_the_first_answer(self) -> None:
        estimator = Estimator()
        estimator.learn(MODEL, 160, None, 1_575, 4)  # one line in, 1,575 tokens: 1,555 and more of them are the provider's
        for input_bytes in (50, 160, 4_000):
            assert bound(estimator, input_bytes)[0] >= 1_575 + (input_bytes - 160) // 4

    def test_what_open_ended_requests_used_says_nothing_about_bytes(self) -> None:
        estimator = Estimator()
        estimator.learn(MODEL, 160, None, 90_000, 4, hidden=OPEN_ENDED)
        assert bound(estimator)[0] == 1_000 + HIDDEN_PROMPT_TOKENS

    def test_larger_than_the_price_data_says_is_believed_when_seen(self) -> None:
        estimator = Estimator()
        estimator.learn(MODEL, 4_000_000, None, 900_000, 30_000)
        assert bound(estimator, hidden=OPEN_ENDED)[0] == 900_000
        assert bound(estimator, cap=None)[1] == 30_000

    def test_text_of_any_kind_stays_below_it(self) -> None:
        """The densest text that byte-level tokenizers know: every byte a token, JSON around it not counted."""
        estimator, seeded = Estimator(), random.Random(7)
        for _ in range(3_000):
            size = seeded.randint(1, 5_000)
            assert bound(estimator, size + 60)[0] >= size + 8
            estimator.learn(MODEL, size + 60, None, size + 8, 1)


class TestUsual:
    def test_before_anything_is_learned(self) -> None:
        assert Estimator().usual(MODEL, 1_000, None, 1) == (301, DEFAULT_USUAL_OUTPUT_TOKENS)

    def test_never_above_the_cap(self) -> None:
        assert Estimator().usual(MODEL, 1_000, 16, 1)[1] == 16
        assert Estimator().usual(MODEL, 1_000, 16, 3)[1] == 48
        assert Estimator().usual(MODEL, 1_000, 0, 1)[1] == 0

    def test_about_nine_of_ten_calls_stay_below(self) -> None:
        estimator, seeded = Estimator(), random.Random(3)
        below_input = below_output = 0
        for number in range(4_000):
            input_bytes, ratio, output = seeded.randint(200, 20_000), seeded.uniform(0.15, 0.3), int(seeded.lognormvariate(5, 1))
            usual_input, usual_output = estimator.usual(MODEL, input_bytes, None, 1)
            if number >= 500:
                below_input += input_bytes * ratio <= usual_input
                below_output += output <= usual_output
            estimator.learn(MODEL, input_bytes, None, int(input_bytes * ratio), output)
        assert 0.85 < below_input / 3_500 < 0.95
        assert 0.85 < below_output / 3_500 < 0.95

    def test_a_cap_that_is_never_used_up_is_not_held(self) -> None:
        estimator = Estimator()
        teach(estimator, 50, output=40, cap=4_096)
        assert 40 <= estimator.usual(MODEL, 1_000, 4_096, 1)[1] <= 44

    def test_capped_calls_do_not_teach_about_uncapped_ones(self) -> None:
        estimator = Estimator()
        teach(estimator, 50, output=1, cap=1)
        assert estimator.usual(MODEL, 1_000, None, 1)[1] == DEFAULT_USUAL_OUTPUT_TOKENS
        teach(estimator, 8, output=2_000)
        assert estimator.usual(MODEL, 1_000, None, 1)[1] == 2_000

    def test_few_samples_do_not_go_below_the_default(self) -> None:
        estimator = Estimator()
        teach(estimator, 3, output=5)
        assert estimator.usual(MODEL, 1_000, None, 1)[1] == DEFAULT_USUAL_OUTPUT_TOKENS
        teach(estimator, 1, output=3_000)
        assert estimator.usual(MODEL, 1_000, None, 1)[1] == 3_000

    def test_a_model_that_writes_nothing(self) -> None:
        estimator = Estimator()
        teach(estimator, 20, output=0)
        assert estimator.usual(MODEL, 1_000, None, 1)[1] == 0
        teach(estimator, 1, output=7)
        assert estimator.usual(MODEL, 1_000, None, 1)[1] > 0

    def test_it_follows_a_model_that_changes(self) -> None:
        estimator = Estimator()
        teach(estimator, 500, output=100)
        teach(estimator, 60, output=5_000)
        assert 4_900 <= estimator.usual(MODEL, 1_000, None, 1)[1] <= 5_500


class TestModels:
    def test_the_model_not_heard_of_for_longest_is_forgotten(self) -> None:
        estimator = Estimator(max_models=2)
        for model in ("a", "b", "a", "c"):
            for _ in range(8):
                estimator.learn(model, 100, None, 10, 7)
        assert len(estimator) == 2
        assert estimator.usual("a", 100, None, 1)[1] < 10
        assert estimator.usual("b", 100, None, 1)[1] == DEFAULT_USUAL_OUTPUT_TOKENS

    def test_asking_makes_no_entry(self) -> None:
        estimator = Estimator()
        for number in range(100):
            estimator.usual(f"made-up-{number}", 10, None, 1)
            estimator.upper_bound(f"made-up-{number}", 10, None, 1, None, None)
        assert len(estimator) == 0

    def test_counts_that_were_not_reported_teach_nothing(self) -> None:
        estimator = Estimator()
        estimator.learn(MODEL, 100, None, None, None)
        estimator.learn(MODEL, 0, None, 5, None)
        assert estimator.usual(MODEL, 1_000, None, 1) == (301, DEFAULT_USUAL_OUTPUT_TOKENS)


@pytest.mark.parametrize(
    ("api", "cap", "expected"),
    [
        ("openai.embeddings", None, 0),
        ("cohere.rerank", 9, 0),
        ("openai.chat", None, None),
        ("openai.chat", -1, None),
        ("ollama.chat", 8, 8),
    ],
)
def test_apis_that_write_nothing_are_capped_at_nothing(api: str, cap: int | None, expected: int | None) -> None:
    assert output_cap_of(api, cap) == expected


def rule(resource: str, mode: str, window: str | None = "day") -> Limit:
    return Limit(f"{resource}.{mode}", f"user:a:*:{resource}", resource, window, 10**6, mode)


@pytest.mark.parametrize(
    ("resource", "strict", "balanced"),
    [
        ("tokens", 1_100, 330),
        ("input_tokens", 1_000, 300),
        ("output_tokens", 100, 30),
        ("cost_usd", 9_000, 2_000),
        ("requests", 1, 1),
    ],
)
def test_each_mode_holds_its_own(resource: str, strict: int, balanced: int) -> None:
    limits = [rule(resource, mode) for mode in ("strict", "balanced", "soft")]
    wanted = wanted_of(parts_of(limits), (300, 30), (1_000, 100), 2_000, 9_000)
    assert [demand.amount for demand in wanted] == [strict, balanced, 0]
    assert [demand.limit for demand in wanted] == limits


def test_concurrency_takes_a_lease_in_every_mode() -> None:
    limits = [rule("concurrent_requests", mode, None) for mode in ("strict", "balanced", "soft")]
    assert [demand.amount for demand in wanted_of(parts_of(limits), (1, 1), (2, 2), 1, 2)] == [1, 1, 1]


def test_without_a_price_a_budget_must_have_something_left() -> None:
    limits = [rule("cost_usd", mode) for mode in ("strict", "balanced")]
    assert [demand.amount for demand in wanted_of(parts_of(limits), (1, 1), (2, 2), None, None)] == [1, 1]
    assert [demand.amount for demand in wanted_of(parts_of(limits), (1, 1), (2, 2), 0, 0)] == [0, 0]


def reservation(*held: tuple[str, str, int]) -> Reservation:
    return Reservation(
        "r",
        tuple(Held(f"user:a:*:{resource}", resource, "day", "2026-11-21", amount, mode) for resource, mode, amount in held),
        0.0,
    )


class TestActual:
    def test_exact_counts_stand(self) -> None:
        assert actual_amounts(10, 5, 700, reservation(("tokens", "strict", 999)), Exactness.EXACT) == {
            "tokens": 15,
            "input_tokens": 10,
            "output_tokens": 5,
            "cost_usd": 700,
            "requests": 1,
        }

    def test_the_providers_own_total_counts(self) -> None:
        assert actual_amounts(10, 5, 700, reservation(), Exactness.EXACT, total_tokens=40)["tokens"] == 40

    def test_a_lower_bound_charges_more_and_never_gives_back(self) -> None:
        held = reservation(("tokens", "strict", 1_000), ("tokens", "balanced", 100), ("cost_usd", "balanced", 50))
        low = actual_amounts(30, 5, 20, held, Exactness.LOWER_BOUND)
        assert (low["tokens"], low["tokens@strict"], low["cost_usd"]) == (100, 1_000, 50)
        high = actual_amounts(900, 300, 80, held, Exactness.LOWER_BOUND)
        assert (high["tokens"], high.get("tokens@strict"), high["cost_usd"]) == (1_200, None, 80)

    def test_an_estimate_gives_back_to_balanced_limits_only(self) -> None:
        held = reservation(("tokens", "strict", 1_000), ("tokens", "balanced", 100))
        actual = actual_amounts(30, 5, 20, held, Exactness.ESTIMATED)
        assert (actual["tokens"], actual["tokens@strict"]) == (35, 1_000)

    def test_an_unknown_count_is_charged_as_held(self) -> None:
        held = reservation(("cost_usd", "balanced", 400), ("cost_usd", "strict", 900), ("tokens", "balanced", 7))
        actual = actual_amounts(10, 5, None, held, Exactness.EXACT)
        assert (actual["cost_usd"], actual["cost_usd@strict"], actual["tokens"]) == (400, 900, 15)
        assert actual_amounts(10, None, 1, held, Exactness.EXACT)["tokens"] == 7

    def test_an_error_used_nothing_but_the_request(self) -> None:
        held = reservation(("tokens", "strict", 1_000))
        assert actual_amounts(None, None, None, held, Exactness.NONE) == {
            "tokens": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_usd": 0,
            "requests": 1,
        }


def test_bounds_that_are_kept_are_those_worked_out_anew() -> None:
    chance, learned = random.Random(7), Learned()
    for _ in range(5_000):
        size = chance.randint(1, 5_000)
        learned.learn_input(
            size, int(size * chance.choice([0.1, 0.2, 0.3, 0.9, 3.0, 20.0]) * chance.random()), chance.random() < 0.9
        )
        ratio, hidden = max(learned._ratio, learned._ratio_before), max(learned._hidden, learned._hidden_before)
        is_tight = learned.samples >= TIGHTEN_SAMPLES
        assert learned.bound_factor == (min(1.0, max(TIGHTEN_FLOOR, ratio * TIGHTEN_MARGIN)) if is_tight else 1.0)
        assert learned.bound_hidden == ceil(hidden * HIDDEN_MARGIN)


def test_one_odd_call_is_remembered_for_a_generation_and_forgotten_after_two() -> None:
    learned = Learned()
    learned.learn_input(800, 5_000, is_bounded=True)
    odd = ceil((5_000 - 100) * HIDDEN_MARGIN)
    for _ in range(GENERATION):
        learned.learn_input(800, 200, is_bounded=True)
        assert learned.bound_hidden == odd
    for _ in range(GENERATION):
        learned.learn_input(800, 200, is_bounded=True)
    assert learned.bound_hidden == 0


def test_as_many_tokens_as_bytes_are_the_texts_own() -> None:
    learned = Learned()
    learned.learn_input(800, 800, is_bounded=True)
    assert learned.bound_hidden == 0
    learned.learn_input(800, 801, is_bounded=True)
    assert learned.bound_hidden == ceil(701 * HIDDEN_MARGIN)
