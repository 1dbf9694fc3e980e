"""The way of one request without sockets: what our own Python costs, apart from kernel and network.

Client and provider are transports in memory; everything else is the product: parser, rules, limits, meter, price, record, spool
(on /dev/shm). The best of many short repeats is taken, which another program on the machine can hardly disturb, so this is the
figure to watch while optimising. `calls` is the number of Python and C function calls per request, which nothing disturbs at all.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import uvloop

from proxy.config.build import build_rules
from proxy.config.load import load
from proxy.config.price_list import ensure_price_list
from proxy.config.snapshot import make_snapshot
from proxy.limits.estimate import Estimator
from proxy.quota.memory_store import MemoryQuotaStore
from proxy.relay.clock import Clock
from proxy.relay.downstream import ClientConnection
from proxy.relay.exchange import Exchange
from proxy.relay.state import RelayState
from proxy.relay.upstream import UpstreamConnection
from proxy.relay.worker import stop_looking_for_garbage
from proxy.spool.writer import SpoolWriter
from tests.bench.load import chat_body
from tests.bench.relays import raw_relay
from tests.bench.subjects import KEY, limits_text, providers_text
from tests.bench.tables import Table

CONNECTIONS = 32
PROVIDER = "http://127.0.0.1:9"
SDK_HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    "Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.66.3\r\nX-Stainless-Lang: python\r\n"
    "X-Stainless-Package-Version: 1.66.3\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
    "X-Stainless-Runtime-Version: 3.11.7\r\nX-Stainless-Async: false\r\nx-stainless-retry-count: 0\r\n"
    "x-stainless-read-timeout: 600\r\n"
)
EVENT = (
    b'data: {"id":"chatcmpl-mock01","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"delta":{"content":"n=00042 t=0001234567890123456 ........"}}]}\n\n'
)
USAGE = (
    b'"usage":{"prompt_tokens":19,"completion_tokens":21,"total_tokens":40,"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}}'
)


def whole_answer() -> bytes:
    body = (
        b'{"id":"chatcmpl-mock000000000000000001","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":'
        b'[{"index":0,"message":{"role":"assistant","content":"' + b"Lorem ipsum " * 15 + b'","refusal":null},"logprobs":null,'
        b'"finish_reason":"stop"}],' + USAGE + b',"system_fingerprint":"fp_mock"}'
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nx-request-id: req_mock\r\n" % len(body)
    return head + b"openai-processing-ms: 1\r\n\r\n" + body


def streamed_answer(chunks: int) -> list[bytes]:
    """Head, events and end as the provider sends them, one write each."""

    def framed(event: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(event), event)

    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nx-request-id: req_mock\r\n\r\n"
    last = b'data: {"id":"chatcmpl-mock01","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[],' + USAGE + b"}\n\n"
    return [head, *[framed(EVENT)] * chunks, framed(last), framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"]


class Wire:
    """A transport in memory: hands what is written to `on_write`."""

    def __init__(self, on_write: Callable[[bytes], None]) -> None:
        self.write = on_write

    def writelines(self, parts: list[bytes]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        """Nothing to close."""

    abort = pause_reading = resume_reading = write_eof = close

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Rig:
    """Connections that ask again as soon as they are answered, until so many answers have come."""

    def __init__(self, requests: Sequence[bytes], answer: list[bytes], *, is_parted: bool = False) -> None:
        """`requests`: sent one after the other, over and over. Parted: head and body in two writes, as httpx does."""
        pieces = [(head + b"\r\n\r\n", body) for head, _, body in (request.partition(b"\r\n\r\n") for request in requests)]
        self._requests = cycle(pieces if is_parted else [(request,) for request in requests])
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._left = self._out = 0
        self._done = self._loop.create_future()
        self._clients: list[Any] = []
        self.bytes_out = 0

    def upstream_wire(self, connection: Any) -> Wire:
        pieces = self._answer
        soon, give = self._loop.call_soon, connection.data_received

        def asked(data: bytes) -> None:
            for piece in pieces:
                soon(give, piece)

        return Wire(asked)

    def add_client(self, client: Any) -> None:
        ends = b"\r\n0\r\n\r\n" if len(self._answer) > 1 else b""

        def answered(data: bytes) -> None:
            self.bytes_out += len(data)
            if not ends or data.endswith(ends):
                self._loop.call_soon(self._next, client)

        client.connection_made(Wire(answered))
        self._clients.append(client)

    def _next(self, client: Any) -> None:
        if self._left > 0:
            self._left -= 1
            for piece in next(self._requests):
                client.data_received(piece)
            return
        self._out -= 1
        if self._out == 0:
            self._done.set_result(None)

    async def run(self, count: int) -> float:
        """CPU microseconds per request over `count` of them."""
        self._done = self._loop.create_future()
        self._left, self._out = count, len(self._clients)
        began = time.process_time()
        for client in self._clients:
            self._loop.call_soon(self._next, client)
        await self._done
        return (time.process_time() - began) * 1e6 / count


def request_bytes(prompt_bytes: int, *, is_stream: bool) -> bytes:
    body = chat_body(prompt_bytes, is_stream=is_stream)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nAccept: */*\r\n"
    return f"{head}User-Agent: lg\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def sdk_requests(*, is_traced: bool) -> list[bytes]:
    """An SDK's requests, eighteen header lines each; traced: with a `traceparent` and an end user that are others in each."""
    body = chat_body(2_000, is_stream=False)
    head = f"{SDK_HEAD}Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n"
    if not is_traced:
        return [f"{head}\r\n".encode() + body]
    return [
        f"{head}traceparent: 00-{number:032x}-{number:016x}-01\r\nx-weighbridge-user: user-{number % 10}\r\n\r\n".encode() + body
        for number in range(1_000)
    ]


