"""The one owner of what a request holds and of the record it leaves.

`close` may be called from anywhere and any number of times: the first call settles (or releases) the reservation,
prices the reading and appends the record to the spool, synchronously, so that no cancellation can fall between; the
others do nothing. It is called before the last byte of an answer is handed to the client.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from operator import attrgetter

import structlog

from proxy.errors import SpoolError
from proxy.limits.estimate import actual_amounts, output_cap_of
from proxy.pricing.cost import Cost
from proxy.pricing.money import to_nano_usd, usd_text
from proxy.records import UsageRecord
from proxy.relay.admission import Admitted
from proxy.relay.identity import NOBODY, Denied
from proxy.relay.state import RelayState
from proxy.routing.headers import RequestHead
from proxy.routing.provider import Provider
from proxy.rules import Rules
from proxy.usage.request_facts import RequestFacts
from proxy.usage.tokens import Exactness, Reading, TokenUsage

log = structlog.get_logger(__name__)
_RECORD_FIELDS = frozenset(UsageRecord._fields)
_DETAIL_FIELDS = tuple(name for name in TokenUsage._fields if name not in _RECORD_FIELDS and name != "units")
_detail_counts = attrgetter(*_DETAIL_FIELDS)
_NO_DETAIL_COUNTS = (None,) * len(_DETAIL_FIELDS)
_make_record = tuple.__new__
NO_COST = Cost(None, None, None, None)


class Weighing:
    """From the moment a request is understood until its record is on disk."""

    __slots__ = (
        "admitted",
        "admitted_at",
        "began",
        "caller",
        "facts",
        "first_byte_at",
        "forwarded_at",
        "head",
        "injected",
        "is_closed",
        "last_byte_at",
        "path",
        "provider",
        "provider_request_id",
        "record",
        "request_id",
        "rules",
        "settled",
        "started_at",
        "state",
        "streamed",
    )

    def __init__(
        self,
        state: RelayState,
        rules: Rules,
        head: RequestHead,
        provider: Provider,
        path: str,
        facts: RequestFacts,
        began: float,
    ) -> None:
        """
        Args:
            began: `perf_counter` when the request was there to be read: what comes after is this program's time.
        """
        self.state = state
        self.rules = rules
        self.started_at = now = time.time()
        self.request_id = state.new_id(now)
        self.head = head
        self.provider = provider
        self.path = path
        self.facts = facts
        self.caller = NOBODY
        self.admitted: Admitted | None = None
        self.began = began
        self.admitted_at: float | None = None
        self.forwarded_at: float | None = None
        self.first_byte_at: float | None = None
        self.last_byte_at: float | None = None
        self.provider_request_id: str | None = None
        self.streamed = facts.is_stream
        self.is_closed = False
        self.settled: dict[str, int] = {}
        """Amounts that are settled already: those of a session's finished responses."""
        self.record: UsageRecord | None = None

    def close(
        self, outcome: str, status: int, reading: Reading | None = None, error: str | None = None, denied: Denied | None = None
    ) -> UsageRecord | None:
        """Settle and record. Returns the record of the first call, None for any later one."""
        if self.is_closed:
            return None
        self.is_closed = True
        self.state.live.pop(self.request_id, None)
        if reading is None:
            reading = Reading(self.facts.api)
        cost = NO_COST
        # Three steps, each on its own: a fault of ours in one must not take the others with it, nor the client's answer.
        try:
            if reading.usage is not None or reading.is_usage_missing:
                cost = self._price(reading)
        except Exception as fault:
            log.exception("pricing_failed", request_id=self.request_id)
            cost = Cost(None, None, None, f"not priced: {type(fault).__name__}")  # to be priced again
        try:
            self._settle(reading, cost)
        except Exception:
            log.exception("settling_failed", request_id=self.request_id, consequence="its holds end with their lease")
        try:
            record = self.record = self._record(outcome, status, reading, cost, error, denied)
            self.state.spool.append(record)
            return record
        except SpoolError as failure:
            self.state.spool_failed(failure)
        except Exception as fault:
            log.exception("recording_failed", request_id=self.request_id)
            self.state.spool_failed(SpoolError(f"{type(fault).__name__}: {fault}"))
        return self.record

    def _price(self, reading: Reading) -> Cost:
        book, provider = self.rules.pricebook, self.provider
        model = reading.response_model or self.facts.model
        when = datetime.fromtimestamp(self.started_at, UTC)
        return book.cost(provider.name, provider.price_provider, model, reading, when, fallback_model=self.facts.model)

    def _settle(self, reading: Reading, cost: Cost) -> None:
        admitted = self.admitted
        if admitted is None:
            return
        usage, exact = reading.usage, reading.exactness
        if usage is not None and exact is Exactness.EXACT:
            facts = self.facts
            cap = output_cap_of(facts.api, facts.output_cap_tokens)
            self.state.estimator.learn(
                admitted.model_key, facts.input_bytes, cap, usage.input_tokens, usage.output_tokens, hidden=admitted.hidden
            )
        reservation = admitted.reservation
        if reservation is None:
            return
        if self.forwarded_at is None:
            self.state.quota.release(reservation)
            return
        if reading.is_usage_missing and exact is Exactness.NONE:
            exact = Exactness.LOWER_BOUND  # it used something, nobody knows what: charged as held
        nano = None if cost.cost_usd is None else to_nano_usd(cost.cost_usd)
        counts = usage if usage is not None else _NO_USAGE
        actual = actual_amounts(counts.input_tokens, counts.output_tokens, nano, reservation, exact, counts.total_tokens)
        for resource, amount in self.settled.items():
            actual[resource] = max(0, actual[resource] - amount)
        self.state.quota.settle(reservation, actual)

    def used_since(self, reading: Reading) -> dict[str, int]:
        """What a session used beyond what is settled already, by resource."""
        usage = reading.usage if reading.usage is not None else _NO_USAGE
        cost = self._price(reading).cost_usd if reading.usage is not None else None
        amounts = {
            "tokens": usage.total_tokens or 0,
            "input_tokens": usage.input_tokens or 0,
            "output_tokens": usage.output_tokens or 0,
            "cost_usd": 0 if cost is None else to_nano_usd(cost),
        }
        return {resource: max(0, amount - self.settled.get(resource, 0)) for resource, amount in amounts.items()}

    def _record(
        self, outcome: str, status: int, reading: Reading, cost: Cost, error: str | None, denied: Denied | None
    ) -> UsageRecord:
        head, facts, usage, caller = self.head, self.facts, reading.usage, self.caller
        labels, began, closed_at = head.labels, self.began, time.perf_counter()
        if labels and caller.labels is not None:
            labels = {name: value for name, value in labels.items() if name.decode("latin-1").replace("-", "_") in caller.labels}
        forwarded_at, first_byte_at, last_byte_at = self.forwarded_at, self.first_byte_at, self.last_byte_at
        settled_ms = int((closed_at - began) * 1e6) / 1e3  # ms to the microsecond; round() took half a microsecond each
        overhead_ms = first_byte_ms = None
        timings: dict[str, float] = {}
        if self.admitted_at is not None:
            timings["admitted"] = int((self.admitted_at - began) * 1e6) / 1e3
        if forwarded_at is not None:
            timings["forwarded"] = overhead_ms = int((forwarded_at - began) * 1e6) / 1e3
        if first_byte_at is not None:
            timings["first_byte"] = first_byte_ms = int((first_byte_at - began) * 1e6) / 1e3
        if last_byte_at is not None:
            timings["last_byte"] = int((last_byte_at - began) * 1e6) / 1e3
            if forwarded_at is not None:
                overhead_ms = int((forwarded_at - began + closed_at - last_byte_at) * 1e6) / 1e3
        timings["settled"] = settled_ms
        if error is None:
            error = reading.error if denied is None else denied.message
        counts = usage if usage is not None else _NO_USAGE
        source, exactness = "reported", "exact"
        if reading.exactness is not Exactness.EXACT:
            exactness = reading.exactness.value
            source = "none" if reading.exactness is Exactness.NONE else "estimated"
        input_usd, output_usd, usd, price_source = cost
        # Made as the tuple it is: the constructor's forty-six arguments took a microsecond more.
        return _make_record(
            UsageRecord,
            (
                self.request_id,
                utc_text(self.started_at),
                settled_ms,
                first_byte_ms,
                caller.user,
                caller.team,
                caller.key_id,
                _label(labels, b"session") if labels else None,
                _label(labels, b"operation") if labels else None,
                _label(labels, b"operation-id") if labels else None,
                _tags(labels.get(b"tags")) if labels else None,
                self.provider.name,
                reading.api,
                head.method,
                self.path,
                facts.model,
                reading.response_model,
                self.streamed,
                status,
                outcome,
                error,
                counts.input_tokens,
                counts.cache_read_tokens,
                counts.cache_write_tokens,
                counts.output_tokens,
                counts.reasoning_tokens,
                counts.input_audio_tokens,
                counts.output_audio_tokens,
                counts.total_tokens,
                source,
                None if input_usd is None else usd_text(input_usd),
                None if output_usd is None else usd_text(output_usd),
                None if usd is None else usd_text(usd),
                price_source,
                self.provider_request_id or reading.provider_response_id,
                None if reading.reported_cost_usd is None else usd_text(reading.reported_cost_usd),
                self._details(reading),
                None if denied is None else denied.limit,
                overhead_ms,
                timings,
                reading.billing_key,
                head.retry_count,
                exactness,
                caller.key_name,
                caller.tier,
            ),
        )

    def policy_line(self) -> bytes:
        """The header line that says which `on_store_failure` admitted the call; empty while the quota store answers."""
        reservation = None if self.admitted is None else self.admitted.reservation
        if reservation is None or reservation.store_mode == "normal":
            return b""
        return b"x-weighbridge-on-store-failure: " + reservation.store_mode.encode() + b"\r\n"

    def _details(self, reading: Reading) -> dict[str, object] | None:
        """Everything needed to price the call again that has no column of its own."""
        details: dict[str, object] = {}
        usage = reading.usage
        if usage is not None and (_detail_counts(usage) != _NO_DETAIL_COUNTS or usage.units):
            for name in _DETAIL_FIELDS:
                value = getattr(usage, name)
                if value is not None:
                    details[name] = value
            for name, amount in usage.units.items():
                details[name] = str(amount)
        if reading.service_tier:
            details["service_tier"] = reading.service_tier
        if reading.is_usage_missing:
            details["usage_missing"] = True
        if reading.also_used:
            details["also_used"] = [{"model": model, **_sparse(also)} for model, also in reading.also_used]
        if self.admitted is not None and self.admitted.reservation is not None and self.admitted.reservation.store_mode != "normal":
            details["limits_mode"] = self.admitted.reservation.store_mode
        return details or None


