"""The port for counters: what every adapter must do (proxy/quota/store.py). One suite, each adapter a parameter.

A new adapter joins by one line in ADAPTERS (tests/conftest.py). Time stands still unless a test moves the clock; holds of a
networked store are settled in the background, so tests ask `house.settled()` before they look.
"""

from __future__ import annotations

import asyncio

from proxy.limits.limit import Demand, Limit, Refusal, Reservation
from proxy.quota.store import SeedCount
from tests.quota_house import NOON, QuotaHouse, demand, limit


async def taken(house: QuotaHouse, *demands: Demand, request_id: str = "request-1", lease: float = 60.0) -> Reservation:
    outcome = await house.store.reserve(request_id, demands, house.now, lease)
    assert isinstance(outcome, Reservation), outcome
    return outcome


async def refused(house: QuotaHouse, *demands: Demand) -> Refusal:
    outcome = await house.store.reserve("request-refused", demands, house.now, 60.0)
    assert isinstance(outcome, Refusal), outcome
    return outcome


async def numbers(house: QuotaHouse, of: Limit) -> tuple[int, int]:
    await house.settled()
    [status] = await house.store.status([of], house.now)
    return status.used, status.reserved


async def test_reserve_then_settle(quota: QuotaHouse) -> None:
    day, calls, lanes = limit(1_000), limit(5, "requests"), limit(3, "concurrent_requests", None)
    reservation = await taken(quota, demand(day, 300), demand(calls), demand(lanes))
    assert [await numbers(quota, each) for each in (day, calls, lanes)] == [(0, 300), (0, 1), (0, 1)]
    quota.store.settle(reservation, {"tokens": 120, "cost_usd": 5})
    assert [await numbers(quota, each) for each in (day, calls, lanes)] == [(120, 0), (1, 0), (0, 0)]


async def test_reserve_then_release(quota: QuotaHouse) -> None:
    day, calls, lanes = limit(1_000), limit(5, "requests"), limit(3, "concurrent_requests", None)
    reservation = await taken(quota, demand(day, 300), demand(calls), demand(lanes))
    quota.store.release(reservation)
    quota.store.release(reservation)
    quota.store.settle(reservation, {"tokens": 9})
    assert [await numbers(quota, each) for each in (day, calls, lanes)] == [(0, 0), (0, 0), (0, 0)]


async def test_settling_twice_counts_once(quota: QuotaHouse) -> None:
    day = limit(1_000)
    reservation = await taken(quota, demand(day, 300))
    for _ in range(3):
        quota.store.settle(reservation, {"tokens": 120})
    assert await numbers(quota, day) == (120, 0)


async def test_the_last_unit_fits_and_one_more_does_not(quota: QuotaHouse) -> None:
    for mode in ("strict", "balanced"):
        day = limit(100, mode=mode, counter=f"user:{mode}:*:tokens")
        await taken(quota, demand(day, 60))
        await taken(quota, demand(day, 40), request_id="request-2")
        refusal = await refused(quota, demand(day, 1))
        assert (refusal.limit, refusal.used, refusal.held, refusal.wanted, refusal.can_ever_fit, refusal.reason) == (
            day,
            0,
            100,
            1,
            True,
            "limit",
        )


async def test_all_or_nothing_over_every_scope(quota: QuotaHouse) -> None:
    own, team, everyone = limit(1_000), limit(1_000, counter="team:red:*:tokens"), limit(10, counter="global:*:*:tokens")
    reservation = await taken(quota, demand(own, 8), demand(team, 8), demand(everyone, 8))
    refusal = await refused(quota, demand(own, 8), demand(team, 8), demand(everyone, 8))
    assert refusal.limit == everyone
    assert [await numbers(quota, each) for each in (own, team, everyone)] == [(0, 8), (0, 8), (0, 8)]
    quota.store.settle(reservation, {"tokens": 3})
    assert [await numbers(quota, each) for each in (own, team, everyone)] == [(3, 0), (3, 0), (3, 0)]


async def test_limits_that_share_a_counter_hold_it_once(quota: QuotaHouse) -> None:
    wide, narrow = limit(100, name="defaults.tokens"), limit(60, name="users.alice.tokens")
    reservation = await taken(quota, demand(wide, 50), demand(narrow, 50))
    assert await numbers(quota, wide) == (0, 50)
    assert (await refused(quota, demand(wide, 20), demand(narrow, 20))).limit == narrow
    quota.store.settle(reservation, {"tokens": 50})
    assert await numbers(quota, narrow) == (50, 0)


async def test_strict_and_balanced_on_one_counter_hold_the_larger_amount(quota: QuotaHouse) -> None:
    strict, balanced = limit(1_000, mode="strict"), limit(1_000)
    reservation = await taken(quota, demand(balanced, 10), demand(strict, 400))
    assert await numbers(quota, strict) == (0, 400)
    quota.store.settle(reservation, {"tokens": 50, "tokens@strict": 400})
    assert await numbers(quota, strict) == (400, 0)


