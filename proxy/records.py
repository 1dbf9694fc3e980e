"""The usage record: one immutable line per answered request, refused and failed ones too.

JSON field names = column names. A NamedTuple and not a dataclass: making one costs 1 µs instead of 12, and this
happens once per request. New fields go to the end, with a default, so that an older release's spool can be read.
"""

from __future__ import annotations

from typing import NamedTuple

OUTCOMES = ("ok", "denied", "upstream_error", "upstream_aborted", "client_aborted", "proxy_error")
USAGE_SOURCES = ("reported", "estimated", "tracked", "none")


class UsageRecord(NamedTuple):
    """One answered request. Times are UTC ISO 8601 with microseconds and `Z`; money is a decimal string; None = unknown."""

    id: str
    """UUIDv7, the `x-weighbridge-request-id` of the answer."""
    started_at: str
    duration_ms: float
    time_to_first_byte_ms: float | None
    user: str
    team: str | None
    key_id: str | None
    session: str | None
    operation: str | None
    operation_id: str | None
    tags: dict[str, str] | None
    provider: str
    api: str
    method: str
    path: str
    """Without the query, which may hold a credential."""
    request_model: str | None
    response_model: str | None
    streamed: bool
    status: int
    """What the client was answered; 0 where it left before an answer began."""
    outcome: str
    error: str | None
    input_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    input_audio_tokens: int | None
    output_audio_tokens: int | None
    total_tokens: int | None
    usage_source: str
    input_cost_usd: str | None
    output_cost_usd: str | None
    cost_usd: str | None
    price_source: str | None
    """Where the price came from and its date, e.g. `genai-prices 0.2.3 2026-08-21` or `prices.yaml`; why, where cost is null."""
    provider_request_id: str | None
    # Beyond the public list: what invoicing, re-pricing and the dashboard need.
    reported_cost_usd: str | None = None
    """The provider's own figure, kept beside ours."""
    usage_details: dict[str, object] | None = None
    """Sparse: every other count of TokenUsage and its units, by name, `service_tier`, `also_used`; enough to price again."""
    limit: str | None = None
    """The limit that refused the call (`x-weighbridge-limit`)."""
    overhead_ms: float | None = None
    """Time this program added before the provider was asked and after its last byte."""
    timings: dict[str, float] | None = None
    """ms since started_at: `admitted`, `forwarded`, `first_byte`, `last_byte`, `settled`."""
    billing_key: str | None = None
    """Same key = same bill; a second record with it counts nothing (the ledger keeps its tokens and cost at null)."""
    retry_count: int | None = None
    """`x-stainless-retry-count`: which try of the client's SDK this was."""
    exactness: str | None = None
    """`exact`, `lower_bound`, `estimated` or `none`: how far the counts can be trusted."""
    key_name: str | None = None
    tier: str | None = None


FIELDS = UsageRecord._fields


def as_dict(record: UsageRecord) -> dict[str, object]:
    """The record as its JSON object, fields in the public order."""
    return dict(zip(FIELDS, record, strict=True))


def from_dict(fields: dict[str, object]) -> UsageRecord:
    """A record from its JSON object; fields this release does not know are left out.

    Raises:
        TypeError: a field without a default is missing.
    """
    return UsageRecord(**{name: fields[name] for name in FIELDS if name in fields})  # type: ignore[arg-type]
