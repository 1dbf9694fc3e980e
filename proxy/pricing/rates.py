"""The rates in force for one call, and the arithmetic: disjoint buckets by subtraction, each at its own rate.

Rules of this file:
- Counts arrive inclusive (cached ⊂ input). A part with a rate of its own is taken out of the whole; a part without one
  stays in it, which is how genai-prices treats it and what `fields.py` documents per rate.
- Where the overlap of two parts is not reported (cached *and* audio), it is taken as small as the totals allow: that is
  the dearest reading, so a call is never charged too little.
- Cache reads above the whole input (Grok on Azure) and reasoning above the whole output (Vercel's gateway, whose own cost
  says so) cannot be parts of it: they stand beside it and are billed on top. Other counts that contradict each other are
  billed as they stand: every part at its own rate, and a rest that would be negative is nothing. What was odd is returned
  as a note and ends up in `Cost.source`; nothing is negative.
- Only a price per hour divides by something that is not a power of ten; it is rounded half-even to 15 decimals.
Not here: which table counts at what time and tier (tariff.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from proxy.pricing.fields import SECONDS_PER_HOUR, UNITS, UnitPrice
from proxy.pricing.money import ZERO
from proxy.usage.tokens import TokenUsage

SMALLEST_ROUNDED = Decimal("1e-15")


@dataclass(frozen=True, slots=True)
class Tiered:
    """A rate that depends on the length of the input. Crossing a threshold re-prices every token of the call."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...]
    """(start, rate), ascending; a tier counts when the call has *more than* `start` input tokens. An inclusive threshold
    of 200,000 (xAI) stands in the data as 199,999."""

    def at(self, input_tokens: int) -> Decimal:
        """The rate for a call with so many input tokens, cached ones included."""
        rate = self.base
        for start, tier_rate in self.tiers:
            if input_tokens > start:
                rate = tier_rate
        return rate


Rate = Decimal | Tiered
RateTable = Mapping[str, Rate]
"""Rates by their names in `fields.RATES`, USD per their unit. A name that is absent has no known rate."""


@dataclass(frozen=True, slots=True)
class Rates:
    """One table at one length of input, in USD per single token. None: no rate of its own."""

    input: Decimal | None
    cache_read: Decimal | None
    cache_write: Decimal | None
    cache_write_1h: Decimal | None
    input_audio: Decimal | None
    cached_audio: Decimal
    input_image: Decimal | None
    cached_image: Decimal
    input_video: Decimal | None
    output: Decimal | None
    reasoning: Decimal | None
    output_audio: Decimal | None
    output_image: Decimal | None
    output_video: Decimal | None
    citation: Decimal | None
    bills_tokens: bool
    """False: only seconds, characters, pages or fees are billed."""
    has_input_media: bool
    has_output_parts: bool
    is_plain: bool
    """Input and output have one rate each, beside cached input, and nothing is due per call: what most models have."""
    request_usd: Decimal
    """Due once per call."""
    units: Mapping[str, tuple[Decimal, UnitPrice]]
    """USD per `UnitPrice.per` units, by unit name."""


@dataclass(frozen=True, slots=True)
class LengthTable:
    """The rates of one table for every length of input."""

    starts: tuple[int, ...]
    by_length: tuple[Rates, ...]
    """One more than `starts`."""

    def at(self, input_tokens: int) -> Rates:
        """The rates of a call with so many input tokens."""
        return self.by_length[bisect_left(self.starts, input_tokens)]


def length_table(table: RateTable) -> LengthTable:
    """The table with everything that can be worked out beforehand worked out."""
    starts = sorted({start for rate in table.values() if isinstance(rate, Tiered) for start, _ in rate.tiers})
    lengths = [0, *(start + 1 for start in starts)]
    return LengthTable(tuple(starts), tuple(_rates_at(table, length) for length in lengths))


