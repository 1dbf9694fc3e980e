"""A relay on its own: a real worker in this process, providers that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from tests.relay.relay_house import RelayHouse, relay_house, rules_of
from tests.relay.scripted_upstream import Script, ScriptedUpstream

House = Callable[..., AbstractAsyncContextManager[tuple[RelayHouse, ScriptedUpstream]]]


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of production: at the end of a connection it differs from asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def house(tmp_path: Path) -> House:
    """`async with house([script, …], limits="…") as (relay, upstream)`: a worker before one scripted provider named openai."""

    @asynccontextmanager
    async def open_house(
        scripts: Sequence[Script], limits: str = "", prices: str = "", provider: str = "", **settings: object
    ) -> AsyncIterator[tuple[RelayHouse, ScriptedUpstream]]:
        async with await ScriptedUpstream.start(scripts) as upstream:
            lines = (
                f"providers:\n  openai:\n    base_url: {upstream.url}\n    api: openai\n    api_key: sk-providers-own\n{provider}"
            )
            async with relay_house(rules_of(lines, limits, prices, **settings), tmp_path) as relay:
                yield relay, upstream

    return open_house
