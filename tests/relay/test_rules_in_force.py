"""Rules are swapped while calls run: each call sees one set of rules, the next one the new."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from hashlib import sha256

from proxy.errors import ConfigError
from tests.relay.chat import completion
from tests.relay.conftest import House
from tests.relay.relay_house import RelayHouse, request_bytes, rules_of
from tests.relay.scripted_upstream import ReadRequest, ReadToEnd, ScriptedUpstream, Send, answer

ONE = [ReadRequest(), Send(answer(completion()))]


async def until_version(relay: RelayHouse, version: str) -> None:
    async with asyncio.timeout(30):
        while relay.state.rules.version != version:
            await asyncio.sleep(0.02)


async def test_rules_that_end_are_built_again_when_they_do(house: House) -> None:
    async with house([[*ONE] * 3]) as (relay, _):
        built = 0

        def build() -> object:
            nonlocal built
            built += 1
            return replace(relay.state.rules, version=f"built {built}", stale_at=relay.state.rules.stale_at)

        relay.worker._build = build  # type: ignore[method-assign, assignment]
        relay.state.rules = replace(relay.state.rules, stale_at=time.time() + 0.3)
        await asyncio.sleep(0.1)
        assert built == 0
        await until_version(relay, "built 1")
        await asyncio.sleep(0.5)
        assert built == 1  # still stale, by a clock that disagrees: not again and again


async def test_a_changed_address_is_used_at_once_and_the_old_connections_end(house: House) -> None:
    async with house([[*ONE, ReadToEnd()]]) as (relay, upstream):
        assert (await relay.ask(request_bytes())).status == 200
        async with await ScriptedUpstream.start([[*ONE]]) as other:
            relay.state.rules = rules_of(f"providers:\n  openai:\n    base_url: {other.url}\n    api: openai\n")
            assert (await relay.ask(request_bytes())).status == 200
            assert other.connections == 1
            await asyncio.wait_for(upstream.closed_by_peer[0].wait(), 15)
            async with asyncio.timeout(30):
                while len(relay.state.pools) > 1:
                    await asyncio.sleep(0.02)


async def test_new_rules_with_the_same_address_keep_the_connections(house: House) -> None:
    async with house([[*ONE] * 2]) as (relay, upstream):
        assert (await relay.ask(request_bytes())).status == 200
        again = rules_of(f"providers:\n  openai:\n    base_url: {upstream.url}\n    api: openai\n    idle_seconds: 5\n")
        relay.state.rules = again
        assert (await relay.ask(request_bytes())).status == 200
        assert (upstream.connections, relay.state.pools[0].provider.idle_seconds) == (1, 5)


async def test_reading_on_a_live_feed_does_not_hold_up_the_end(house: House, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The dashboard's feed never ends by itself."""
    from proxy.relay.pool import Pool
    from proxy.relay.state import control_provider

    async def feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()
        writer.close()

    path = str(tmp_path / "control.sock")
    server = await asyncio.start_unix_server(feed, path)
    async with house([[*ONE]]) as (relay, _):
        relay.state.control_pool = Pool(control_provider(), relay.state.clock, path)
        client = await relay.client()
        client.send(b"GET /api/v1/live HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.reader.readuntil(b"data: 1\n\n")
        began = time.monotonic()
        await relay.worker.stop()
        assert time.monotonic() - began < 15  # of 30 s that a call may take
        assert relay.records() == []
    server.close()


class Edited:
    """A snapshot that has changed, until it is read."""

    has_changed = True

    def changed(self) -> bool:
        return self.has_changed


async def test_a_key_that_was_just_made_is_known_at_its_first_call(house: House) -> None:
    """The rules are looked at before a key is refused as unknown, however many ask at once; a key that is none stays refused."""
    key = "wb-just-made-0123456789"
    own = {"headers": {"Authorization": f"Bearer {key}"}}
    async with house([[*ONE] * 20]) as (relay, upstream):
        snapshots, built = Edited(), 0
        providers = f"providers:\n  openai:\n    base_url: {upstream.url}\n    api: openai\n    api_key: sk-real\n"
        digest = sha256(key.encode()).hexdigest()

        def build() -> object:
            nonlocal built
            built += 1
            time.sleep(0.05)  # in a thread, while the others ask
            snapshots.has_changed = False
            return rules_of(providers, f'keys:\n  - {{key_sha256: "{digest}", user: newcomer, requests: {{per_day: 5}}}}\n')

        snapshots.has_changed = False
        relay.worker._snapshots, relay.worker._build = snapshots, build  # type: ignore[assignment, method-assign]
        assert (await relay.ask(request_bytes(**own))).status == 401
        snapshots.has_changed = True
        answers = await asyncio.gather(*(relay.ask(request_bytes(**own)) for _ in range(5)))
        assert [one.status for one in answers] == [200] * 5
        assert built == 1
        assert {record.user for record in (await relay.wait_for_records(6))[1:]} == {"newcomer"}
        assert (await relay.ask(request_bytes(**own))).status == 429  # these five counted in the new key's own limit
        assert (await relay.ask(request_bytes(headers={"Authorization": "Bearer wb-nobodys"}))).status == 401


async def test_a_snapshot_that_cannot_be_read_refuses_the_unknown_key_and_no_more(house: House) -> None:
    async with house([[*ONE] * 3]) as (relay, _):

        def build() -> object:
            raise ConfigError("no snapshot")

        relay.worker._snapshots, relay.worker._build = Edited(), build  # type: ignore[assignment, method-assign]
        assert (await relay.ask(request_bytes(headers={"Authorization": "Bearer wb-nobodys"}))).status == 401
        assert (await relay.ask(request_bytes())).status == 200
