"""Ctrl-C of the demo: its people do not hold it up in the middle of an answer."""

from __future__ import annotations

import asyncio
from functools import partial

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
