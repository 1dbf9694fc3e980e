"""Sign-in with an identity provider: GET session/oidc and its callback (OpenID Connect, code flow with PKCE, state and nonce).

What is kept between the two requests is kept in the browser, in a cookie that only the callback's path gets: the state, the
nonce and the PKCE verifier are of use to nobody but this browser, and a second use of the code is refused by the provider.
The errors of a sign-in lead back to the dashboard with a word (`?sign_in=…`); what exactly was wrong is in the log.

Sources: OpenID Connect Core 1.0 §3.1, OpenID Connect Discovery 1.0 §4, RFC 7636 (PKCE), RFC 9207 (iss in the answer).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
import structlog
from aiohttp import web

from proxy.control import sessions
from proxy.control.context import Context, context_of
from proxy.control.log_in import start_session
from proxy.control.origin import address_of
from proxy.control.parameters import Parameter, read_query
from proxy.control.replies import ApiError
from proxy.control.routes import PREFIX, Route
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

FLOW_COOKIE = "weighbridge-sign-in"
FLOW_SECONDS = 600
FLOW_PATH = f"{PREFIX}/session/oidc"
CALLBACK = f"{FLOW_PATH}/callback"
DASHBOARD = "/dashboard"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures only: `none`, and a MAC with the client's secret, are not taken."""
CLOCK_SKEW_SECONDS = 60
KEEP_SECONDS = 3600.0
REFETCH_SECONDS = 60.0
"""How soon the provider's keys may be asked for again because of a key id nobody knows."""
MAX_ANSWER_BYTES = 1024 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_RANKS = ("admin", "auditor", "user")

_log = structlog.get_logger("control.oidc")


