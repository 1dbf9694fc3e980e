"""Operators' prices: the `prices:` part of `prices.yaml`, above the built-in list.

Rules of this file: what stands here replaces the built-in tariff of a model whole, it is not mixed with it. A name that
is written out wins over the same name with a date at its end (`gpt-4o-mini` covers `gpt-4o-mini-2024-07-18`), that over
patterns, and of these the longest wins. Names are compared in lower case.
Not here: the check with line and column (config/schema.py), which lets nothing through that this file refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from itertools import pairwise

from proxy.errors import ConfigError
from proxy.pricing.fields import OVERRIDE_FIELDS, RATES
from proxy.pricing.matching import without_date
from proxy.pricing.money import decimal_of
from proxy.pricing.rates import Rate, RateTable, Tiered
from proxy.pricing.schedule import Period, Variant
from proxy.pricing.tariff import Tariff

SOURCE = "prices.yaml"
ANY_PROVIDER = "*"

OverrideDocument = Mapping[str, Mapping[str, object]]
"""{provider or "*": {model or pattern: fields, or a list of them}}; fields as in `fields.OVERRIDE_FIELDS`."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of an override."""

    rates: RateTable
    service_tiers: Mapping[str, RateTable]
    valid_from: date | None


@dataclass(frozen=True, slots=True)
class Override:
    """What the operator wrote for one model or pattern."""

    provider: str
    model: str
    """Lower case."""
    tables: tuple[Table, ...]
    """By `valid_from`; empty where only limits are set."""
    max_output_tokens: int | None
    context_tokens: int | None

    def tariff(self, earlier: Tariff | None) -> Tariff | None:
        """Its prices; `earlier` counts until the first of them does. None where it sets no prices."""
        tariff: Tariff | None = None
        for table in self.tables:
            variants = tuple(
                Variant({"processing": "batch"} if tier == "batch" else {"service_tier": tier}, rates, table.valid_from)
                for tier, rates in table.service_tiers.items()
            )
            below = tariff or earlier
            tariff = Tariff(
                f"{self.provider}/{self.model}",
                SOURCE,
                (Period(table.rates, table.valid_from),),
                variants,
                earlier=below if table.valid_from is not None else None,
            )
        return tariff


class Overrides:
    """All of the operator's prices."""

    __slots__ = ("_by_provider",)

    def __init__(self, document: OverrideDocument) -> None:
        """Raises:
        ConfigError: a field or value that cannot be used, named by its place.
        """
        self._by_provider = {
            provider: {name.lower(): _override(provider, name, value) for name, value in models.items()}
            for provider, models in document.items()
        }

    def __iter__(self) -> Iterator[Override]:
        for models in self._by_provider.values():
            yield from models.values()

    def find(self, provider: str, names: Sequence[str]) -> Override | None:
        """The operator's entry for a model that may go by several names, the more telling first."""
        for models in (self._by_provider.get(provider), self._by_provider.get(ANY_PROVIDER)):
            if models and (found := _find(models, names)) is not None:
                return found
        return None


def _find(models: Mapping[str, Override], names: Sequence[str]) -> Override | None:
    for name in names:
        if name in models:
            return models[name]
    for name in names:
        undated = without_date(name)
        if undated is not None and undated in models:
            return models[undated]
    for name in names or ("",):
        fitting = [pattern for pattern in models if fnmatchcase(name, pattern)]
        if fitting:
            return models[max(fitting, key=len)]
    return None


def _override(provider: str, name: str, value: object) -> Override:
    where = f"prices.{provider}.{name}"
    tables: list[Table] = []
    limits: dict[str, int | None] = {"max_output_tokens": None, "context_tokens": None}
    for number, part in enumerate(value if isinstance(value, Sequence) and not isinstance(value, str) else [value]):
        place = f"{where}[{number}]" if isinstance(value, list) else where
        if not isinstance(part, Mapping):
            raise ConfigError(f"{place}: a mapping of prices is wanted, e.g. {{input_mtok: 0.15, output_mtok: 0.60}}")
        _refuse_unknown(place, part, OVERRIDE_FIELDS)
        for field in limits:
            if part.get(field) is not None:
                limits[field] = _tokens(f"{place}.{field}", part[field])
        table = _read_table(place, part)
        if table is not None:
            tables.append(table)
    for table, following in pairwise(tables):
        if following.valid_from is None or (table.valid_from is not None and following.valid_from <= table.valid_from):
            raise ConfigError(f"{where}: tables after the first need a valid_from each, in ascending order")
    return Override(provider, name.lower(), tuple(tables), limits["max_output_tokens"], limits["context_tokens"])


def _read_table(place: str, part: Mapping[object, object]) -> Table | None:
    rates = _rates(place, part)
    if not rates:
        return None
    tiers = part.get("service_tiers") or {}
    if not isinstance(tiers, Mapping):
        raise ConfigError(f"{place}.service_tiers: a mapping is wanted, e.g. {{flex: {{input_mtok: 0.5}}}}")
    by_tier: dict[str, RateTable] = {}
    for tier, tier_rates in tiers.items():
        if not isinstance(tier_rates, Mapping):
            raise ConfigError(f"{place}.service_tiers.{tier}: a mapping of rates is wanted")
        _refuse_unknown(f"{place}.service_tiers.{tier}", tier_rates, RATES)
        by_tier[str(tier).lower()] = _rates(f"{place}.service_tiers.{tier}", tier_rates)
    return Table(rates, by_tier, _day(f"{place}.valid_from", part.get("valid_from")))


def _rates(place: str, part: Mapping[object, object]) -> dict[str, Rate]:
    return {str(name): _rate(f"{place}.{name}", value) for name, value in part.items() if name in RATES and value is not None}


def _rate(place: str, value: object) -> Rate:
    try:
        if not isinstance(value, Mapping):
            return decimal_of(value)
        _refuse_unknown(place, value, ("base", "tiers"))
        tiers = value.get("tiers", ())
        if "base" not in value or not isinstance(tiers, Sequence) or not all(isinstance(tier, Mapping) for tier in tiers):
            raise ValueError("write {base: 1, tiers: [{start: 200000, price: 2}]}")
        steps = sorted((_tokens(f"{place}.tiers.start", tier.get("start")), decimal_of(tier.get("price"))) for tier in tiers)
        return Tiered(decimal_of(value["base"]), tuple(steps))
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from error


def _tokens(place: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{place}: a whole number of tokens is wanted, not {value!r}")
    return value


def _day(place: str, value: object) -> date | None:
    if value is None or (isinstance(value, date)):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ConfigError(f"{place}: a day is wanted, e.g. 2026-12-01, not {value!r}") from None


def _refuse_unknown(place: str, part: Mapping[object, object], known: Iterable[str]) -> None:
    names = set(known)
    for name in part:
        if name not in names:
            raise ConfigError(f"{place}.{name}: no such field; known are {', '.join(sorted(names))}")