async def test_one_counter_in_many_windows(quota: QuotaHouse) -> None:
    windows = [limit(1_000, window=window) for window in ("minute", "hour", "day", "month", "total")]
    reservation = await taken(quota, *(demand(each, 7) for each in windows))
    assert [await numbers(quota, each) for each in windows] == [(0, 7)] * 5
    quota.store.settle(reservation, {"tokens": 5})
    assert [await numbers(quota, each) for each in windows] == [(5, 0)] * 5


async def test_a_new_window_begins_empty_and_the_truth_goes_to_the_old_one(quota: QuotaHouse) -> None:
    minute, day = limit(100, window="minute"), limit(1_000)
    reservation = await taken(quota, demand(minute, 80), demand(day, 80), lease=600)
    quota.now += 60
    assert await numbers(quota, minute) == (0, 0)
    later = await taken(quota, demand(minute, 90), demand(day, 90), request_id="request-2", lease=600)
    quota.store.settle(reservation, {"tokens": 85})
    assert await numbers(quota, minute) == (0, 90)
    assert await numbers(quota, day) == (85, 90)
    quota.now -= 60
    assert await numbers(quota, minute) == (85, 0)
    quota.store.release(later)


async def test_soft_looks_at_what_is_settled_and_holds_nothing(quota: QuotaHouse) -> None:
    soft = limit(100, mode="soft")
    first = await taken(quota, demand(soft, 0))
    second = await taken(quota, demand(soft, 0), request_id="request-2")
    quota.store.settle(first, {"tokens": 99})
    assert await numbers(quota, soft) == (99, 0)
    await taken(quota, demand(soft, 0), request_id="request-3")
    quota.store.settle(second, {"tokens": 99})
    assert await numbers(quota, soft) == (198, 0)
    assert (await refused(quota, demand(soft, 0))).used == 198


async def test_a_demand_of_nothing_fits_a_spent_budget_and_is_settled_to(quota: QuotaHouse) -> None:
    budget = limit(10, "cost_usd")
    quota.store.settle(await taken(quota, demand(budget, 10)), {"cost_usd": 25})
    assert await numbers(quota, budget) == (25, 0)
    free = await taken(quota, demand(budget, 0), request_id="request-2")
    quota.store.settle(free, {"cost_usd": 2})
    assert await numbers(quota, budget) == (27, 0)


async def test_concurrency_is_leases(quota: QuotaHouse) -> None:
    lanes = limit(2, "concurrent_requests", None, mode="soft")
    first = await taken(quota, demand(lanes), request_id="a")
    second = await taken(quota, demand(lanes), request_id="b")
    refusal = await refused(quota, demand(lanes))
    assert refusal.held == 2
    assert refusal.retry_after_seconds is not None
    quota.store.settle(first, {})
    await quota.settled()
    await taken(quota, demand(lanes), request_id="c")
    quota.store.release(second)
    assert await numbers(quota, lanes) == (0, 1)


async def test_the_slots_of_a_dead_owner_come_back_at_the_deadline(quota: QuotaHouse) -> None:
    lanes = limit(10, "concurrent_requests", None)
    for number in range(10):
        await taken(quota, demand(lanes), request_id=f"request-{number}", lease=30)
    quota.now += 29
    await refused(quota, demand(lanes))
    quota.now += 1
    quota.store.sweep(quota.now)
    for number in range(10):
        await taken(quota, demand(lanes), request_id=f"again-{number}")
    await refused(quota, demand(lanes))


async def test_an_expired_hold_makes_room_and_its_late_truth_counts_once(quota: QuotaHouse) -> None:
    day = limit(100)
    dead = await taken(quota, demand(day, 100), lease=30)
    quota.now += 31
    quota.store.sweep(quota.now)
    alive = await taken(quota, demand(day, 30), request_id="request-2")
    assert await numbers(quota, day) == (0, 30)
    quota.store.settle(dead, {"tokens": 90})
    quota.store.settle(dead, {"tokens": 90})
    assert await numbers(quota, day) == (90, 30)
    quota.store.settle(alive, {"tokens": 5})
    assert await numbers(quota, day) == (95, 0)


async def test_a_renewed_hold_stays(quota: QuotaHouse) -> None:
    day, lanes = limit(100), limit(1, "concurrent_requests", None)
    reservation = await taken(quota, demand(day, 80), demand(lanes), lease=30)
    for _ in range(5):
        quota.now += 20
        quota.store.renew(reservation, quota.now, 30)
        await quota.settled()
        quota.store.sweep(quota.now)
        assert await numbers(quota, day) == (0, 80)
    await refused(quota, demand(lanes))
    quota.now += 31
    quota.store.sweep(quota.now)
    assert await numbers(quota, day) == (0, 0)