def _rates_at(table: RateTable, input_tokens: int) -> Rates:
    plain = {name: rate.at(input_tokens) if isinstance(rate, Tiered) else rate for name, rate in table.items()}

    def token(name: str) -> Decimal | None:
        rate = plain.get(name)
        return None if rate is None else rate.scaleb(-6)

    cache_read, cache_write = token("cache_read_mtok"), token("cache_write_mtok")
    cached_audio, input_audio = _cached_media(
        token("cache_audio_read_mtok"), token("input_audio_mtok"), cache_read, token("input_mtok")
    )
    cached_image, input_image = _cached_media(
        token("cache_image_read_mtok"), token("input_image_mtok"), cache_read, token("input_mtok")
    )
    per_request = plain.get("requests_kcount", ZERO).scaleb(-3)
    outputs = {name: token(f"output_{name}_mtok") for name in ("reasoning", "audio", "image", "video", "citation")}
    return Rates(
        input=token("input_mtok"),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=token("cache_write_1h_mtok"),
        input_audio=input_audio,
        cached_audio=cached_audio,
        input_image=input_image,
        cached_image=cached_image,
        input_video=token("input_video_mtok"),
        output=token("output_mtok"),
        reasoning=outputs["reasoning"],
        output_audio=outputs["audio"],
        output_image=outputs["image"],
        output_video=outputs["video"],
        citation=outputs["citation"],
        bills_tokens="input_mtok" in plain or "output_mtok" in plain,
        has_input_media=any(rate is not None for rate in (input_audio, input_image, token("input_video_mtok"))),
        has_output_parts=any(rate is not None for rate in outputs.values()),
        is_plain="input_mtok" in plain
        and "output_mtok" in plain
        and not per_request
        and all(rate is None for rate in (*outputs.values(), input_audio, input_image, token("input_video_mtok"))),
        request_usd=per_request,
        units={name: (plain[unit.rate], unit) for name, unit in UNITS.items() if unit.rate in plain},
    )


def _cached_media(
    cached: Decimal | None, media: Decimal | None, cache_read: Decimal | None, plain: Decimal | None
) -> tuple[Decimal, Decimal | None]:
    """Rates of (cached media, media), absent ones filled in as `fields.INPUT_RATES` documents."""
    if media is None and cached is not None:
        media = plain
    if media is None:
        return ZERO, None
    if cached is None:
        cached = media if cache_read is None else max(media, cache_read)
    return cached, media


def plain_costs(rates: Rates, usage: TokenUsage) -> tuple[Decimal, Decimal] | None:
    """USD of input and output where nothing but these and cached input was used, at rates that are plain; None for all else.

    What nine of ten calls are: the same sums as input_cost and output_cost make, in 1 µs of 3.
    """
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    cached = usage.cache_read_tokens or 0
    if (
        not rates.is_plain
        or input_tokens is None
        or output_tokens is None
        or not 0 <= cached <= input_tokens
        or usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or (usage.reasoning_tokens or 0) > output_tokens
        or usage.units
    ):
        return None
    assert rates.input is not None  # is_plain
    assert rates.output is not None
    if cached and rates.cache_read is not None:
        return rates.cache_read * cached + rates.input * (input_tokens - cached), rates.output * output_tokens
    return rates.input * input_tokens, rates.output * output_tokens


def input_cost(rates: Rates, usage: TokenUsage, total: int, notes: list[str]) -> Decimal | None:
    """USD of the input side; None where tokens were used that have no rate.

    Args:
        rates: in force at this length of input.
        usage: as reported; only the parts of the input are read here.
        total: all input tokens.
        notes: what was odd is added to it.
    """
    if rates.has_input_media and (usage.input_audio_tokens or usage.input_image_tokens or "input_video_tokens" in usage.units):
        return _input_cost_with_media(rates, usage, total, notes)
    cached = usage.cache_read_tokens or 0
    written = usage.cache_write_tokens or 0
    if cached + written > total:
        notes.append(f"contradictory counts: {cached} cache reads + {written} cache writes > {total} input_tokens")
    cost, rest = ZERO, total + cached if cached > total else total
    if cached > 0 and rates.cache_read is not None:
        cost = rates.cache_read * cached
        rest -= cached
    if written or usage.cache_write_1h_tokens:
        write_cost, taken = _write_cost(rates, written, usage.cache_write_1h_tokens or 0, notes)
        cost += write_cost
        rest -= taken
    if rest > 0:
        if rates.input is None:
            return None
        cost += rates.input * rest
    return cost


