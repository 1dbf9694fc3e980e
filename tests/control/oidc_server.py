"""A small OpenID provider that is correct where it matters: discovery, code flow with PKCE, one use per code, signed id tokens.

`person` is who will have signed in; `spoil` changes the id token's claims before it is signed; `rotate` gives it new keys.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "weighbridge-tests", "the-clients-secret"


def _signing_key(key_id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig", "alg": "RS256"})


@lru_cache
def _first_key() -> RSAKey:
    """The one that every provider begins with: making one takes longer than most tests do."""
    return _signing_key("key-first")


@dataclass
class OidcServer:
    """One provider on a free port."""

    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-1", "email": "ann@example.com", "email_verified": True, "groups": ["llm-admins"]}
    )
    info: dict[str, Any] | None = None
    """What the userinfo endpoint says; None: the person."""
    spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    clock: Callable[[], float] = time.time
    issuer: str = ""
    redirect_uri: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _keys: list[RSAKey] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discover)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/userinfo", self._userinfo)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.issuer = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._keys = [_first_key()]

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def rotate(self) -> None:
        """A new signing key in place of the old one."""
        self._keys = [_signing_key(f"key-{len(self.asked)}-{time.monotonic_ns()}")]

    async def _discover(self, request: web.Request) -> web.Response:
        ends = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "jwks",
            "userinfo_endpoint": "userinfo",
        }
        return web.json_response({"issuer": self.issuer, **{name: f"{self.issuer}/{path}" for name, path in ends.items()}})

    async def _authorize(self, request: web.Request) -> web.Response:
        """The person is logged in already and agrees."""
        query = dict(request.query)
        self.asked.append(query)
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == self.redirect_uri
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self.asked)}"
        self._codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return web.Response(status=302, headers={"location": f"{self.redirect_uri}?{back}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET)
            or challenge != asked["code_challenge"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(self.clock())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.person}
        key = self._keys[0]
        token = jwt.encode({"alg": "RS256", "kid": key.kid}, self.spoil(claims), key)
        return web.json_response({"access_token": "at", "token_type": "Bearer", "id_token": token})

    async def _jwks(self, request: web.Request) -> web.Response:
        return web.json_response(KeySet(list(self._keys)).as_dict(private=False))

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer at"
        return web.json_response(self.person if self.info is None else self.info)


def query_of(url: str) -> dict[str, str]:
    """The query of an address, one value a name."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
