"""From demands to script calls: which keys a request touches, and everything of the calls that is the same next time.

A caller's limits are the same objects from request to request and its windows last a minute at least, so all but the amounts is
encoded once and kept (`Plans`); a request then joins a few bytes. Pure: no I/O, no clock.

Keys (layout 1): `wb1:{<scope>:<subject>}:<window id>`, with leases in window `now`; `…:leases`, `…:holds`, `…:marks` beside
them. The braces make all keys of one subject share a slot; a request that touches several subjects is one script call per slot
on a cluster, and one call in all elsewhere. Names are percent-encoded, so that no user id can close a brace or look like two words.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote
from zoneinfo import ZoneInfo

from proxy.limits.limit import Demand, Held, Limit
from proxy.limits.room import MODE_RANKS, counted
from proxy.limits.window import LEASES, Window, calendar_of
from proxy.quota.redis_scripts import RENEW, RESERVE, SETTLE, Command, bulk, bulks

PREFIX = "wb1"
SLOTS = 16_384
FORGET_AFTER_SECONDS = 3_600
"""How long after its end a window is kept: late settlements, and clocks that disagree."""
MAX_PLANS = 20_000
NO_WINDOW = "now"


def slot_of(tag: str) -> int:
    """The cluster slot of a hash tag (CRC16/XMODEM mod 16384, Redis Cluster specification)."""
    return crc_hqx(tag.encode(), 0) % SLOTS


@lru_cache(maxsize=50_000)
def split_counter(counter: str) -> tuple[str, str]:
    """The subject (the hash tag) and the field of a counter's name, encoded."""
    tag, pattern, resource = counter.rsplit(":", 2)
    return quote(tag, safe=":@*+-._~"), quote(f"{pattern}:{resource}", safe=":@*+-._~/")


def window_key(tag: str, window_id: str) -> str:
    """The hash of one subject's counters in one window."""
    return f"{PREFIX}:{{{tag}}}:{window_id or NO_WINDOW}"


def forget_in_ms(window: Window, now: float) -> str:
    """In how many ms a window's hash may go; "0": never. Relative, so that a clock that differs from Redis' does no harm."""
    return "0" if window.ends_at is None else str(int((window.ends_at - now + FORGET_AFTER_SECONDS) * 1000))


class Subject:
    """What one request touches of one subject: windows in order of first use, their counters, the limits to test."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.windows: dict[str, tuple[Window, list[int]]] = {}
        self.tests: list[tuple[int, Limit, int]] = []
        """(cell, limit, number of the demand)"""

    def own_keys(self) -> list[str]:
        """Leases, holds and marks."""
        return [f"{PREFIX}:{{{self.tag}}}:{name}" for name in ("leases", "holds", "marks")]

    def all_keys(self) -> list[str]:
        """All keys, in the order the scripts want them."""
        return self.own_keys() + [window_key(self.tag, window_id) for window_id in self.windows]


class Cell:
    """One counter in one window."""

    __slots__ = ("counter", "demands", "field", "mode", "resource", "subject", "window", "window_id")

    def __init__(self, subject: Subject, limit: Limit, field: str, window_id: str) -> None:
        self.subject = subject
        self.counter = limit.counter
        self.resource = limit.resource
        self.window = limit.window
        self.window_id = window_id
        self.field = field
        self.mode = limit.mode
        self.demands: list[int] = []

    def join(self, limit: Limit, demand: int) -> None:
        """One more limit on this counter in this window."""
        self.demands.append(demand)
        self.mode = max(self.mode, limit.mode, key=MODE_RANKS.__getitem__)


class Call:
    """The calls for the subjects of one slot: everything but ids, amounts and times is encoded already."""

    __slots__ = ("_cell_format", "_reserve", "_settle", "_test_format", "cells", "demands", "slot", "subjects")

    def __init__(self, subjects: list[Subject], cells: Sequence[Cell], slot: int, now: float) -> None:
        self.subjects = subjects
        self.slot = slot
        order = [number for subject in subjects for _, numbers in subject.windows.values() for number in numbers]
        self.cells = order
        """Numbers of the plan's cells, in the order in which the scripts go through them."""
        self.demands = [demand for subject in subjects for _, _, demand in subject.tests]
        """Numbers of the demands, in the order of the tests."""
        self._test_format = " ".join(["%d"] * len(self.demands))
        self._cell_format = " ".join(["%d"] * len(order))
        self._reserve = _fixed(subjects, _reserve_arguments(subjects, cells, now), 4)
        self._settle = _fixed(subjects, _settle_arguments(subjects, cells, now), 3)

    def reserve(self, hold_id: str, lease_ms: str, clock_ms: str, amounts: Sequence[int]) -> Command:
        """Test and take. An empty hold id only looks. All words must be ASCII."""
        wanted = self._test_format % tuple([amounts[number] for number in self.demands])
        words = (
            f"${len(hold_id)}\r\n{hold_id}\r\n${len(lease_ms)}\r\n{lease_ms}\r\n"
            f"${len(clock_ms)}\r\n{clock_ms}\r\n${len(wanted)}\r\n{wanted}\r\n"
        )
        return Command(RESERVE, self._reserve[0], self._reserve[1] + words.encode("ascii"))

    def settle(self, hold_id: str, is_forced: bool, amounts: Sequence[int]) -> Command:
        """Replace the hold; `amounts` by number of the plan's cell."""
        counts = self._cell_format % tuple([amounts[number] for number in self.cells])
        words = f"${len(hold_id)}\r\n{hold_id}\r\n$1\r\n{'1' if is_forced else '0'}\r\n${len(counts)}\r\n{counts}\r\n"
        return Command(SETTLE, self._settle[0], self._settle[1] + words.encode("ascii"))


