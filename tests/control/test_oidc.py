"""Sign-in with an identity provider that is really asked: the whole code flow, and everything that can be wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient

from proxy.control.oidc import SignIn, settings_from, sign_in_from
from proxy.errors import ConfigError
from tests.control.oidc_server import CLIENT_ID, CLIENT_SECRET, OidcServer, query_of

ROLES = "llm-admins=admin,finance=auditor,*=user"


@dataclass
class Visitor:
    """A browser at the house, and the provider it is sent to."""

    client: TestClient[Any, Any]
    server: OidcServer

    async def go(self, path: str, **query: str) -> Any:
        return await self.client.get(path, params=query, allow_redirects=False)

    async def to_the_provider(self) -> str:
        """The address of the provider that the house sends the browser to."""
        reply = await self.go("/api/v1/session/oidc")
        assert reply.status == 302
        return str(reply.headers["location"])

    async def back_from(self, address: str) -> str:
        """Where the provider sends the browser to: path and query at the house."""
        async with self.client.session.get(address, allow_redirects=False) as reply:
            assert reply.status == 302
            return str(reply.headers["location"])

    async def sign_in(self) -> Any:
        back = await self.back_from(await self.to_the_provider())
        return await self.go("/api/v1/session/oidc/callback", **query_of(back))

    async def who(self) -> Any:
        reply = await self.client.get("/api/v1/session")
        return await reply.json() if reply.status == 200 else None


@pytest.fixture
async def visitor(house: Any) -> AsyncIterator[Visitor]:
    server = OidcServer(clock=house.clock)
    await server.start()
    url = f"http://127.0.0.1:{house.client.server.port}"
    server.redirect_uri = f"{url}/api/v1/session/oidc/callback"
    house.context.sign_in = sign_in_from(environment(server.issuer, url))
    client: TestClient[Any, Any] = TestClient(house.client.server, cookie_jar=CookieJar(unsafe=True))
    yield Visitor(client, server)
    await client.session.close()
    await server.stop()


def environment(issuer: str, url: str = "http://127.0.0.1:8080", **more: str) -> dict[str, str]:
    return {
        "WEIGHBRIDGE_OIDC_ISSUER": issuer,
        "WEIGHBRIDGE_OIDC_CLIENT_ID": CLIENT_ID,
        "WEIGHBRIDGE_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "WEIGHBRIDGE_OIDC_ROLES": ROLES,
        "WEIGHBRIDGE_PUBLIC_URL": url,
        **more,
    }


async def test_the_whole_way_in(visitor: Visitor, house: Any) -> None:
    reply = await visitor.sign_in()
    assert (reply.status, reply.headers["location"]) == (303, "/dashboard")
    cookie = str(reply.headers.getall("set-cookie"))
    assert "weighbridge-session=" in cookie
    assert "SameSite=Strict" in cookie
    found = await visitor.who()
    assert (found["role"], found["name"], found["user"]) == ("admin", "oidc:ann@example.com", None)
    line = (await house.get("/audit"))["audit"][0]
    assert (line["by"], line["action"]) == ("oidc:ann@example.com", "log in")
    assert "ann@example.com" in str(await house.get("/admin/sessions"))
    assert (await visitor.client.get("/api/v1/session/options")).status == 200


async def test_every_sign_in_has_a_state_nonce_and_challenge_of_its_own(visitor: Visitor) -> None:
    asked = [query_of(await visitor.to_the_provider()) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]
        assert len(asked[0][name]) >= 43


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["finance", "x"], "auditor"),
        (["finance", "llm-admins"], "admin"),
        ([], "user"),
        ("finance", "auditor"),
        ([1, None], "user"),
    ],
)
async def test_groups_become_roles_and_the_highest_counts(visitor: Visitor, groups: Any, role: str) -> None:
    visitor.server.person["groups"] = groups
    await visitor.sign_in()
    found = await visitor.who()
    assert found["role"] == role
    assert found["user"] == ("ann@example.com" if role == "user" else None)


async def test_who_is_in_no_group_stays_out(visitor: Visitor, house: Any) -> None:
    house.context.sign_in = sign_in_from(
        environment(
            visitor.server.issuer, visitor.server.redirect_uri.partition("/api")[0], WEIGHBRIDGE_OIDC_ROLES="llm-admins=admin"
        )
    )
    visitor.server.person["groups"] = ["others"]
    reply = await visitor.sign_in()
    assert reply.headers["location"] == "/dashboard?sign_in=refused"
    assert await visitor.who() is None


async def test_an_address_that_is_not_verified_is_no_name(visitor: Visitor) -> None:
    visitor.server.person["email_verified"] = False
    assert (await visitor.sign_in()).headers["location"] == "/dashboard?sign_in=refused"


async def test_groups_may_come_from_the_userinfo_endpoint(visitor: Visitor) -> None:
    visitor.server.info = {"sub": "u-1", "groups": ["finance"]}
    del visitor.server.person["groups"]
    await visitor.sign_in()
    assert (await visitor.who())["role"] == "auditor"


async def test_userinfo_of_somebody_else_is_not_taken(visitor: Visitor) -> None:
    visitor.server.info = {"sub": "u-2", "groups": ["llm-admins"]}
    del visitor.server.person["groups"]
    assert (await visitor.sign_in()).headers["location"] == "/dashboard?sign_in=failed"


def without(name: str) -> Any:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


SPOILT = {
    "another audience": lambda claims: {**claims, "aud": "somebody-else"},
    "another issuer": lambda claims: {**claims, "iss": "https://evil.example.com"},
    "another nonce": lambda claims: {**claims, "nonce": "of-another-sign-in"},
    "no nonce": without("nonce"),
    "expired": lambda claims: {**claims, "exp": claims["iat"] - 120},
    "no expiry": without("exp"),
    "made for another client": lambda claims: {**claims, "azp": "somebody-else"},
    "from the future": lambda claims: {**claims, "iat": claims["iat"] + 3600, "nbf": claims["iat"] + 3600},
    "no name": without("email"),
    "a name that is none": lambda claims: {**claims, "email": ["a", "b"]},
}


@pytest.mark.parametrize("how", SPOILT)
async def test_an_id_token_with_a_mistake_opens_nothing(visitor: Visitor, how: str) -> None:
    visitor.server.spoil = SPOILT[how]
    if "name" in how:
        visitor.server.info = {"sub": "u-1"}
    assert (await visitor.sign_in()).headers["location"] == "/dashboard?sign_in=failed"
    assert await visitor.who() is None


async def test_an_id_token_signed_by_another_key_opens_nothing(visitor: Visitor, house: Any) -> None:
    await visitor.sign_in()  # the house knows the provider's keys now
    visitor.client.session.cookie_jar.clear()
    visitor.server.rotate()
    reply = await visitor.sign_in()
    assert reply.headers["location"] == "/dashboard?sign_in=failed"
    house.clock.at += 61  # and asks for them again, but not more than once a minute
    await visitor.sign_in()
    assert (await visitor.who())["role"] == "admin"


async def test_the_answer_must_belong_to_this_browsers_sign_in(visitor: Visitor) -> None:
    back = query_of(await visitor.back_from(await visitor.to_the_provider()))
    forged = await visitor.go("/api/v1/session/oidc/callback", **{**back, "state": "forged"})
    assert forged.headers["location"] == "/dashboard?sign_in=expired"
    visitor.client.session.cookie_jar.clear()  # another browser
    stolen = await visitor.go("/api/v1/session/oidc/callback", **back)
    assert stolen.headers["location"] == "/dashboard?sign_in=expired"


async def test_a_code_of_another_sign_in_fails_at_the_provider(visitor: Visitor) -> None:
    """PKCE: the verifier of this browser does not fit a code that was made for another."""
    stolen = query_of(await visitor.back_from(await visitor.to_the_provider()))["code"]
    own = query_of(await visitor.back_from(await visitor.to_the_provider()))
    reply = await visitor.go("/api/v1/session/oidc/callback", **{**own, "code": stolen})
    assert reply.headers["location"] == "/dashboard?sign_in=failed"


async def test_an_answer_from_another_issuer_is_not_followed(visitor: Visitor) -> None:
    back = query_of(await visitor.back_from(await visitor.to_the_provider()))
    reply = await visitor.go("/api/v1/session/oidc/callback", **{**back, "iss": "https://evil.example.com"})
    assert reply.headers["location"] == "/dashboard?sign_in=failed"


async def test_a_person_who_says_no_is_told_so(visitor: Visitor) -> None:
    state = query_of(await visitor.to_the_provider())["state"]
    reply = await visitor.go("/api/v1/session/oidc/callback", error="access_denied", state=state)
    assert reply.headers["location"] == "/dashboard?sign_in=refused"


async def test_a_provider_that_is_away_is_a_502_that_says_so(visitor: Visitor) -> None:
    await visitor.server.stop()
    reply = await visitor.go("/api/v1/session/oidc")
    assert (reply.status, (await reply.json())["error"]["code"]) == (502, "provider_away")
    await visitor.server.start()


async def test_without_a_provider_there_is_no_such_way(house: Any) -> None:
    for path in ("/session/oidc", "/session/oidc/callback"):
        await house.ask("GET", path, status=404)


def test_half_a_configuration_is_refused_in_words() -> None:
    good = environment("https://id.example.com", "https://llm.example.com")
    assert isinstance(sign_in_from(good), SignIn)
    assert settings_from({}) is None
    for change, told in (
        ({"WEIGHBRIDGE_OIDC_CLIENT_ID": ""}, "CLIENT_ID"),
        ({"WEIGHBRIDGE_PUBLIC_URL": ""}, "PUBLIC_URL"),
        ({"WEIGHBRIDGE_PUBLIC_URL": "http://llm.example.com"}, "https"),
        ({"WEIGHBRIDGE_OIDC_ISSUER": "http://id.example.com"}, "https"),
        ({"WEIGHBRIDGE_OIDC_ROLES": ""}, "which group"),
        ({"WEIGHBRIDGE_OIDC_ROLES": "staff=boss"}, "staff=boss"),
        ({"WEIGHBRIDGE_OIDC_ROLES": "admin"}, "group=role"),
    ):
        with pytest.raises(ConfigError, match=told):
            sign_in_from({**good, **change})
