"""Log-in with a name and a password: cookie, CSRF token, roles, slowed guessing, and how sessions end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient

PASSWORD = "correct horse battery"
ALICE = "wb-alice-key-of-the-tests"


class Browser:
    """One browser: it keeps cookies and sends the CSRF token that it was given."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.csrf: str | None = None

    async def ask(self, method: str, path: str, *, csrf: str | None = "own", **more: Any) -> tuple[int, Any, Any]:
        token = self.csrf if csrf == "own" else csrf
        headers = {"x-csrf-token": token} if token else {}
        reply = await self.client.request(method, f"/api/v1{path}", headers=headers, **more)
        return reply.status, await reply.json(), reply

    async def log_in(self, name: str = "root", password: str = PASSWORD) -> Any:
        status, found, reply = await self.ask("POST", "/session", json={"name": name, "password": password})
        if status == 201:
            self.csrf = found["csrf_token"]
        return status, found, reply


@pytest.fixture
async def visitor(house: Any) -> AsyncIterator[Browser]:
    client: TestClient[Any, Any] = TestClient(house.client.server, cookie_jar=CookieJar(unsafe=True))
    await house.ask("PUT", "/admin/logins/root", json={"role": "admin", "password": PASSWORD})
    await house.ask("PUT", "/admin/logins/vera", json={"role": "auditor", "password": PASSWORD})
    await house.ask("PUT", "/admin/logins/al", json={"role": "user", "user": "alice", "password": PASSWORD})
    yield Browser(client)
    await client.session.close()


