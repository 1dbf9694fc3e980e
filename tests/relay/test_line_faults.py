"""A line to the provider that goes bad in the middle of a stream: the client sees the cut or the whole, the record says which."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fault_proxy import FAULTS, FaultProxy, fault_proxy
from tests.relay.chat import DONE, FINISH, STREAMING_WITH_USAGE, USAGE_EVENT, completion, words
from tests.relay.relay_house import relay_house, request_bytes, rules_of
from tests.relay.scripted_upstream import ReadRequest, ReadToEnd, ScriptedUpstream, Send, WaitFor, answer, chunk, chunked_head

SILENCE_SECONDS = 0.6
FIRST, REST = words("Hel")[0], b"".join([*words("lo"), FINISH, USAGE_EVENT, DONE])
LIMITS = "defaults:\n  tokens: {per_day: 1_000_000}\n  concurrent_requests: 3\n"
SLOW_ONLY = ("slow", "byte by byte")
"""These are no reason to give a stream up."""


def begin(proxy: FaultProxy, what: str) -> None:
    FAULTS[what](proxy)
    if what == "byte by byte":
        proxy.trickle_seconds = 0.001


@pytest.mark.parametrize("what", FAULTS)
async def test_a_line_that_goes_bad_in_the_middle_of_a_stream(tmp_path: Path, what: str) -> None:
    goes_on = asyncio.Event()
    stream = [ReadRequest(), Send(chunked_head() + chunk(FIRST)), WaitFor(goes_on), Send(chunk(REST) + chunk(b"")), ReadToEnd()]
    whole = [ReadRequest(), Send(answer(completion())), ReadToEnd()]
    async with await ScriptedUpstream.start([stream, whole]) as upstream, fault_proxy(upstream.port) as proxy:
        providers = (
            f"providers:\n  openai: {{base_url: http://127.0.0.1:{proxy.port}, api: openai, api_key: sk-own, "
            f"between_bytes_timeout_seconds: {SILENCE_SECONDS}, first_byte_timeout_seconds: {SILENCE_SECONDS}}}\n"
        )
        async with relay_house(rules_of(providers, LIMITS), tmp_path) as relay:
            client = await relay.client()
            client.send(request_bytes(body=STREAMING_WITH_USAGE, headers={"Connection": "close"}))
            raw = await client.reader.readuntil(FIRST)
            begin(proxy, what)
            goes_on.set()
            raw += await client.rest()
            record = await relay.record()
            proxy.mend()
            if what in SLOW_ONLY:
                assert raw.endswith(b"\r\n0\r\n\r\n")
                assert (record.outcome, record.usage_source, record.output_tokens) == ("ok", "reported", 3)
            else:
                assert raw.endswith(chunk(FIRST)), "the client could take this for the end of the answer"
                assert (record.outcome, record.usage_source) == ("upstream_aborted", "estimated")
            assert (await relay.ask(request_bytes())).body == completion()
            assert len(await relay.wait_for_records(2)) == 2
            assert not relay.state.live, "something is still held"


async def test_a_line_without_anybody_is_a_504_in_time(tmp_path: Path) -> None:
    """Half-open from the start: the connection stands, and nobody is there."""
    async with await ScriptedUpstream.start([[ReadToEnd()]]) as upstream, fault_proxy(upstream.port) as proxy:
        proxy.is_half_open = True
        providers = (
            f"providers:\n  openai: {{base_url: http://127.0.0.1:{proxy.port}, api: openai, api_key: sk-own, "
            f"first_byte_timeout_seconds: {SILENCE_SECONDS}}}\n"
        )
        async with relay_house(rules_of(providers, LIMITS), tmp_path) as relay:
            assert (await relay.ask(request_bytes())).status == 504
            assert (await relay.record()).outcome == "upstream_error"
            assert not relay.state.live
