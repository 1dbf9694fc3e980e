"""What a request will probably use, what it can use at most, and from these what to hold and what to settle.

Rules of this file:
- `usual` is for balanced limits: about the 90th percentile of what this model's calls used, never above the caller's cap.
- `upper_bound` is for strict limits and never less than the truth, as far as bytes can tell:
  input ≤ bytes × factor + hidden. factor is 1 (no tokenizer makes more tokens than bytes, and the JSON around the text is counted
  too); after TIGHTEN_SAMPLES answers it is twice the largest ratio of the last 1,024 and more, if that is less. hidden covers chat
  templates and prompts that providers put in front: a constant, more where tools are declared or the provider is known
  for it, and a quarter more than the most that was seen. A body that refers to something outside itself (hidden_input.py) is
  bounded by the model's context only. Not bounded by anything: provider-side tools that read several contexts in one call.
  output ≤ cap × choices, else the model's maximum, else its context, else DEFAULT_MAX_OUTPUT_TOKENS.
  What exceeds the bound all the same is counted when it settles (Counters.strict_overruns) and learned.
- State is per model, plain, bounded (LRU), and only made by answers: made-up model names cost nothing.
No clock, no I/O. Prices come from the caller as nano-dollars (pricing/tariff.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from proxy.limits.counting import STRICT_KEYS
from proxy.limits.hidden_input import OPEN_ENDED, PLAIN, TOOL_PROMPT_TOKENS, TOOLS, known_hidden_tokens
from proxy.limits.learned import Learned
from proxy.limits.limit import Demand, Limit, Reservation
from proxy.usage.tokens import Exactness

MAX_MODELS = 2_000
"""Models remembered; the one not heard of for longest goes first. About 1 KB each."""
DEFAULT_INPUT_RATIO = 0.3
"""Tokens per byte before anything is learned: JSON around English text makes 0.15 to 0.25, code and CJK 0.3 to 0.5."""
DEFAULT_USUAL_OUTPUT_TOKENS = 512
"""Output before anything is learned; 95 of 100 recorded answers are shorter than 360."""
DEFAULT_MAX_OUTPUT_TOKENS = 131_072
"""Where neither the request nor the price data says: the largest maximum on offer (2026)."""
DEFAULT_CONTEXT_TOKENS = 2_097_152
"""The same for the context."""
TIGHTEN_SAMPLES = 256
TIGHTEN_MARGIN = 2.0
TIGHTEN_FLOOR = 0.25
HIDDEN_MARGIN = 1.25
UNKNOWN_COST_NANO_USD = 1
"""What a call without a price wants of a budget: the least there is, so that a spent budget refuses it."""

APIS_WITHOUT_OUTPUT = frozenset(
    {
        "openai.embeddings",
        "openai.moderations",
        "openai.files",
        "gemini.embed_content",
        "gemini.count_tokens",
        "anthropic.count_tokens",
        "cohere.embed",
        "cohere.rerank",
        "cohere.tokenize",
        "cohere.classify",
        "ollama.embed",
    }
)


def output_cap_of(api: str, output_cap: int | None) -> int | None:
    """The cap to estimate with: 0 for APIs that write no text, and never below 0."""
    if api in APIS_WITHOUT_OUTPUT:
        return 0
    return None if output_cap is None or output_cap < 0 else output_cap


class Estimator:
    """Learns per model what its calls use."""

    def __init__(self, max_models: int = MAX_MODELS) -> None:
        self._max_models = max_models
        self._models: dict[str, Learned] = {}

    def __len__(self) -> int:
        return len(self._models)

    def usual(self, model_key: str, facts_input_bytes: int, output_cap: int | None, choices: int) -> tuple[int, int]:
        """Input and output tokens that nine of ten such requests stay under.

        Args:
            model_key: provider and model, as given to `learn`.
            output_cap: per choice; None: the caller set none.
        """
        learned = self._models.get(model_key)
        if learned is None:
            input_tokens = facts_input_bytes * DEFAULT_INPUT_RATIO
            output_tokens: float = DEFAULT_USUAL_OUTPUT_TOKENS
        else:
            input_tokens = facts_input_bytes * learned.input_ratio.estimate(DEFAULT_INPUT_RATIO)
            quantile = learned.free_output if output_cap is None or not learned.capped_output.count else learned.capped_output
            output_tokens = quantile.estimate(DEFAULT_USUAL_OUTPUT_TOKENS)
        if choices > 1:
            output_tokens *= choices
        if output_cap is not None and output_cap * choices < output_tokens:
            output_tokens = output_cap * choices
        return int(input_tokens) + 1, ceil(output_tokens)

    def upper_bound(
        self,
        model_key: str,
        input_bytes: int,
        output_cap: int | None,
        choices: int,
        model_limits_max_output: int | None,
        context_tokens: int | None,
        *,
        hidden: int = PLAIN,
    ) -> tuple[int, int]:
        """Input and output tokens that such a request cannot exceed; see the top of this file for what that rests on.

        Args:
            input_bytes: of the decoded body (not of a compressed one).
            hidden: flags of hidden_input(body).
        """
        learned = self._models.get(model_key)
        most_input, most_output = (learned.most_input, learned.most_output) if learned else (0, 0)
        context = max(context_tokens or DEFAULT_CONTEXT_TOKENS, most_input)
        if hidden & OPEN_ENDED:
            input_tokens = context
        else:
            factor, extra = 1.0, known_hidden_tokens(model_key)
            if learned is not None:
                if learned.samples >= TIGHTEN_SAMPLES:
                    factor = min(1.0, max(TIGHTEN_FLOOR, learned.most_ratio * TIGHTEN_MARGIN))
                extra = max(extra, ceil(learned.most_hidden * HIDDEN_MARGIN))
            if hidden & TOOLS:
                extra += TOOL_PROMPT_TOKENS
            input_tokens = min(ceil(input_bytes * factor) + extra, context)
        if output_cap is not None:
            output_tokens = output_cap if context_tokens is None else min(output_cap, max(context, most_output))
        else:
            output_tokens = max(model_limits_max_output or context_tokens or DEFAULT_MAX_OUTPUT_TOKENS, most_output)
        return input_tokens, output_tokens * max(1, choices)

    def learn(
        self,
        model_key: str,
        input_bytes: int,
        output_cap: int | None,
        input_tokens: int | None,
        output_tokens: int | None,
        *,
        hidden: int = PLAIN,
    ) -> None:
        """Take in one answer's reported counts (exact ones only: an estimate teaches nothing)."""
        learned = self._models.pop(model_key, None)
        if learned is None:
            learned = Learned()
            if len(self._models) >= self._max_models:
                del self._models[next(iter(self._models))]
        self._models[model_key] = learned
        if input_tokens is not None:
            learned.learn_input(input_bytes, input_tokens, not hidden)
        if output_tokens is not None:
            learned.learn_output(output_tokens, output_cap is not None)