async def test_a_renewal_after_the_hold_was_taken_back_takes_it_again(quota: QuotaHouse) -> None:
    day, lanes = limit(100), limit(3, "concurrent_requests", None)
    reservation = await taken(quota, demand(day, 80), demand(lanes), lease=30)
    quota.now += 40
    quota.store.sweep(quota.now)
    assert await numbers(quota, day) == (0, 0)
    quota.store.renew(reservation, quota.now, 30)
    assert await numbers(quota, day) == (0, 80)
    assert await numbers(quota, lanes) == (0, 1)
    quota.store.settle(reservation, {"tokens": 70})
    quota.store.renew(reservation, quota.now, 30)
    assert await numbers(quota, day) == (70, 0)
    assert await numbers(quota, lanes) == (0, 0)


async def test_the_refusal_is_the_longest_wait(quota: QuotaHouse) -> None:
    minute, day, total = limit(50, window="minute"), limit(50), limit(1_000, window="total")
    quota.store.settle(await taken(quota, demand(minute, 50), demand(day, 50), demand(total, 50)), {"tokens": 50})
    await quota.settled()
    refusal = await refused(quota, demand(minute, 10), demand(day, 10), demand(total, 10))
    assert refusal.limit == day
    assert refusal.retry_after_seconds == 12 * 3600
    never = await refused(quota, demand(day, 10), demand(total, 1_001))
    assert (never.limit, never.can_ever_fit, never.retry_after_seconds) == (total, False, None)


async def test_holds_in_the_way_are_a_short_wait(quota: QuotaHouse) -> None:
    day = limit(100)
    await taken(quota, demand(day, 90))
    wait = (await refused(quota, demand(day, 20))).retry_after_seconds
    assert wait is not None
    assert wait <= 5


async def test_status_in_the_order_asked(quota: QuotaHouse) -> None:
    asked = [limit(10, window="total"), limit(20), limit(3, "concurrent_requests", None), limit(40, window="minute")]
    statuses = await quota.store.status(asked, quota.now)
    assert [status.limit for status in statuses] == asked
    assert [status.window_id for status in statuses] == ["total", "2026-11-21", "", "2026-11-21T12:00"]
    assert [status.resets_at for status in statuses] == [None, NOON + 12 * 3600, None, NOON + 60]


async def test_a_seed_lifts_and_never_lowers_and_leaves_holds_alone(quota: QuotaHouse) -> None:
    day = limit(1_000)
    reservation = await taken(quota, demand(day, 10))
    for amount in (500, 400):
        await quota.store.seed([SeedCount(day.counter, "day", "2026-11-21", amount)])
        assert await numbers(quota, day) == (500, 10)
    quota.store.settle(reservation, {"tokens": 8})
    assert await numbers(quota, day) == (508, 0)


async def test_adding_counts_what_did_not_pass_the_proxy(quota: QuotaHouse) -> None:
    day, other = limit(1_000), limit(1_000, counter="user:bob:*:tokens")
    await quota.store.add([SeedCount(day.counter, "day", "2026-11-21", 5), SeedCount(other.counter, "day", "2026-11-21", 9)])
    await quota.store.add([SeedCount(day.counter, "day", "2026-11-21", 6)])
    assert await numbers(quota, day) == (11, 0)
    assert await numbers(quota, other) == (9, 0)


async def test_large_amounts_stay_exact(quota: QuotaHouse) -> None:
    """A hundred million dollars in nano-dollars: past 2**53, where a double would lose ones."""
    budget = limit(10**17 + 3, "cost_usd", "total")
    reservation = await taken(quota, demand(budget, 10**17 + 1))
    assert await numbers(quota, budget) == (0, 10**17 + 1)
    assert (await refused(quota, demand(budget, 3))).held == 10**17 + 1
    await taken(quota, demand(budget, 2), request_id="request-2")
    quota.store.settle(reservation, {"cost_usd": 10**17 - 1})
    assert await numbers(quota, budget) == (10**17 - 1, 2)


async def test_200_at_a_limit_of_5_exactly_5_pass(quota: QuotaHouse) -> None:
    for resource, window, each, amount in (
        ("requests", "minute", 1, 5),
        ("tokens", "day", 100, 599),
        ("concurrent_requests", None, 1, 5),
    ):
        for mode in ("strict", "balanced"):
            scarce = limit(amount, resource, window, mode=mode, counter=f"user:{mode}:*:{resource}")
            plenty = limit(10**9, "tokens", "month", counter=f"user:{mode}:*:tokens-of-{resource}")
            outcomes = await asyncio.gather(
                *(
                    quota.store.reserve(f"{resource}-{mode}-{number}", [demand(scarce, each), demand(plenty, 10)], quota.now, 60.0)
                    for number in range(200)
                )
            )
            passed = [outcome for outcome in outcomes if isinstance(outcome, Reservation)]
            assert len(passed) == 5
            assert await numbers(quota, plenty) == (0, 50)
            for reservation in passed:
                quota.store.settle(reservation, {resource: each, "tokens": 3})
            assert (await numbers(quota, plenty))[1] == 0


async def test_no_demands_is_a_reservation_of_nothing(quota: QuotaHouse) -> None:
    reservation = await taken(quota)
    assert reservation.held == ()
    quota.store.settle(reservation, {"tokens": 5})
    quota.store.release(reservation)
