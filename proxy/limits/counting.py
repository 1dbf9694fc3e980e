"""How counting goes: reserve, settle, release on plain counters. The semantics that every store must match.

Rules of this file:
- Settled and held are two numbers per counter and window. `strict` and `balanced` let a request in where
  settled + held + wanted ≤ amount; `soft` where settled < amount, and holds nothing. A demand of 0 under strict or balanced
  always fits: nothing is wanted, the counter is only settled to. Concurrency is tested in every mode.
- All or nothing: a reservation takes all its holds or none. A counter that several limits share in one window is held once,
  with the largest amount asked, and each limit tests its own.
- A hold goes back to the window it was taken in, and the truth is counted there, however late.
- Settling, releasing: the first one counts, the rest are no-ops. A hold past its deadline may be taken back (its owner is
  dead); if the owner settles after all, the truth is counted, once; if it renews, the hold is taken again.
- Concurrency is a set of leases: reservation ids with deadlines. What a counter shows as held is the number of its leases.

A window that has ended is dropped whole, its entries given back a few thousand per sweep. No clock, no I/O, no lock: callers are
one event loop. Not here: where counters lie (pages.py), the test of one limit (room.py), what to hold and to settle (estimate.py),
Redis (quota/redis_store.py with the same semantics in Lua).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from zoneinfo import ZoneInfo

from proxy.limits.limit import Demand, Held, Limit, LimitStatus, Refusal, Reservation
from proxy.limits.pages import HELD, LEASE, SOFT, Page, Places, Row
from proxy.limits.room import MODE_RANKS, counted, fits, longest_wait, refuse
from proxy.limits.window import LEASES, Window, calendar_of

KEEP_ENDED_SECONDS = 120.0
"""How long an ended window is still there to be settled to and read."""
MAX_PLACES = 20_000
"""Sets of limits whose places are remembered; emptied above that."""
FREE_PER_SWEEP = 5_000
"""Entries of dropped windows given back per sweep: about half a millisecond."""
_make = tuple.__new__
"""As in usage/whole_body.py: a NamedTuple without its constructor."""


def _merged(takes: Sequence[Held]) -> tuple[Held, ...]:
    """Each counter and window once: the larger amount and the stricter mode."""
    merged: dict[tuple[str, str], Held] = {}
    for held in takes:
        key = (held.counter, held.window_id)
        earlier = merged.get(key)
        if earlier is not None:
            mode = max(earlier.mode, held.mode, key=MODE_RANKS.__getitem__)
            held = earlier._replace(amount=max(earlier.amount, held.amount), mode=mode)
        merged[key] = held
    return tuple(merged.values())


class Counters:
    """All counters of one process, and the reservations that hold some of them."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._pages: dict[str, Page] = {}
        self._current: dict[str | None, Page] = {}
        self._live: dict[str, Reservation] = {}
        self._places: dict[tuple[int, ...], Places] = {}
        self._next_expiry_at = inf
        self._to_free: list[dict[str, int]] = []
        self.reclaimed = 0
        """Holds taken back because their owner let the deadline pass."""
        self.strict_overruns = 0
        """Settlements above what a strict limit held: the upper bound was wrong. 0 is the promise."""
        self.overrun_amounts: dict[str, int] = {}
        """Per resource, what balanced holds were too small by in sum: the overshoot that estimates can cause."""

    @property
    def live_count(self) -> int:
        """Reservations that are neither settled, released nor taken back."""
        return len(self._live)

    @property
    def counter_count(self) -> int:
        """Entries in memory, over all windows."""
        return sum(sum(map(len, page.settled)) + len(page.held) for page in self._pages.values())

    def use_zone(self, zone: ZoneInfo) -> None:
        """Let days and months begin by another zone's clock from now on; counts of windows with the same id go on."""
        if zone is not self._zone:
            self._zone = zone
            self._current.clear()
            self._places.clear()

    def reserve(self, hold_id: str, demands: Sequence[Demand], now: float, lease_seconds: float) -> Reservation | Refusal:
        """Test all demands and take all holds, or none.

        Args:
            hold_id: unused among live reservations; made unique by a suffix where it is not.
            now: Unix seconds; decides the windows.
        """
        places = self._places.get(tuple([id(demand[0]) for demand in demands]))
        if places is None or not places.starts_at <= now < places.ends_at:
            places = self._find_places(demands, now)
        takes: list[Held] = []
        lacking: list[Refusal] = []
        for row, (counter, resource, window, window_id, mode), (limit, wanted) in zip(
            places.rows, places.takes, demands, strict=True
        ):
            _, settled, held, _, most, kind, _, _ = row
            if kind == HELD:  # `fits`, spelled out for nearly all
                has_room = wanted <= 0 or settled.get(counter, 0) + held.get(counter, 0) + wanted <= most
            else:
                has_room = fits(limit, settled.get(counter, 0), held.get(counter, 0), wanted)
            if has_room:
                takes.append(_make(Held, (counter, resource, window, window_id, 0 if kind == SOFT else wanted, mode)))
            else:
                lacking.append(self._refuse(row, limit, wanted, now))
        if lacking:
            if self._next_expiry_at <= now and self._take_back_expired(now):
                return self.reserve(hold_id, demands, now, lease_seconds)
            return longest_wait(lacking)
        live = self._live
        while hold_id in live:
            hold_id += "+"
        deadline_at = now + lease_seconds
        if not places.is_distinct:
            reservation = Reservation(hold_id, _merged(takes), deadline_at)
            self._take(reservation)
            return reservation
        for row, take in zip(places.rows, takes, strict=True):
            if take[4]:
                held, counter = row[2], row[3]
                held[counter] = held.get(counter, 0) + take[4]
        reservation = live[hold_id] = Reservation(hold_id, tuple(takes), deadline_at, ticket=places)
        if deadline_at < self._next_expiry_at:
            self._next_expiry_at = deadline_at
        return reservation

    def _find_places(self, demands: Sequence[Demand], now: float) -> Places:
        limits = tuple([demand[0] for demand in demands])
        pages: list[Page] = []
        for limit in limits:
            page = self._current.get(limit.window)
            if page is None or not page.starts_at <= now < page.ends_at:
                page = self._turn(limit.window, now)
            pages.append(page)
        if len(self._places) >= MAX_PLACES:
            self._places.clear()
        places = self._places[tuple(map(id, limits))] = Places(limits, pages)
        return places

    def _refuse(self, row: Row, limit: Limit, wanted: int, now: float) -> Refusal:
        page, settled, held, counter = row[:4]
        ends_at = None if page.ends_at == inf else page.ends_at
        return refuse(limit, settled.get(counter, 0), held.get(counter, 0), wanted, ends_at, now)

    def settle(self, reservation: Reservation, actual: Mapping[str, int]) -> None:
        """Replace the holds by the truth, in the windows they were taken in. Idempotent."""
        if reservation.is_closed:
            return
        reservation.is_closed = True
        is_held = self._live.pop(reservation.id, None) is not None
        places = reservation.ticket
        if not isinstance(places, Places):
            self._settle_by_name(reservation, actual, is_held)
            return
        for (page, settled, held, counter, _, kind, resource, strict_key), part in zip(places.rows, reservation.held, strict=True):
            amount = part[4]
            if amount and is_held:
                left = held.get(counter, 0) - amount
                if left > 0:
                    held[counter] = left
                else:
                    held.pop(counter, None)
            if kind == LEASE:
                continue
            used = actual.get(resource)
            if strict_key is not None:
                used = actual.get(strict_key, used)
            if used is None and resource == "requests":
                used = 1
            if not used or used < 0:
                continue
            if not page.is_dropped:
                settled[counter] = settled.get(counter, 0) + used
            if used > amount and kind == HELD:
                self._count_overrun(part, used)

    def _settle_by_name(self, reservation: Reservation, actual: Mapping[str, int], is_held: bool) -> None:
        """The same for holds that share counters."""
        for held in reservation.held:
            page = self._pages.get(held.window_id)
            if page is not None and held.amount and is_held:
                page.hold(held.counter, -held.amount)
            used = 0 if held.window is None else counted(held, actual)
            if used and page is not None:
                page.settle(held.counter, used)
            if used > held.amount and held.mode != "soft":
                self._count_overrun(held, used)

    def release(self, reservation: Reservation) -> None:
        """Give everything back. Idempotent."""
        self._let_go(reservation)

    def renew(self, reservation: Reservation, now: float, lease_seconds: float) -> None:
        """Move the deadline; a hold that was taken back meanwhile is taken again (its owner is alive after all)."""
        if reservation.is_closed:
            return
        reservation.deadline_at = now + lease_seconds
        if reservation.id not in self._live:
            self._take(reservation)

    def status(self, limits: Sequence[Limit], now: float) -> list[LimitStatus]:
        """Settled and held of each limit in its window at `now`."""
        if self._next_expiry_at <= now:
            self._take_back_expired(now)
        statuses = []
        for limit in limits:
            window = LEASE_WINDOW if limit.window is None else calendar_of(self._zone).window_at(limit.window, now)
            page = self._pages.get(window.id)
            used, held = (0, 0) if page is None else (page.settled_of(limit.counter), page.held.get(limit.counter, 0))
            statuses.append(LimitStatus(limit, used, held, window.id, window.ends_at))
        return statuses

    def raise_to(self, counter: str, window: str, window_id: str, amount: int, now: float) -> None:
        """Lift the settled part to `amount` where it is smaller; a window that is not the current one is left alone."""
        page = self._page_named(window, window_id, now)
        if page is not None and amount > page.settled_of(counter):
            page.settle(counter, amount - page.settled_of(counter))

    def add(self, counter: str, window: str, window_id: str, amount: int, now: float) -> None:
        """Count usage that held nothing."""
        page = self._page_named(window, window_id, now)
        if page is not None and amount > 0:
            page.settle(counter, amount)

    def sweep(self, now: float) -> int:
        """Take back holds past their deadline, drop windows that ended; how many holds were taken back."""
        taken_back = self._take_back_expired(now) if self._next_expiry_at <= now else 0
        for window_id in [page.id for page in self._pages.values() if page.ends_at + KEEP_ENDED_SECONDS <= now]:
            page = self._pages.pop(window_id)
            page.is_dropped = True
            self._to_free += [*page.settled, page.held]
        self._current = {window: page for window, page in self._current.items() if page.id in self._pages}
        room = FREE_PER_SWEEP
        while self._to_free and room > 0:
            entries = self._to_free[-1]
            for _ in range(min(room, len(entries))):
                entries.popitem()
                room -= 1
            if not entries:
                self._to_free.pop()
        return taken_back

    def _turn(self, window: str | None, now: float) -> Page:
        """The page of the window that holds `now`, made at its first use; it becomes the current one of its kind."""
        found = LEASE_WINDOW if window is None else calendar_of(self._zone).window_at(window, now)
        page = self._pages.get(found.id)
        if page is None:
            page = self._pages[found.id] = Page(found)
        self._current[window] = page
        return page

    def _page_named(self, window: str, window_id: str, now: float) -> Page | None:
        page = self._pages.get(window_id)
        if page is None and calendar_of(self._zone).window_at(window, now).id == window_id:
            page = self._turn(window, now)
        return page

    def _take(self, reservation: Reservation) -> None:
        for held in reservation.held:
            page = self._pages.get(held.window_id)
            if held.amount and page is not None:
                page.held[held.counter] = page.held.get(held.counter, 0) + held.amount
        self._live[reservation.id] = reservation
        if reservation.deadline_at < self._next_expiry_at:
            self._next_expiry_at = reservation.deadline_at

    def _let_go(self, reservation: Reservation) -> bool:
        """Close a reservation and give back what it still holds; False where it was closed before."""
        if reservation.is_closed:
            return False
        reservation.is_closed = True
        if self._live.pop(reservation.id, None) is not None:
            self._give_back(reservation)
        return True

    def _give_back(self, reservation: Reservation) -> None:
        for held in reservation.held:
            if held.amount:
                page = self._pages.get(held.window_id)
                if page is not None:
                    page.hold(held.counter, -held.amount)

    def _take_back_expired(self, now: float) -> int:
        expired = [reservation for reservation in self._live.values() if reservation.deadline_at <= now]
        for reservation in expired:
            del self._live[reservation.id]
            self._give_back(reservation)
        self._next_expiry_at = min((reservation.deadline_at for reservation in self._live.values()), default=inf)
        self.reclaimed += len(expired)
        return len(expired)

    def _count_overrun(self, held: Held, used: int) -> None:
        if held.mode == "strict":
            self.strict_overruns += 1
        else:
            self.overrun_amounts[held.resource] = self.overrun_amounts.get(held.resource, 0) + used - held.amount


LEASE_WINDOW = Window(LEASES, -inf, None)