class SignInFailed(Exception):
    """This sign-in goes no further; `word` is what the dashboard is told."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """One identity provider, as the environment names it."""

    issuer: str
    client_id: str
    client_secret: str | None
    public_url: str
    """Where browsers reach this house: the callback lies below it."""
    roles: tuple[tuple[str, str], ...]
    """Group → role, in the order of writing; `*` is whoever can sign in at all."""
    scopes: str = "openid email profile"
    groups_claim: str = "groups"
    user_claim: str = "email"
    title: str = "Single sign-on"

    def role_of(self, groups: list[str]) -> str | None:
        """The highest role that one of the groups has; None: this person may not in."""
        given = {role for group, role in self.roles if group == "*" or group in groups}
        return next((role for role in _RANKS if role in given), None)


def settings_from(environ: Mapping[str, str]) -> OidcSettings | None:
    """The identity provider of `WEIGHBRIDGE_OIDC_*`; None where there is none.

    Raises:
        ConfigError: half of it is there, or a role that does not exist.
    """
    issuer = environ.get("WEIGHBRIDGE_OIDC_ISSUER", "").rstrip("/")
    if not issuer:
        return None
    client_id, public_url = environ.get("WEIGHBRIDGE_OIDC_CLIENT_ID"), environ.get("WEIGHBRIDGE_PUBLIC_URL", "").rstrip("/")
    if not client_id or not public_url:
        raise ConfigError("WEIGHBRIDGE_OIDC_ISSUER also needs WEIGHBRIDGE_OIDC_CLIENT_ID and WEIGHBRIDGE_PUBLIC_URL")
    for name, url in (("WEIGHBRIDGE_OIDC_ISSUER", issuer), ("WEIGHBRIDGE_PUBLIC_URL", public_url)):
        if not _is_safe(url):
            raise ConfigError(f"{name} must begin with https:// (http:// only for this machine itself)")
    roles = []
    for pair in environ.get("WEIGHBRIDGE_OIDC_ROLES", "").split(","):
        group, _, role = pair.strip().rpartition("=")
        if pair.strip() and (not group or role not in _RANKS):
            raise ConfigError(f"WEIGHBRIDGE_OIDC_ROLES: `{pair.strip()}` must be group=role, the role one of {', '.join(_RANKS)}")
        if group:
            roles.append((group, role))
    if not roles:
        raise ConfigError("WEIGHBRIDGE_OIDC_ROLES must say which group has which role, e.g. llm-admins=admin,*=user")
    return OidcSettings(
        issuer,
        client_id,
        environ.get("WEIGHBRIDGE_OIDC_CLIENT_SECRET") or None,
        public_url,
        tuple(roles),
        environ.get("WEIGHBRIDGE_OIDC_SCOPES") or "openid email profile",
        environ.get("WEIGHBRIDGE_OIDC_GROUPS_CLAIM") or "groups",
        environ.get("WEIGHBRIDGE_OIDC_USER_CLAIM") or "email",
        environ.get("WEIGHBRIDGE_OIDC_TITLE") or "Single sign-on",
    )


def sign_in_from(environ: Mapping[str, str]) -> SignIn | None:
    """What `Context.sign_in` is to be.

    Raises:
        ConfigError: the settings are wrong, or the extra that checks signatures is not installed.
    """
    settings = settings_from(environ)
    if settings is None:
        return None
    try:
        import joserfc.jwt  # noqa: F401
    except ImportError:
        raise ConfigError("WEIGHBRIDGE_OIDC_ISSUER needs the extra: pip install 'weighbridge[oidc]'") from None
    return SignIn(settings)


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1"))


@dataclass
class SignIn:
    """The provider as far as it is known: its endpoints and keys, fetched when first needed and kept for an hour."""

    settings: OidcSettings
    _about: dict[str, Any] = field(default_factory=dict)
    _about_at: float = -KEEP_SECONDS
    _keys: KeySet | None = None
    _keys_at: float = -KEEP_SECONDS
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def title(self) -> str:
        return self.settings.title

    async def endpoint(self, context: Context, name: str) -> str:
        """One of the provider's endpoints, from its discovery document."""
        async with self._turn:
            if context.clock() - self._about_at > KEEP_SECONDS:
                about = await _fetch(context, "GET", self.settings.issuer + "/.well-known/openid-configuration")
                if str(about.get("issuer", "")).rstrip("/") != self.settings.issuer:
                    raise SignInFailed("failed", f"the provider calls itself {about.get('issuer')!r}, not {self.settings.issuer!r}")
                self._about, self._about_at = about, context.clock()
        url = self._about.get(name)
        if not isinstance(url, str) or not _is_safe(url):
            raise SignInFailed("failed", f"the provider's discovery document has no usable {name}")
        return url

    async def claims(self, context: Context, id_token: str, nonce: str) -> dict[str, Any]:
        """What an id token says, its signature, issuer, audience, time and nonce checked.

        Raises:
            SignInFailed: one of them is wrong.
        """
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        try:
            try:
                token = jwt.decode(id_token, await self._key_set(context, KEEP_SECONDS), algorithms=ALGORITHMS)
            except InvalidKeyIdError:  # the provider may have new keys
                token = jwt.decode(id_token, await self._key_set(context, REFETCH_SECONDS), algorithms=ALGORITHMS)
            jwt.JWTClaimsRegistry(
                now=lambda: int(context.clock()),
                leeway=CLOCK_SKEW_SECONDS,
                iss={"essential": True},
                sub={"essential": True},
                aud={"essential": True, "value": self.settings.client_id},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError) as mistake:
            raise SignInFailed("failed", f"the id token is not valid: {mistake}") from mistake
        claims: dict[str, Any] = token.claims
        if str(claims["iss"]).rstrip("/") != self.settings.issuer:
            raise SignInFailed("failed", "the id token is from another issuer")
        if claims.get("azp", self.settings.client_id) != self.settings.client_id:
            raise SignInFailed("failed", "the id token was made for another client")
        if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise SignInFailed("failed", "the id token belongs to another sign-in")
        return claims

    async def _key_set(self, context: Context, keep_seconds: float) -> KeySet:
        from joserfc.jwk import KeySet

        url = await self.endpoint(context, "jwks_uri")
        async with self._turn:
            if self._keys is None or context.clock() - self._keys_at > keep_seconds:
                self._keys = KeySet.import_key_set(await _fetch(context, "GET", url))  # type: ignore[arg-type]
                self._keys_at = context.clock()
            return self._keys