class Plan:
    """All that is fixed about a request's limits while its windows last."""

    __slots__ = (
        "_held",
        "_shared",
        "calls",
        "cells",
        "has_strict",
        "limits",
        "made_at",
        "valid_from",
        "valid_until",
        "windows",
        "zone",
    )

    def __init__(self, limits: Sequence[Limit], now: float, zone: ZoneInfo, *, is_cluster: bool) -> None:
        self.limits = tuple(limits)
        """Kept, so that their ids stay theirs while the plan is remembered."""
        self.zone = zone
        self.made_at = now
        self.valid_from, self.valid_until = 0.0, float("inf")
        self.cells: list[Cell] = []
        self.windows: list[Window] = []
        """Of each limit."""
        subjects: dict[str, Subject] = {}
        places: dict[tuple[str, str], int] = {}
        calendar = calendar_of(zone)
        for number, limit in enumerate(self.limits):
            window = _LEASE_WINDOW if limit.window is None else calendar.window_at(limit.window, now)
            self.windows.append(window)
            self.valid_from = max(self.valid_from, window.starts_at)
            if window.ends_at is not None:
                self.valid_until = min(self.valid_until, window.ends_at)
            place = places.get((limit.counter, window.id))
            if place is None:
                tag, field = split_counter(limit.counter)
                subject = subjects.get(tag) or subjects.setdefault(tag, Subject(tag))
                place = places[(limit.counter, window.id)] = len(self.cells)
                self.cells.append(Cell(subject, limit, field, window.id))
                subject.windows.setdefault(window.id, (window, []))[1].append(place)
            cell = self.cells[place]
            cell.join(limit, number)
            cell.subject.tests.append((place, limit, number))
        groups: dict[int, list[Subject]] = {}
        for subject in subjects.values():
            groups.setdefault(slot_of(subject.tag) if is_cluster else 0, []).append(subject)
        self.has_strict = any(cell.mode == "strict" for cell in self.cells)
        self._held = [(cell.counter, cell.resource, cell.window, cell.window_id, cell.demands[0], cell.mode) for cell in self.cells]
        self._shared = [(number, cell.demands) for number, cell in enumerate(self.cells) if len(cell.demands) > 1]
        self.calls = [Call(members, self.cells, slot, now) for slot, members in groups.items()]

    def held(self, amounts: Sequence[int]) -> tuple[Held, ...]:
        """What a reservation with these amounts holds."""
        # tuple.__new__ makes a NamedTuple at half the price; seven of them are made per request.
        make = tuple.__new__
        held = [
            make(Held, (counter, of, window, id_, amounts[number], mode)) for counter, of, window, id_, number, mode in self._held
        ]
        for place, demands in self._shared:
            held[place] = held[place]._replace(amount=max(amounts[number] for number in demands))
        return tuple(held)

    def settlement(self, held: Sequence[Held], actual: Mapping[str, int]) -> list[int]:
        """What each cell is settled to."""
        return [0 if part.window is None else counted(part, actual) for part in held]

    def settle_only(self, call: Call, tags: Iterable[str]) -> Call:
        """The call for some of its subjects."""
        wanted = set(tags)
        return Call([subject for subject in call.subjects if subject.tag in wanted], self.cells, call.slot, self.made_at)

    def renew(self, call: Call, hold_id: str, lease_ms: str, clock_ms: str, held: Sequence[Held]) -> Command:
        """Move the deadline, or take the hold again."""
        arguments = [str(len(call.subjects))]
        for subject in call.subjects:
            taken = [
                f"{window_key(subject.tag, window_id)} {self.cells[number].field}# {held[number].amount}"
                for window_id, (_, numbers) in subject.windows.items()
                for number in numbers
                if held[number].amount
            ]
            arguments += [str(len(subject.windows)), " ".join(taken)]
        count, tail = _fixed(call.subjects, arguments, 3)
        return Command(RENEW, count, tail + bulks((hold_id, lease_ms, clock_ms)))


