"""Reserve, settle, release on plain counters."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.limits.counting import FREE_PER_SWEEP, KEEP_ENDED_SECONDS, Counters
from proxy.limits.limit import Demand, Limit, Refusal, Reservation
from proxy.limits.room import SHORT_WAIT_SECONDS, longest_wait

UTC = ZoneInfo("UTC")
NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z
MIDNIGHT = NOON + 12 * 3600
LEASE = 60.0


def limit(
    amount: int, *, resource: str = "tokens", window: str | None = "day", mode: str = "balanced", counter: str = "", name: str = ""
) -> Limit:
    return Limit(name or f"users.alice.{resource}.{window}", counter or f"user:alice:*:{resource}", resource, window, amount, mode)


def take(counters: Counters, *demands: Demand, now: float = NOON, hold_id: str = "r1") -> Reservation:
    outcome = counters.reserve(hold_id, demands, now, LEASE)
    assert isinstance(outcome, Reservation), outcome
    return outcome


def refused(counters: Counters, *demands: Demand, now: float = NOON) -> Refusal:
    outcome = counters.reserve("refused", demands, now, LEASE)
    assert isinstance(outcome, Refusal)
    return outcome


def numbers(counters: Counters, of: Limit, now: float = NOON) -> tuple[int, int]:
    [status] = counters.status([of], now)
    return status.used, status.reserved


def test_settled_and_held_are_two_numbers() -> None:
    counters, day = Counters(UTC), limit(1_000)
    reservation = take(counters, Demand(day, 300))
    assert numbers(counters, day) == (0, 300)
    counters.settle(reservation, {"tokens": 120})
    assert numbers(counters, day) == (120, 0)


def test_the_last_token_fits_and_one_more_does_not() -> None:
    counters, day = Counters(UTC), limit(100, mode="strict")
    take(counters, Demand(day, 60), hold_id="a")
    take(counters, Demand(day, 40), hold_id="b")
    refusal = refused(counters, Demand(day, 1))
    assert (refusal.used, refusal.held, refusal.wanted, refusal.can_ever_fit) == (0, 100, 1, True)


def test_all_or_nothing() -> None:
    counters, wide, narrow = Counters(UTC), limit(1_000), limit(10, resource="requests")
    take(counters, Demand(narrow, 10), hold_id="full")
    refused(counters, Demand(wide, 5), Demand(narrow, 1))
    assert numbers(counters, wide) == (0, 0)


def test_two_limits_on_one_counter_hold_it_once_and_test_their_own_amount() -> None:
    counters = Counters(UTC)
    default, override = limit(100, name="defaults.tokens.per_day"), limit(60, name="users.alice.tokens.per_day")
    reservation = take(counters, Demand(default, 50), Demand(override, 50))
    assert numbers(counters, default) == (0, 50)
    assert refused(counters, Demand(default, 20), Demand(override, 20)).limit is override
    counters.settle(reservation, {"tokens": 50})
    assert numbers(counters, default) == numbers(counters, override) == (50, 0)


def test_strict_and_balanced_on_one_counter_hold_the_larger_amount() -> None:
    counters, strict, balanced = Counters(UTC), limit(1_000, mode="strict"), limit(1_000)
    reservation = take(counters, Demand(balanced, 10), Demand(strict, 400))
    assert numbers(counters, strict) == (0, 400)
    assert [(held.amount, held.mode) for held in reservation.held] == [(400, "strict")]


def test_one_counter_in_two_windows_is_held_in_each() -> None:
    counters, minute, day = Counters(UTC), limit(100, window="minute"), limit(1_000)
    take(counters, Demand(minute, 70), Demand(day, 70), now=NOON + 30)
    assert numbers(counters, minute, NOON + 30) == numbers(counters, day, NOON + 30) == (0, 70)
    take(counters, Demand(minute, 70), Demand(day, 70), now=NOON + 60, hold_id="r2")
    assert numbers(counters, minute, NOON + 60) == (0, 70)
    assert numbers(counters, day, NOON + 60) == (0, 140)


def test_soft_only_looks_at_what_is_settled() -> None:
    counters, soft = Counters(UTC), limit(100, mode="soft")
    first, second = take(counters, Demand(soft, 0), hold_id="a"), take(counters, Demand(soft, 0), hold_id="b")
    counters.settle(first, {"tokens": 99})
    third = take(counters, Demand(soft, 0), hold_id="c")
    counters.settle(second, {"tokens": 99})
    assert numbers(counters, soft) == (198, 0)
    assert refused(counters, Demand(soft, 0)).can_ever_fit
    counters.release(third)
    assert numbers(counters, soft) == (198, 0)


def test_a_soft_limit_of_nothing_never_fits() -> None:
    assert not refused(Counters(UTC), Demand(limit(0, mode="soft"), 0)).can_ever_fit


def test_wanting_nothing_fits_a_spent_budget() -> None:
    counters, budget = Counters(UTC), limit(10, resource="cost_usd")
    counters.settle(take(counters, Demand(budget, 10)), {"cost_usd": 25})
    free = take(counters, Demand(budget, 0))
    counters.settle(free, {"cost_usd": 0})
    assert refused(counters, Demand(budget, 1)).used == 25


def test_the_truth_is_counted_in_the_window_of_the_hold() -> None:
    counters, day = Counters(UTC), limit(1_000)
    reservation = take(counters, Demand(day, 100), now=MIDNIGHT - 1)
    take(counters, Demand(day, 7), now=MIDNIGHT + 1, hold_id="r2")
    counters.settle(reservation, {"tokens": 80})
    assert numbers(counters, day, MIDNIGHT - 1) == (80, 0)
    assert numbers(counters, day, MIDNIGHT + 1) == (0, 7)


def test_settling_twice_counts_once_and_release_after_settle_is_nothing() -> None:
    counters, day = Counters(UTC), limit(1_000)
    reservation = take(counters, Demand(day, 100))
    counters.settle(reservation, {"tokens": 80})
    counters.settle(reservation, {"tokens": 80})
    counters.release(reservation)
    assert numbers(counters, day) == (80, 0)


def test_release_gives_everything_back() -> None:
    counters, day, lanes = Counters(UTC), limit(1_000), limit(5, resource="concurrent_requests", window=None)
    reservation = take(counters, Demand(day, 100), Demand(lanes, 1))
    counters.release(reservation)
    counters.settle(reservation, {"tokens": 80})
    assert numbers(counters, day) == numbers(counters, lanes) == (0, 0)
    assert counters.counter_count == 0


def test_requests_count_one_where_not_said() -> None:
    counters, calls = Counters(UTC), limit(5, resource="requests")
    counters.settle(take(counters, Demand(calls, 1)), {"tokens": 3})
    assert numbers(counters, calls) == (1, 0)
    counters.settle(take(counters, Demand(calls, 1)), {"requests": 0})
    assert numbers(counters, calls) == (1, 0)


def test_a_negative_truth_counts_nothing() -> None:
    counters, day = Counters(UTC), limit(100)
    counters.settle(take(counters, Demand(day, 10)), {"tokens": -5})
    assert numbers(counters, day) == (0, 0)


def test_strict_limits_may_count_another_figure() -> None:
    counters, strict = Counters(UTC), limit(1_000, mode="strict")
    balanced = limit(1_000, window="month")
    reservation = take(counters, Demand(strict, 100), Demand(balanced, 40))
    counters.settle(reservation, {"tokens": 30, "tokens@strict": 100})
    assert numbers(counters, strict) == (100, 0)
    assert numbers(counters, balanced) == (30, 0)


def test_an_expired_hold_makes_room_and_its_late_truth_counts_once() -> None:
    counters, day = Counters(UTC), limit(100)
    dead = take(counters, Demand(day, 100))
    assert refused(counters, Demand(day, 1), now=NOON + LEASE - 0.1).held == 100
    alive = take(counters, Demand(day, 30), now=NOON + LEASE, hold_id="r2")
    assert counters.reclaimed == 1
    counters.settle(dead, {"tokens": 90})
    counters.settle(dead, {"tokens": 90})
    assert numbers(counters, day) == (90, 30)
    counters.settle(alive, {"tokens": 30})
    assert numbers(counters, day) == (120, 0)


def test_a_sweep_takes_back_what_expired_and_only_that() -> None:
    counters, lanes = Counters(UTC), limit(5, resource="concurrent_requests", window=None)
    take(counters, Demand(lanes, 1), hold_id="a")
    renewed = take(counters, Demand(lanes, 1), hold_id="b")
    counters.renew(renewed, NOON + 50, LEASE)
    assert counters.sweep(NOON + 61) == 1
    assert numbers(counters, lanes, NOON + 61) == (0, 1)
    assert counters.sweep(NOON + 110) == 1
    assert counters.live_count == 0


def test_a_renewal_after_the_sweep_takes_the_hold_again() -> None:
    counters, day = Counters(UTC), limit(100)
    reservation = take(counters, Demand(day, 60))
    counters.sweep(NOON + 61)
    counters.renew(reservation, NOON + 62, LEASE)
    assert numbers(counters, day, NOON + 62) == (0, 60)
    counters.settle(reservation, {"tokens": 50})
    counters.renew(reservation, NOON + 63, LEASE)
    assert numbers(counters, day, NOON + 63) == (50, 0)


def test_concurrency_counts_leases_whatever_the_mode() -> None:
    for mode in ("strict", "balanced", "soft"):
        counters, lanes = Counters(UTC), limit(2, resource="concurrent_requests", window=None, mode=mode)
        first = take(counters, Demand(lanes, 1), hold_id="a")
        take(counters, Demand(lanes, 1), hold_id="b")
        assert refused(counters, Demand(lanes, 1)).retry_after_seconds == SHORT_WAIT_SECONDS
        counters.settle(first, {})
        take(counters, Demand(lanes, 1), hold_id="c")


def test_the_wait_is_the_windows_end_where_the_settled_part_is_in_the_way() -> None:
    counters, day = Counters(UTC), limit(100)
    counters.settle(take(counters, Demand(day, 90)), {"tokens": 90})
    assert refused(counters, Demand(day, 20)).retry_after_seconds == 12 * 3600


def test_the_wait_is_short_where_only_holds_are_in_the_way() -> None:
    counters, day = Counters(UTC), limit(100)
    take(counters, Demand(day, 90))
    assert refused(counters, Demand(day, 20)).retry_after_seconds == SHORT_WAIT_SECONDS
    assert refused(counters, Demand(day, 20), now=NOON + 1).can_ever_fit


def test_what_can_never_fit_has_no_wait() -> None:
    refusal = refused(Counters(UTC), Demand(limit(100), 101))
    assert refusal.retry_after_seconds is None
    assert not refusal.can_ever_fit


def test_a_spent_total_has_no_wait_though_a_smaller_one_might_have_fitted() -> None:
    counters, total = Counters(UTC), limit(100, window="total")
    counters.settle(take(counters, Demand(total, 90)), {"tokens": 90})
    refusal = refused(counters, Demand(total, 20))
    assert refusal.retry_after_seconds is None
    assert refusal.can_ever_fit


def test_the_refusal_is_the_longest_wait() -> None:
    counters, minute, day = Counters(UTC), limit(50, window="minute"), limit(50)
    counters.settle(take(counters, Demand(minute, 50), Demand(day, 50)), {"tokens": 50})
    assert refused(counters, Demand(minute, 10), Demand(day, 10)).limit is day
    never = limit(5, window="minute", counter="user:alice:gpt-4o:tokens")
    assert refused(counters, Demand(minute, 10), Demand(never, 10), Demand(day, 10)).limit is never


def test_of_equal_waits_the_first_is_named() -> None:
    first, second = (Refusal(limit(1, name=name), 1, 0, 1, 5.0, True) for name in ("a", "b"))
    assert longest_wait([first, second]) is first


def test_a_seed_lifts_and_never_lowers_and_leaves_holds_alone() -> None:
    counters, day = Counters(UTC), limit(1_000)
    take(counters, Demand(day, 10))
    counters.raise_to(day.counter, "day", "2026-11-21", 500, NOON)
    counters.raise_to(day.counter, "day", "2026-11-21", 400, NOON)
    counters.raise_to(day.counter, "day", "2026-11-20", 900, NOON)
    assert numbers(counters, day) == (500, 10)


def test_adding_counts_what_held_nothing() -> None:
    counters, day = Counters(UTC), limit(1_000)
    counters.add(day.counter, "day", "2026-11-21", 5, NOON)
    counters.add(day.counter, "day", "2026-11-21", 6, NOON)
    counters.add(day.counter, "day", "2026-11-01", 7, NOON)
    assert numbers(counters, day) == (11, 0)


def test_ended_windows_are_dropped_bit_by_bit() -> None:
    counters = Counters(UTC)
    for number in range(FREE_PER_SWEEP + 10):
        counters.add(f"user:u{number}:*:tokens", "minute", "2026-11-21T12:00", 1, NOON)
    counters.sweep(NOON + 60 + KEEP_ENDED_SECONDS - 1)
    assert counters.counter_count == FREE_PER_SWEEP + 10
    counters.sweep(NOON + 60 + KEEP_ENDED_SECONDS)
    assert counters.counter_count == 0


def test_a_settlement_after_its_window_was_dropped_disturbs_nothing() -> None:
    counters, minute = Counters(UTC), limit(100, window="minute")
    reservation = take(counters, Demand(minute, 40))
    counters.renew(reservation, NOON, 3_600)
    counters.sweep(NOON + 1_000)
    counters.settle(reservation, {"tokens": 40})
    assert numbers(counters, minute, NOON + 1_000) == (0, 0)
    assert counters.counter_count == 0


def test_another_zone_from_now_on() -> None:
    counters, day = Counters(UTC), limit(100)
    counters.settle(take(counters, Demand(day, 10), now=MIDNIGHT - 60), {"tokens": 10})
    counters.use_zone(ZoneInfo("Europe/Berlin"))
    assert numbers(counters, day, MIDNIGHT - 60) == (0, 0)
    assert counters.status([day], MIDNIGHT - 60)[0].window_id == "2026-11-22"
    take(counters, Demand(day, 90), now=MIDNIGHT - 60)
    assert numbers(counters, day, MIDNIGHT - 60) == (0, 90)


def test_one_id_used_twice_is_two_holds() -> None:
    counters, day = Counters(UTC), limit(100)
    first, second = take(counters, Demand(day, 10)), take(counters, Demand(day, 20))
    assert first.id != second.id
    counters.release(first)
    assert numbers(counters, day) == (0, 20)


def test_overruns_are_counted() -> None:
    counters, strict, balanced = Counters(UTC), limit(100, mode="strict", window="month"), limit(100)
    counters.settle(take(counters, Demand(strict, 10), Demand(balanced, 8)), {"tokens": 12})
    assert (counters.strict_overruns, counters.overrun_amounts) == (1, {"tokens": 4})


@pytest.mark.parametrize("window", ["minute", "hour", "day", "month", "total"])
def test_status_names_the_window_and_its_end(window: str) -> None:
    [status] = Counters(UTC).status([limit(10, window=window)], NOON)
    assert (status.used, status.reserved) == (0, 0)
    assert (status.resets_at is None) == (window == "total")
    assert status.resets_at is None or status.resets_at > NOON
