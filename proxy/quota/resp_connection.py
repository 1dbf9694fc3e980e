"""One socket to Redis: what waits to be written, and whose replies are due, in order.

Speaks RESP2 and knows nothing of what it carries. Rules of this file:
- The commands of one loop turn leave in one write.
- Every call has a deadline; past it its callback hears a timeout, and the late reply is thrown away in its turn. A connection
  on which nothing came for STALL_SECONDS while something was due is cut: half-open connections look just like that.
- Every callback is called exactly once, also when the connection is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
import structlog

from proxy.errors import QuotaStoreError

log = structlog.get_logger("quota.redis")

CHECK_SECONDS = 0.01
"""How often deadlines are looked at while something is due."""
STALL_SECONDS = 1.0

OnReply = Callable[[Any], None]
"""Hears the reply, a hiredis.ReplyError, or a QuotaStoreError where there is none."""
_NOTHING = object()


class _Due:
    """A reply that is waited for."""

    __slots__ = ("deadline", "on_reply")

    def __init__(self, on_reply: OnReply, deadline: float) -> None:
        self.on_reply: OnReply | None = on_reply
        self.deadline = deadline


class RespConnection(asyncio.Protocol):
    """One socket: what waits to be written, and whose replies are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[RespConnection], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._due: deque[_Due] = deque()
        self._heard_at = 0.0
        self._check: asyncio.TimerHandle | None = None
        self._check_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, command: bytes, on_reply: OnReply, patience_seconds: float) -> None:
        now = self._loop.time()
        due = self._due
        if not due:
            self._heard_at = now
        due.append(_Due(on_reply, now + patience_seconds))
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)
        if self._check is None:
            self._check_again(now)

    def _check_again(self, now: float) -> None:
        self._check_at = now + CHECK_SECONDS
        self._check = self._loop.call_at(self._check_at, self._check_deadlines)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        reader, due = self._reader, self._due
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not _NOTHING:
                on_reply = due.popleft().on_reply
                if on_reply is not None:
                    on_reply(reply)
                reply = reader.gets()
        except (hiredis.ProtocolError, IndexError) as error:
            log.error("redis_garbled", error=repr(error))
            self.abort()

    def _check_deadlines(self) -> None:
        now = self._loop.time()
        if now - self._check_at > CHECK_SECONDS:
            # The loop itself stood still: replies may lie in the socket unread. Let it read them first.
            self._check_again(now)
            return
        self._check = None
        for due in list(self._due):
            if due.deadline <= now and due.on_reply is not None:
                on_reply, due.on_reply = due.on_reply, None
                on_reply(QuotaStoreError("Redis did not answer in time"))
        if not self._due:
            return
        if now - self._heard_at > STALL_SECONDS and self._due[0].on_reply is None:
            self.abort()
        else:
            self._check_again(now)

    @property
    def due_count(self) -> int:
        return len(self._due)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._check is not None:
            self._check.cancel()
        due, self._due = self._due, deque()
        for call in due:
            if call.on_reply is not None:
                call.on_reply(QuotaStoreError("the connection to Redis was lost"))
        self._on_lost(self)
