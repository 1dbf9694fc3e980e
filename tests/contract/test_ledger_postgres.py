"""What only the Postgres ledger promises: partitions, many starters, outages, no deadlocks, long queries out of the way."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trustme

from proxy.errors import LedgerError
from proxy.ledger.ledger import RecordFilter
from proxy.ledger.migrations import migrations
from proxy.ledger.partitions import months_ahead, partition_name
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.postgres_schema import make_partitions, migrate
from proxy.spool.drain import Drain
from proxy.spool.writer import SpoolWriter
from tests.fault_proxy import FAULTS, fault_proxy
from tests.ledger_house import empty
from tests.sample_records import sample, samples
from tests.servers import PostgresServer, postgres_server
from tests.waiting import within

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture
async def url(server: PostgresServer) -> str:
    await empty(server.url)
    return server.url


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[PostgresLedger]:
    opened = PostgresLedger(url)
    await opened.start()
    yield opened
    await opened.close()


async def ask(url: str, text: str, *values: object) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(text, *values)
    finally:
        await connection.close()


async def in_table(url: str, name: str) -> int:
    return int(await ask(url, f'SELECT COUNT(*) FROM "{name}"'))


async def test_of_eight_starters_one_applies_each_file(url: str) -> None:
    connections = [await asyncpg.connect(url) for _ in range(8)]
    counts = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(counts) == [0] * 7 + [len(migrations("postgres"))]
    for connection in connections:
        await connection.close()
    assert await in_table(url, "schema_migrations") == len(migrations("postgres"))


async def test_a_schema_with_another_content_is_refused(url: str, ledger: PostgresLedger) -> None:
    await ask(url, 'UPDATE "schema_migrations" SET "checksum" = $1', "0" * 64)
    other = PostgresLedger(url)
    with pytest.raises(LedgerError, match="0001"):
        await other.start()
    await other.close()


async def test_this_release_works_on_the_schema_of_the_next(url: str, ledger: PostgresLedger) -> None:
    await ledger.append(samples(2, NOW))
    await ask(url, 'ALTER TABLE "usage_records" ADD COLUMN "colour" TEXT DEFAULT $$red$$')
    await ask(url, 'ALTER TABLE "rollups" ADD COLUMN "shade" BIGINT NOT NULL DEFAULT 0')
    await ask(url, 'INSERT INTO "schema_migrations" ("number", "name", "checksum") VALUES (9999, $1, $1)', "next")
    assert len(await ledger.append(samples(2, NOW))) == 2
    again = PostgresLedger(url)
    await again.start()
    assert len(await again.append(samples(2, NOW))) == 2
    assert (await again.sums(RecordFilter()))[0].sums.requests == 6
    await again.close()


async def test_records_are_in_the_partition_of_their_month(url: str, ledger: PostgresLedger) -> None:
    last_year = NOW - timedelta(days=365)
    await ledger.append([sample(NOW), sample(last_year), sample(NOW, id="tracked")])
    assert await in_table(url, partition_name(NOW)) == 1
    assert await in_table(url, partition_name(last_year)) == 1
    assert await in_table(url, "usage_records_foreign") == 1
    assert await in_table(url, "usage_records_default") == 0
    for month in months_ahead(NOW):
        assert await in_table(url, partition_name(month)) >= 0


async def test_what_waited_in_the_default_partition_moves_when_its_month_is_made(url: str, ledger: PostgresLedger) -> None:
    future = NOW + timedelta(days=400)  # a clock gone astray: no partition is made for it
    record = sample(future)
    await ledger.append([record])
    assert await in_table(url, "usage_records_default") == 1
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await make_partitions(connection, [datetime(future.year, future.month, 1, tzinfo=UTC)])
    await connection.close()
    assert await in_table(url, "usage_records_default") == 0
    assert await in_table(url, partition_name(future)) == 1
    assert await ledger.record(record.id) == record
    assert await ledger.append([record]) == []


async def test_retention_drops_whole_months(url: str, ledger: PostgresLedger) -> None:
    old = NOW - timedelta(days=200)
    await ledger.append([*samples(3, old), *samples(2, NOW), sample(old, id="tracked")])
    await ledger.forget_before(NOW - timedelta(days=100))
    assert await ask(url, "SELECT to_regclass($1)", partition_name(old)) is None
    assert await in_table(url, "usage_records") == 2
    assert len(await ledger.append(samples(1, old))) == 1


async def test_searches_by_time_keep_out_of_other_months(url: str, ledger: PostgresLedger) -> None:
    old = NOW - timedelta(days=200)
    await ledger.append([sample(old), sample(NOW)])
    plan = await ask(
        url,
        'EXPLAIN (FORMAT JSON) SELECT * FROM "usage_records" AS r WHERE r."started_at" >= $1 '
        "AND (r.\"minted_at\" >= $1::timestamptz - interval '1 day' OR r.\"minted_at\" = TIMESTAMPTZ '1970-01-01 00:00:00+00')",
        NOW - timedelta(days=1),
    )
    assert partition_name(NOW) in plan
    assert partition_name(old) not in plan


async def test_writers_that_race_never_deadlock(server: PostgresServer, url: str) -> None:
    """Eight writers on the same hot cells, batches in any order."""
    ledgers = [PostgresLedger(url) for _ in range(8)]
    before = await ask(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")

    async def write(ledger: PostgresLedger, number: int) -> None:
        for at in range(6):
            batch = [
                sample(
                    NOW + timedelta(minutes=15 * (item % 4)), user=f"u{item % 5}", session=f"s{item % 3}", billing_key=f"b{item}"
                )
                for item in range(60)
            ]
            await ledger.append(batch[::-1] if (number + at) % 2 else batch)

    await asyncio.gather(*(write(ledger, number) for number, ledger in enumerate(ledgers)))
    sums = (await ledgers[0].sums(RecordFilter()))[0].sums
    assert (sums.requests, sums.total_tokens) == (8 * 6 * 60, 60 * 1545)
    for ledger in ledgers:
        await ledger.close()
    assert await ask(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'") == before


async def test_long_queries_do_not_hold_up_appends(ledger: PostgresLedger) -> None:
    await ledger.append(samples(1, NOW))
    sleepers = [asyncio.ensure_future(ledger._pool.fetch("SELECT pg_sleep(20)")) for _ in range(10)]
    await asyncio.sleep(0.1)
    assert len(await ledger.append(samples(10, NOW))) == 10
    assert not any(sleeper.done() for sleeper in sleepers), "the append waited for a query"
    for sleeper in sleepers:
        sleeper.cancel()
    await asyncio.gather(*sleepers, return_exceptions=True)


async def test_statements_have_time_limits(ledger: PostgresLedger) -> None:
    assert (await ledger._pool.fetch("SHOW statement_timeout"))[0][0] == "30s"
    assert (await ledger._pool.transaction(lambda connection: connection.fetchval("SHOW statement_timeout"))) == "1min"


async def test_our_own_parameters_of_the_url(url: str) -> None:
    ledger = PostgresLedger(f"{url}?sslmode=disable&pool_size=2&statement_cache_size=0")
    await ledger.start()
    assert len(await ledger.append(samples(3, NOW))) == 3
    await ledger.close()
    with pytest.raises(LedgerError, match="pool_size"):
        PostgresLedger(f"{url}?pool_size=many")


async def test_a_server_that_is_away_is_told_at_once_and_found_again(server: PostgresServer, url: str) -> None:
    ledger = PostgresLedger(url)
    await ledger.start()
    first, second = samples(2, NOW)
    await ledger.append([first])
    server.stop()
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(LedgerError):
            await ledger.append([second])
        with pytest.raises(LedgerError):
            await ledger.records(RecordFilter(), 10, None)
    late = PostgresLedger(url)
    with pytest.raises(LedgerError):
        await late.start()
    assert within(5, time.monotonic() - began)
    server.start()
    assert await ledger.append([second]) == [second]
    assert await late.append([first, second]) == []  # opened when it can be
    await ledger.close()
    await late.close()
    with pytest.raises(LedgerError, match="closed"):
        await ledger.append([first])


async def test_tls(server: PostgresServer, url: str, tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    (record,) = samples(1, NOW)
    async with fault_proxy(server.port, context, is_postgres=True) as proxy:
        through = url.replace(f"127.0.0.1:{server.port}", f"localhost:{proxy.port}")
        for known, name in ((authority, "ours.pem"), (stranger, "theirs.pem")):
            known.cert_pem.write_to_path(str(tmp_path / name))
        trusting = PostgresLedger(f"{through}?sslmode=verify-full&sslrootcert={tmp_path / 'ours.pem'}")
        assert await trusting.append([record]) == [record]
        await trusting.close()
        distrustful = PostgresLedger(f"{through}?sslmode=verify-full&sslrootcert={tmp_path / 'theirs.pem'}")
        with pytest.raises(LedgerError, match="certificate"):
            await distrustful.append([record])
        await distrustful.close()


@pytest.mark.parametrize("what", ["silent", "stalled", "half-open", "byte by byte", "reset"])
async def test_a_bad_line_in_the_middle_of_a_drain_loses_and_doubles_nothing(
    server: PostgresServer, url: str, tmp_path: Path, what: str
) -> None:
    records = samples(2000, NOW, step=timedelta(milliseconds=10))
    writer = SpoolWriter(tmp_path, fsync="off", segment_bytes=200_000)
    for record in records:
        writer.append(record)
    writer.close()
    seen: list[str] = []
    async with fault_proxy(server.port) as proxy, asyncio.timeout(30):
        ledger = PostgresLedger(url.replace(str(server.port), str(proxy.port)))
        drain = Drain(tmp_path, ledger.append, [lambda new: seen.extend(record.id for record in new)], batch_records=200)
        running = asyncio.ensure_future(drain.run())
        while len(seen) < 400:
            await asyncio.sleep(0.002)
        for _ in range(5 if what == "reset" else 1):
            FAULTS[what](proxy)
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        proxy.mend()
        while os.listdir(tmp_path):
            await asyncio.sleep(0.02)
        drain.stop()
        await running
        assert sorted(seen) == sorted(record.id for record in records)
        assert (await ledger.sums(RecordFilter()))[0].sums.requests == 2000
        await ledger.close()
    assert await in_table(url, "usage_records") == 2000


async def test_an_outage_in_the_middle_of_a_drain_loses_and_doubles_nothing(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    records = samples(6000, NOW, step=timedelta(milliseconds=10))
    writer = SpoolWriter(tmp_path, fsync="off", segment_bytes=200_000)
    for record in records:
        writer.append(record)
    writer.close()
    ledger = PostgresLedger(url)
    seen: list[str] = []
    drain = Drain(tmp_path, ledger.append, [lambda new: seen.extend(record.id for record in new)], batch_records=200)
    running = asyncio.ensure_future(drain.run())
    async with asyncio.timeout(30):
        for _ in range(3):
            reached = len(seen) + 500
            while len(seen) < min(reached, 5000):
                await asyncio.sleep(0.002)
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
        while os.listdir(tmp_path):
            await asyncio.sleep(0.02)
    drain.stop()
    await running
    assert sorted(seen) == sorted(record.id for record in records)
    assert (await ledger.sums(RecordFilter()))[0].sums.requests == 6000
    assert await in_table(url, "usage_records") == 6000
    await ledger.close()
