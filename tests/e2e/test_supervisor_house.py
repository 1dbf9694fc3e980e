"""The real proxy as its operator meets it: refusals to start, dead processes, rolls under load, the merged metrics."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import ADMIN_KEY, ROOT, House, limits_yaml, providers_yaml, virtual_key
from tests.servers import RedisServer, redis_server

USER = "ada"
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How much does a lorry weigh?"}]}
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def quota_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def files(provider: FakeProvider, limits: str = "{requests: {per_day: 1_000_000}, concurrent_requests: 1_000}") -> dict[str, str]:
    return {"providers.yaml": providers_yaml(provider.url), "limits.yaml": limits_yaml({USER: limits}, "mode: strict")}


def headers(call: str, knobs: str = "") -> dict[str, str]:
    return {
        "authorization": f"Bearer {virtual_key(USER)}",
        "x-weighbridge-session": call,
        "x-demo": f"call={call}" + (f", {knobs}" if knobs else ""),
    }


def metric(house: House, name: str) -> dict[str, float]:
    """Samples of one metric by their labels, as text."""
    with urllib.request.urlopen(f"{house.url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found = [re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line) for line in lines]
    return {one[1] or "": float(one[2]) for one in found if one}


def until(holds: Any, what: str, house: House) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come:\n{house.log[-4000:]}"
        time.sleep(0.05)


def children(house: House, kind: str) -> list[int]:
    """Process ids of the house's children of one kind: `_worker` or `_control`."""
    assert house.process is not None
    found = []
    for path in Path(f"/proc/{house.process.pid}/task/{house.process.pid}/children").read_text().split():
        arguments = Path(f"/proc/{path}/cmdline").read_bytes().split(b"\0")
        if kind.encode() in arguments:
            found.append(int(path))
    return sorted(found)


