"""Work on the local ledger itself: check, drain, vacuum, retention. Every open ledger is closed again, whatever happens."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from proxy.assembly import Places, open_ledger, places
from proxy.commands.failures import AWAY, CommandFailed
from proxy.commands.local import data_place
from proxy.control.audit import KIND
from proxy.control.identifiers import make_uuid7
from proxy.control.periods import iso
from proxy.ledger.ledger import Entry, Ledger, RecordFilter, Sums
from proxy.records import UsageRecord
from proxy.spool.drain import Drain

OUTCOME_COUNTS = ("ok", "denied", "failed", "client_aborted")
TOKEN_COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "total_tokens")
CHECKED = ("requests", *OUTCOME_COUNTS, *TOKEN_COUNTS, "estimated", "unpriced", "cost_usd", "reported_cost_usd")
FAILED = ("upstream_error", "upstream_aborted", "proxy_error")
TELL_EVERY = 1000


@asynccontextmanager
async def opened(environ: Mapping[str, str]) -> AsyncIterator[tuple[Ledger, Places]]:
    """The local ledger. Raises CommandFailed where there is none."""
    place, is_there = data_place(environ)
    if not is_there:
        raise CommandFailed(f"There is no ledger at {place}. Set WEIGHBRIDGE_DATA_DIR or DATABASE_URL.", AWAY)
    where = places(environ)
    ledger = open_ledger(environ, where)
    try:
        await ledger.start()
        yield ledger, where
    finally:
        await ledger.close()


async def check_ledger(environ: Mapping[str, str], advance: Callable[[int], None]) -> dict[str, Any]:
    """Every record added up by days of UTC, against the sums of the same days; and the file, where it is one.

    Days whose records retention has deleted have sums and no records: they are left out.
    """
    async with opened(environ) as (ledger, _):
        until = datetime.now(UTC)  # what comes in meanwhile is not looked at
        days: dict[date, dict[str, Any]] = {}
        count = 0
        async for record in ledger.export(RecordFilter(end_at=until)):
            _add(days.setdefault(_day(record), dict.fromkeys(CHECKED, 0)), record)
            count += 1
            if count % TELL_EVERY == 0:
                advance(TELL_EVERY)
        first = min(days, default=until.date())
        which = RecordFilter(start_at=datetime(first.year, first.month, first.day, tzinfo=UTC), end_at=until)
        points = await ledger.timeseries(which, "day", "UTC") if days else []
        sums = {point.start_at.date(): point.sums for point in points}
        differences = [
            {
                "day": day.isoformat(),
                "field": name,
                "records": _text(found[name]),
                "sums": _text(getattr(sums.get(day, Sums()), name)),
            }
            for day, found in sorted(days.items())
            for name in CHECKED
            if Decimal(found[name]) != Decimal(getattr(sums.get(day, Sums()), name))
        ]
    problems = await asyncio.to_thread(_file_problems, environ)
    return {
        "records": count,
        "days": len(days),
        "differences": differences,
        "problems": problems,
        "is_sound": not differences and not problems,
    }


def _add(day: dict[str, Any], record: UsageRecord) -> None:
    day["requests"] += 1
    word = "failed" if record.outcome in FAILED else record.outcome
    if word in OUTCOME_COUNTS:
        day[word] += 1
    for name in TOKEN_COUNTS:
        day[name] += getattr(record, name) or 0
    day["estimated"] += record.usage_source == "estimated"
    day["unpriced"] += bool(record.total_tokens) and record.cost_usd is None
    day["cost_usd"] += Decimal(record.cost_usd or 0)
    day["reported_cost_usd"] += Decimal(record.reported_cost_usd or 0)


def _day(record: UsageRecord) -> date:
    return date.fromisoformat(record.started_at[:10])


def _text(amount: object) -> str:
    return f"{amount:f}" if isinstance(amount, Decimal) else str(amount)


def _sqlite_path(environ: Mapping[str, str]) -> Path | None:
    url = environ.get("DATABASE_URL")
    if not url:
        return places(environ).data / "ledger.sqlite3"
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _file_problems(environ: Mapping[str, str]) -> list[str]:
    path = _sqlite_path(environ)
    if path is None:
        return []
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        return [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]


async def drain_spool(environ: Mapping[str, str]) -> dict[str, int]:
    """Everything that waits in the spool, into the ledger. Raises CommandFailed while a server does that itself."""
    async with opened(environ) as (ledger, where):
        lock = os.open(where.lock, os.O_RDWR) if where.lock.exists() else None
        try:
            if lock is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not where.spool.is_dir():
                return {"moved": 0, "known": 0, "poisoned": 0}
            drain = Drain(where.spool, ledger.append, [])
            await drain.drain_now()
            stats = await drain.stats()
            return {"moved": stats.new, "known": stats.known, "poisoned": stats.poisoned}
        except BlockingIOError:
            raise CommandFailed(f"A server runs on {where.data} and drains its spool itself.") from None
        finally:
            if lock is not None:
                os.close(lock)


async def vacuum_ledger(environ: Mapping[str, str]) -> dict[str, int]:
    """VACUUM and ANALYZE; how large the database was and is, in bytes."""
    async with opened(environ):
        pass  # brings the schema up to date first, and says where there is no ledger
    path = _sqlite_path(environ)
    if path is not None:
        return await asyncio.to_thread(_vacuum_file, path)
    import asyncpg

    try:
        connection = await asyncpg.connect(environ["DATABASE_URL"])
        try:
            before = await connection.fetchval("SELECT pg_database_size(current_database())")
            await connection.execute("VACUUM (ANALYZE)")
            after = await connection.fetchval("SELECT pg_database_size(current_database())")
        finally:
            await connection.close()
    except asyncpg.PostgresError as failure:
        raise CommandFailed(f"{data_place(environ)[0]}: {failure}") from None
    return {"bytes_before": before, "bytes_after": after}


def _vacuum_file(path: Path) -> dict[str, int]:
    import sqlite3
    from contextlib import closing

    before = path.stat().st_size
    try:
        with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")
            connection.execute("ANALYZE")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as failure:
        raise CommandFailed(f"{path}: {failure}") from None
    return {"bytes_before": before, "bytes_after": path.stat().st_size}


async def forget_before(environ: Mapping[str, str], at: str) -> None:
    """Retention by hand, with its line in the audit log."""
    async with opened(environ) as (ledger, _):
        now = datetime.now(UTC)
        body: dict[str, object] = {
            "by": "admin:command line", "action": "forget records", "subject": "usage", "address": None, "after": {"before": at}
        }  # fmt: skip
        await ledger.put_entry(Entry(KIND, make_uuid7(now.timestamp()), iso(now), body))
        await ledger.forget_before(datetime.fromisoformat(at))