def our_rig(
    folder: Path, requests: Sequence[bytes], answer: list[bytes], limits: str, *, is_parted: bool = False
) -> tuple[Rig, SpoolWriter]:
    """The product's own parts, put together as assembly.py does."""
    (folder / "providers.yaml").write_text(providers_text(PROVIDER))
    (folder / "limits.yaml").write_text(limits)
    prices = folder / "prices.json"
    ensure_price_list(prices)
    documents = load(folder, {})
    rules = build_rules(make_snapshot(documents), {}, price_list=prices)
    spool = SpoolWriter(folder / "spool", fsync="off")
    state = RelayState(rules, MemoryQuotaStore(lambda: ZoneInfo("UTC")), spool, Estimator(), Clock(), None)

    def begin(of: Any) -> Exchange:
        exchange = Exchange(of, state)
        state.keep(asyncio.get_running_loop().create_task(exchange.run()))
        return exchange

    state.begin = begin
    rig = Rig(requests, answer, is_parted=is_parted)
    pool = state.pool(rules.providers["openai"])
    for _ in range(CONNECTIONS):
        rig.add_client(ClientConnection(state))
        connection = UpstreamConnection(pool)
        connection.connection_made(rig.upstream_wire(connection))  # type: ignore[arg-type]
        pool.open_count += 1
        pool.give_back(connection)
    return rig, spool


def raw_rig(requests: Sequence[bytes], answer: list[bytes]) -> Rig:
    """The ceiling on the same wires."""
    pool: list[raw_relay.Upstream] = []
    rig = Rig(requests, answer)
    for _ in range(CONNECTIONS):
        rig.add_client(raw_relay.Client(pool, 0))
        connection = raw_relay.Upstream(pool)
        connection.connection_made(rig.upstream_wire(connection))  # type: ignore[arg-type]
        pool.append(connection)
    return rig


async def best(rig: Rig, count: int, repeats: int) -> float:
    """The least CPU per request of several short runs."""
    await rig.run(count)
    stop_looking_for_garbage()
    return min([await rig.run(count) for _ in range(repeats)])


async def measure(repeats: int, chunks: int) -> Table:
    table = Table(
        "The way without sockets",
        f"Python's share only: least CPU µs of {repeats} short runs; {CONNECTIONS} connections in memory.",
        ("", "weighbridge", "raw relay", "difference"),
    )
    cases = [
        ("request, strict limits, 2 KB", limits_text(), 2_000, 0),
        ("request, no limits, 2 KB", keys_only(), 2_000, 0),
        ("request, strict limits, 100 KB", limits_text(), 100_000, 0),
        (f"stream of {chunks} chunks, strict limits", limits_text(), 2_000, chunks),
    ]
    for name, limits, size, events in cases:
        request = request_bytes(size, is_stream=events > 0)
        answer = streamed_answer(events) if events else [whole_answer()]
        count = 100 if events else 800
        with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
            rig, spool = our_rig(Path(folder), [request], answer, limits)
            ours = await best(rig, count, repeats)
            spool.close()
        raw = await best(raw_rig([request], answer), count, repeats)
        table.add(name, ours, raw, ours - raw)
        if events:
            table.add("  per chunk", ours / events, raw / events, (ours - raw) / events)
    return table


async def count_calls(limits: str | None = None) -> str:
    """Function calls per request, most expensive first, by cProfile; counts are exact, times are not."""
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        rig, spool = our_rig(Path(folder), [request_bytes(2_000, is_stream=False)], [whole_answer()], limits or limits_text())
        await rig.run(500)
        profile, count = cProfile.Profile(), 1_000
        profile.enable()
        await rig.run(count)
        profile.disable()
        spool.close()
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    rows = [(own, calls, cumulative, where) for where, (_, calls, own, cumulative, _) in stats.items() if calls >= count // 4]
    lines = [
        f"calls per request: {sum(row[1] for row in rows) / count:.0f}",
        "   calls  own µs  cum µs  (µs with the profiler's own cost)",
    ]
    for own, calls, cumulative, (file, line, name) in sorted(rows, reverse=True)[:90]:
        place = f"{Path(file).parent.name}/{Path(file).name}:{line}" if line else ""
        lines.append(f"{calls / count:8.2f} {own * 1e6 / count:7.2f} {cumulative * 1e6 / count:7.2f}  {name}  {place}")
    return "\n".join(lines)


def keys_only() -> str:
    """limits.yaml with the key and no limit."""
    text = limits_text()
    return "keys:\n" + text.split("keys:\n", 1)[1]


def _memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def run(repeats: int = 40, chunks: int = 100) -> Table:
    """The table; printed by `python -m tests.bench way`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(repeats, chunks))


def calls() -> str:
    """The list of calls."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(count_calls())
