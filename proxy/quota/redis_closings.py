"""Settlements and releases on their way to Redis: sent with the next write, kept until they are answered.

Rules of this file: nothing is counted twice and nothing is lost while a process lives. A settlement whose reply did not come is
sent again; the script does nothing where the hold is gone because the first one arrived. Where the hold is gone although this was
the first, or because the data was lost meanwhile, it is sent once more to be counted without its hold (the script leaves a mark).
What waits is bounded; beyond that the oldest are given up and counted, and the ledger still has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import hiredis

from proxy.quota.redis_link import RedisLink
from proxy.quota.redis_nodes import Node
from proxy.quota.redis_plan import Call, Plan
from proxy.quota.redis_scripts import Command

MAX_UNSENT = 200_000
"""About 100 MB; at 1,000 calls a second the outage of three minutes."""


class _Closing:
    """A settlement or release that Redis has not confirmed yet."""

    __slots__ = ("amounts", "call", "epoch", "hold_id", "is_forced", "is_release", "is_repeated", "plan")

    def __init__(self, plan: Plan, call: Call, hold_id: str, amounts: Sequence[int], is_forced: bool, is_release: bool) -> None:
        self.plan = plan
        self.call = call
        self.hold_id = hold_id
        self.amounts = amounts
        self.is_forced = is_forced
        self.is_release = is_release
        self.is_repeated = False
        """Sent before, and nobody knows whether it arrived."""
        self.epoch: str | None = None
        """The data's epoch when it was first sent."""

    def command(self) -> Command:
        return self.call.settle(self.hold_id, self.is_forced, self.amounts)


class Closings:
    """All of them."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._unsent: deque[_Closing] = deque()
        self._in_flight = 0

    @property
    def unsent_count(self) -> int:
        """How many are not confirmed: waiting for a connection or for a reply."""
        return len(self._unsent) + self._in_flight

    def settle(self, plan: Plan, hold_id: str, amounts: Sequence[int], *, is_forced: bool) -> None:
        """Replace a hold by these amounts, one per cell of the plan; forced: there is no hold, count all the same."""
        for call in plan.calls:
            self._send(_Closing(plan, call, hold_id, amounts, is_forced, False))

    def release(self, plan: Plan, hold_id: str) -> None:
        """Give a hold back, if there is one."""
        nothing = [0] * len(plan.cells)
        for call in plan.calls:
            self._send(_Closing(plan, call, hold_id, nothing, False, True))

    def send_unsent(self) -> None:
        """Try again what waits."""
        for _ in range(len(self._unsent)):
            closing = self._unsent.popleft()
            node = self._link.nodes.of_slot(closing.call.slot)
            if node is None or not node.client.is_up:
                self._unsent.append(closing)
            else:
                self._link.figures.repeated += 1
                self._send(closing)

    def _send(self, closing: _Closing) -> None:
        node = self._link.nodes.of_slot(closing.call.slot)
        if node is None or not node.client.is_up:
            self._keep(closing)
            return
        if closing.epoch is None:
            closing.epoch = node.epoch
        self._in_flight += 1
        self._link.send(node, closing.command(), partial(self._closed, node, closing))

    def _closed(self, node: Node, closing: _Closing, reply: Any) -> None:
        """The reply: 1, or the states of the subjects, or why there is none."""
        self._in_flight -= 1
        if reply == 1:
            return
        if isinstance(reply, list):
            self._count_unknown(node, closing, reply)
        elif isinstance(reply, hiredis.ReplyError):
            target = self._link.next_try(node, reply)
            if target is not None:
                self._in_flight += 1
                target.client.send(closing.command().in_full(), partial(self._closed, target, closing))
                return
            self._link.heard_error(node, str(reply))
            self._link.figures.failures += 1
            self._keep(closing)
        else:
            closing.is_repeated = True
            self._link.figures.failures += 1
            self._keep(closing)

    def _count_unknown(self, node: Node, closing: _Closing, states: list[int]) -> None:
        """Where a hold was not found: it was settled by our first sending, or it is lost and must be counted without it."""
        unknown = [subject.tag for subject, state in zip(closing.call.subjects, states, strict=True) if state == 0]
        if not unknown or closing.is_release or (closing.is_repeated and node.epoch == closing.epoch):
            return
        self._link.figures.recovered_holds += 1
        call = closing.plan.settle_only(closing.call, unknown)
        self._send(_Closing(closing.plan, call, closing.hold_id, closing.amounts, True, False))

    def _keep(self, closing: _Closing) -> None:
        if len(self._unsent) >= MAX_UNSENT:
            self._unsent.popleft()
            self._link.figures.lost_settlements += 1
        self._unsent.append(closing)
