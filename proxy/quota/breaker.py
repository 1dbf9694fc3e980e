"""A breaker: after a few failures in a row nobody waits for the store any more, until it has answered again.

Pure: no clock, no I/O. Only somebody's probes close it again (the store's watch), never a request that would have to wait.
"""

from __future__ import annotations

FAILURES_TO_OPEN = 3
PROBES_TO_CLOSE = 2


class Breaker:
    """Closed: ask. Open: don't. Every kind of failure counts: no connection, no answer in time, an answer that is an error."""

    __slots__ = ("_failures", "_probes", "is_open", "trips")

    def __init__(self) -> None:
        self.is_open = False
        self.trips = 0
        """How often it opened."""
        self._failures = 0
        self._probes = 0

    def failed(self) -> bool:
        """A call or a probe failed; True where that opened it."""
        self._probes = 0
        self._failures += 1
        if self.is_open or self._failures < FAILURES_TO_OPEN:
            return False
        self.is_open = True
        self.trips += 1
        return True

    def succeeded(self) -> None:
        """A call was answered. An open breaker takes no notice: a late answer is no sign of health."""
        if not self.is_open:
            self._failures = 0

    def probed(self) -> bool:
        """A probe was answered; True where that closed it."""
        if not self.is_open:
            self._failures = 0
            return False
        self._probes += 1
        if self._probes < PROBES_TO_CLOSE:
            return False
        self.is_open = False
        self._failures = self._probes = 0
        return True
