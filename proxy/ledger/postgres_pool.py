"""Connections to Postgres: two bounded pools, time limits on everything, and the driver's errors in our words.

Appends have a pool of their own, so that no long query holds them up. `DATABASE_URL` may carry libpq's TLS parameters
(`sslmode`, `sslrootcert`, `sslcert`, `sslkey`) and two of ours: `pool_size` (connections for reading, 6) and
`statement_cache_size` (0 behind a pooler that shares connections between transactions).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from proxy.errors import LedgerError, RefusedRecord

READ_CONNECTIONS = 6
WRITE_CONNECTIONS = 2
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 5.0
READ_SECONDS = 30
WRITE_SECONDS = 60
LONG_SECONDS = 3600.0
"""For what is done once: a migration, the deletion of a person's data."""
RETRIES = 4
RETRIED_STATES = ("40001", "40P01")
"""Serialisation failure, deadlock: nothing was done, the same again will work."""
REFUSED_CLASSES = ("22", "23")
"""Data exception, constraint violation: the records, not the database."""

T = TypeVar("T")
Connection = Any
"""asyncpg's pool proxy has no usable type."""


class PostgresPool:
    """Opened at the first use and again after a failure: a database that is away at the start is no reason not to start."""

    def __init__(self, url: str, prepare: Callable[[Connection], Awaitable[None]]) -> None:
        """
        Args:
            url: postgresql://…
            prepare: run once, on the first connection, before anything else (the schema).
        """
        self._url, self._options = _split_url(url)
        self._prepare = prepare
        self._reads: Any = None
        self._writes: Any = None
        self._opening = asyncio.Lock()
        self._is_closed = False

    async def open(self) -> None:
        """Raises LedgerError."""
        async with self._opening:
            if self._writes is not None:
                return
            if self._is_closed:
                raise LedgerError("the ledger is closed")
            with in_our_words():
                writes = await self._new_pool(WRITE_CONNECTIONS, WRITE_SECONDS)
                try:
                    async with writes.acquire() as connection:
                        await self._prepare(connection)
                    self._reads = await self._new_pool(self._options.get("pool_size", READ_CONNECTIONS), READ_SECONDS)
                except BaseException:
                    writes.terminate()
                    raise
                self._writes = writes

    async def close(self) -> None:
        """Waits for what runs, not for long. Idempotent."""
        self._is_closed = True
        async with self._opening:
            pools, self._writes, self._reads = [self._writes, self._reads], None, None
        for pool in pools:
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), CLOSE_SECONDS)
                except TimeoutError:
                    pool.terminate()

    async def fetch(self, text: str, *values: object) -> list[Any]:
        """Read. Raises LedgerError."""
        await self.open()
        with in_our_words():
            async with self._reads.acquire(timeout=READ_SECONDS) as connection:
                rows: list[Any] = await connection.fetch(text, *values)
                return rows

    async def transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in a transaction, again where it lost a deadlock. Raises LedgerError, RefusedRecord."""
        await self.open()
        for attempt in range(RETRIES):
            try:
                with in_our_words():
                    async with self._writes.acquire(timeout=WRITE_SECONDS) as connection, connection.transaction():
                        return await work(connection)
            except LedgerError as error:
                if getattr(error.__cause__, "sqlstate", None) not in RETRIED_STATES or attempt == RETRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _new_pool(self, size: int, seconds: int) -> Any:
        return await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_SECONDS,
            command_timeout=seconds + 5,  # the server's own limit comes first and leaves the connection usable
            statement_cache_size=self._options.get("statement_cache_size", 100),
            server_settings={
                "application_name": "weighbridge",
                "statement_timeout": f"{seconds}s",
                "idle_in_transaction_session_timeout": f"{WRITE_SECONDS}s",
                "timezone": "UTC",
                "jit": "off",
                "parallel_setup_cost": "20000",  # helpers for long scans only: sums of 30 ms wait for them longer than they take
            },
        )


@contextmanager
def in_our_words() -> Iterator[None]:
    """The driver's and the network's errors as RefusedRecord (the data) or LedgerError (everything else)."""
    try:
        yield
    except asyncpg.PostgresError as error:
        kind = RefusedRecord if str(error.sqlstate)[:2] in REFUSED_CLASSES else LedgerError
        raise kind(f"postgres: {error}") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise LedgerError(f"postgres: {error or type(error).__name__}") from error
    except (OverflowError, UnicodeError) as error:
        raise RefusedRecord(f"postgres: {error}") from error


def _split_url(url: str) -> tuple[str, dict[str, int]]:
    """The URL without our own parameters, and these.

    Raises:
        LedgerError: one of them is not a number.
    """
    parts = urlsplit(url)
    ours: dict[str, int] = {}
    others = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ("pool_size", "statement_cache_size"):
            if not value.isdecimal():
                raise LedgerError(f"DATABASE_URL: {name} must be a number, not {value!r}")
            ours[name] = int(value)
        else:
            others.append((name, value))
    return urlunsplit(parts._replace(query=urlencode(others))), ours
