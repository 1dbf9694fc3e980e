"""The names of everything that can have a price, and the fields that `prices.yaml` may set.

Rules of this file: rate names are those of genai-prices' ModelPrice, so that a price can be copied from one to the other
(`images_kcount` is our own: they have no price per image). Every name says its unit: `_mtok` USD per million tokens,
`_kcount` and `_kpages` per thousand, `_mchars` per million characters, `_hours` per hour.
Not here: arithmetic (rates.py), reading the fields (overrides.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SECONDS_PER_HOUR = 3_600

INPUT_RATES: Mapping[str, str] = MappingProxyType(
    {
        "input_mtok": "input tokens; every input class without a rate of its own is billed at this",
        "cache_read_mtok": "input tokens read from a prompt cache; without it they are plain input",
        "cache_write_mtok": "input tokens written to a prompt cache for five minutes; without it they are plain input",
        "cache_write_1h_mtok": "input tokens written to a prompt cache for an hour; without it as cache_write_mtok",
        "input_audio_mtok": "audio input tokens; without it they are plain input",
        "cache_audio_read_mtok": "audio input tokens from a cache; without it the dearer of cache_read_mtok, input_audio_mtok",
        "input_image_mtok": "image input tokens; without it they are plain input",
        "cache_image_read_mtok": "image input tokens from a cache; without it the dearer of cache_read_mtok, input_image_mtok",
        "input_video_mtok": "video input tokens; without it they are plain input",
    }
)
OUTPUT_RATES: Mapping[str, str] = MappingProxyType(
    {
        "output_mtok": "output tokens; every output class without a rate of its own is billed at this",
        "output_reasoning_mtok": "reasoning tokens; without it they are plain output",
        "output_audio_mtok": "audio output tokens; without it they are plain output",
        "output_image_mtok": "image output tokens; without it they are plain output",
        "output_video_mtok": "video output tokens; without it they are plain output",
        "output_citation_mtok": "citation tokens (Perplexity deep research); without it they are plain output",
    }
)
UNIT_RATES: Mapping[str, str] = MappingProxyType(
    {
        "web_searches_kcount": "web searches, per thousand",
        "social_searches_kcount": "searches in social networks, per thousand",
        "storage_searches_kcount": "file searches, per thousand",
        "code_executions_kcount": "code interpreter sessions, per thousand",
        "rerank_searches_kcount": "rerank search units, per thousand",
        "images_kcount": "images made, per thousand",
        "input_mchars": "characters of speech input, per million",
        "audio_hours": "audio, per hour",
        "input_document_kpages": "document pages, per thousand",
        "input_annotated_document_kpages": "annotated document pages, per thousand",
        "input_text_messages_kcount": "text messages of a voice session, per thousand",
        "requests_kcount": "a fee for each request, per thousand",
    }
)
RATES: Mapping[str, str] = MappingProxyType({**INPUT_RATES, **OUTPUT_RATES, **UNIT_RATES})
"""Every rate, by name: what it is paid for."""

EQUIVALENT_RATES: Mapping[str, str] = MappingProxyType({"cache_write_5m_mtok": "cache_write_mtok"})
"""Names that the price data may use for a rate that already has one here."""


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """How a count in `TokenUsage.units` is billed."""

    rate: str
    per: int
    """What the rate buys: a thousand searches, a million characters, an hour of seconds."""
    is_size: bool
    """True: another measure of what tokens already measure (a length, a number of images), so a tariff that bills the
    tokens needs no rate for it. False: a fee on top (a search, a session): without a rate the total is unknown."""
    is_input: bool = False


UNITS: Mapping[str, UnitPrice] = MappingProxyType(
    {
        "web_searches": UnitPrice("web_searches_kcount", 1_000, is_size=False),
        "social_searches": UnitPrice("social_searches_kcount", 1_000, is_size=False),
        "file_searches": UnitPrice("storage_searches_kcount", 1_000, is_size=False),
        "code_sessions": UnitPrice("code_executions_kcount", 1_000, is_size=False),
        "search_units": UnitPrice("rerank_searches_kcount", 1_000, is_size=True),
        "images": UnitPrice("images_kcount", 1_000, is_size=True),
        "characters": UnitPrice("input_mchars", 1_000_000, is_size=True, is_input=True),
        "audio_seconds": UnitPrice("audio_hours", SECONDS_PER_HOUR, is_size=True),
        "pages": UnitPrice("input_document_kpages", 1_000, is_size=True, is_input=True),
        "annotated_pages": UnitPrice("input_annotated_document_kpages", 1_000, is_size=True, is_input=True),
        "text_messages": UnitPrice("input_text_messages_kcount", 1_000, is_size=True, is_input=True),
    }
)
"""`requests` is not among them: its fee is due once per call whether it is counted or not. A page is counted either as
`pages` or as `annotated_pages`."""

TOKEN_UNITS = ("cache_read_image_tokens", "input_video_tokens", "output_video_tokens", "output_citation_tokens")
"""Token subsets that TokenUsage has no field for; a dialect may give them in `units`, they are never fees of their own."""


@dataclass(frozen=True, slots=True)
class OverrideField:
    """One field that a model in `prices.yaml` may have."""

    kind: str
    """`rate`: a number or {base, tiers}; `tokens`: a whole number; `date`: YYYY-MM-DD, UTC; `tiers`: a mapping of tables."""
    description: str


OVERRIDE_FIELDS: Mapping[str, OverrideField] = MappingProxyType(
    {
        **{name: OverrideField("rate", f"USD: {text}. 0 is free, absent is not known.") for name, text in RATES.items()},
        "valid_from": OverrideField(
            "date", "First day (UTC) these prices count from; before it, the table listed before them or the built-in price."
        ),
        "service_tiers": OverrideField(
            "tiers", "Rates that replace the ones above for a service tier returned by the provider: flex, priority, fast, batch."
        ),
        "max_output_tokens": OverrideField("tokens", "Most tokens the model can answer with: what a strict limit holds."),
        "context_tokens": OverrideField("tokens", "The model's context window."),
    }
)
"""For the schema of `prices.yaml`. A rate is a number (USD) or, for prices that depend on the length of the input,
`{base: 1, tiers: [{start: 200_000, price: 2}]}`: with more than `start` input tokens, `price` counts for all tokens of
the call, not only for those above. A model's value is one mapping of these fields, or a list of such mappings with
`valid_from` in ascending order."""
