"""Tariff: all prices of one model, and what they make of one usage.

Rules of this file:
- The tier is the one the provider *returned*, the moment is the call's start, the length is the whole input.
- Where a provider bills other counts than the model saw (Cohere), those are priced alone, without parts. Where only the output
  that is billed is larger (Perplexity's deep research), its parts stay.
- A class of tokens or a fee that was used and has no rate makes the total unknown; a zero rate is a price. A tariff that
  bills seconds, characters or pages and no tokens is complete without them.
- Bounds are for limits and hold for counts that do not contradict each other.
Not here: finding a model's tariff (pricebook.py), the arithmetic of a side (rates.py), what counts when (schedule.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from proxy.pricing.cost import Cost, unknown
from proxy.pricing.fields import INPUT_RATES, OUTPUT_RATES, TOKEN_UNITS, UNITS
from proxy.pricing.money import NANO_PER_USD, ZERO, to_nano_usd
from proxy.pricing.rates import (
    LengthTable,
    Rates,
    RateTable,
    Tiered,
    input_cost,
    length_table,
    output_cost,
    plain_costs,
    unit_cost,
)
from proxy.pricing.schedule import (
    Hours,
    Moment,
    Period,
    Variant,
    all_hours,
    call_context,
    date_of,
    day_number,
    in_utc,
    is_within,
    possible_periods,
    table_in_force,
)
from proxy.usage.tokens import NO_UNITS, TokenUsage

MEMO_SIZE = 512
"""Tables a tariff keeps made up; emptied above that (tiers are strings that a provider chooses)."""

_MemoKey = tuple[str | None, bool, int, frozenset[Hours]]
_NO_HOURS: frozenset[Hours] = frozenset()


class NanoRates(NamedTuple):
    """Rates in whole numbers, so that a bound is two products and a division of ints: 0.3 µs where Decimals take 1.2."""

    starts: tuple[int, ...]
    by_length: tuple[tuple[int, int, int], ...]
    """(input per token, output per token, per call) in nano-dollars times `scale`; one more than `starts`."""
    scale: int

    def nano_usd(self, input_tokens: int, output_tokens: int) -> int:
        """Nano-dollars of a call, rounded up."""
        input_rate, output_rate, per_call = self.by_length[bisect_left(self.starts, input_tokens)]
        return -(-(input_rate * input_tokens + output_rate * output_tokens + per_call) // self.scale)


def nano_rates(starts: tuple[int, ...], usd_by_length: list[tuple[Decimal, Decimal, Decimal]]) -> NanoRates:
    """The same rates as whole numbers: exact, for `scale` has as many digits as the longest of them."""
    nano = [tuple(rate * NANO_PER_USD for rate in rates) for rates in usd_by_length]
    digits = max(0, *(-int(rate.normalize().as_tuple().exponent) for rates in nano for rate in rates))
    scale = 10**digits
    by_length = tuple((int(rates[0] * scale), int(rates[1] * scale), int(rates[2] * scale)) for rates in nano)
    return NanoRates(starts, by_length, scale)


@dataclass(frozen=True, slots=True)
class Dearest:
    """The dearest rates of a day, per length of input, in USD per token."""

    starts: tuple[int, ...]
    by_length: tuple[tuple[Decimal, Decimal], ...]
    """(input, output), one more than `starts`."""
    request_usd: Decimal
    units: Mapping[str, Decimal]
    plain: NanoRates
    """The same for a call without units."""


class Tariff:
    """The prices of one model. Immutable but for its memos; a call costs microseconds."""

    __slots__ = (
        "_bounds",
        "_earlier",
        "_hours",
        "_minimum_audio_seconds",
        "_only",
        "_tables",
        "_usual",
        "name",
        "periods",
        "source",
        "variants",
    )

    def __init__(
        self,
        name: str,
        source: str,
        periods: tuple[Period, ...],
        variants: tuple[Variant, ...] = (),
        *,
        earlier: Tariff | None = None,
        minimum_audio_seconds: int = 0,
    ) -> None:
        """Args:
        name: provider/model, for messages.
        source: where the prices come from and their date, e.g. `genai-prices 0.2.3 2026-11-10`.
        earlier: what counts before the first period has begun (the built-in prices below an operator's dated ones).
        minimum_audio_seconds: what shorter audio is billed as (Groq's Whisper: 10).
        """
        self.name = name
        self.source = source
        self.periods = periods
        self.variants = variants
        self._earlier = earlier
        self._minimum_audio_seconds = minimum_audio_seconds
        self._hours = all_hours((*periods, *variants))
        is_constant = len(periods) == 1 and not variants and periods[0].starts_on is None and periods[0].hours is None
        self._only = length_table(periods[0].table) if is_constant else None
        self._tables: dict[_MemoKey, LengthTable | None] = {}
        self._bounds: dict[int | None, Dearest] = {}
        self._usual: dict[int | None, tuple[NanoRates, ...]] = {}

    def price(self, usage: TokenUsage, *, service_tier: str | None, started_at: Moment, is_batch: bool = False) -> Cost:
        """What such a usage costs.

        Args:
            usage: inclusive totals and their parts.
            service_tier: as returned by the provider (default, flex, priority, fast, batch …).
            started_at: when the call began.
            is_batch: handed in through a batch API.
        """
        table = self._only or self._table_at(service_tier, started_at, is_batch)
        if table is None:
            if self._earlier is not None:
                return self._earlier.price(usage, service_tier=service_tier, started_at=started_at, is_batch=is_batch)
            return unknown(f"no price on {in_utc(started_at).date()}: {self.name} ({self.source})")
        if usage.billed_input_tokens is not None:
            usage = TokenUsage(usage.billed_input_tokens, usage.billed_output_tokens, units=usage.units)
        elif usage.billed_output_tokens is not None:
            usage = usage._replace(output_tokens=usage.billed_output_tokens)
        rates = table.at(usage.input_tokens or 0) if table.starts else table.by_length[0]
        plain = plain_costs(rates, usage)
        if plain is not None:
            return tuple.__new__(Cost, (plain[0], plain[1], plain[0] + plain[1], self.source))  # as in usage/whole_body.py
        return self._cost(rates, usage)

    def _cost(self, rates: Rates, usage: TokenUsage) -> Cost:
        input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
        notes: list[str] = []
        gaps: list[str] = []
        fees, input_fees = rates.request_usd, ZERO
        is_counted = input_tokens is not None or output_tokens is not None
        if usage.units:
            fees, input_fees, is_billed = self._unit_costs(rates, usage.units, is_counted and rates.bills_tokens, gaps)
            if is_billed and not rates.bills_tokens:  # billed by seconds, characters or pages: tokens are reported beside them
                input_tokens = output_tokens = None
            is_counted = is_counted or is_billed
        input_usd: Decimal | None = ZERO
        output_usd: Decimal | None = ZERO
        if input_tokens:
            input_usd = input_cost(rates, usage, input_tokens, notes)
            if input_usd is None:
                gaps.append("no rate for input tokens")
        elif input_tokens == 0:
            input_usd = input_cost(rates, usage, 0, notes)  # parts of nothing: contradictory, billed as reported
        elif output_tokens and rates.input:
            input_usd = None
            gaps.append("input_tokens not reported")
        if output_tokens is not None and (output_tokens or usage.reasoning_tokens):
            output_usd = output_cost(rates, usage, output_tokens, notes)
            if output_usd is None:
                gaps.append("no rate for output tokens")
        if not is_counted:
            input_usd = output_usd = None
            if not gaps:
                gaps.append("no counts reported")
        if gaps:
            return Cost(input_usd, output_usd, None, f"{', '.join(gaps)}: {self.name} ({self.source})")
        assert input_usd is not None
        assert output_usd is not None
        if input_fees:
            input_usd += input_fees
        source = f"{self.source}; {'; '.join(notes)}" if notes else self.source
        return Cost(input_usd, output_usd, input_usd + output_usd + fees if fees else input_usd + output_usd, source)

    def _unit_costs(
        self, rates: Rates, units: Mapping[str, Decimal], has_tokens: bool, gaps: list[str]
    ) -> tuple[Decimal, Decimal, bool]:
        """USD of the billed things that are not tokens: (fees, the input side's, whether they say how large the call was).

        Args:
            has_tokens: tokens were reported and are billed.
        """
        fees, input_fees, is_billed = rates.request_usd * units.get("requests", 1), ZERO, False
        for name, count in units.items():
            if count <= 0 or name == "requests" or name in TOKEN_UNITS:
                continue
            priced = rates.units.get(name)
            if priced is None:
                known = UNITS.get(name)
                is_measured_otherwise = known is not None and known.is_size and has_tokens
                is_in_request_fee = name == "web_searches" and rates.request_usd > 0  # Perplexity's fee per request is the search
                if not is_measured_otherwise and not is_in_request_fee:
                    gaps.append(f"no rate for {name}")
                continue
            rate, unit = priced
            if name == "audio_seconds" and count < self._minimum_audio_seconds:
                count = Decimal(self._minimum_audio_seconds)
            is_billed = is_billed or unit.is_size or not rates.bills_tokens
            if unit.is_input:
                input_fees += unit_cost(rate, unit, count)
            else:
                fees += unit_cost(rate, unit, count)
        return fees, input_fees, is_billed

    def _table_at(self, service_tier: str | None, started_at: Moment, is_batch: bool) -> LengthTable | None:
        open_hours = _NO_HOURS
        if self._hours:
            at = in_utc(started_at).time()
            open_hours = frozenset(hours for hours in self._hours if is_within(at, hours))
        day = day_number(started_at)
        key = (service_tier, is_batch, day, open_hours)
        try:
            return self._tables[key]
        except KeyError:
            pass
        if len(self._tables) >= MEMO_SIZE:
            self._tables.clear()
        context = call_context(service_tier, is_batch)
        table = table_in_force(self.periods, self.variants, date_of(day), open_hours, context)
        compiled = self._tables[key] = None if table is None else length_table(table)
        return compiled

    def upper_bound_nano_usd(
        self,
        input_tokens: int,
        output_tokens: int,
        *,
        started_at: Moment | None = None,
        units: Mapping[str, Decimal] = NO_UNITS,
    ) -> int:
        """The dearest that a call with at most so many tokens can cost, however they split into classes, whatever tier
        serves it, at any hour of its day, in nano-dollars.

        Args:
            started_at: its day leaves out prices of other days; None: every price the list has ever known.
            units: at most so many searches, seconds …. Fees per call of a tool are not bounded by tokens: whoever wants
                them held has to say how many there can be. A unit without a rate adds nothing.
        """
        day = None if started_at is None else day_number(started_at)
        dearest = self._bounds.get(day)
        if dearest is None:
            if len(self._bounds) >= MEMO_SIZE:
                self._bounds.clear()
            dearest = self._bounds[day] = _dearest(self._possible_tables(None if day is None else date_of(day)))
        if not units:
            return dearest.plain.nano_usd(input_tokens, output_tokens)
        input_rate, output_rate = dearest.by_length[bisect_left(dearest.starts, input_tokens)]
        bound = input_rate * input_tokens + output_rate * output_tokens
        if dearest.request_usd:
            bound += dearest.request_usd * max(units.get("requests", 1), 1)
        for name, count in units.items():
            rate = dearest.units.get(name)
            if rate is not None and count:
                least = self._minimum_audio_seconds if name == "audio_seconds" else 0
                bound += unit_cost(rate, UNITS[name], max(count, Decimal(least)))
        return to_nano_usd(bound)

    def usual_nano_usd(self, input_tokens: int, output_tokens: int, *, started_at: Moment | None = None) -> int:
        """What a call of so many tokens costs in the standard tier with nothing cached, at the dearest hour of its day,
        in nano-dollars.

        Args:
            started_at: the day whose prices count; None: once all announced prices have come into force.
        """
        day = None if started_at is None else day_number(started_at)
        tables = self._usual.get(day)
        if tables is None:
            if len(self._usual) >= MEMO_SIZE:
                self._usual.clear()
            periods = possible_periods(self.periods, None if day is None else date_of(day))
            tables = self._usual[day] = tuple(_usual_rates(length_table(period.table)) for period in periods)
        if len(tables) == 1:
            return tables[0].nano_usd(input_tokens, output_tokens)
        if not tables and self._earlier is not None:
            return self._earlier.usual_nano_usd(input_tokens, output_tokens, started_at=started_at)
        return max((table.nano_usd(input_tokens, output_tokens) for table in tables), default=0)

    def _possible_tables(self, day: date | None) -> list[RateTable]:
        """Every table and every variant that can have a part in a call of that day. None: of any day."""
        periods = list(self.periods) if day is None else possible_periods(self.periods, day)
        tables: list[RateTable] = [period.table for period in periods]
        tables.extend(variant.table for variant in self.variants if variant.has_started(day))
        if self._earlier is not None and (day is None or all(period.hours is not None for period in periods)):
            tables.extend(self._earlier._possible_tables(day))
        return tables


def _usual_rates(table: LengthTable) -> NanoRates:
    return nano_rates(table.starts, [(rates.input or ZERO, rates.output or ZERO, rates.request_usd) for rates in table.by_length])


def _dearest(tables: list[RateTable]) -> Dearest:
    starts = sorted({start for table in tables for rate in table.values() if isinstance(rate, Tiered) for start, _ in rate.tiers})
    lengths = [0, *(start + 1 for start in starts)]
    by_length: list[tuple[Decimal, Decimal]] = []
    for number in range(len(lengths)):
        reached = lengths[: number + 1]  # a shorter input than expected may be the dearer one
        by_length.append((_dearest_rate(tables, INPUT_RATES, reached), _dearest_rate(tables, OUTPUT_RATES, reached)))
    per_request = _dearest_rate(tables, {"requests_kcount": ""}, lengths).scaleb(3)
    return Dearest(
        starts=tuple(starts),
        by_length=tuple(by_length),
        plain=nano_rates(tuple(starts), [(*rates, per_request) for rates in by_length]),
        request_usd=per_request,
        units={name: rate.scaleb(6) for name, unit in UNITS.items() if (rate := _dearest_rate(tables, {unit.rate: ""}, lengths))},
    )


def _dearest_rate(tables: list[RateTable], names: Mapping[str, str], lengths: list[int]) -> Decimal:
    """The highest of the named rates at any of the lengths, divided by a million; zero where there is none."""
    found = [
        rate.at(length) if isinstance(rate, Tiered) else rate
        for table in tables
        for name, rate in table.items()
        if name in names
        for length in lengths
    ]
    return max(found, default=ZERO).scaleb(-6)
