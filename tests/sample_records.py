"""Usage records for tests: one whole record, and changes to it by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from proxy.records import UsageRecord
from proxy.spool.segment import new_segment_stem

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

WHOLE = UsageRecord(
    id="",
    started_at="",
    duration_ms=1234.567,
    time_to_first_byte_ms=310.25,
    user="alice",
    team="research",
    key_id="3f9a00112233",
    session="s-1",
    operation="summarise",
    operation_id="job-7",
    tags={"env": "prod"},
    provider="openai",
    api="openai.chat",
    method="POST",
    path="/v1/chat/completions",
    request_model="gpt-4o-mini",
    response_model="gpt-4o-mini-2024-07-18",
    streamed=True,
    status=200,
    outcome="ok",
    error=None,
    input_tokens=1200,
    cache_read_tokens=1000,
    cache_write_tokens=None,
    output_tokens=345,
    reasoning_tokens=0,
    input_audio_tokens=None,
    output_audio_tokens=None,
    total_tokens=1545,
    usage_source="reported",
    input_cost_usd="0.000105",
    output_cost_usd="0.000207",
    cost_usd="0.000312",
    price_source="prices.yaml",
    provider_request_id="req_1",
    reported_cost_usd=None,
    usage_details={"service_tier": "default", "units": {"web_searches": "2"}},
    limit=None,
    overhead_ms=0.04,
    timings={"admitted": 0.1, "last_byte": 1234.5},
    billing_key=None,
    retry_count=0,
    exactness="exact",
    key_name="laptop",
    tier="premium",
)


def instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def minted_id(at: datetime) -> str:
    """A UUIDv7 of that time."""
    head = f"{int(at.timestamp() * 1000):012x}"
    return f"{head[:8]}-{head[8:]}{new_segment_stem()[13:]}"


def sample(at: datetime = NOON, **changes: Any) -> UsageRecord:
    """A record of that time with a fresh id; `changes` by field name."""
    return WHOLE._replace(**{"id": minted_id(at), "started_at": instant(at), **changes})


def samples(count: int, at: datetime = NOON, step: timedelta = timedelta(seconds=1), **changes: Any) -> list[UsageRecord]:
    return [sample(at + number * step, **changes) for number in range(count)]
