"""One request as it arrives: its head, and its body held whole, looked into, or passed on piece by piece.

Not here: the connection it came over (downstream.py), what it means (usage/request_facts.py, exchange.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.routing.headers import Header, RequestHead
from proxy.routing.known_heads import KnownHead
from proxy.routing.route import Route

if TYPE_CHECKING:
    from proxy.relay.downstream import ClientConnection

PEEK_BYTES = 64 * 1024


class Request:
    """Filled by the client's connection while its exchange may already run."""

    __slots__ = (
        "_peek",
        "body_kind",
        "body_parts",
        "body_size",
        "client",
        "credentials",
        "head",
        "is_complete",
        "is_refused",
        "known",
        "route",
        "sink",
        "trailers",
    )

    def __init__(self, client: ClientConnection, head: RequestHead, where: Route, kind: str) -> None:
        self.client = client
        self.head = head
        self.known: KnownHead | None = None
        """Set where the head was not parsed, because an earlier one like it was; then `head` is shared and holds no key."""
        self.credentials = head.credentials
        self.route = where
        self.body_kind = kind
        """json: held until complete · multipart: its first bytes are looked into · none: streamed (or there is no body)."""
        self.body_parts: list[bytes] = []
        self.body_size = 0
        self.is_complete = False
        self.is_refused = False
        """Answered before it was read to its end: the rest is thrown away."""
        self.trailers: list[Header] = []
        self.sink: Callable[[bytes, bool], None] | None = None
        """Takes (piece, is_last) of a body that streams through."""
        self._peek: asyncio.Future[None] | None = None

    def body(self) -> bytes:
        """What has been gathered so far, in one piece."""
        parts = self.body_parts
        if len(parts) == 1:
            return parts[0]
        joined = b"".join(parts)
        self.body_parts = [joined] if joined else []
        return joined

    async def peek(self) -> bytes:
        """The first 64 KiB of the body, or all of a shorter one."""
        if not self.is_complete and self.body_size < PEEK_BYTES:
            self._peek = asyncio.get_running_loop().create_future()
            await self._peek
        return self.body()[:PEEK_BYTES]

    def stream_to(self, sink: Callable[[bytes, bool], None]) -> None:
        """From now on pieces go to `sink`; what has been gathered goes first."""
        gathered, self.body_parts = self.body(), []
        self.sink = sink
        if gathered or self.is_complete:
            sink(gathered, self.is_complete)
        self.client.read_on()

    def take(self, data: bytes) -> None:
        """A piece of the body has come."""
        self.body_size += len(data)
        if self.sink is not None:
            self.sink(data, False)
            return
        self.body_parts.append(data)
        if self._peek is not None and self.body_size >= PEEK_BYTES and not self._peek.done():
            self._peek.set_result(None)

    def complete(self) -> None:
        """The body has ended."""
        self.is_complete = True
        if self.sink is not None:
            self.sink(b"", True)
        elif self._peek is not None and not self._peek.done():
            self._peek.set_result(None)

    def abandon(self, error: Exception) -> None:
        """The rest will never come: whoever waits for it hears of it."""
        if self._peek is not None and not self._peek.done():
            self._peek.set_exception(error)
