"""Our own faults: metering, pricing, counting and recording may fail, the call goes on and the loss is said aloud."""

from __future__ import annotations

import json

import pytest

from proxy.errors import SpoolError
from proxy.relay.state import RelayState
from proxy.usage.edits import UsageEventRemover
from proxy.usage.meter import Meter
from tests.relay.chat import DONE, SHORT_STREAM, STREAMING, STREAMING_WITH_USAGE, USAGE_EVENT, completion, streamed
from tests.relay.conftest import House
from tests.relay.relay_house import RelayHouse, request_bytes
from tests.relay.scripted_upstream import ReadRequest, Send, answer

LIMITS = "defaults:\n  tokens: {per_day: 1_000_000}\n  concurrent_requests: 3\n"
STREAM = SHORT_STREAM + USAGE_EVENT + DONE
SCRIPT = [ReadRequest(), Send(answer(completion())), ReadRequest(), Send(streamed(STREAM))] * 3


class Boom(Exception):
    """The fault."""


def boom(*_: object, **__: object) -> None:
    raise Boom("boom")


async def both_answers_come(relay: RelayHouse) -> None:
    """A whole answer and a stream, byte for byte."""
    assert (await relay.ask(request_bytes())).body == completion()
    assert (await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))).body == STREAM


@pytest.mark.parametrize("what", ["__init__", "feed", "finish"])
async def test_a_meter_that_fails_costs_the_client_nothing(house: House, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(Meter, what, boom)
    async with house([SCRIPT], LIMITS) as (relay, _):
        await both_answers_come(relay)
        records = await relay.wait_for_records(2)
        assert [(record.outcome, record.status, record.usage_source) for record in records] == [("ok", 200, "none")] * 2
        assert [record.usage_details for record in records] == [{"usage_missing": True}] * 2  # counted and alarmed
        assert not relay.state.live


async def test_a_price_that_cannot_be_made_leaves_the_tokens(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house([SCRIPT], LIMITS) as (relay, _):
        monkeypatch.setattr(type(relay.state.rules.pricebook), "cost", boom)
        await both_answers_come(relay)
        records = await relay.wait_for_records(2)
        assert [(record.input_tokens, record.output_tokens, record.cost_usd) for record in records] == [(9, 3, None)] * 2
        assert records[0].price_source == "not priced: Boom"
        assert [record.outcome for record in records] == ["ok", "ok"]


@pytest.mark.parametrize("what", ["settle", "renew"])
async def test_counting_that_fails_loses_no_record_and_no_price(house: House, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    async with house([SCRIPT], LIMITS) as (relay, _):
        monkeypatch.setattr(relay.state.quota, what, boom)
        await both_answers_come(relay)
        records = await relay.wait_for_records(2)
        assert [record.cost_usd for record in records] == ["0.00000315"] * 2


async def test_an_estimator_that_fails_loses_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house([SCRIPT], LIMITS) as (relay, _):
        monkeypatch.setattr(relay.state.estimator, "learn", boom)
        await both_answers_come(relay)
        assert len(await relay.wait_for_records(2)) == 2


async def test_admission_that_fails_is_a_500_and_a_record(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house([SCRIPT], LIMITS) as (relay, upstream):
        monkeypatch.setattr(relay.state.quota, "reserve", boom)
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (500, "internal")
        assert b"boom" not in got.body  # what is inside stays inside
        assert (await relay.record()).outcome == "proxy_error"
        assert upstream.connections == 0


@pytest.mark.parametrize(
    "fault", [SpoolError("the disk is full"), OSError("no such device"), Boom("boom")], ids=["spool", "disk", "ours"]
)
async def test_a_spool_that_fails_is_counted(house: House, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def fail(_: object) -> None:
        raise fault

    async with house([SCRIPT], LIMITS) as (relay, _):
        monkeypatch.setattr(relay.state.spool, "append", fail)
        await both_answers_come(relay)
        assert (relay.records(), relay.state.stats.records_lost) == ([], 2)
        assert not relay.state.live


async def test_a_full_spool_refuses_where_it_is_told_to(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house([SCRIPT], LIMITS) as (relay, upstream):
        monkeypatch.setattr(type(relay.state.spool), "is_refusing", property(lambda _: True))
        got = await relay.ask(request_bytes())
        assert (got.status, json.loads(got.body)["error"]["code"]) == (503, "spool_full")
        assert upstream.connections == 0
        assert (await relay.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 503  # another replica may have room
        record = await relay.record()  # the last 16th of the spool is kept for this
        assert (record.outcome, record.status) == ("denied", 503)


async def test_an_edit_that_fails_cuts_the_answer_and_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remover stands in the bytes' way: where it fails, nothing true can be sent any more."""
    monkeypatch.setattr(UsageEventRemover, "feed", boom)
    async with house([[ReadRequest(), Send(streamed(STREAM))]], LIMITS) as (relay, _):
        client = await relay.client()
        client.send(request_bytes(body=STREAMING))
        with pytest.raises(ConnectionResetError):
            await client.rest()
        record = await relay.record()
        assert (record.outcome, record.input_tokens) in {("proxy_error", 9), ("ok", 9)}  # the usage had been seen
        assert not relay.state.live
        assert not relay.state.exchanges


@pytest.mark.parametrize("attribute", ["new_id", "pool"])
async def test_any_fault_is_answered(house: House, monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    async with house([SCRIPT], LIMITS) as (relay, _):
        with monkeypatch.context() as patch:
            patch.setattr(RelayState, attribute, boom)
            assert (await relay.ask(request_bytes())).status == 500
        assert (await relay.ask(request_bytes())).status == 200
        assert not relay.state.live


async def test_a_deadline_that_fails_stops_no_other(house: House) -> None:
    class Bad:
        deadline = 0.0
        expired = 0

        def expire(self, now: float) -> None:
            self.expired += 1
            raise Boom("boom")

    async with house([SCRIPT], idle_timeout_seconds=0.3) as (relay, _):
        bad = Bad()
        relay.state.clock.watched.add(bad)  # type: ignore[arg-type]
        client = await relay.client()
        assert await client.rest() == b""  # the idle client is still closed
        assert bad.expired == 1
        relay.state.clock.watched.discard(bad)  # type: ignore[arg-type]