def _write_cost(rates: Rates, written: int, written_1h: int, notes: list[str]) -> tuple[Decimal, int]:
    """USD of cache writes, and how many tokens that pays for."""
    if written_1h > written:
        notes.append(f"contradictory counts: {written_1h} cache_write_1h_tokens > {written} cache_write_tokens")
    cost, taken = ZERO, 0
    if rates.cache_write_1h is not None and written_1h > 0:
        cost += rates.cache_write_1h * written_1h
        taken += written_1h
        written = max(written - written_1h, 0)
    if rates.cache_write is not None and written > 0:
        cost += rates.cache_write * written
        taken += written
    return cost, taken


def _input_cost_with_media(rates: Rates, usage: TokenUsage, total: int, notes: list[str]) -> Decimal | None:
    """The same for calls with audio, image or video input billed apart."""
    cached, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    audio = 0 if rates.input_audio is None else max(usage.input_audio_tokens or 0, 0)
    image = 0 if rates.input_image is None else max(usage.input_image_tokens or 0, 0)
    video = 0 if rates.input_video is None else int(usage.units.get("input_video_tokens", 0))
    reported_image = usage.units.get("cache_read_image_tokens")
    cached_audio = usage.cache_read_audio_tokens if audio else 0
    cached_image = (None if reported_image is None else int(reported_image)) if image else 0
    in_media = (cached_audio or 0) + (cached_image or 0)
    overlap = max(cached + written + audio + image + video - total - in_media, 0)
    if cached_audio is None:
        cached_audio = min(overlap, max(cached - in_media, 0), audio)
        overlap, in_media = overlap - cached_audio, in_media + cached_audio
    if cached_image is None:
        cached_image = min(overlap, max(cached - in_media, 0), image)
    text_cached = cached - cached_audio - cached_image
    plain_audio, plain_image = audio - cached_audio, image - cached_image
    rest = total - text_cached - written - audio - image - video
    if text_cached < 0 or plain_audio < 0 or plain_image < 0 or rest < 0:
        notes.append(
            f"contradictory counts: {cached} cache reads, {written} cache writes, {audio} audio, {image} image, {video} video"
            f" in {total} input_tokens"
        )
    cost = rates.cached_audio * max(cached_audio, 0) + rates.cached_image * max(cached_image, 0)
    for count, rate in ((plain_audio, rates.input_audio), (plain_image, rates.input_image), (video, rates.input_video)):
        if count > 0 and rate is not None:
            cost += rate * count
    if rates.cache_read is None:
        rest += max(text_cached, 0)
    elif text_cached > 0:
        cost += rates.cache_read * text_cached
    if written or usage.cache_write_1h_tokens:
        write_cost, taken = _write_cost(rates, written, usage.cache_write_1h_tokens or 0, notes)
        cost += write_cost
        rest += written - taken
    if rest > 0:
        if rates.input is None:
            return None
        cost += rates.input * rest
    return cost


def output_cost(rates: Rates, usage: TokenUsage, total: int, notes: list[str]) -> Decimal | None:
    """USD of the output side; None where tokens were used that have no rate. Arguments as of `input_cost`."""
    reasoning = usage.reasoning_tokens or 0
    if reasoning > total:
        notes.append(f"contradictory counts: {reasoning} reasoning_tokens > {total} output_tokens")
    cost, rest = ZERO, total + reasoning if reasoning > total else total
    if rates.has_output_parts:
        units = usage.units
        parts = (
            (reasoning, rates.reasoning),
            (usage.output_audio_tokens or 0, rates.output_audio),
            (usage.output_image_tokens or 0, rates.output_image),
            (int(units.get("output_video_tokens", 0)), rates.output_video),
            (int(units.get("output_citation_tokens", 0)), rates.citation),
        )
        for count, rate in parts:
            if count > 0 and rate is not None:
                cost += rate * count
                rest -= count
        if rest < 0 and reasoning <= total:
            notes.append(f"contradictory counts: {total - rest} tokens in parts of {total} output_tokens")
    if rest > 0:
        if rates.output is None:
            return None
        cost += rates.output * rest
    return cost


def unit_cost(rate: Decimal, unit: UnitPrice, count: Decimal) -> Decimal:
    """USD of so many units at `rate` per `unit.per`; see the module's rule on rounding."""
    cost = rate * count / unit.per
    if unit.per == SECONDS_PER_HOUR and cost != (rounded := cost.quantize(SMALLEST_ROUNDED, ROUND_HALF_EVEN)):
        return rounded
    return cost