async def test_a_log_in_gives_a_cookie_that_no_script_and_no_other_site_can_use(visitor: Browser) -> None:
    status, found, reply = await visitor.log_in()
    assert (status, found["role"], found["name"], found["kind"]) == (201, "admin", "password:root", "session")
    cookie = reply.headers["set-cookie"]
    assert cookie.startswith("weighbridge-session=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/api/v1"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie  # plain http on this machine; a browser would not send it back otherwise
    assert (await visitor.ask("GET", "/session"))[1]["csrf_token"] == visitor.csrf
    assert (await visitor.ask("GET", "/users"))[0] == 200


async def test_the_cookie_is_secure_where_the_browser_spoke_tls(visitor: Browser) -> None:
    body = {"name": "root", "password": PASSWORD}
    reply = await visitor.client.post("/api/v1/session", json=body, headers={"origin": "https://llm.example.com"})
    assert "Secure" in reply.headers["set-cookie"]


async def test_a_change_needs_the_sessions_csrf_token(visitor: Browser, house: Any) -> None:
    house.clock.at += 1  # lines of one instant stand in no order
    await visitor.log_in()
    house.clock.at += 1
    for token in (None, "guessed", "é"):
        status, refusal, _ = await visitor.ask("POST", "/keys", csrf=token, json={"user": "carol"})
        assert (status, refusal["error"]["code"]) == (403, "csrf")
    assert (await visitor.ask("POST", "/keys", json={"user": "carol"}))[0] == 201
    lines = [(line["by"], line["action"]) for line in (await house.get("/audit"))["audit"]]
    assert lines[:2] == [("password:root", "create key"), ("password:root", "log in")]
    assert lines.count(("password:root", "create key")) == 1


async def test_a_log_in_by_a_foreign_form_is_not_taken(visitor: Browser) -> None:
    reply = await visitor.client.post(
        "/api/v1/session", data=b'{"name": "root", "password": "correct horse battery"}', headers={"content-type": "text/plain"}
    )
    assert reply.status == 400
    assert "set-cookie" not in reply.headers


async def test_log_out_ends_the_session_and_not_only_the_cookie(visitor: Browser, house: Any) -> None:
    _, _, reply = await visitor.log_in()
    token = reply.cookies["weighbridge-session"].value
    assert (await visitor.ask("DELETE", "/session", csrf=None))[0] == 403
    status, _, gone = await visitor.ask("DELETE", "/session")
    assert (status, gone.cookies["weighbridge-session"].value) == (200, "")
    again = await house.client.get("/api/v1/users", headers={"cookie": f"weighbridge-session={token}"})
    assert again.status == 401
    assert (await house.get("/admin/sessions"))["sessions"] == []
    assert (await visitor.ask("DELETE", "/session"))[0] == 200  # twice is no mistake


async def test_a_session_ends_after_its_time(visitor: Browser, house: Any) -> None:
    await visitor.log_in()
    house.clock.at += 12 * 3600 - 1
    assert (await visitor.ask("GET", "/session"))[0] == 200
    house.clock.at += 2
    status, refusal, _ = await visitor.ask("GET", "/session")
    assert (status, "log in again" in refusal["error"]["message"]) == (401, True)


@pytest.mark.parametrize("change", ["password", "role", "removed", "ended"])
async def test_a_session_ends_with_its_account(visitor: Browser, house: Any, change: str) -> None:
    await visitor.log_in()
    assert (await visitor.ask("GET", "/session"))[0] == 200
    house.clock.at += 1
    if change == "removed":
        await house.ask("DELETE", "/admin/logins/root")
    elif change == "ended":
        (found,) = (await house.get("/admin/sessions"))["sessions"]
        await house.ask("DELETE", f"/admin/sessions/{found['id']}")
    else:
        body = {"role": "auditor"} if change == "role" else {"role": "admin", "password": "another long password"}
        await house.ask("PUT", "/admin/logins/root", json=body)
    assert (await visitor.ask("GET", "/session"))[0] == 401


async def test_an_auditor_sees_everything_and_changes_nothing(visitor: Browser, house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(user="bob")])
    await visitor.log_in("vera")
    for path in (
        "/usage/summary",
        "/users/bob",
        "/audit",
        "/switch",
        "/keys",
        "/admin/keys",
        "/admin/sessions",
        "/stats",
        "/limits",
    ):
        assert (await visitor.ask("GET", path))[0] == 200, path
    assert (await visitor.ask("GET", "/usage/summary"))[1]["totals"]["requests"] == 2
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/keys", {"user": "mallory"}),
        ("POST", "/switch", {"scope": "all"}),
        ("PATCH", "/users/bob/limits", {"requests": {}}),
        ("DELETE", "/users/bob/data", None),
        ("POST", "/prices/reprice", None),
        ("POST", "/admin/keys", {"name": "me"}),
        ("PUT", "/admin/logins/vera", {"role": "admin"}),
        ("POST", "/alerts/x/dismiss", None),
        ("DELETE", "/admin/sessions/x", None),
        ("POST", "/usage/track", {"user": "bob", "provider": "openai", "model": "m"}),
    ]
    before = len((await house.get("/audit"))["audit"])
    for method, path, body in changes:
        assert (await visitor.ask(method, path, json=body))[0] == 403, path
    assert len((await house.get("/audit"))["audit"]) == before
    assert (await visitor.ask("POST", "/limits/simulate", json={"limits_yaml": "{}"}))[0] == 200


async def test_an_account_of_a_user_sees_that_users_own(visitor: Browser, house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(user="bob")])
    await visitor.log_in("al")
    found = (await visitor.ask("GET", "/session"))[1]
    assert (found["role"], found["user"], found["team"]) == ("user", "alice", "research")
    assert (await visitor.ask("GET", "/usage/summary"))[1]["totals"]["requests"] == 1
    assert (await visitor.ask("GET", "/users/bob"))[0] == 403
    assert (await visitor.ask("GET", "/audit"))[0] == 403


async def test_wrong_passwords_and_unknown_names_look_the_same(visitor: Browser) -> None:
    answers = [await visitor.log_in("root", "not the password"), await visitor.log_in("nobody", "not the password")]
    assert [(status, found["error"]["code"]) for status, found, _ in answers] == [(401, "wrong_password")] * 2
    assert answers[0][1] == answers[1][1]


async def test_guessing_is_slowed_down_and_the_wait_is_said(visitor: Browser, house: Any) -> None:
    for _ in range(5):
        assert (await visitor.log_in("root", "a guess that is wrong"))[0] == 401
    status, _, reply = await visitor.log_in()  # the right one, too late
    assert (status, reply.headers["retry-after"]) == (429, "600")
    assert (await visitor.log_in("vera"))[0] == 201  # others are not held up
    house.clock.at += 601
    assert (await visitor.log_in())[0] == 201


