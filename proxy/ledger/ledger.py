"""The port for the ledger: append in batches, exactly once by id; read in pages and sums.

Sums come from roll-ups (by quarters of an hour, see rollup.py) that are written in the same transaction as the records they
sum, from the newly inserted ones only. Money is exact: TEXT/NUMERIC and Decimal, never float. The request's way never waits
for a ledger.

Every adapter passes tests/contract/test_ledger.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from proxy.records import UsageRecord

GROUPS = ("user", "team", "key_id", "provider", "model", "operation", "session", "tag", "api", "outcome")
"""What sums can be grouped by. `model` is response_model, else request_model. `session` and `tag` are not in the
roll-ups and are summed from the records. A `tag` is one pair, `name=value`: a call with two tags counts in two groups, one without
in the group None."""
INTERVALS = ("hour", "day", "week", "month")


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records: every field given must match. `model` matches request_model or response_model."""

    start_at: datetime | None = None
    """Aware; started_at >= start_at."""
    end_at: datetime | None = None
    """Aware; started_at < end_at."""
    user: str | None = None
    team: str | None = None
    key_id: str | None = None
    provider: str | None = None
    model: str | None = None
    operation: str | None = None
    session: str | None = None
    tag: str | None = None
    """One pair, `name=value`."""
    outcome: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Records newest first (started_at, id descending) and the cursor of the next page, None at the end."""

    records: list[UsageRecord]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals over a set of records. `denied` and failed calls count in requests and in their own fields."""

    requests: int = 0
    ok: int = 0
    denied: int = 0
    failed: int = 0
    """upstream_error, upstream_aborted and proxy_error."""
    client_aborted: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    total_tokens: int = 0
    estimated: int = 0
    """Records whose usage_source is `estimated`."""
    unpriced: int = 0
    """Records with tokens and no price."""
    input_cost_usd: Decimal = Decimal(0)
    output_cost_usd: Decimal = Decimal(0)
    cost_usd: Decimal = Decimal(0)
    reported_cost_usd: Decimal = Decimal(0)
    duration_ms: float = 0.0
    """Sum; divide by requests for the mean."""
    time_to_first_byte_ms: float = 0.0
    first_byte_count: int = 0


@dataclass(frozen=True, slots=True)
class GroupSums:
    """Sums of one group; `group` maps each of the asked names to its value (None: not set)."""

    group: dict[str, str | None]
    sums: Sums


