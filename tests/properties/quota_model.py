"""The reference: what a quota store must show, in the plainest words. Slow on purpose: sums over lists, nothing remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from proxy.limits.limit import Demand, Limit
from proxy.limits.window import window_at

UTC = ZoneInfo("UTC")
Cell = tuple[str, str]


def cell_of(limit: Limit, now: float) -> Cell:
    """A counter in one window."""
    return limit.counter, "" if limit.window is None else window_at(limit.window, now, UTC).id


@dataclass
class ModelHold:
    """What one request holds, by cell; all its cells are settled to, those of 0 too."""

    amounts: dict[Cell, int]
    resources: dict[Cell, str]
    deadline_at: float
    is_closed: bool = False


@dataclass
class QuotaModel:
    """All settlements that ever were and all holds."""

    settlements: list[tuple[Cell, int]] = field(default_factory=list)
    holds: list[ModelHold] = field(default_factory=list)

    def settled(self, cell: Cell) -> int:
        """The sum of all settlements of a cell."""
        return sum(amount for where, amount in self.settlements if where == cell)

    def held(self, cell: Cell, now: float) -> int:
        """The sum of all holds on a cell whose owner is alive."""
        return sum(hold.amounts.get(cell, 0) for hold in self.holds if not hold.is_closed and hold.deadline_at > now)

    def reserve(self, demands: Sequence[Demand], now: float, lease_seconds: float) -> ModelHold | None:
        """A hold, or None where a limit lacks room."""
        amounts: dict[Cell, int] = {}
        resources: dict[Cell, str] = {}
        for limit, wanted in demands:
            cell = cell_of(limit, now)
            settled, held = self.settled(cell), self.held(cell, now)
            is_looking = limit.mode == "soft" and limit.window is not None
            has_room = settled < limit.amount if is_looking else wanted == 0 or settled + held + wanted <= limit.amount
            if not has_room:
                return None
            amounts[cell] = max(amounts.get(cell, 0), 0 if is_looking else wanted)
            resources[cell] = limit.resource
        hold = ModelHold(amounts, resources, now + lease_seconds)
        self.holds.append(hold)
        return hold

    def settle(self, hold: ModelHold, actual: Mapping[str, int]) -> None:
        """The truth instead of the hold."""
        if hold.is_closed:
            return
        hold.is_closed = True
        for cell, resource in hold.resources.items():
            if cell[1]:
                self.settlements.append((cell, actual.get(resource, 1 if resource == "requests" else 0)))
