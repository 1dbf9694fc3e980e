"""Providers behind an HTTP proxy: a tunnel for TLS, absolute-form for plain HTTP, credentials for the proxy only."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.relay.chat import completion
from tests.relay.relay_house import relay_house, request_bytes, rules_of
from tests.relay.scripted_upstream import ReadRequest, ScriptedUpstream, Send, answer
from tests.relay.test_tls import tls_provider

BASIC = "Basic " + b64encode(b"me:p@ss w").decode()


@dataclass
class SmallProxy:
    """CONNECT and nothing else; refuses with `refusal` where that is set."""

    refusal: bytes = b""
    port: int = 0
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self.refusal:
                writer.write(self.refusal)
                return
            port = int(head.split(b" ")[1].rpartition(b":")[2])
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: small\r\n\r\n")
            await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # either side may leave
        finally:
            writer.close()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@asynccontextmanager
async def small_proxy(refusal: bytes = b"", context: ssl.SSLContext | None = None) -> AsyncIterator[SmallProxy]:
    proxy = SmallProxy(refusal)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=context)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("credentials", ["", "me:p%40ss%20w@"], ids=["without credentials", "with credentials"])
async def test_tls_goes_through_a_tunnel(authority: trustme.CA, tmp_path: Path, credentials: str) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with tls_provider(authority, "localhost", sent=answer(completion())) as (port, asked, heads), small_proxy() as proxy:
        rules = rules_of(
            f"providers:\n  openai:\n    base_url: https://localhost:{port}\n    api: openai\n    ca_file: {tmp_path / 'ca.pem'}\n"
            f"    proxy: http://{credentials}127.0.0.1:{proxy.port}\n"
        )
        async with relay_house(rules, tmp_path) as relay:
            for _ in range(2):
                assert (await relay.ask(request_bytes())).body == completion()
            assert len(proxy.heads) == 1  # kept alive through the tunnel
            assert proxy.heads[0].startswith(f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n".encode())
            assert (f"Proxy-Authorization: {BASIC}".encode() in proxy.heads[0]) == bool(credentials)
            assert asked == ["localhost"]
            assert b"sk-callers-own" not in proxy.heads[0]
            assert b"proxy-authorization" not in heads[0].lower()
            assert b"POST /v1/chat/completions HTTP/1.1\r\n" in heads[0]


@pytest.mark.parametrize(
    "refusal",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n", b"x" * 20_000],
    ids=["407", "nonsense", "no end"],
)
async def test_a_proxy_that_refuses_is_a_502(tmp_path: Path, refusal: bytes) -> None:
    async with small_proxy(refusal) as proxy:
        rules = rules_of(
            f"providers:\n  openai:\n    base_url: https://localhost:1\n    api: openai\n    proxy: http://127.0.0.1:{proxy.port}\n"
        )
        async with relay_house(rules, tmp_path) as relay:
            got = await relay.ask(request_bytes())
            assert (got.status, json.loads(got.body)["error"]["code"]) == (502, "upstream_unreachable")
            assert b"proxy" in got.body
            assert relay.state.pools[0].open_count == 0


async def test_a_proxy_that_is_away_is_a_502(tmp_path: Path) -> None:
    async with small_proxy() as proxy:
        port = proxy.port
    rules = rules_of(
        f"providers:\n  openai:\n    base_url: https://localhost:1\n    api: openai\n    proxy: http://127.0.0.1:{port}\n"
    )
    async with relay_house(rules, tmp_path) as relay:
        assert (await relay.ask(request_bytes())).status == 502


@pytest.mark.parametrize("credentials", ["", "me:p%40ss%20w@"], ids=["without credentials", "with credentials"])
async def test_plain_http_is_asked_of_the_proxy_in_absolute_form(tmp_path: Path, credentials: str) -> None:
    async with await ScriptedUpstream.start([[ReadRequest(), Send(answer(completion()))] * 2]) as proxy:
        rules = rules_of(
            "providers:\n  local:\n    base_url: http://models.internal:8000/base\n    api: openai\n"
            f"    proxy: http://{credentials}127.0.0.1:{proxy.port}\n"
        )
        async with relay_house(rules, tmp_path) as relay:
            for _ in range(2):
                assert (await relay.ask(request_bytes("/local/v1/chat/completions?x=1"))).body == completion()
            seen = proxy.request()
            assert seen.target == "http://models.internal:8000/base/v1/chat/completions?x=1"
            assert seen.header("host") == "models.internal:8000"
            assert seen.header("proxy-authorization") == (BASIC if credentials else None)
            assert proxy.connections == 1


async def test_this_machine_is_never_asked_for_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with await ScriptedUpstream.start([[ReadRequest(), Send(answer(completion()))]]) as upstream:
        rules = rules_of(f"providers:\n  openai:\n    base_url: {upstream.url}\n    api: openai\n")
        async with relay_house(rules, tmp_path) as relay:
            assert (await relay.ask(request_bytes())).status == 200
            assert upstream.request().target == "/v1/chat/completions"


async def test_no_proxy_leaves_a_provider_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await ScriptedUpstream.start([[ReadRequest(), Send(answer(completion()))] * 2]) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        lines = "providers:\n  local:\n    base_url: http://models.invalid\n    api: openai\n    connect_timeout_seconds: 2\n"
        async with relay_house(rules_of(lines), tmp_path / "one") as relay:
            assert (await relay.ask(request_bytes("/local/v1/models"))).status == 200
        monkeypatch.setenv("no_proxy", "models.invalid")
        async with relay_house(rules_of(lines), tmp_path / "two") as relay:
            assert (await relay.ask(request_bytes("/local/v1/models"))).status in (502, 504)
        assert proxy.connections == 1