@dataclass(frozen=True, slots=True)
class Point:
    """Sums of one interval that begins at start_at (aware UTC; the interval is one of the zone asked for)."""

    start_at: datetime
    group: dict[str, str | None] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A virtual key made through the API or the command line; the key itself is never stored."""

    key_id: str
    """First 12 hex digits of key_sha256."""
    key_sha256: str
    user: str
    team: str | None = None
    tier: str | None = None
    name: str | None = None
    created_at: str = ""
    created_by: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    settings: dict[str, object] = field(default_factory=dict)
    """models, limits, may_speak_for_others, … in the words of limits.yaml `keys:`."""


@dataclass(frozen=True, slots=True)
class Repriced:
    """A record's new price."""

    record_id: str
    input_cost_usd: str | None
    output_cost_usd: str | None
    cost_usd: str | None
    price_source: str | None

    def applied_to(self, record: UsageRecord) -> UsageRecord:
        return record._replace(
            input_cost_usd=self.input_cost_usd,
            output_cost_usd=self.output_cost_usd,
            cost_usd=self.cost_usd,
            price_source=self.price_source,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the control plane's journal."""

    kind: str
    """audit, alert, delivery."""
    id: str
    """Unique within its kind."""
    at: str
    """As `started_at` of records."""
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries newest first (at, id descending) and the cursor of the next page, None at the end."""

    entries: list[Entry]
    next_cursor: str | None


class Ledger(Protocol):
    """Where records live. Methods raise LedgerError where the store is away or refuses."""

    has_digests: bool
    """Sums of long periods, by the names that are asked for most, are kept; see `digest`."""

    async def start(self) -> None:
        """Open and bring the schema up to date (numbered SQL files, under a lock, checksums kept)."""

    async def close(self) -> None: ...

    async def append(self, records: Sequence[UsageRecord]) -> list[UsageRecord]:
        """Store a batch and its roll-ups in one transaction. Returns those that were new (by id), as they are stored; a record
        whose `billing_key` is known already is stored with null tokens and costs.

        Raises:
            RefusedRecord: one of the records can never be stored; nothing of the batch was.
            LedgerError: the ledger is away; nothing of the batch was stored, or all of it.
        """

    async def record(self, record_id: str) -> UsageRecord | None: ...

    async def records(self, which: RecordFilter, limit: int, cursor: str | None) -> Page:
        """Raises ValueError for a cursor that is not one of ours."""

    def export(self, which: RecordFilter) -> AsyncIterator[UsageRecord]:
        """All matching records, oldest first, in constant memory."""
        ...

    async def sums(self, which: RecordFilter, group_by: Sequence[str] = (), limit: int = 1000) -> list[GroupSums]:
        """Largest cost first, then tokens. Without group_by exactly one row."""

    async def timeseries(self, which: RecordFilter, interval: str, timezone: str, group_by: Sequence[str] = ()) -> list[Point]:
        """Oldest first; intervals begin where they begin in that IANA zone; empty intervals are left out."""

    async def last_sessions(self, user: str, limit: int = 50) -> list[dict[str, object]]:
        """Newest first: session, requests, total_tokens, cost_usd, first_at, last_at."""

    async def used_since(self, start_at: datetime) -> list[GroupSums]:
        """Sums from start_at on, grouped by user, team, key_id, provider and request_model (under the name `model`), from
        the records themselves: what counters are seeded with. Tracked usage counts, denied calls do not."""

    async def keys(self) -> list[StoredKey]: ...

    async def put_key(self, key: StoredKey) -> None:
        """Insert or replace by key_id."""

    async def setting(self, name: str) -> object | None:
        """Small JSON documents of the control plane by name: `admin_key`, `switch`, `overrides` …"""

    async def put_setting(self, name: str, value: object) -> None: ...

    async def settings(self, prefix: str) -> dict[str, object]:
        """All documents whose name begins with the prefix."""

    async def add_setting(self, name: str, value: object) -> bool:
        """Insert only; False where the name exists: of several replicas exactly one gets True."""

    async def delete_setting(self, name: str) -> bool:
        """False where there was none."""

    async def put_entry(self, entry: Entry, *, replace: bool = False) -> bool:
        """Insert; False where (kind, id) is there already and `replace` is False: of several replicas exactly one gets True."""

    async def entry(self, kind: str, entry_id: str) -> Entry | None: ...

    async def entries(
        self, kind: str, limit: int, cursor: str | None, *, start_at: datetime | None = None, end_at: datetime | None = None
    ) -> EntryPage:
        """Raises ValueError for a cursor that is not one of ours."""

    async def delete_entries(self, kind: str, before: datetime) -> int:
        """Retention of a journal; how many went."""

    async def change_marker(self) -> str:
        """Changes whenever a key or a setting does, on whatever replica; cheap enough to ask four times a second."""

    async def reprice(self, prices: Sequence[Repriced]) -> int:
        """Replace the costs of these records and move the sums with them, in one transaction; how many were found. Records that
        count nothing because another has their bill must be left out by the caller (they have no tokens)."""

    async def digest(self) -> bool:
        """Sum up a few hours or a day that are over, where the store makes use of that; False where nothing is left to do. Changes
        no answer, only how long it takes."""

    async def forget_user(self, user: str) -> int:
        """Delete a person's records, sums and sessions; the number of records."""

    async def forget_before(self, at: datetime) -> None:
        """Retention: delete records that started before (Postgres: whole months of them), their bills, and sessions that ended
        before; sums stay."""

    async def forget_sessions_before(self, at: datetime) -> int:
        """Sessions whose last call was before, alone; how many went."""
