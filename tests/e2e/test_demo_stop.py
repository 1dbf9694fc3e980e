"""Ctrl-C of the demo: its people do not hold it up in the middle of an answer. What a killed demo left, the next one removes."""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import pytest

from proxy import house
from proxy.demo.traffic import run_traffic


async def test_people_in_the_middle_of_a_call_hold_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    called = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left.append(writer)
        await reader.read(1)
        called.set()

    class Link:
        def __init__(self, fd: int | None) -> None:
            self.stopping = asyncio.Event()
            links.append(self)

        def ready(self) -> None:
            pass

    links: list[Link] = []
    left: list[asyncio.StreamWriter] = []
    monkeypatch.setattr(house, "ChildLink", Link)
    monkeypatch.setattr(house, "run_traffic", partial(run_traffic, pace=100.0))
    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        guests = asyncio.create_task(house._run_demo_guests(0, url, None))
        await asyncio.wait_for(called.wait(), 30)
        links[0].stopping.set()
        await asyncio.wait_for(guests, 4)  # the parent waits five seconds; a call may take sixty
        for writer in left:
            writer.close()
            await writer.wait_closed()


def test_what_a_killed_demo_left_is_swept_and_what_is_in_use_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, running, strange = (tmp_path / f"weighbridge-demo-{name}" for name in ("killed", "running", "strange"))
    for folder in (killed, running, strange):
        (folder / "data").mkdir(parents=True)
    house._mark_in_use(killed).close()
    (tmp_path / "weighbridge-demo-link").symlink_to(strange)
    with house._mark_in_use(running):
        house._sweep_demos()
        assert sorted(path.name.rpartition("-")[2] for path in tmp_path.iterdir()) == ["link", "running", "strange"]
    house._sweep_demos()
    assert not running.exists()
    assert (strange / "data").exists()
