"""What a provider said it used: counts by kind, and what the meter can say of one answer.

Rules of this file: totals are inclusive (cache reads and writes are part of `input_tokens`, reasoning is part of
`output_tokens`); None means *not reported*, 0 means *reported as zero*; nothing here guesses.
The names are those of the OpenTelemetry GenAI conventions and of genai-prices.
NamedTuples and not frozen dataclasses: several are made per answer, and a frozen dataclass sets each of its twenty fields
through object.__setattr__ (3 µs against 0.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

NO_UNITS: Mapping[str, Decimal] = MappingProxyType({})


class TokenUsage(NamedTuple):
    """Counts of one call in tokens, as the provider reported them, normalised to inclusive totals.

    Subsets: cache_read, cache_write, input_audio, input_image ⊂ input; cache_write_1h ⊂ cache_write;
    cache_read_audio ⊂ cache_read and ⊂ input_audio; reasoning, output_audio, output_image ⊂ output.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    cache_read_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None
    total_tokens: int | None = None
    """The provider's own total where it gives one, else input + output."""
    billed_input_tokens: int | None = None
    """Where a provider bills other counts than the model saw (Cohere `billed_units`): price these, limit by the others. None
    beside a `billed_output_tokens`: the input and all parts are billed as they are."""
    billed_output_tokens: int | None = None
    units: Mapping[str, Decimal] = NO_UNITS
    """Billed things that are not tokens: `web_searches`, `search_units`, `images`, `characters`, `audio_seconds`, `pages`,
    `file_searches`, `code_sessions`, `requests`."""


class Exactness(Enum):
    """How far a reading can be trusted. A lower bound may charge more than was reserved; it never gives anything back."""

    EXACT = "exact"
    LOWER_BOUND = "lower_bound"
    ESTIMATED = "estimated"
    NONE = "none"
    """The answer carries no usage and none is expected (an error, a list of models, a file)."""


class Reading(NamedTuple):
    """What the meter can say of one answer, at any moment of it."""

    api: str
    """Wire format read from the bytes, e.g. `openai.chat`; the request's guess where the bytes do not tell."""
    usage: TokenUsage | None = None
    exactness: Exactness = Exactness.NONE
    response_model: str | None = None
    provider_response_id: str | None = None
    """The answer's own `id` (chatcmpl-…, msg_…, resp_…), not the request id header."""
    service_tier: str | None = None
    """The tier that served the call, as returned (default, flex, priority, scale, batch, standard, fast …)."""
    reported_cost_usd: Decimal | None = None
    """Cost the provider itself put into the answer (OpenRouter, Perplexity, xAI ticks)."""
    error: str | None = None
    """`type or code: message` of an error object, also of one inside a 200 stream; at most 500 characters."""
    is_usage_missing: bool = False
    """A successful answer of an API that reports usage, and there was none: counted and alarmed, never a silent zero."""
    billing_key: str | None = None
    """Same key = same bill: `batch:<id>` or `response:<id>` for answers that can be fetched again and again."""
    also_used: tuple[tuple[str, TokenUsage], ...] = ()
    """Usage of other models inside the same answer that the totals leave out (Anthropic advisor passes): (model, usage)."""
    blind_reason: str | None = None
    """Why the meter could not read (the rest of) the answer: damaged or unknown content-encoding, lost framing. None: it could."""