def token_lines(record: UsageRecord) -> bytes:
    """The header lines in which a whole answer carries what it used and cost."""
    lines = b""
    if record.input_tokens is not None:
        lines += b"x-weighbridge-input-tokens: %d\r\n" % record.input_tokens
    if record.output_tokens is not None:
        lines += b"x-weighbridge-output-tokens: %d\r\n" % record.output_tokens
    if record.cost_usd is not None:
        lines += b"x-weighbridge-cost-usd: " + record.cost_usd.encode() + b"\r\n"
    return lines


_NO_USAGE = TokenUsage()
_second = (-1, "")


def utc_text(instant: float) -> str:
    """Unix seconds as `2026-11-21T23:49:26.123456Z`; the whole second is formatted once."""
    global _second
    whole = int(instant)
    if _second[0] != whole:
        _second = (whole, datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S."))
    return f"{_second[1]}{int((instant - whole) * 1_000_000):06d}Z"


def _sparse(usage: TokenUsage) -> dict[str, object]:
    return {name: value for name, value in zip(TokenUsage._fields, usage, strict=True) if name != "units" and value is not None}


def _label(labels: dict[bytes, bytes], name: bytes) -> str | None:
    value = labels.get(name)
    return value.decode("utf-8", "replace")[:256] if value else None


def _tags(value: bytes | None) -> dict[str, str] | None:
    """`k=v,k=v` to a dict; at most 32 tags of 256 characters; a tag without `=` has the value ``."""
    if not value:
        return None
    tags: dict[str, str] = {}
    for part in value.decode("utf-8", "replace").split(",")[:32]:
        name, _, text = part.partition("=")
        if name.strip():
            tags[name.strip()[:256]] = text.strip()[:256]
    return tags or None