async def begin(request: web.Request) -> web.Response:
    context = context_of(request)
    read_query(request, ())
    sign_in = _sign_in(context)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    try:
        endpoint = await sign_in.endpoint(context, "authorization_endpoint")
    except SignInFailed as failure:
        _log.warning("sign-in cannot begin", reason=str(failure))
        raise ApiError(502, "provider_away", "the identity provider does not answer as it should; the log has the reason") from None
    query = {
        "response_type": "code",
        "client_id": sign_in.settings.client_id,
        "redirect_uri": sign_in.settings.public_url + CALLBACK,
        "scope": sign_in.settings.scopes,
        "state": state,
        "nonce": nonce,
        "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    reply = _lead_to(endpoint + ("&" if "?" in endpoint else "?") + urlencode(query), 302)
    # Lax and not Strict: the provider leads the browser back here, from its own site.
    reply.set_cookie(
        FLOW_COOKIE,
        f"{state}.{nonce}.{verifier}",
        max_age=FLOW_SECONDS,
        path=FLOW_PATH,
        httponly=True,
        samesite="Lax",
        secure=sign_in.settings.public_url.startswith("https://"),
    )
    return reply


async def finish(request: web.Request) -> web.Response:
    context = context_of(request)
    sign_in = _sign_in(context)
    is_secure = sign_in.settings.public_url.startswith("https://")
    try:
        claims = await _prove(request, context, sign_in)
        name, role = _person(claims, sign_in.settings)
    except SignInFailed as failure:
        _log.warning("sign-in refused", reason=str(failure), address=address_of(request))
        reply = _lead_to(f"{DASHBOARD}?{urlencode({'sign_in': failure.word})}")
    else:
        token, _ = await start_session(request, name, role, name if role == "user" else None, "oidc")
        reply = _lead_to(DASHBOARD)
        sessions.give_cookie(request, reply, token, is_secure=is_secure)
    reply.del_cookie(FLOW_COOKIE, path=FLOW_PATH)
    return reply


async def _prove(request: web.Request, context: Context, sign_in: SignIn) -> dict[str, Any]:
    """The claims of whoever the provider sent here."""
    state, nonce, verifier = _flow_of(request)
    query = request.query
    if not hmac.compare_digest(query.get("state", "").encode(), state.encode()):
        raise SignInFailed("expired", "the state is not the one of this browser's sign-in")
    if query.get("iss") is not None and query["iss"].rstrip("/") != sign_in.settings.issuer:
        raise SignInFailed("failed", "the answer is from another issuer")
    if "error" in query:
        word = "refused" if query["error"] == "access_denied" else "failed"
        raise SignInFailed(word, f"the provider says {query['error'][:100]!r}: {query.get('error_description', '')[:200]!r}")
    if not query.get("code"):
        raise SignInFailed("failed", "the answer carries no code")
    tokens = await _redeem(context, sign_in, query["code"], verifier)
    if not isinstance(tokens.get("id_token"), str):
        raise SignInFailed("failed", "the provider gave no id token")
    claims = await sign_in.claims(context, tokens["id_token"], nonce)
    wanted = (sign_in.settings.groups_claim, sign_in.settings.user_claim)
    if any(name not in claims for name in wanted) and isinstance(tokens.get("access_token"), str):
        claims = {**await _user_info(context, sign_in, tokens["access_token"], claims["sub"]), **claims}
    return claims


async def _redeem(context: Context, sign_in: SignIn, code: str, verifier: str) -> dict[str, Any]:
    settings = sign_in.settings
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": settings.public_url + CALLBACK,
        "client_id": settings.client_id,
        "code_verifier": verifier,
    }
    if settings.client_secret is not None:
        form["client_secret"] = settings.client_secret
    return await _fetch(context, "POST", await sign_in.endpoint(context, "token_endpoint"), data=form)


