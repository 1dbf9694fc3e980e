"""Usage and costs as providers report them: their exports to rows of a day and a model.

    openai      pages of `GET /v1/organization/usage/…` and `/v1/organization/costs`: buckets with `results`; costs by
                `line_item` read `<model>, <kind>`, in dollars
    anthropic   pages of `GET /v1/organizations/usage_report/messages` and `/cost_report`; costs in cents, as decimal text
    csv         any table with a head line; the columns are named by the caller or guessed from their names

Counts become the ledger's: input includes what was read from and written to a cache. A page says only what it says: a row's
count is None where no page carries it. Pages may be given singly, as lists, or as `{"pages": […]}`. Pure.

Sources (read 2026-11): platform.openai.com/docs/api-reference/usage, platform.claude.com/docs/en/api/admin (usage and cost).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

FORMATS = ("openai", "anthropic", "csv")
COUNTS = ("requests", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
MAX_ROWS = 200_000
_COLUMN_GUESSES = {
    "day": ("day", "date", "usage_date", "usage_date_utc", "start_time", "starting_at", "timestamp", "time"),
    "model": ("model", "model_version", "snapshot", "line_item"),
    "requests": ("requests", "num_model_requests", "num_requests", "calls", "n_requests", "request_count"),
    "input_tokens": ("input_tokens", "prompt_tokens", "usage_input_tokens", "n_context_tokens_total"),
    "cache_read_tokens": ("cache_read_tokens", "input_cached_tokens", "cached_tokens", "usage_input_tokens_cache_read"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_tokens", "usage_input_tokens_cache_write_5m"),
    "output_tokens": ("output_tokens", "completion_tokens", "usage_output_tokens", "n_generated_tokens_total"),
    "cost_usd": ("cost_usd", "cost", "amount_usd", "amount", "amount_value", "total_cost", "price"),
}
_LINE_ITEM = re.compile(r"(?P<model>[^,]+), [a-z ]+", re.IGNORECASE)


class BadReport(ValueError):
    """The document is not what it is said to be; the text says where and what is missing."""


@dataclass(slots=True)
class Reported:
    """What a report says of one day and model; None: it does not say."""

    requests: int | None = None
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    tier_tokens: int = 0
    """Of all tokens, those of batches and tiers with prices of their own."""

    def add(self, other: Reported) -> None:
        """Another row of the same day and model."""
        for field in fields(self):
            more = getattr(other, field.name)
            if more is not None:
                setattr(self, field.name, (getattr(self, field.name) or 0) + more)

    @property
    def is_empty(self) -> bool:
        """A bucket in which nothing happened."""
        return not any(getattr(self, field.name) for field in fields(self))


Place = tuple[date, str | None]
Rows = dict[Place, Reported]
"""By day and model; model None: the day in all, where the report does not tell models apart."""


@dataclass(frozen=True, slots=True)
class Report:
    """All pages of one reconciliation."""

    rows: Rows
    days: tuple[date, date]
    """First day, and the one behind the last: what the buckets cover, empty ones too."""


def read_report(form: str, documents: Iterable[object], columns: Mapping[str, str], zone: ZoneInfo) -> Report:
    """Every document of a report, added up.

    Args:
        documents: JSON values; for `csv` texts.
        columns: for `csv`: our name → the table's.
        zone: in which days begin. OpenAI's and Anthropic's buckets are days of UTC.

    Raises:
        BadReport: a document of another shape, or nothing in it.
    """
    rows: Rows = {}
    first, last = date.max, date.min
    for number, document in enumerate(documents):
        entries = _csv(document, columns, zone) if form == "csv" else _buckets(form, document, zone, f"document {number + 1}")
        for day, end_day, model, reported in entries:
            first, last = min(first, day), max(last, end_day)
            if reported is not None and not reported.is_empty:
                rows.setdefault((day, model), Reported()).add(reported)
                if len(rows) > MAX_ROWS:
                    raise BadReport(f"more than {MAX_ROWS:,} days and models: reconcile a shorter span at a time")
    if last == date.min:
        raise BadReport("the report covers no day")
    return Report(rows, (first, last))


Entry = tuple[date, date, str | None, Reported | None]


def _buckets(form: str, document: object, zone: ZoneInfo, where: str) -> Iterator[Entry]:
    if isinstance(document, list):
        for number, page in enumerate(document):
            yield from _buckets(form, page, zone, f"{where}[{number}]")
        return
    page = _mapping(document, where)
    if "pages" in page:
        yield from _buckets(form, page["pages"], zone, f"{where}.pages")
        return
    for number, one in enumerate(_list(page.get("data"), f"{where}.data")):
        at = f"{where}.data[{number}]"
        bucket = _mapping(one, at)
        starts_at = _instant(bucket.get("start_time", bucket.get("starting_at")), f"{at}.start_time/starting_at")
        ends_at = _instant(bucket.get("end_time", bucket.get("ending_at")), f"{at}.end_time/ending_at")
        day = starts_at.astimezone(zone).date()
        end_day = (ends_at - timedelta(seconds=1)).astimezone(zone).date() + timedelta(days=1)
        yield day, max(end_day, day + timedelta(days=1)), None, None
        for index, result in enumerate(_list(bucket.get("results", bucket.get("result")), f"{at}.results")):
            place = f"{at}.results[{index}]"
            read = _openai if form == "openai" else _anthropic
            model, reported = read(_mapping(result, place), place)
            yield day, day + timedelta(days=1), model, reported


def _openai(result: Mapping[str, object], where: str) -> tuple[str | None, Reported]:
    if "amount" in result:
        amount = _mapping(result["amount"], f"{where}.amount")
        item = result.get("line_item")
        return _model_of_line(item), Reported(cost_usd=_money(amount.get("value"), f"{where}.amount.value"))
    tokens = {name: _count(result.get(name), f"{where}.{name}") for name in ("input_tokens", "output_tokens")}
    read = _count(result.get("input_cached_tokens"), f"{where}.input_cached_tokens")
    tier = result.get("service_tier")
    is_other_price = result.get("batch") is True or tier not in (None, "default", "auto")
    return _text(result.get("model")), Reported(
        _count(result.get("num_model_requests"), f"{where}.num_model_requests"),
        tokens["input_tokens"],
        read,
        None,
        tokens["output_tokens"],
        tier_tokens=sum(count or 0 for count in tokens.values()) if is_other_price else 0,
    )


def _anthropic(result: Mapping[str, object], where: str) -> tuple[str | None, Reported]:
    if "amount" in result:
        cents = _money(result["amount"], f"{where}.amount")
        return _text(result.get("model")), Reported(cost_usd=None if cents is None else cents / 100)
    fresh = _count(result.get("uncached_input_tokens"), f"{where}.uncached_input_tokens") or 0
    read = _count(result.get("cache_read_input_tokens"), f"{where}.cache_read_input_tokens") or 0
    created = result.get("cache_creation")
    written = sum(_count(value, f"{where}.cache_creation") or 0 for value in created.values()) if isinstance(created, dict) else 0
    output = _count(result.get("output_tokens"), f"{where}.output_tokens") or 0
    whole = fresh + read + written
    is_other_price = result.get("service_tier") not in (None, "standard")
    return _text(result.get("model")), Reported(
        None, whole, read, written, output, tier_tokens=whole + output if is_other_price else 0
    )


def _model_of_line(item: object) -> str | None:
    """`gpt-4o-2024-08-06, cached input` → the model; a line that is no model's (`web search`) stands for itself."""
    if not isinstance(item, str):
        return None
    found = _LINE_ITEM.fullmatch(item)
    return (found["model"] if found else item).strip().lower().replace(" ", "-")


