"""How often log-ins may go wrong before the next one has to wait: per address and account, per account, and in all.

Pure: the caller says what time it is. Counted on each replica by itself. An account is never locked for good: whoever
guesses at one from elsewhere slows it down, and ten minutes later it is free again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_SECONDS = 600.0
PER_PAIR = 5
PER_ADDRESS = 20
PER_ACCOUNT = 50
IN_ALL = 300
"""Log-ins of everybody together: scrypt is work, and made-up names from made-up addresses must not use up a core."""
MAX_PLACES = 10_000
_WHOLE = ("", "")


@dataclass
class Attempts:
    """The times of failures by address and account; a log-in that is under way counts as one until it is forgiven."""

    _times: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def begin(self, address: str | None, account: str, now: float) -> float | None:
        """Count an attempt; None where it may be made, else how many seconds to wait."""
        places = self._places(address, account)
        waits = [self._wait(place, most, now) for place, most in places]
        longest = max(waits)
        if longest > 0:
            return longest
        if len(self._times) >= MAX_PLACES:
            self._times = {place: times for place, times in self._times.items() if times[-1] > now - WINDOW_SECONDS}
            if len(self._times) >= MAX_PLACES:
                self._times.clear()
        for place, _ in places:
            self._times.setdefault(place, []).append(now)
        return None

    def forgive(self, address: str | None, account: str) -> None:
        """It was the right password: this one counts nowhere, and what the same address got wrong before is forgotten."""
        for place, _ in self._places(address, account):
            times = self._times.get(place)
            if times:
                times.pop()
                if not times:
                    del self._times[place]
        self._times.pop((address or "-", account), None)

    def _places(self, address: str | None, account: str) -> tuple[tuple[tuple[str, str], int], ...]:
        where = address or "-"
        # Where nobody can say whose address it is, everybody shares one: then it must not count by itself.
        by_address = PER_ADDRESS if address else IN_ALL
        return ((where, account), PER_PAIR), ((where, ""), by_address), (("", account), PER_ACCOUNT), (_WHOLE, IN_ALL)

    def _wait(self, place: tuple[str, str], most: int, now: float) -> float:
        times = [at for at in self._times.get(place, ()) if at > now - WINDOW_SECONDS]
        if times:
            self._times[place] = times
        else:
            self._times.pop(place, None)
        return times[-most] + WINDOW_SECONDS - now if len(times) >= most else 0.0
