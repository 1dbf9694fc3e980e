"""A ledger of each kind for the contract suite: `open()` gives one more ledger on the same store, as another process would have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import asyncpg

from proxy.ledger.ledger import Ledger
from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.sqlite_ledger import SqliteLedger
from tests.servers import PostgresServer, postgres_server

KINDS = ("sqlite", "postgres")


@dataclass
class LedgerHouse:
    """One empty store."""

    kind: str
    make: Callable[[], Ledger]
    ledgers: list[Ledger] = field(default_factory=list)

    async def open(self) -> Ledger:
        ledger = self.make()
        self.ledgers.append(ledger)
        await ledger.start()
        return ledger


@asynccontextmanager
async def ledger_house(kind: str, folder: Path, postgres: Callable[[], PostgresServer]) -> AsyncIterator[LedgerHouse]:
    """An empty store; all ledgers opened on it are closed at the end."""
    if kind == "sqlite":
        house = LedgerHouse(kind, lambda: SqliteLedger(folder / "ledger.db"))
    else:
        url = postgres().url
        await empty(url)
        house = LedgerHouse(kind, lambda: PostgresLedger(url))
    try:
        yield house
    finally:
        for ledger in house.ledgers:
            await ledger.close()


async def empty(url: str) -> None:
    """A database as after createdb, in a tenth of the time."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await connection.close()


@contextmanager
def one_postgres() -> Iterator[Callable[[], PostgresServer]]:
    """A server that is started when it is first asked for."""
    started = []

    @lru_cache(maxsize=1)
    def server() -> PostgresServer:
        context = postgres_server()
        started.append(context)
        return context.__enter__()

    try:
        yield server
    finally:
        for context in started:
            context.__exit__(None, None, None)