async def _user_info(context: Context, sign_in: SignIn, access_token: str, subject: object) -> dict[str, Any]:
    """The claims of the userinfo endpoint, where there is one; OpenID Connect Core §5.3.2: only of the same subject."""
    if "userinfo_endpoint" not in sign_in._about:
        return {}
    url = await sign_in.endpoint(context, "userinfo_endpoint")
    found = await _fetch(context, "GET", url, headers={"authorization": f"Bearer {access_token}"})
    if found.get("sub") != subject:
        raise SignInFailed("failed", "the userinfo endpoint speaks of somebody else")
    return found


def _person(claims: Mapping[str, Any], settings: OidcSettings) -> tuple[str, str]:
    """Name and role."""
    name = claims.get(settings.user_claim)
    if not isinstance(name, str) or not 0 < len(name) <= 200 or "\0" in name:
        raise SignInFailed("failed", f"the claim {settings.user_claim} is missing or no name")
    if settings.user_claim == "email" and claims.get("email_verified") is False:
        raise SignInFailed("refused", "the email address is not verified")
    groups = claims.get(settings.groups_claim)
    listed = groups if isinstance(groups, list) else [groups]
    role = settings.role_of([one for one in listed if isinstance(one, str)])
    if role is None:
        raise SignInFailed("refused", f"{name} is in no group that WEIGHBRIDGE_OIDC_ROLES names")
    return name, role


def _flow_of(request: web.Request) -> tuple[str, str, str]:
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(FLOW_COOKIE)
    except CookieError:
        morsel = None
    parts = morsel.value.split(".") if morsel is not None else []
    if len(parts) != 3 or not all(parts):
        raise SignInFailed("expired", "the browser has no sign-in under way, or it took more than ten minutes")
    return parts[0], parts[1], parts[2]


async def _fetch(context: Context, method: str, url: str, **more: Any) -> dict[str, Any]:
    """JSON of the provider. Raises SignInFailed where it does not answer, or not with an object."""
    try:
        async with context.http().request(method, url, timeout=_TIMEOUT, allow_redirects=False, **more) as reply:
            body = await reply.content.read(MAX_ANSWER_BYTES)
            if reply.status != 200:
                raise SignInFailed("failed", f"{urlsplit(url).path} answered {reply.status}: {body[:200]!r}")
        found = orjson.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
        raise SignInFailed("failed", f"{url} does not answer as it should: {failure!r}") from failure
    if not isinstance(found, dict):
        raise SignInFailed("failed", f"{urlsplit(url).path} answered with something else than an object")
    return found


def _sign_in(context: Context) -> SignIn:
    if context.sign_in is None:
        raise ApiError(404, "not_configured", "no identity provider is configured (WEIGHBRIDGE_OIDC_ISSUER)")
    return context.sign_in


def _lead_to(url: str, status: int = 303) -> web.Response:
    return web.Response(status=status, headers={"location": url, "cache-control": "no-store"})


_CALLBACK_KNOWN = (
    Parameter("code", "The provider's code, good for one use."),
    Parameter("state", "Of this browser's sign-in."),
    Parameter("error", "Why the provider gives no code."),
)
ROUTES = (
    Route("GET", "/session/oidc", begin, "public", "Sign in with the identity provider", "redirect", success=302, also=(404, 502)),
    Route(
        "GET",
        "/session/oidc/callback",
        finish,
        "public",
        "Where the identity provider leads back to",
        "redirect",
        _CALLBACK_KNOWN,
        success=303,
        also=(404,),
    ),
)
