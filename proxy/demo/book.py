"""The fake provider's own book: one entry per request it got, so that a ledger can be compared with the truth.

Bounded: the oldest entries leave when it is full. Credentials are kept as digests only.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field

BOOK_SIZE = 50_000


@dataclass(slots=True)
class Entry:
    """One request as the provider saw and answered it. Totals are inclusive, as in the usage record."""

    request_id: str
    """The `x-request-id` of the answer; the record's `provider_request_id`."""
    call: str
    api: str
    method: str
    path: str
    model: str = ""
    response_model: str = ""
    is_stream: bool = False
    status: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    sent_output_tokens: int = 0
    """Output that left before the end; equals output_tokens where the answer went out whole."""
    is_usage_sent: bool = False
    sent_sha256: str = ""
    """Of the body bytes that left, compressed as they were; empty until the end."""
    ended: str = "running"
    """running, whole, cut (by us, as asked), left (the peer hung up), failed (an error status or event)."""
    body_bytes: int = 0
    body_sha256: str = ""
    credential_sha256: str = ""
    """Of the key in whichever place it came; empty: there was none."""
    header_names: list[str] = field(default_factory=list)
    asks_for_usage: bool = False


class Book:
    """Entries by request id, oldest first."""

    def __init__(self, size: int = BOOK_SIZE) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._tries: OrderedDict[str, int] = OrderedDict()
        self._size = size

    def open(self, entry: Entry) -> int:
        """Add an entry; how many tries of the same call came before it."""
        self._entries[entry.request_id] = entry
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        if not entry.call:
            return 0
        before = self._tries.get(entry.call, 0)
        self._tries[entry.call] = before + 1
        if len(self._tries) > self._size:
            self._tries.popitem(last=False)
        return before

    def entries(self, call: str | None = None, request_id: str | None = None) -> list[dict[str, object]]:
        """Entries as JSON objects, oldest first; of one call, or of one request, where asked."""
        return [
            asdict(entry)
            for entry in self._entries.values()
            if (call is None or entry.call == call) and (request_id is None or entry.request_id == request_id)
        ]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._tries.clear()
