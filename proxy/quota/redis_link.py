"""Asking a node: redirections followed, failures counted, masters that are none any more left.

What is an answer and what a failure is decided here and nowhere else: an error reply is a failure like a lost connection, so
that the breaker opens for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hiredis
import structlog

from proxy.errors import QuotaStoreError
from proxy.quota.redis_nodes import Node, Nodes
from proxy.quota.redis_scripts import Command
from proxy.quota.resp_client import encode
from proxy.quota.resp_connection import OnReply

log = structlog.get_logger("quota.redis")

MAX_REDIRECTIONS = 4
QUIET_PATIENCE_SECONDS = 2.0
"""Deadline in seconds of what nobody waits for: settlements, probes, seeds."""


@dataclass(slots=True)
class RedisFigures:
    """What happened so far; plain numbers for /metrics."""

    failures: int = 0
    """Calls and probes that failed."""
    local_decisions: int = 0
    """Calls that were admitted or refused by this process' own counters because Redis was away."""
    open_decisions: int = 0
    """Calls that were let go uncounted, because all their limits say `open`."""
    closed_decisions: int = 0
    """Calls that a limit with `on_store_failure: closed` refused."""
    repeated: int = 0
    """Settlements sent again."""
    lost_settlements: int = 0
    """Settlements given up because too many waited; the ledger still has them."""
    recovered_holds: int = 0
    """Settlements whose hold had vanished with the data and that were counted all the same."""
    flushes: int = 0
    """How often the data was found gone."""
    reseeds: int = 0
    strict_overruns: int = 0
    """Settlements above what a strict limit held: the upper bound was wrong. 0 is the promise."""
    latency_seconds: float = 0.0
    """Of a reservation: moving average."""
    clock_skew_seconds: float = 0.0
    """Our clock minus Redis' clock."""


class RedisLink:
    """The nodes, and how to talk to them."""

    def __init__(self, nodes: Nodes, figures: RedisFigures, on_away: Callable[[], None]) -> None:
        """
        Args:
            on_away: called when a node's breaker opens.
        """
        self.nodes = nodes
        self.figures = figures
        self._on_away = on_away

    async def ask(self, node: Node, asked: Command, patience_seconds: float | None = None) -> Any:
        """A script's reply.

        Raises:
            QuotaStoreError: none came, or an error did.
        """
        reply = await node.client.call(asked.by_sha(), patience_seconds)
        if not isinstance(reply, hiredis.ReplyError):
            return reply
        return await self.after_error(node, asked, reply, patience_seconds)

    async def after_error(self, node: Node, asked: Command, reply: Any, patience_seconds: float | None = None) -> Any:
        """What the script replies once it is known and the right node is asked.

        Raises:
            QuotaStoreError: another error.
        """
        for _ in range(MAX_REDIRECTIONS):
            target = self.next_try(node, reply)
            if target is None:
                break
            node = target
            reply = await node.client.call(asked.in_full(), patience_seconds)
            if not isinstance(reply, hiredis.ReplyError):
                return reply
        self.heard_error(node, str(reply))
        raise QuotaStoreError(str(reply))

    def next_try(self, node: Node, error: Any) -> Node | None:
        """Where to send the same command in full after this error; None: nowhere."""
        word, _, rest = str(error).partition(" ")
        if word == "NOSCRIPT":
            return node
        if word not in ("MOVED", "ASK"):
            return None
        self.nodes.refresh_soon()
        target = self.nodes.of_address(rest.rpartition(" ")[2], node)
        if not target.client.is_up:
            return None
        if word == "ASK":
            target.client.send(encode("ASKING"), ignore, QUIET_PATIENCE_SECONDS)
        return target

    def send(self, node: Node, asked: Command, on_reply: OnReply) -> None:
        """Send a script's call that nobody waits for."""
        node.client.send(asked.by_sha(), on_reply, QUIET_PATIENCE_SECONDS)

    def heard_error(self, node: Node, error: str) -> None:
        """A master that is one no more must be looked for anew."""
        if error.startswith(("READONLY", "MASTERDOWN")):
            node.client.reconnect()
        self.nodes.refresh_soon()

    def failed(self, node: Node, error: QuotaStoreError) -> None:
        """Count a failure; where it is one too many, nobody waits for this node any more."""
        self.figures.failures += 1
        if node.breaker.failed():
            log.error(
                "redis_away", address=str(node.client.address), error=str(error), consequence="limits follow on_store_failure"
            )
            self._on_away()
        if not node.client.is_up:
            self.nodes.refresh_soon()


def ignore(_: Any) -> None:
    """For replies that decide nothing."""