def refusal(folder: Path, *arguments: str, **environment: str) -> str:
    """What a start that must fail says; it fails with 1 and without a traceback."""
    env = {key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "DATABASE_URL")}
    env |= {
        "PYTHONPATH": str(ROOT),
        "WEIGHBRIDGE_DATA_DIR": str(folder / "data"),
        "WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY,
        **environment,
    }
    command = [sys.executable, "-m", "proxy", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.stderr


# ── what keeps it from starting ──


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refusal(tmp_path, "--port", port)
    assert port in said
    assert "--port" in said


def test_two_instances_share_neither_port_nor_data(provider: FakeProvider, tmp_path: Path, quota_redis: RedisServer) -> None:
    """Also with several workers, whose sockets could be bound twice."""
    with House(files(provider), 2, {"REDIS_URL": quota_redis.url}) as house:
        said = refusal(tmp_path, "--port", str(house.port), "--workers", "2", REDIS_URL=quota_redis.url)
        assert str(house.port) in said
        assert "WEIGHBRIDGE_DATA_DIR" in refusal(tmp_path, WEIGHBRIDGE_DATA_DIR=str(house.data))


def test_a_mistake_in_the_configuration_is_shown_with_its_place(tmp_path: Path) -> None:
    config = tmp_path / "conf"
    config.mkdir()
    (config / "limits.yaml").write_text("defaults:\n  tokens: {per_fortnight: 3}\n")
    said = refusal(tmp_path, "--config", str(config))
    assert "limits.yaml:2:" in said
    assert "per_fortnight" in said


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", None], ids=["not UTF-8", "a directory"])
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    config = tmp_path / "conf"
    config.mkdir()
    if content is None:
        (config / "limits.yaml").mkdir()
    else:
        (config / "limits.yaml").write_bytes(content)
    assert "limits.yaml" in refusal(tmp_path, "--config", str(config))


def test_a_missing_configuration_directory_is_refused(tmp_path: Path) -> None:
    assert "weighbridge init" in refusal(tmp_path, "--config", str(tmp_path / "nowhere"))


def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "WEIGHBRIDGE_DATA_DIR" in refusal(tmp_path, WEIGHBRIDGE_DATA_DIR=str(tmp_path / "file" / "data"))


def test_workers_without_a_common_store_are_refused(tmp_path: Path) -> None:
    assert "REDIS_URL" in refusal(tmp_path, "--workers", "2")


def test_what_lies_in_the_current_directory_is_not_run(provider: FakeProvider) -> None:
    """A file called proxy.py beside the operator is nobody's business."""
    house = House(files(provider))
    (house.directory / "proxy.py").write_text("raise SystemExit('the wrong program was run')\n")
    (house.directory / "structlog.py").write_text("raise SystemExit('the wrong library was loaded')\n")
    launcher = house.directory / "weighbridge"
    launcher.mkdir()
    (launcher / "__main__.py").write_text("from proxy.cli import main\nmain()\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WEIGHBRIDGE_DATA_DIR": str(house.data), "WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY}
    command = [sys.executable, "-P", str(launcher), "serve", "--port", str(house.port)]
    with (house.directory / "proxy.log").open("ab") as log:
        process = subprocess.Popen(command, env=env, cwd=house.directory, stdout=log, stderr=log)
    try:
        until(lambda: '"serving"' in house.log, "a house that serves", house)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "wrong" not in house.log
    finally:
        process.kill()
        process.wait()


# ── what dies ──


def test_calls_that_come_while_the_only_worker_is_dead_are_answered_by_the_next(provider: FakeProvider, call: str) -> None:
    """Its socket is the parent's: the kernel keeps who is waiting."""
    with House(files(provider)) as house:
        os.kill(children(house, "_worker")[0], signal.SIGKILL)
        assert _call(house, call) == 200
        assert len(house.records_when(1, session=call)) == 1
        until(lambda: metric(house, "weighbridge_worker_restarts") == {'worker="0"': 1.0}, "the restart in the metrics", house)


async def test_calls_go_on_without_the_control_plane(provider: FakeProvider, call: str) -> None:
    with House(files(provider)) as house:
        async with aiohttp.ClientSession(house.url, headers=headers(call)) as client:
            done = 0
            for _ in range(3):
                control = children(house, "_control")
                for pid in control:
                    os.kill(pid, signal.SIGKILL)
                for _ in range(10):
                    async with client.post("/v1/chat/completions", json=BODY) as answer:
                        assert answer.status == 200
                        await answer.read()
                        done += 1
                await asyncio.to_thread(
                    until, lambda old=control: set(children(house, "_control")) - set(old), "another control plane", house
                )
        await asyncio.to_thread(until, lambda: _api_is_up(house), "the API again", house)
        assert len(await asyncio.to_thread(house.records_when, done, 30, session=call)) == done == 30


def _api_is_up(house: House) -> bool:
    try:
        return house.api_answer("usage/records?limit=1")[0] == 200
    except OSError:
        return False


def test_a_killed_parent_leaves_nothing_that_is_in_the_way(provider: FakeProvider) -> None:
    with House(files(provider)) as house:
        process = house.process
        assert process is not None
        left = children(house, "_worker") + children(house, "_control")
        process.kill()
        process.wait()
        house.start()  # at once, same port, same data
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "the end of the old children", house)
        assert metric(house, "weighbridge_workers") == {"": 1.0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_group_lets_answers_finish(provider: FakeProvider, call: str, number: signal.Signals) -> None:
    """Ctrl-C in a terminal reaches every process at once; late callers are refused, not left hanging."""
    with House(files(provider)) as house:
        process = house.process
        assert process is not None
        async with (
            aiohttp.ClientSession(house.url, headers=headers(call, "words=80, delay=0.1")) as client,
            client.post("/v1/chat/completions", json=BODY | {"stream": True}) as answer,
        ):
            await answer.content.readuntil(b"\n\n")
            os.killpg(process.pid, number)
            await asyncio.to_thread(until, lambda: _is_refused(house), "a closed port", house)
            assert not answer.content.at_eof()
            assert b"[DONE]" in await answer.read()
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0
        house.process = None


def _is_refused(house: House) -> bool:
    try:
        socket.create_connection(("127.0.0.1", house.port), timeout=30).close()
    except ConnectionRefusedError:
        return True
    return False


# ── replacing everybody ──


async def test_a_roll_under_load_drops_nothing(provider: FakeProvider, quota_redis: RedisServer, call: str) -> None:
    """Two workers, streams that outlast the roll and short calls all the while; each call on a connection of its own."""
    with House(files(provider), 2, {"REDIS_URL": quota_redis.url}) as house:
        before = children(house, "_worker") + children(house, "_control")
        rolled = asyncio.Event()
        ids: list[str] = []

        async def stream() -> None:
            async with (
                aiohttp.ClientSession(house.url, headers=headers(call, "words=60, delay=0.1")) as client,
                client.post("/v1/chat/completions", json=BODY | {"stream": True}) as answer,
            ):
                assert answer.status == 200
                assert b"[DONE]" in await answer.read()
                ids.append(answer.headers["x-weighbridge-request-id"])

        async def short_calls() -> None:
            while not rolled.is_set():
                async with (
                    aiohttp.ClientSession(house.url, headers=headers(call, "words=3")) as client,
                    client.post("/v1/chat/completions", json=BODY) as answer,
                ):
                    assert answer.status == 200
                    await answer.read()
                    ids.append(answer.headers["x-weighbridge-request-id"])
                await asyncio.sleep(0.01)

        async def roll() -> None:
            await asyncio.sleep(0.5)
            assert house.process is not None
            os.kill(house.process.pid, signal.SIGHUP)
            await asyncio.to_thread(until, lambda: '"roll_done"' in house.log, "the end of the roll", house)
            await asyncio.sleep(0.5)
            rolled.set()

        await asyncio.gather(*(stream() for _ in range(20)), short_calls(), short_calls(), roll())
        assert len(ids) > 40

        def is_all_new() -> bool:
            now = children(house, "_worker") + children(house, "_control")
            return len(now) == 3 and not set(before) & set(now)

        await asyncio.to_thread(until, is_all_new, "three new processes", house)
        records = await asyncio.to_thread(house.records_when, len(ids), 30, session=call)
        assert {record["id"] for record in records} == set(ids)
        assert {record["outcome"] for record in records} == {"ok"}
        assert await asyncio.to_thread(metric, house, "weighbridge_worker_restarts") == {'worker="0"': 0.0, 'worker="1"': 0.0}
        assert await asyncio.to_thread(metric, house, "weighbridge_workers") == {"": 2.0}


async def test_what_runs_during_a_roll_counts_in_the_next_process(provider: FakeProvider, call: str) -> None:
    """Limits in the process: of 3 requests one is used by a stream that the old process still finished."""
    with House(files(provider, "{requests: {per_day: 3}}")) as house:
        async with (
            aiohttp.ClientSession(house.url, headers=headers(call, "words=50, delay=0.1")) as client,
            client.post("/v1/chat/completions", json=BODY | {"stream": True}) as answer,
        ):
            assert answer.status == 200
            await answer.content.readuntil(b"\n\n")
            old = children(house, "_worker")
            assert house.process is not None
            os.kill(house.process.pid, signal.SIGHUP)
            await asyncio.to_thread(until, lambda: '"roll_done"' in house.log, "the end of the roll", house)
            assert b"[DONE]" in await answer.read()
        await asyncio.to_thread(until, lambda: not set(old) & set(children(house, "_worker")), "the old one's end", house)
        await asyncio.to_thread(until, lambda: int(house.limits_of(USER)[0]["used"]) >= 1, "the stream in the count", house)
        async with aiohttp.ClientSession(house.url, headers=headers(call)) as client:
            statuses = []
            for _ in range(3):
                async with client.post("/v1/chat/completions", json=BODY) as answer:
                    statuses.append(answer.status)
        assert statuses == [200, 200, 429]


# ── the figures of all ──


async def test_metrics_are_those_of_all_workers(provider: FakeProvider, quota_redis: RedisServer, call: str) -> None:
    with House(files(provider), 2, {"REDIS_URL": quota_redis.url}) as house:
        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            streams: list[asyncio.Task[None]] = []

            async def stream() -> None:
                async with (
                    aiohttp.ClientSession(house.url, headers=headers(call, "words=30, delay=0.1")) as client,
                    client.post("/v1/chat/completions", json=BODY | {"stream": True}) as answer,
                ):
                    await answer.read()

            while len(seen) < 2:  # the kernel chooses the worker by the caller's port
                streams += [asyncio.create_task(stream()) for _ in range(4)]
                await asyncio.sleep(0.5)
                in_flight = await asyncio.to_thread(metric, house, "weighbridge_in_flight_requests")
                seen = {labels for labels, value in in_flight.items() if value >= 2}  # the scrape itself is one
            assert seen == {'worker="0"', 'worker="1"'}
            await asyncio.gather(*streams)

        def calls() -> float:
            return sum(metric(house, "weighbridge_requests_total").values())

        await asyncio.to_thread(until, lambda: calls() == len(streams), f"{len(streams)} calls in the metrics", house)
        assert await asyncio.to_thread(metric, house, "weighbridge_ledger_rows_total") == {"": float(len(streams))}


# ── a port of its own for the control plane ──


def test_the_control_plane_can_have_a_port_of_its_own(provider: FakeProvider) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    house = House(files(provider))
    house._arguments = (*house._arguments, "--control-port", str(port))
    with house:
        for path in ("/metrics", "/api/v1/usage/records", "/dashboard"):
            assert _status(f"{house.url}{path}") == 404
        assert _status(f"http://127.0.0.1:{port}/metrics") == 200
        assert _status(f"http://127.0.0.1:{port}/api/v1/usage/records") == 200
        assert _status(f"{house.url}/healthz") == 200


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"authorization": f"Bearer {ADMIN_KEY}"}), timeout=10
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_calls_are_served_when_the_ledger_is_away_from_the_start(provider: FakeProvider, call: str) -> None:
    """As soon as control and seed have been waited for; the next start, with a ledger, has the record and counts it."""
    house = House(
        files(provider, "{requests: {per_day: 3}}"), env={"DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/nowhere"}
    )
    with house:
        assert "counters_not_seeded" in house.log
        assert _call(house, call) == 200
        house.stop()
        assert list((house.data / "spool").iterdir())
        house._env.clear()  # SQLite this time
        house.start()
        assert len(house.records_when(1, session=call)) == 1
        assert [_call(house, call) for _ in range(3)] == [200, 200, 429]


def _call(house: House, call: str) -> int:
    request = urllib.request.Request(
        f"{house.url}/v1/chat/completions", json.dumps(BODY).encode(), headers(call) | {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