def demands(
    limits: Sequence[Limit], usual: tuple[int, int], worst: tuple[int, int], usual_nano: int | None, worst_nano: int | None
) -> list[Demand]:
    """What to hold of each limit by its mode: strict the worst, balanced the usual, soft nothing.

    Args:
        usual, worst: (input, output) tokens.
        usual_nano, worst_nano: nano-dollars; None: no price is known, which wants a budget to have something left; 0: free.
    """
    plain = _amounts(usual, usual_nano)
    strict = _amounts(worst, worst_nano)
    wanted: list[Demand] = []
    for limit in limits:
        resource = limit.resource
        if limit.mode == "balanced":
            amount = plain[resource]
        elif limit.mode == "strict":
            amount = strict[resource]
        else:
            amount = 1 if limit.window is None else 0
        wanted.append(Demand(limit, amount))
    return wanted


def _amounts(tokens: tuple[int, int], nano_usd: int | None) -> dict[str, int]:
    return {
        "tokens": tokens[0] + tokens[1],
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "cost_usd": UNKNOWN_COST_NANO_USD if nano_usd is None else nano_usd,
        "requests": 1,
        "concurrent_requests": 1,
    }


def actual_amounts(
    input_tokens: int | None,
    output_tokens: int | None,
    cost_nano_usd: int | None,
    reservation: Reservation,
    exactness: Exactness,
    total_tokens: int | None = None,
) -> dict[str, int]:
    """What to settle, from what the meter read.

    A count that is not known is charged as held. A lower bound may charge more than was held and gives nothing back; an
    estimate gives nothing back to strict limits, whose figure then stands apart under STRICT_KEYS. Exactness NONE (an error,
    a list) used nothing but the request itself; for an answer whose usage is missing (Reading.is_usage_missing) say LOWER_BOUND.

    Args:
        cost_nano_usd: exact cost rounded up; None: no price is known.
        total_tokens: the provider's own total, where it gives one; else the sum.
    """
    if total_tokens is None and input_tokens is not None and output_tokens is not None:
        total_tokens = input_tokens + output_tokens
    if exactness is Exactness.NONE:
        return {
            "tokens": total_tokens or 0,
            "input_tokens": input_tokens or 0,
            "output_tokens": output_tokens or 0,
            "cost_usd": cost_nano_usd or 0,
            "requests": 1,
        }
    seen = {"tokens": total_tokens, "input_tokens": input_tokens, "output_tokens": output_tokens, "cost_usd": cost_nano_usd}
    if exactness is Exactness.EXACT and None not in seen.values():
        return {**seen, "requests": 1}  # type: ignore[dict-item]
    plain = {resource: amount or 0 for resource, amount in seen.items()}
    strict = dict(plain)
    for held in reservation.held:
        resource = held.resource
        if resource not in seen:
            continue
        is_unknown = seen[resource] is None
        if held.mode == "strict":
            if is_unknown or exactness is not Exactness.EXACT:
                strict[resource] = max(strict[resource], held.amount)
        elif is_unknown or exactness is Exactness.LOWER_BOUND:
            plain[resource] = max(plain[resource], held.amount)
    for resource, amount in strict.items():
        if amount > plain[resource]:
            plain[STRICT_KEYS[resource]] = amount
    plain["requests"] = 1
    return plain
