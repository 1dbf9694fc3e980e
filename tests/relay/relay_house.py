"""The data plane in the test's own process: a real worker on a real socket, its limits in memory, its spool on disk."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.config.build import build_rules
from proxy.config.load import load_texts
from proxy.limits.estimate import Estimator
from proxy.pricing.pricebook import Pricebook
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.records import UsageRecord
from proxy.relay.clock import Clock
from proxy.relay.state import RelayState
from proxy.relay.worker import Worker
from proxy.rules import Rules
from proxy.spool.reader import Reader
from proxy.spool.writer import SpoolWriter

ANSWER_SECONDS = 30.0
"""Only a test that fails waits so long."""
_books: dict[str, Pricebook] = {}


class NoSnapshots:
    """Rules that never change by themselves."""

    def changed(self) -> bool:
        return False


@dataclass
class RawAnswer:
    """One HTTP answer as it came over the wire."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes
    """Transfer framing removed."""
    raw: bytes = field(repr=False, default=b"")

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found == name.lower()), None)


class RawClient:
    """A client that writes bytes and reads answers, with no opinion of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, is_head_request: bool = False) -> RawAnswer:
        """The next answer, informational ones included."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
        found = dict(headers)
        body = b""
        if status >= 200 and status not in (204, 304) and not is_head_request:
            if found.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            elif "content-length" in found:
                body = await asyncio.wait_for(self.reader.readexactly(int(found["content-length"])), ANSWER_SECONDS)
            else:
                body = await asyncio.wait_for(self.reader.read(), ANSWER_SECONDS)
        return RawAnswer(status, headers, body, head)

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int((await asyncio.wait_for(self.reader.readline(), ANSWER_SECONDS)).split(b";")[0], 16)
            if size == 0:
                while (await asyncio.wait_for(self.reader.readline(), ANSWER_SECONDS)) not in (b"\r\n", b""):
                    pass
                return body
            body += await asyncio.wait_for(self.reader.readexactly(size), ANSWER_SECONDS)
            await self.reader.readexactly(2)

    async def rest(self) -> bytes:
        """Everything until the proxy closes."""
        return await asyncio.wait_for(self.reader.read(), ANSWER_SECONDS)

    async def close(self) -> None:
        self.writer.close()


class RelayHouse:
    """A running worker and what a test wants to know of it."""

    def __init__(self, state: RelayState, worker: Worker, port: int, spool: Path) -> None:
        self.state = state
        self.worker = worker
        self.port = port
        self._spool = spool
        self._clients: list[RawClient] = []

    async def client(self) -> RawClient:
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24))
        self._clients.append(client)
        return client

    async def close_clients(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()
        await asyncio.sleep(0)

    async def ask(self, data: bytes, is_head_request: bool = False) -> RawAnswer:
        """One request on a connection of its own."""
        client = await self.client()
        client.send(data)
        try:
            return await client.answer(is_head_request)
        finally:
            await client.close()

    def records(self) -> list[UsageRecord]:
        """Everything that is in the spool, oldest first."""
        return [line.record for line in Reader(self._spool).take(100_000) if line.record is not None]

    async def record(self, seconds: float = ANSWER_SECONDS) -> UsageRecord:
        """The only record, once it is there."""
        records = await self.wait_for_records(1, seconds)
        assert len(records) == 1, records
        return records[0]

    async def wait_for_records(self, count: int, seconds: float = ANSWER_SECONDS) -> list[UsageRecord]:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while len(found := self.records()) < count and loop.time() < end:
            await asyncio.sleep(0.01)
        assert len(found) >= count, f"{len(found)} of {count} records came within {seconds} s"
        return found


def rules_of(providers: str, limits: str = "", prices: str = "", **settings: object) -> Rules:
    """Rules from the text of the files; settings replace those of server.yaml."""
    texts = {"providers.yaml": providers, "limits.yaml": limits, "prices.yaml": prices}
    documents = load_texts({name: text for name, text in texts.items() if text}, os.environ)
    rules = build_rules({"documents": documents.as_dict(), "version": "test"}, os.environ, pricebook=_books.get(prices))
    _books[prices] = rules.pricebook
    return replace(rules, settings=replace(rules.settings, **settings)) if settings else rules  # type: ignore[arg-type]


@asynccontextmanager
async def relay_house(rules: Rules, directory: Path, control_socket: str | None = None) -> AsyncIterator[RelayHouse]:
    """A worker under these rules; stopped gracefully at the end."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    quota = MemoryQuotaStore(lambda: rules.timezone)
    await quota.start()
    spool = SpoolWriter(directory / "spool", fsync="off")
    state = RelayState(rules, quota, spool, Estimator(), Clock(), control_socket)
    worker = Worker(state, listener, NoSnapshots(), lambda: rules)  # type: ignore[arg-type]
    await worker.start()
    try:
        house = RelayHouse(state, worker, listener.getsockname()[1], directory / "spool")
        yield house
    finally:
        await house.close_clients()
        state.rules = replace(state.rules, settings=replace(state.rules.settings, stop_seconds=0.2))
        await worker.stop()


def request_bytes(
    path: str = "/openai/v1/chat/completions",
    body: bytes = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}',
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> bytes:
    """A plain JSON request with a caller's own key, unless the headers say otherwise."""
    lines = {
        "Host": "proxy",
        "Authorization": "Bearer sk-callers-own",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    lines.update(headers or {})
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value) + "\r\n"
    return head.encode("latin-1") + body