class Plans:
    """The plans of the limits that are in use."""

    def __init__(self, *, is_cluster: bool) -> None:
        self.is_cluster = is_cluster
        self._plans: dict[tuple[int, ...], Plan] = {}

    def plan(self, demands: Sequence[Demand], now: float, zone: ZoneInfo) -> Plan:
        """The plan for these demands' limits in the windows of `now`."""
        key = tuple([id(demand[0]) for demand in demands])
        plan = self._plans.get(key)
        if plan is None or not plan.valid_from <= now < plan.valid_until or plan.zone is not zone:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[key] = Plan([demand[0] for demand in demands], now, zone, is_cluster=self.is_cluster)
        return plan


_LEASE_WINDOW = Window(LEASES, 0.0, None)


def _reserve_arguments(subjects: Sequence[Subject], cells: Sequence[Cell], now: float) -> list[str]:
    arguments = [str(len(subjects))]
    for subject in subjects:
        arguments.append(str(len(subject.windows)))
        places: dict[int, int] = {}
        for window, numbers in subject.windows.values():
            arguments += [forget_in_ms(window, now), str(len(numbers))]
            for number in numbers:
                places[number] = len(places) + 1
                arguments += [cells[number].field, cells[number].field + "#"]
        arguments.append(str(len(subject.tests)))
        for number, limit, _ in subject.tests:
            mode = "l" if limit.mode == "soft" and limit.window is not None else "h"
            arguments += [str(places[number]), mode, str(limit.amount)]
    return arguments


def _settle_arguments(subjects: Sequence[Subject], cells: Sequence[Cell], now: float) -> list[str]:
    arguments = [str(len(subjects))]
    for subject in subjects:
        arguments.append(str(len(subject.windows)))
        for window, numbers in subject.windows.values():
            arguments += [forget_in_ms(window, now), str(len(numbers))]
            arguments += [cells[number].field for number in numbers]
    return arguments


def _fixed(subjects: Sequence[Subject], arguments: Sequence[str], open_count: int) -> tuple[bytes, bytes]:
    """The array header of a call with `open_count` arguments still to come, and its bytes so far."""
    keys = [key for subject in subjects for key in subject.all_keys()]
    return b"*%d\r\n" % (3 + len(keys) + len(arguments) + open_count), bulk(str(len(keys))) + bulks(keys) + bulks(arguments)
