"""Keys, slots and encoded calls of the Redis store."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import hiredis
import pytest

from proxy.limits.limit import Demand, Held, Limit
from proxy.quota.redis_plan import Plan, Plans, slot_of, split_counter, window_key

UTC = ZoneInfo("UTC")
NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


def limit(
    amount: int, resource: str = "tokens", window: str | None = "day", mode: str = "balanced", subject: str = "user:alice"
) -> Limit:
    return Limit(f"{subject}.{resource}.{window}", f"{subject}:*:{resource}", resource, window, amount, mode)


def words(command: bytes) -> list[str]:
    """A command as the server reads it: exactly one, and nothing behind it."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(command)
    parsed = reader.gets()
    assert isinstance(parsed, list)
    assert reader.gets() is False
    return [str(word) for word in parsed]


@pytest.mark.parametrize(("tag", "slot"), [("123456789", 12_739), ("user1000", 3_443)])
def test_slots_are_those_of_redis_cluster(tag: str, slot: int) -> None:
    assert slot_of(tag) == slot  # 0x31C3 = 12739 for "123456789" is the specification's own example


@pytest.mark.parametrize(
    ("counter", "tag", "field"),
    [
        ("user:alice:*:tokens", "user:alice", "*:tokens"),
        ("user:a{b}c d:gpt-4o*:tokens", "user:a%7Bb%7Dc%20d", "gpt-4o*:tokens"),
        ("user:arn:aws:iam::1:role/x:*:requests", "user:arn:aws:iam::1:role%2Fx", "*:requests"),
        ("user:größe\n:*:tokens", "user:gr%C3%B6%C3%9Fe%0A", "*:tokens"),
    ],
)
def test_no_name_can_close_a_brace_or_look_like_two_words(counter: str, tag: str, field: str) -> None:
    assert split_counter(counter) == (tag, field)
    assert window_key(tag, "2026-11-21") == f"wb1:{{{tag}}}:2026-11-21"


def test_a_reservation_is_one_call_with_everything_in_it() -> None:
    limits = [limit(100), limit(5, "requests", "minute", "soft"), limit(3, "concurrent_requests", None)]
    plan = Plan(limits, NOON, UTC, is_cluster=False)
    [call] = plan.calls
    parsed = words(call.reserve("r.1", "60000", "0", [40, 0, 1]).by_sha())
    assert parsed[0] == "EVALSHA"
    count = int(parsed[2])
    own = ["wb1:{user:alice}:leases", "wb1:{user:alice}:holds", "wb1:{user:alice}:marks"]
    windows = ["wb1:{user:alice}:2026-11-21", "wb1:{user:alice}:2026-11-21T12:00", "wb1:{user:alice}:now"]
    assert parsed[3 : 3 + count] == own + windows
    arguments = parsed[3 + count :]
    day = [str((12 * 3_600 + 3_600) * 1_000), "1", "*:tokens", "*:tokens#"]
    minute = [str((60 + 3_600) * 1_000), "1", "*:requests", "*:requests#"]
    now = ["0", "1", "*:concurrent_requests", "*:concurrent_requests#"]
    tests = ["3", "1", "h", "100", "2", "l", "5", "3", "h", "3"]
    assert arguments == ["1", "3", *day, *minute, *now, *tests, "r.1", "60000", "0", "40 0 1"]
    assert words(call.settle("r.1", True, [7, 1, 0]).in_full())[-3:] == ["r.1", "1", "7 1 0"]


def test_limits_that_share_a_counter_share_a_cell() -> None:
    wide, narrow, month = limit(100), limit(60, mode="strict"), limit(900, window="month")
    plan = Plan([wide, month, narrow], NOON, UTC, is_cluster=False)
    assert plan.held([10, 20, 30]) == (
        Held("user:alice:*:tokens", "tokens", "day", "2026-11-21", 30, "strict"),
        Held("user:alice:*:tokens", "tokens", "month", "2026-11", 20, "balanced"),
    )
    assert plan.settlement(plan.held([10, 20, 30]), {"tokens": 5, "tokens@strict": 30}) == [30, 5]


def test_a_cluster_gets_one_call_per_slot_and_others_one_in_all() -> None:
    limits = [limit(1, subject="user:alice"), limit(1, subject="team:red"), limit(1, subject="global:*")]
    assert len(Plan(limits, NOON, UTC, is_cluster=False).calls) == 1
    calls = Plan(limits, NOON, UTC, is_cluster=True).calls
    assert [call.slot for call in calls] == [slot_of("user:alice"), slot_of("team:red"), slot_of("global:*")]
    assert [call.demands for call in calls] == [[0], [1], [2]]
    assert [call.cells for call in calls] == [[0], [1], [2]]


def test_interleaved_subjects_keep_their_amounts() -> None:
    limits = [limit(1), limit(2, subject="team:red"), limit(3, window="month"), limit(4, "requests")]
    plan = Plan(limits, NOON, UTC, is_cluster=False)
    [call] = plan.calls
    assert call.demands == [0, 2, 3, 1]
    assert words(call.reserve("r", "1", "0", [10, 20, 30, 40]).by_sha())[-1] == "10 30 40 20"
    assert [plan.cells[number].counter for number in call.cells] == [
        "user:alice:*:tokens", "user:alice:*:requests", "user:alice:*:tokens", "team:red:*:tokens",
    ]  # fmt: skip


def test_a_renewal_names_what_is_held() -> None:
    plan = Plan([limit(100), limit(5, "requests", "minute", "soft")], NOON, UTC, is_cluster=False)
    [call] = plan.calls
    parsed = words(plan.renew(call, "r.1", "60000", "0", plan.held([40, 0])).by_sha())
    assert parsed[-6:] == ["1", "2", "wb1:{user:alice}:2026-11-21 *:tokens# 40", "r.1", "60000", "0"]


def test_a_plan_lasts_as_long_as_its_shortest_window() -> None:
    plans = Plans(is_cluster=False)
    demands = [Demand(limit(100), 1), Demand(limit(100, window="minute"), 1)]
    first = plans.plan(demands, NOON, UTC)
    assert plans.plan([demand._replace(amount=9) for demand in demands], NOON + 59, UTC) is first
    assert plans.plan(demands, NOON + 60, UTC) is not first
    assert plans.plan(demands, NOON, UTC).valid_until == NOON + 60
    assert plans.plan(demands, NOON, ZoneInfo("Asia/Tokyo")).zone.key == "Asia/Tokyo"
