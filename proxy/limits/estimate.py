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

from proxy.limits.hidden_input import OPEN_ENDED, PLAIN, TOOL_PROMPT_TOKENS, TOOLS, known_hidden_tokens
from proxy.limits.learned import WARM_SAMPLES, Learned
from proxy.limits.limit import Demand, Limit, Reservation
from proxy.limits.room import STRICT_KEYS
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
            ratio = learned.input_ratio
            input_tokens = facts_input_bytes * (ratio.value if ratio.count >= WARM_SAMPLES else ratio.estimate(DEFAULT_INPUT_RATIO))
            quantile = learned.free_output if output_cap is None or not learned.capped_output.count else learned.capped_output
            output_tokens = quantile.value if quantile.count >= WARM_SAMPLES else quantile.estimate(DEFAULT_USUAL_OUTPUT_TOKENS)
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
        known_hidden: int | None = None,
    ) -> tuple[int, int]:
        """Input and output tokens that such a request cannot exceed; see the top of this file for what that rests on.

        Args:
            input_bytes: of the decoded body (not of a compressed one).
            hidden: flags of hidden_input(document).
            known_hidden: known_hidden_tokens(model_key), where the caller keeps it.
        """
        learned = self._models.get(model_key)
        context = context_tokens or DEFAULT_CONTEXT_TOKENS
        most_output = 0
        if learned is not None:
            most_output = learned.most_output
            if learned.most_input > context:
                context = learned.most_input
        if hidden & OPEN_ENDED:
            input_tokens = context
        else:
            extra = known_hidden_tokens(model_key) if known_hidden is None else known_hidden
            if learned is None:
                input_tokens = input_bytes + extra
            else:
                if learned.bound_hidden > extra:
                    extra = learned.bound_hidden
                input_tokens = ceil(input_bytes * learned.bound_factor) + extra
            if hidden & TOOLS:
                input_tokens += TOOL_PROMPT_TOKENS
            if input_tokens > context:
                input_tokens = context
        if output_cap is not None:
            output_tokens = output_cap if context_tokens is None else min(output_cap, max(context, most_output))
        else:
            output_tokens = model_limits_max_output or context_tokens or DEFAULT_MAX_OUTPUT_TOKENS
            if most_output > output_tokens:
                output_tokens = most_output
        return input_tokens, output_tokens * choices if choices > 1 else output_tokens

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


_PLACES = {"tokens": 0, "input_tokens": 1, "output_tokens": 2, "cost_usd": 3}
_make = tuple.__new__
"""As in usage/whole_body.py: a NamedTuple without its constructor."""
_ONE, _NOTHING = 8, 9
Parts = tuple[tuple[Limit, int], ...]
"""Limits, and where in the ten amounts of a call stands what each asks for."""


def parts_of(limits: Sequence[Limit]) -> Parts:
    """What `wanted_of` needs of the limits: worked out once for all calls that they apply to."""
    return tuple((limit, _place_of(limit)) for limit in limits)


def _place_of(limit: Limit) -> int:
    if limit.mode == "soft":
        return _ONE if limit.window is None else _NOTHING
    place = _PLACES.get(limit.resource)
    if place is None:
        return _ONE
    return place + 4 if limit.mode == "strict" else place


def wanted_of(
    parts: Parts, usual: tuple[int, int], worst: tuple[int, int], usual_nano: int | None, worst_nano: int | None
) -> list[Demand]:
    """What to hold of each limit by its mode: strict the worst, balanced the usual, soft nothing.

    Args:
        usual, worst: (input, output) tokens.
        usual_nano, worst_nano: nano-dollars; None: no price is known, which wants a budget to have something left; 0: free.
    """
    amounts = (
        usual[0] + usual[1],
        usual[0],
        usual[1],
        UNKNOWN_COST_NANO_USD if usual_nano is None else usual_nano,
        worst[0] + worst[1],
        worst[0],
        worst[1],
        UNKNOWN_COST_NANO_USD if worst_nano is None else worst_nano,
        1,
        0,
    )
    return [_make(Demand, (limit, amounts[place])) for limit, place in parts]


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
    if (
        exactness is Exactness.EXACT
        and total_tokens is not None
        and input_tokens is not None
        and output_tokens is not None
        and cost_nano_usd is not None
    ):
        return {
            "tokens": total_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cost_usd": cost_nano_usd,
            "requests": 1,
        }
    if exactness is Exactness.NONE:
        return {
            "tokens": total_tokens or 0,
            "input_tokens": input_tokens or 0,
            "output_tokens": output_tokens or 0,
            "cost_usd": cost_nano_usd or 0,
            "requests": 1,
        }
    seen = {"tokens": total_tokens, "input_tokens": input_tokens, "output_tokens": output_tokens, "cost_usd": cost_nano_usd}
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
