"""TLS on both sides: the provider's certificate is checked, ours is taken up when it is renewed."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.relay.chat import COST_USD, DONE, SHORT_STREAM, STREAMING_WITH_USAGE, USAGE_EVENT, completion, streamed, words
from tests.relay.conftest import House
from tests.relay.relay_house import RawClient, RelayHouse, relay_house, request_bytes, rules_of
from tests.relay.scripted_upstream import ReadRequest, ReadToEnd, Send, Wait, answer, chunk, chunked_head


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def tls_provider(authority: trustme.CA, *names: str, sent: bytes) -> AsyncIterator[tuple[int, list[str | None], list[bytes]]]:
    """A provider with a certificate for these names: its port, the names that were asked for (SNI), the heads that came."""
    asked: list[str | None] = []
    heads: list[bytes] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    context.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
                await reader.readexactly(length)
                heads.append(head)
                writer.write(sent)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], asked, heads
    finally:
        server.close()


def provider_lines(port: int, ca_file: Path | None, host: str = "localhost", extra: str = "") -> str:
    ca = f"    ca_file: {ca_file}\n" if ca_file else ""
    return f"providers:\n  openai:\n    base_url: https://{host}:{port}\n    api: openai\n{ca}{extra}"


async def test_a_verified_provider_and_its_stream(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    sent = streamed(SHORT_STREAM, USAGE_EVENT, DONE)
    async with tls_provider(authority, "localhost", sent=sent) as (port, asked, heads):  # noqa: SIM117 the port first
        async with relay_house(rules_of(provider_lines(port, tmp_path / "ca.pem")), tmp_path) as relay:
            for _ in range(2):
                got = await relay.ask(request_bytes(body=STREAMING_WITH_USAGE))
                assert got.body == SHORT_STREAM + USAGE_EVENT + DONE
            assert asked == ["localhost"]  # one handshake: the connection is kept
            assert f"Host: localhost:{port}\r\n".encode() in heads[0]
            assert [record.outcome for record in await relay.wait_for_records(2)] == ["ok", "ok"]


REFUSED = {
    "another name": ("other.example", True, ""),
    "an unknown authority": ("localhost", False, ""),
}


@pytest.mark.parametrize(("name", "is_known", "extra"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_certificate_that_does_not_fit_is_a_502(
    authority: trustme.CA, tmp_path: Path, name: str, is_known: bool, extra: str
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with tls_provider(authority, name, sent=answer(completion())) as (port, _, heads):
        rules = rules_of(provider_lines(port, tmp_path / "ca.pem" if is_known else None, extra=extra))
        async with relay_house(rules, tmp_path) as relay:
            got = await relay.ask(request_bytes())
            assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "upstream_unreachable")
            assert b"certificate" in got.body.lower()
            assert heads == []  # no byte of the request, nor its key, has left
            assert relay.state.pools[0].open_count == 0
            assert (await relay.record()).outcome == "upstream_error"


async def test_who_turns_checking_off_gets_what_they_asked_for(authority: trustme.CA, tmp_path: Path) -> None:
    async with tls_provider(authority, "other.example", sent=answer(completion())) as (port, _, _):  # noqa: SIM117 the port first
        async with relay_house(rules_of(provider_lines(port, None, extra="    verify_tls: false\n")), tmp_path) as relay:
            assert (await relay.ask(request_bytes())).status == 200


async def test_a_provider_that_does_not_speak_tls_is_a_502(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with relay_house(rules_of(provider_lines(port, None)), tmp_path) as relay:
        assert (await relay.ask(request_bytes())).status == 502
    server.close()


# ── the listening side ──


def listening(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """Settings for a house with a certificate of its own, renewed each time this is called."""
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return {"tls_certificate": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}


async def tls_client(relay: RelayHouse, authority: trustme.CA) -> RawClient:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = RawClient(*await asyncio.open_connection("127.0.0.1", relay.port, ssl=context, server_hostname="localhost"))
    relay._clients.append(client)
    return client


async def test_calls_over_tls(house: House, authority: trustme.CA, tmp_path: Path) -> None:
    async with house([[ReadRequest(), Send(answer(completion()))] * 2], **listening(authority, tmp_path)) as (relay, _):
        client = await tls_client(relay, authority)
        for _ in range(2):
            client.send(request_bytes())
            got = await client.answer()
            assert (got.body, got.header("x-weighbridge-cost-usd")) == (completion(), COST_USD)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await relay.ask(request_bytes())  # nothing is answered in the clear


async def test_hanging_up_over_tls_is_noticed(
    house: House, authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = [ReadRequest(), Send(chunked_head() + chunk(words("Hel")[0])), Wait(0.1)]
    script += [Send(chunk(USAGE_EVENT) + chunk(DONE) + chunk(b"")), ReadToEnd()]
    async with house([script], **listening(authority, tmp_path)) as (relay, _):
        client = await tls_client(relay, authority)
        client.send(request_bytes(body=STREAMING_WITH_USAGE))
        await client.reader.readuntil(b"Hel")
        client.writer.close()
        record = await relay.record()
        assert (record.outcome, record.usage_source, record.input_tokens) == ("client_aborted", "reported", 9)
        assert "eof_received" not in caplog.text


async def test_a_refused_request_over_tls_gets_its_answer(house: House, authority: trustme.CA, tmp_path: Path) -> None:
    async with house([[ReadRequest()]], **listening(authority, tmp_path)) as (relay, _):
        client = await tls_client(relay, authority)
        client.send(b"BREW / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
        assert (await client.answer()).status == 400


async def test_a_renewed_certificate_is_taken_up(house: House, authority: trustme.CA, tmp_path: Path) -> None:
    def serial(client: RawClient) -> object:
        return client.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]

    settings = listening(authority, tmp_path)
    async with house([[ReadRequest(), Send(answer(completion()))] * 5], **settings) as (relay, _):
        first = await tls_client(relay, authority)
        before = serial(first)
        good_key = (tmp_path / "key.pem").read_bytes()
        listening(authority, tmp_path)
        renewed_key = (tmp_path / "key.pem").read_bytes()
        (tmp_path / "key.pem").write_bytes(good_key)  # the new certificate is there, its key is still on its way
        relay.worker._tls.renew()
        assert serial(await tls_client(relay, authority)) == before
        (tmp_path / "key.pem").write_bytes(renewed_key)
        relay.worker._tls.renew()
        after = await tls_client(relay, authority)
        assert serial(after) != before
        for client in (first, after):  # who was connected stays so
            client.send(request_bytes())
            assert (await client.answer()).status == 200
        os.unlink(tmp_path / "cert.pem")
        relay.worker._tls.renew()
        assert serial(await tls_client(relay, authority)) == serial(after)
