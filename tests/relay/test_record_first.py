"""The record is on disk before the client has its last byte: whatever kills the proxy then, the call is in the ledger."""

from __future__ import annotations

import pytest

from proxy.relay.downstream import ClientConnection
from proxy.spool.writer import SpoolWriter
from tests.relay.chat import DONE, FINISH, STREAMING, STREAMING_WITH_USAGE, USAGE_EVENT, completion, streamed, words
from tests.relay.conftest import House
from tests.relay.relay_house import request_bytes
from tests.relay.scripted_upstream import ReadRequest, Send, Step, answer, chunk, chunked_head, unchunked


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What happened in which order: bytes to the client, and `record`."""
    seen: list[bytes] = []
    write, append = ClientConnection.write, SpoolWriter.append

    def noting_write(self: ClientConnection, data: bytes) -> None:
        seen.append(data)
        write(self, data)

    def noting_append(self: SpoolWriter, record: object) -> None:
        append(self, record)  # type: ignore[arg-type]
        seen.append(b"record")

    monkeypatch.setattr(ClientConnection, "write", noting_write)
    monkeypatch.setattr(SpoolWriter, "append", noting_append)
    return seen


ANSWERS: dict[str, tuple[bytes, bytes, bytes]] = {
    "held": (request_bytes(), answer(completion()), completion()[-5:]),
    "chunked": (
        request_bytes(),
        streamed(completion()[:50], completion()[50:], content_type="application/json"),
        completion()[-5:],
    ),
    "refused by the provider": (request_bytes(), answer(b'{"error":{"message":"no"}}', "400 Bad Request"), b'"no"}}'),
    "stream": (request_bytes(body=STREAMING_WITH_USAGE), streamed(*words("a", "b"), FINISH, USAGE_EVENT, DONE), b"[DONE]\n\n"),
    "stream, usage taken out": (
        request_bytes(body=STREAMING),
        streamed(*words("a", "b"), FINISH, USAGE_EVENT, DONE),
        b"[DONE]\n\n",
    ),
    "stream in one piece": (request_bytes(body=STREAMING), streamed(b"".join(words("a")) + USAGE_EVENT + DONE), b"[DONE]\n\n"),
    "stream without its last event": (
        request_bytes(body=STREAMING_WITH_USAGE),
        chunked_head() + chunk(words("a")[0]) + chunk(b""),
        b"0\r\n\r\n",
    ),
    "a file": (
        request_bytes("/openai/v1/audio/speech", b'{"model":"tts-1","input":"hi","voice":"alloy"}'),
        answer(b"mp3" * 1000, content_type="audio/mpeg"),
        b"mp3" * 1000,
    ),
}


@pytest.mark.parametrize("size", [0, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("asked", "answered", "last"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_the_record_comes_before_the_end(
    house: House, order: list[bytes], asked: bytes, answered: bytes, last: bytes, size: int
) -> None:
    script: list[Step] = [ReadRequest(), Send(answered, piece=size)]
    async with house([script]) as (relay, _):
        await relay.ask(asked)
        assert order.count(b"record") == 1
        at = order.index(b"record")
        before, after = b"".join(order[:at]), b"".join(order[at + 1 :])
        assert after
        if b"chunked" in before:
            before = unchunked(before.partition(b"\r\n\r\n")[2])
        assert last not in before
        assert len(relay.records()) == 1


async def test_a_refusal_is_on_disk_before_it_is_told(house: House, order: list[bytes]) -> None:
    async with house([[ReadRequest()]], "auth: keys\n") as (relay, _):
        assert (await relay.ask(request_bytes())).status == 401
        assert order[0] == b"record"
        assert order[1].startswith(b"HTTP/1.1 401")


async def test_a_failure_is_on_disk_before_it_is_told(house: House, order: list[bytes]) -> None:
    async with house([[ReadRequest(), Send(b"nonsense\r\n\r\n")]]) as (relay, _):
        assert (await relay.ask(request_bytes())).status == 502
        assert order[0] == b"record"
        assert order[1].startswith(b"HTTP/1.1 502")