def _csv(document: object, columns: Mapping[str, str], zone: ZoneInfo) -> Iterator[Entry]:
    if not isinstance(document, str):
        raise BadReport("a CSV report is a text")
    table = csv.DictReader(io.StringIO(document.removeprefix("\ufeff")))
    heads = list(table.fieldnames or ())
    place = _columns(heads, columns)
    try:
        for row in table:
            where = f"line {table.line_num}"
            day = _day(row.get(place["day"]) or "", zone, where)
            reported = Reported()
            for name in COUNTS:
                if name in place:
                    setattr(reported, name, _count(row.get(place[name]) or None, f"{where}, {place[name]}"))
            if "cost_usd" in place:
                reported.cost_usd = _money(row.get(place["cost_usd"]) or None, f"{where}, {place['cost_usd']}")
            model = _text(row.get(place["model"])) if "model" in place else None
            yield day, day + timedelta(days=1), model, reported
    except csv.Error as mistake:
        raise BadReport(f"line {table.line_num}: {mistake}") from None


def _columns(heads: list[str], named: Mapping[str, str]) -> dict[str, str]:
    """Our name → the table's, as said or as guessed."""
    unknown = [name for name in named if name not in _COLUMN_GUESSES]
    absent = [name for name in named.values() if name not in heads]
    if unknown or absent:
        told = ", ".join(heads[:40]) or "none"
        raise BadReport(
            f"no such column: {', '.join(absent)} (the table has {told})" if absent else f"not one of ours: {', '.join(unknown)}"
        )
    simple = {re.sub(r"[^a-z0-9]+", "_", head.lower()).strip("_"): head for head in heads}
    found = dict(named)
    for name, guesses in _COLUMN_GUESSES.items():
        guessed = next((simple[guess] for guess in guesses if guess in simple), None)
        if name not in found and guessed is not None:
            found[name] = guessed
    if "day" not in found:
        raise BadReport(f"which column is the day? Name it (the table has {', '.join(heads[:40]) or 'no head line'})")
    if not any(name in found for name in (*COUNTS, "cost_usd")):
        raise BadReport("which columns are the tokens and costs? Name them")
    return found


def _day(text: str, zone: ZoneInfo, where: str) -> date:
    text = text.strip()
    try:
        if re.fullmatch(r"\d{9,11}", text):
            return datetime.fromtimestamp(int(text), zone).date()
        at = datetime.fromisoformat(text)
        return at.astimezone(zone).date() if at.tzinfo is not None else at.date()
    except (ValueError, OverflowError):
        raise BadReport(f"{where}: {text[:40]!r} is no date (wanted: 2026-11-21, an instant, or Unix seconds)") from None


def _instant(value: object, where: str) -> datetime:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass  # said below, as for any other value
    raise BadReport(f"{where} must be a time; is this the JSON of a usage or cost report?")


def _count(value: object, where: str) -> int | None:
    if value is None:
        return None
    number = _money(value, where)
    if number is None or number != number.to_integral_value():
        raise BadReport(f"{where} must be a whole number, not {str(value)[:40]!r}")
    return int(number)


def _money(value: object, where: str) -> Decimal | None:
    if value is None:
        return None
    try:
        found = Decimal(str(value).strip().removeprefix("$").replace(",", "")) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or abs(found) > 10**15:
        raise BadReport(f"{where} must be a number, not {str(value)[:40]!r}")
    return found


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadReport(f"{where} must be an object; is this the JSON of a usage or cost report?")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise BadReport(f"{where} must be a list; is this the JSON of a usage or cost report?")
    return value