async def test_a_good_log_in_forgives_the_slips_before_it(visitor: Browser) -> None:
    for _ in range(3):
        for _ in range(4):
            assert (await visitor.log_in("root", "a slip of the fingers"))[0] == 401
        assert (await visitor.log_in())[0] == 201


async def test_a_person_changes_their_own_password(visitor: Browser, house: Any) -> None:
    other = Browser(TestClient(house.client.server, cookie_jar=CookieJar(unsafe=True)))
    await visitor.log_in("vera")
    await other.log_in("vera")
    house.clock.at += 1
    wrong = {"password": "not the password", "new_password": "a much longer password"}
    assert (await visitor.ask("POST", "/session/password", json=wrong))[0] == 403
    status, found, _ = await visitor.ask("POST", "/session/password", json={**wrong, "password": PASSWORD})
    assert status == 200
    visitor.csrf = found["csrf_token"]
    assert (await visitor.ask("GET", "/session"))[0] == 200  # this browser goes on, in a new session
    assert (await other.ask("GET", "/session"))[0] == 401
    assert (await other.log_in("vera"))[0] == 401
    assert (await other.log_in("vera", "a much longer password"))[0] == 201
    await other.client.session.close()
    reply = await house.ask("POST", "/session/password", json={**wrong, "password": PASSWORD}, status=409)
    assert reply["error"]["code"] == "no_account"  # a key has no password


async def test_passwords_are_kept_as_scrypt_and_never_shown(visitor: Browser, house: Any) -> None:
    kept = await house.ledger.settings("login:")
    assert all(str(one["scrypt"]).startswith("scrypt$15$8$1$") for one in kept.values())
    assert len({one["scrypt"] for one in kept.values()}) == 3  # salted: the same password three times
    shown = str(await house.get("/admin/logins")) + str(await house.get("/audit"))
    assert "scrypt" not in shown
    assert PASSWORD not in shown + str(kept)


async def test_accounts_are_checked_when_they_are_made(house: Any) -> None:
    await house.ask("PUT", "/admin/logins/new", json={"role": "admin", "password": "short"}, status=400)
    await house.ask("PUT", "/admin/logins/new", json={"role": "admin"}, status=422)
    body = {"role": "admin", "user": "alice", "password": PASSWORD}
    await house.ask("PUT", "/admin/logins/new", json=body, status=422)
    await house.ask("DELETE", "/admin/logins/new", status=404)


async def test_the_page_learns_which_ways_in_there_are(visitor: Browser, house: Any) -> None:
    assert (await visitor.ask("GET", "/session/options"))[1] == {"password": True, "key": True, "oidc": None}
    for name in ("root", "vera", "al"):
        await house.ask("DELETE", f"/admin/logins/{name}")
    assert (await visitor.ask("GET", "/session/options"))[1]["password"] is False


async def test_who_am_i_with_a_key(house: Any) -> None:
    mine = await house.get("/session", ALICE)
    assert (mine["role"], mine["user"], mine["kind"], mine["csrf_token"]) == ("user", "alice", "virtual", None)
    admin = await house.get("/me")
    assert (admin["role"], admin["name"], admin["user"]) == ("admin", "admin", None)
    assert (await house.client.get("/api/v1/session")).status == 401


@pytest.mark.parametrize(
    "cookie", ["weighbridge-session=", "weighbridge-session=x", 'weighbridge-session="', "weighbridge-session=" + "y" * 5000]
)
async def test_a_made_up_cookie_opens_nothing(house: Any, cookie: str) -> None:
    assert (await house.client.get("/api/v1/users", headers={"cookie": cookie})).status == 401


async def test_a_key_goes_before_a_cookie(visitor: Browser) -> None:
    """What a script sends on purpose counts, and needs no CSRF token."""
    await visitor.log_in("vera")
    reply = await visitor.client.post(
        "/api/v1/keys", json={"user": "x"}, headers={"authorization": "Bearer admin-key-of-the-tests"}
    )
    assert reply.status == 201
