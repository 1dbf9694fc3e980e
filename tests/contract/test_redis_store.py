"""What only a networked store can do wrong: several replicas, lost replies, lost data, a server that is gone or stands still."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import trustme

from proxy.errors import QuotaStoreError
from proxy.limits.limit import Demand, Limit, Refusal, Reservation
from proxy.limits.window import window_at
from proxy.quota.redis_store import RedisQuotaStore
from proxy.quota.redis_url import RedisPlace, parse_url
from proxy.quota.resp_client import Address, RedisRefused
from proxy.quota.store import SeedCount
from tests.fault_proxy import FAULTS, fault_proxy
from tests.quota_house import demand, limit
from tests.servers import RedisCluster, RedisServer, redis_cluster, redis_sentinel, redis_server
from tests.waiting import until

UTC = ZoneInfo("UTC")
DAY = limit(1_000)
LANES = limit(5, "concurrent_requests", None)


@asynccontextmanager
async def opened(url: str | RedisPlace, **options: object) -> AsyncIterator[RedisQuotaStore]:
    options.setdefault("patience_seconds", 1.0)
    store = RedisQuotaStore(url, lambda: UTC, **options)  # type: ignore[arg-type]
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def until_numbers(store: RedisQuotaStore, of: Limit, expected: tuple[int, int], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while (seen := await numbers(store, of)) != expected:
        assert time.monotonic() < deadline, f"{of.name}: {seen}, not {expected}"
        await asyncio.sleep(0.02)


async def numbers(store: RedisQuotaStore, of: Limit) -> tuple[int, int]:
    [status] = await store.status([of], time.time())
    return status.used, status.reserved


async def taken(store: RedisQuotaStore, *demands: Demand, request_id: str = "request", lease: float = 60.0) -> Reservation:
    outcome = await store.reserve(request_id, demands, time.time(), lease)
    assert isinstance(outcome, Reservation), outcome
    return outcome


@pytest.fixture
def server(redis: RedisServer) -> RedisServer:
    redis.command("FLUSHALL")
    return redis


class TestReplicas:
    async def test_200_over_four_replicas_at_a_limit_of_5_exactly_5_pass(self, server: RedisServer) -> None:
        async with opened(server.url) as a, opened(server.url) as b, opened(server.url) as c, opened(server.url) as d:
            stores = [a, b, c, d] * 50
            now = time.time()
            scarce = limit(599, window="day", mode="strict")
            outcomes = await asyncio.gather(
                *(
                    store.reserve(f"r{number}", [demand(scarce, 100), demand(LANES)], now, 60.0)
                    for number, store in enumerate(stores)
                )
            )
            passed = [(store, outcome) for store, outcome in zip(stores, outcomes, strict=True) if isinstance(outcome, Reservation)]
            assert len(passed) == 5
            for store, outcome in passed:
                store.settle(outcome, {"tokens": 90})
            await until(lambda: not any(store.unsent_count for store in stores))
            assert await numbers(a, scarce) == (450, 0)
            assert await numbers(d, LANES) == (0, 0)

    async def test_leases_go_by_redis_own_clock(self, server: RedisServer) -> None:
        async with opened(server.url) as fast, opened(server.url) as slow:
            for number in range(5):
                await taken(fast, demand(LANES), request_id=str(number), lease=0.3)
            # A replica whose clock is an hour ahead does not take back what is alive.
            ahead = await slow.reserve("late", [demand(LANES)], time.time() + 3_600, 60.0)
            assert isinstance(ahead, Refusal)
            await asyncio.sleep(0.35)
            await taken(slow, demand(LANES))
            assert await numbers(fast, LANES) == (0, 1)

    async def test_replicas_whose_clocks_differ_share_a_window(self, server: RedisServer) -> None:
        async with opened(server.url) as one, opened(server.url) as other:
            month = limit(100, window="total")
            assert isinstance(await one.reserve("a", [demand(month, 60)], time.time(), 60.0), Reservation)
            assert isinstance(await other.reserve("b", [demand(month, 60)], time.time() + 5, 60.0), Refusal)


class TestCluster:
    async def test_scopes_in_several_slots_are_taken_all_or_none(self, cluster: RedisCluster) -> None:
        for node in cluster.nodes:
            node.command("FLUSHALL")
        scopes = [limit(1_000, counter=f"user:u{number}:*:tokens", name=f"u{number}") for number in range(12)]
        scarce = limit(9, counter="global:*:*:tokens", name="global")
        async with opened(cluster.url) as store:
            assert len({id(store.nodes.of_slot(slot)) for slot in range(16_384)}) == 3
            await taken(store, *(demand(scope, 10) for scope in scopes))
            outcome = await store.reserve(
                "second", [*(demand(scope, 10) for scope in scopes), demand(scarce, 10)], time.time(), 60.0
            )
            assert isinstance(outcome, Refusal)
            assert outcome.limit == scarce
            await until(lambda: not store.unsent_count)
            assert [await numbers(store, scope) for scope in [*scopes, scarce]] == [(0, 10)] * 12 + [(0, 0)]

    async def test_exactly_5_pass_across_slots(self, cluster: RedisCluster) -> None:
        for node in cluster.nodes:
            node.command("FLUSHALL")
        own, everyone = limit(10**6), limit(5, "requests", counter="global:*:*:requests")
        async with opened(cluster.url) as a, opened(cluster.url) as b:
            now = time.time()
            outcomes = await asyncio.gather(
                *([a, b][number % 2].reserve(f"r{number}", [demand(own, 7), demand(everyone)], now, 60.0) for number in range(200))
            )
            assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 5
            await until(lambda: not a.unsent_count and not b.unsent_count)
            assert await numbers(a, own) == (0, 35)

    async def test_a_replica_that_takes_over_is_followed(self) -> None:
        with redis_cluster(has_replica=True) as cluster:
            scopes = [limit(1_000, counter=f"user:u{number}:*:tokens", name=f"u{number}") for number in range(12)]
            async with opened(cluster.url) as store:
                for scope in scopes:
                    store.settle(await taken(store, demand(scope, 10)), {"tokens": 9})
                await until(lambda: not store.unsent_count)
                late = [await taken(store, demand(scope, 10), request_id="late") for scope in scopes]
                await asyncio.sleep(0.3)  # replication is not waited for
                cluster.nodes[0].kill()
                await until(lambda: store.breaker_state == "open", 15)
                for reservation in late:
                    store.settle(reservation, {"tokens": 5})
                await until(lambda: store.breaker_state == "closed" and not store.unsent_count, 30)
                assert [await numbers(store, scope) for scope in scopes] == [(14, 0)] * 12
                assert (await taken(store, *(demand(scope, 10) for scope in scopes))).store_mode == "normal"

    async def test_a_slot_that_moves_is_followed(self, cluster: RedisCluster) -> None:
        for node in cluster.nodes:
            node.command("FLUSHALL")
        async with opened(cluster.url) as store:
            reservation = await taken(store, demand(DAY, 10))
            slot = reservation.ticket.calls[0].slot  # type: ignore[attr-defined]
            store.settle(reservation, {"tokens": 10})
            await until(lambda: not store.unsent_count)
            ids = [node.command("CLUSTER", "MYID").split(b"\r\n")[1].decode() for node in cluster.nodes]
            owner = next(i for i, node in enumerate(cluster.nodes) if node.command("GET", "{user:alice}").startswith(b"$"))
            target = (owner + 1) % 3
            cluster.nodes[owner].command("FLUSHALL")  # the slot's keys would have to be migrated: here they may go
            for node in (cluster.nodes[target], cluster.nodes[owner], cluster.nodes[(owner + 2) % 3]):
                assert node.command("CLUSTER", "SETSLOT", str(slot), "NODE", ids[target]) == b"+OK\r\n"
            try:
                moved = await taken(store, demand(DAY, 20))
                store.settle(moved, {"tokens": 15})
                await until(lambda: not store.unsent_count)
                assert await numbers(store, DAY) == (15, 0)
                assert store.figures.failures == 0
            finally:
                cluster.nodes[target].command("FLUSHALL")
                for node in (cluster.nodes[owner], cluster.nodes[target], cluster.nodes[(owner + 2) % 3]):
                    node.command("CLUSTER", "SETSLOT", str(slot), "NODE", ids[owner])


class TestScripts:
    async def test_a_server_that_forgets_its_scripts_is_taught_again(self, server: RedisServer) -> None:
        async with opened(server.url) as store:
            reservation = await taken(store, demand(DAY, 10))
            server.command("SCRIPT", "FLUSH")
            store.settle(reservation, {"tokens": 4})
            await until(lambda: not store.unsent_count)
            server.command("SCRIPT", "FLUSH")
            again = await taken(store, demand(DAY, 10))
            server.command("SCRIPT", "FLUSH")
            store.renew(again, time.time(), 60.0)
            assert await numbers(store, DAY) == (4, 10)
            assert store.figures.failures == 0

    @pytest.mark.parametrize("refused", ["-@scripting", "-eval", "-evalsha"])
    async def test_a_server_that_refuses_scripts_is_refused_at_the_start(self, server: RedisServer, refused: str) -> None:
        words = ("ACL", "SETUSER", "noscripts", "reset", "on", ">secret-word", "~*", "+@all", refused)
        assert server.command(*words) == b"+OK\r\n"
        with pytest.raises(RedisRefused, match="does not run the script"):
            async with opened(f"redis://noscripts:secret-word@127.0.0.1:{server.port}/0"):
                pass

    async def test_a_restricted_user_is_enough(self, server: RedisServer) -> None:
        rights = ["~wb1:*", "+eval", "+evalsha", "+get", "+set", "+ping", "+select", "+time", "+asking"]
        rights += ["+hget", "+hset", "+hmget", "+hdel", "+hincrby", "+hexists", "+zadd", "+zrem", "+zrangebyscore", "+pexpire"]
        assert server.command("ACL", "SETUSER", "weighbridge", "on", ">other-word", *rights) == b"+OK\r\n"
        async with opened(f"redis://weighbridge:other-word@127.0.0.1:{server.port}/3") as store:
            store.settle(await taken(store, demand(DAY, 10), demand(LANES)), {"tokens": 4})
            await until(lambda: not store.unsent_count)
            assert await numbers(store, DAY) == (4, 0)

    async def test_a_wrong_password_is_refused_at_the_start_and_not_repeated(self, server: RedisServer) -> None:
        server.command("ACL", "SETUSER", "someone", "on", ">right-word", "~*", "+@all")
        with pytest.raises(RedisRefused) as caught:
            async with opened(f"redis://someone:wrong-word@127.0.0.1:{server.port}/0"):
                pass
        assert "wrong-word" not in str(caught.value)

    async def test_tls(self, server: RedisServer, tmp_path: Path) -> None:
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        certificate = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(certificate))
        async with fault_proxy(server.port, context) as proxy:
            async with opened(f"rediss://localhost:{proxy.port}/0?ssl_ca_certs={certificate}") as store:
                await taken(store, demand(DAY, 10))
                assert await numbers(store, DAY) == (0, 10)
            async with opened(f"rediss://localhost:{proxy.port}/0?ssl_cert_reqs=none") as store:
                assert await numbers(store, DAY) == (0, 10)
            async with opened(f"rediss://localhost:{proxy.port}/0") as distrustful:
                assert distrustful.breaker_state == "open"


class TestLostReplies:
    async def test_a_settlement_whose_reply_was_lost_counts_once(self, server: RedisServer) -> None:
        async with (
            fault_proxy(server.port) as proxy,
            opened(f"redis://127.0.0.1:{proxy.port}/0") as store,
            opened(server.url) as direct,
        ):
            reservation = await taken(store, demand(DAY, 100))
            proxy.is_swallowing_replies = True
            store.settle(reservation, {"tokens": 60})
            await until_numbers(direct, DAY, (60, 0))
            proxy.is_swallowing_replies = False
            proxy.cut()
            await until(lambda: not store.unsent_count)
            assert store.figures.repeated >= 1
            assert await numbers(direct, DAY) == (60, 0)

    @pytest.mark.parametrize("is_renewed", [False, True])
    async def test_it_counts_once_also_where_the_hold_had_been_taken_back(self, server: RedisServer, is_renewed: bool) -> None:
        async with (
            fault_proxy(server.port) as proxy,
            opened(f"redis://127.0.0.1:{proxy.port}/0") as store,
            opened(server.url) as direct,
        ):
            reservation = await taken(store, demand(DAY, 100), lease=0.05)
            await asyncio.sleep(0.06)
            assert await numbers(direct, DAY) == (0, 0)
            if is_renewed:
                store.renew(reservation, time.time(), 60.0)
                await until_numbers(direct, DAY, (0, 100))
            proxy.is_swallowing_replies = True
            store.settle(reservation, {"tokens": 60})
            await until_numbers(direct, DAY, (60, 0))
            proxy.is_swallowing_replies = False
            proxy.cut()
            await until(lambda: not store.unsent_count)
            assert store.figures.repeated >= 1
            assert await numbers(direct, DAY) == (60, 0)

    async def test_a_settlement_that_never_arrived_counts_after_the_reconnect(self, server: RedisServer) -> None:
        async with fault_proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as store:
            reservations = [await taken(store, demand(DAY, 10), request_id=str(number)) for number in range(20)]
            proxy.is_refusing = True
            proxy.cut()
            await until(lambda: store.breaker_state == "open")
            for reservation in reservations:
                store.settle(reservation, {"tokens": 7})
            assert store.unsent_count == 20
            proxy.is_refusing = False
            await until(lambda: not store.unsent_count)
            await until(lambda: store.breaker_state == "closed")
            assert await numbers(store, DAY) == (140, 0)

    async def test_a_reservation_nobody_heard_of_is_given_back(self, server: RedisServer) -> None:
        async with (
            fault_proxy(server.port) as proxy,
            opened(f"redis://127.0.0.1:{proxy.port}/0", patience_seconds=0.1) as store,
            opened(server.url) as direct,
        ):
            proxy.is_swallowing_replies = True
            reservation = await taken(store, demand(DAY, 100))
            assert reservation.store_mode == "local"
            proxy.is_swallowing_replies = False
            proxy.cut()
            store.settle(reservation, {"tokens": 60})
            await until(lambda: not store.unsent_count)
            await until_numbers(direct, DAY, (60, 0))

    async def test_a_cancelled_reservation_is_given_back(self, server: RedisServer) -> None:
        async with opened(server.url) as store:
            for turns in range(4):
                waiting = asyncio.create_task(store.reserve(f"r{turns}", [demand(DAY, 100)], time.time(), 60.0))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await until(lambda: not store.unsent_count)
            assert await numbers(store, DAY) == (0, 0)


class TestAway:
    """The server stands still, or is gone."""

    async def test_nobody_waits_longer_than_the_deadline_and_soon_nobody_waits_at_all(self) -> None:
        with redis_server() as server:
            async with opened(server.url, patience_seconds=0.05) as store:
                await taken(store, demand(DAY, 1))
                server.pause()
                waits = []
                for number in range(20):
                    began = time.monotonic()
                    reservation = await taken(store, demand(DAY, 10), request_id=str(number))
                    waits.append(time.monotonic() - began)
                    assert reservation.store_mode == "local"
                assert store.breaker_state == "open"
                assert sum(wait > 0.02 for wait in waits) <= 3
                assert max(waits) < 0.2
                server.resume()
                await until(lambda: store.breaker_state == "closed")
                back = await taken(store, demand(DAY, 1))
                assert back.store_mode == "normal"

    async def test_each_limit_does_what_it_says(self) -> None:
        def policy(name: str, amount: int) -> Limit:
            return Limit(name, f"user:alice:{name}:requests", "requests", "day", amount, "balanced", name)

        local, free, closed = policy("local", 2), policy("open", 2), policy("closed", 2)
        with redis_server() as server:
            async with opened(server.url) as store:
                server.kill()
                await until(lambda: store.breaker_state == "open")
                admitted = [await store.reserve(f"r{n}", [demand(local), demand(free)], time.time(), 60.0) for n in range(3)]
                assert [isinstance(one, Reservation) for one in admitted] == [True, True, False]
                assert isinstance(admitted[2], Refusal)
                assert (admitted[2].limit, admitted[2].reason, admitted[2].store_mode) == (local, "limit", "local")
                for number in range(5):
                    assert (await taken(store, demand(free), request_id=f"f{number}")).store_mode == "open"
                refusal = await store.reserve("c", [demand(free), demand(closed), demand(local)], time.time(), 60.0)
                assert isinstance(refusal, Refusal)
                assert (refusal.limit, refusal.reason, refusal.can_ever_fit) == (closed, "store_away", True)
                assert refusal.store_mode == "closed"
                figures = store.figures
                assert (figures.local_decisions, figures.open_decisions, figures.closed_decisions) == (3, 5, 1)

    async def test_what_was_used_meanwhile_is_counted_when_it_is_back(self, server: RedisServer) -> None:
        async with fault_proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as store:
            proxy.is_refusing = True
            proxy.cut()
            await until(lambda: store.breaker_state == "open")
            short, long, released = [await taken(store, demand(DAY, 100), demand(LANES), request_id=name) for name in "slr"]
            assert await numbers(store, DAY) == (0, 300)  # this process' own
            store.settle(short, {"tokens": 40})
            store.release(released)
            proxy.is_refusing = False
            await until(lambda: store.breaker_state == "closed" and not store.unsent_count)
            assert await numbers(store, DAY) == (40, 0)
            store.renew(long, time.time(), 60.0)
            assert await numbers(store, DAY) == (40, 100)
            assert await numbers(store, LANES) == (0, 1)
            store.settle(long, {"tokens": 70})
            store.settle(long, {"tokens": 70})
            await until(lambda: not store.unsent_count)
            assert await numbers(store, DAY) == (110, 0)
            assert await numbers(store, LANES) == (0, 0)

    async def test_counting_alone_begins_at_the_ledgers_figures(self) -> None:
        today = window_at("day", time.time(), UTC).id

        async def ledger() -> Sequence[SeedCount]:
            return [SeedCount(DAY.counter, "day", today, 950)]

        with redis_server() as server:
            async with opened(server.url, reseed=ledger) as store:
                server.kill()
                await until(lambda: store.breaker_state == "open" and store.local.counters.counter_count > 0)
                assert isinstance(await store.reserve("a", [demand(DAY, 60)], time.time(), 60.0), Refusal)
                await taken(store, demand(DAY, 50))

    async def test_a_server_that_comes_later_is_found(self) -> None:
        with redis_server() as server:
            server.kill()
            async with opened(server.url) as store:
                reservation = await taken(store, demand(DAY, 5))
                assert (reservation.store_mode, store.state) == ("local", "local")
                server.start()
                await until(lambda: store.breaker_state == "closed")
                store.settle(reservation, {"tokens": 3})
                assert (await taken(store, demand(DAY, 5))).store_mode == "normal"
                await until_numbers(store, DAY, (3, 5))

    async def test_seeding_a_server_that_is_away_says_so(self) -> None:
        with redis_server() as server:
            async with opened(server.url) as store:
                server.kill()
                await until(lambda: store.breaker_state == "open")
                with pytest.raises(QuotaStoreError):
                    await store.seed([SeedCount(DAY.counter, "day", window_at("day", time.time(), UTC).id, 5)])


class TestBadLine:
    """Between the store and its server: nobody waits longer than the patience, and in the end everything is counted once."""

    @pytest.mark.parametrize("what", FAULTS)
    async def test_whatever_goes_wrong_on_the_way(self, server: RedisServer, what: str) -> None:
        async with (
            fault_proxy(server.port) as proxy,
            opened(f"redis://127.0.0.1:{proxy.port}/0", patience_seconds=0.1) as store,
            opened(server.url) as direct,
        ):
            early = [await taken(store, demand(DAY, 10), demand(LANES), request_id=f"early-{number}") for number in range(2)]
            FAULTS[what](proxy)
            waits, late = [], []
            for number in range(8):
                began = time.monotonic()
                late.append(await taken(store, demand(DAY, 10), request_id=f"late-{number}"))
                waits.append(time.monotonic() - began)
                await asyncio.sleep(0.02)
                if what == "reset":
                    proxy.reset()
            for reservation in (early[0], *late[:4]):
                store.settle(reservation, {"tokens": 7})
            store.release(late[4])
            await asyncio.sleep(0.3)
            proxy.mend()
            for reservation in (early[1], *late[5:]):
                store.settle(reservation, {"tokens": 7})
            await until(lambda: store.breaker_state == "closed" and not store.unsent_count)
            await until_numbers(direct, DAY, (9 * 7, 0))
            await until_numbers(direct, LANES, (0, 0))
            assert max(waits) < 0.5, waits
            assert (await taken(store, demand(DAY, 10))).store_mode == "normal"


class TestLostData:
    def ledger(self, amount: int, asked: list[float]) -> Callable[[], Awaitable[Sequence[SeedCount]]]:
        async def figures() -> Sequence[SeedCount]:
            asked.append(time.time())
            return [SeedCount(DAY.counter, "day", window_at("day", time.time(), UTC).id, amount)]

        return figures

    async def test_a_flush_is_noticed_and_the_ledgers_figures_put_back_once(self, server: RedisServer) -> None:
        asked: list[float] = []
        ledger = self.ledger(500, asked)
        async with (
            opened(server.url, reseed=ledger) as one,
            opened(server.url, reseed=ledger) as other,
            opened(server.url) as watcher,
        ):
            await until(lambda: one.figures.reseeds + other.figures.reseeds == 1)  # an empty server is seeded at the first start
            await until_numbers(watcher, DAY, (500, 0))
            running = await taken(one, demand(DAY, 100), demand(LANES))
            short = await taken(other, demand(DAY, 30), demand(LANES), request_id="short")
            before = len(asked)
            server.command("FLUSHALL")
            await until(lambda: one.figures.flushes == other.figures.flushes == watcher.figures.flushes == 1)
            await until(lambda: one.figures.reseeds + other.figures.reseeds == 2)
            assert len(asked) == before + 1
            await until_numbers(watcher, DAY, (500, 0))
            # The hold of the long call comes back with its renewal, once; the short call never renewed and is counted all the same.
            one.renew(running, time.time(), 60.0)
            one.renew(running, time.time(), 60.0)
            await until_numbers(watcher, DAY, (500, 100))
            await until_numbers(watcher, LANES, (0, 1))
            other.settle(short, {"tokens": 20})
            await until_numbers(watcher, DAY, (520, 100))
            one.settle(running, {"tokens": 70})
            await until_numbers(watcher, DAY, (590, 0))
            await until_numbers(watcher, LANES, (0, 0))
            assert other.figures.recovered_holds == 1

    async def test_a_restart_without_data_loses_no_running_call(self) -> None:
        with redis_server() as server:
            async with opened(server.url) as store:
                calls = [await taken(store, demand(DAY, 10), demand(LANES), request_id=str(number)) for number in range(5)]
                server.kill()
                await until(lambda: store.breaker_state == "open")
                store.settle(calls[0], {"tokens": 7})
                server.start()
                await until(lambda: store.breaker_state == "closed" and not store.unsent_count)
                store.settle(calls[1], {"tokens": 7})
                store.renew(calls[2], time.time(), 60.0)
                store.settle(calls[2], {"tokens": 7})
                store.release(calls[3])
                await until(lambda: not store.unsent_count)
                await until_numbers(store, DAY, (21, 0))
                store.renew(calls[4], time.time(), 60.0)
                await until_numbers(store, LANES, (0, 1))

    async def test_a_settlement_sent_before_and_after_a_flush_counts_once(self, server: RedisServer) -> None:
        """The first one arrived, its reply did not, and the data it was counted in is gone."""
        async with (
            fault_proxy(server.port) as proxy,
            opened(f"redis://127.0.0.1:{proxy.port}/0") as store,
            opened(server.url) as direct,
        ):
            reservation = await taken(store, demand(DAY, 100))
            proxy.is_swallowing_replies = True
            store.settle(reservation, {"tokens": 60})
            await until_numbers(direct, DAY, (60, 0))
            server.command("FLUSHALL")
            await until(lambda: direct.figures.flushes == 1)
            proxy.is_swallowing_replies = False
            proxy.cut()
            await until(lambda: not store.unsent_count)
            await until_numbers(direct, DAY, (60, 0))


async def test_sentinel_names_the_master_and_a_fail_over_is_followed() -> None:
    with redis_sentinel() as house:
        place = parse_url(house.url)
        async with opened(replace(place, addresses=(Address(port=1), *place.addresses))) as store:
            store.settle(await taken(store, demand(DAY, 10)), {"tokens": 9})
            await until(lambda: not store.unsent_count)
            assert await numbers(store, DAY) == (9, 0)
            await asyncio.sleep(0.5)
            house.master.kill()
            await until(lambda: store.breaker_state == "open", 15)
            await until(lambda: store.breaker_state == "closed", 30)
            assert (await taken(store, demand(DAY, 10))).store_mode == "normal"
            assert await numbers(store, DAY) == (9, 10)


def test_the_url_fixture_is_what_users_write(redis: RedisServer) -> None:
    assert parse_url(redis.url).addresses == (Address(port=redis.port),)
