"""Alerts: what is told, once, to whom; and that it arrives, or is kept as a dead letter."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import trustme
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult

from proxy.config.load import load_texts
from proxy.control.alerts.alert import Alert
from proxy.control.alerts.alert_rules import AlertRules, read_alert_rules
from proxy.control.alerts.delivery import Deliveries
from proxy.control.alerts.engine import USERS_AT_ONCE, AlertEngine
from proxy.errors import LedgerError
from proxy.telemetry.tasks import Tasks
from tests.control.conftest import ALICE_KEY

ADMIN, ALICE = "admin-key-of-the-tests", "wb-alice-key-of-the-tests"


@dataclass
class Receiver:
    """An HTTP server that answers as told and keeps what came."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/services/hook", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/services/hook"
    yield found
    await runner.cleanup()


@dataclass
class Alarm:
    """The engine over a house, ticked by hand."""

    house: Any
    engine: AlertEngine
    deliveries: Deliveries
    tasks: Tasks

    async def tick(self, seconds: float = 0.0) -> None:
        self.house.clock.at += seconds
        await self.engine.tick()
        if len(self.tasks):
            await asyncio.wait(list(self.tasks._running), timeout=10)

    async def raised(self, **query: str) -> list[str]:
        return [one["id"] for one in (await self.house.get("/alerts", **query))["alerts"]]


@pytest.fixture
async def alarm(house: Any) -> AsyncIterator[Alarm]:
    tasks = Tasks()
    deliveries = Deliveries(house.context, tasks, retry_seconds=(0.0, 0.0))
    engine = AlertEngine(house.context, deliveries)
    house.context.feed.listeners.append(engine.see)
    yield Alarm(house, engine, deliveries, tasks)
    await tasks.close()


async def aim(house: Any, *destinations: dict[str, Any]) -> Any:
    return await house.ask("PUT", "/alerts/destinations", json={"destinations": list(destinations)})


async def test_a_filling_limit_is_told_once_per_window_and_threshold(alarm: Alarm, record: Any) -> None:
    house = alarm.house
    for used, expected in ((400, []), (600, ["0.5"]), (650, ["0.5"]), (950, ["0.5", "0.9"]), (1200, ["0.5", "0.9", "1"])):
        house.worker.used["user:alice:*:tokens"] = used
        house.context.announce([record()])
        await alarm.tick(11)
        assert sorted(name.rsplit(":", 1)[1] for name in await alarm.raised(kind="daily")) == expected
    newest = (await house.get("/alerts", kind="daily"))["alerts"][0]
    assert (newest["user"], newest["severity"], newest["facts"]["used"], newest["facts"]["amount"]) == (
        "alice",
        "critical",
        1200,
        1000,
    )
    assert {one["kind"] for one in (await house.get("/alerts"))["alerts"]} == {"daily"}


async def test_a_house_of_many_users_is_looked_at_in_parts_and_nobody_is_left_out(alarm: Alarm, record: Any) -> None:
    house, count = alarm.house, 2 * USERS_AT_ONCE + 50
    names = [f"many-{number}" for number in range(count)]
    house.worker.used |= {f"user:{name}:*:tokens": 600 for name in names}
    house.context.announce([record(user=name) for name in names])
    house.worker.falls_silent_after = 4
    await alarm.tick(11)
    assert await alarm.raised(kind="daily") == []
    house.worker.falls_silent_after = None
    await alarm.tick(11)
    told: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await house.get("/alerts", kind="daily", limit="200", **cursor)
        told += [one["user"] for one in page["alerts"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(told) == sorted(names)


async def test_each_threshold_in_turn_and_all_over_when_the_window_is(alarm: Alarm, record: Any) -> None:
    house = alarm.house
    for used in (500, 750, 800, 900, 1000):
        house.worker.used["user:alice:*:tokens"] = used
        house.context.announce([record()])
        await alarm.tick(11)
    told = (await house.get("/alerts", kind="daily"))["alerts"]
    assert [one["facts"]["threshold"] for one in told] == [1.0, 0.9, 0.8, 0.75, 0.5]
    assert [one["severity"] for one in told] == ["critical", "warning", "warning", "info", "info"]
    await house.ask("POST", f"/alerts/{quote(told[1]['id'])}/dismiss")
    house.worker.used["user:alice:*:tokens"] = 600  # an override made room
    house.context.announce([record()])
    await alarm.tick(11)
    found = {one["facts"]["threshold"]: one["state"] for one in (await house.get("/alerts", kind="daily"))["alerts"]}
    assert found == {1.0: "resolved", 0.9: "dismissed", 0.8: "resolved", 0.75: "resolved", 0.5: "open"}
    house.clock.at = 1795046400.0 + 1  # the window's end
    await alarm.tick(61)
    found = {one["facts"]["threshold"]: one["state"] for one in (await house.get("/alerts", kind="daily"))["alerts"]}
    assert found == {1.0: "resolved", 0.9: "dismissed", 0.8: "resolved", 0.75: "resolved", 0.5: "resolved"}


async def test_what_belongs_to_an_hour_or_a_day_is_over_with_it(alarm: Alarm, record: Any) -> None:
    failed = [record(outcome="upstream_error", status=500) for _ in range(30)]
    alarm.house.context.announce([*failed, record(cost_usd=None, price_source="unknown model")])
    await alarm.tick(1)
    assert {name.split(":")[0] for name in await alarm.raised(state="open")} == {"provider_failing", "unpriced_model"}
    await alarm.tick(3600)
    assert {name.split(":")[0] for name in await alarm.raised(state="open")} == {"unpriced_model"}
    await alarm.tick(86_400)
    assert await alarm.raised(state="open") == []
    assert len(await alarm.raised(state="resolved")) == 2


async def test_a_teams_budget_is_the_houses_alert(alarm: Alarm, record: Any) -> None:
    alarm.house.worker.used["team:research:*:cost_usd"] = 85 * 10**9
    alarm.house.context.announce([record()])
    await alarm.tick(11)
    (one,) = (await alarm.house.get("/alerts"))["alerts"]
    assert (one["kind"], one["severity"], one["user"], one["facts"]["used"]) == ("budget", "warning", None, "85")
    assert (await alarm.house.get("/alerts", ALICE))["alerts"] == []


async def test_two_replicas_raise_one_alert(alarm: Alarm, record: Any) -> None:
    house = alarm.house
    other = AlertEngine(house.context, alarm.deliveries)
    alert = Alert("x:1", "daily", "info", "2026-11-18T11:00:00.000000Z", "t", "t")
    raised = await asyncio.gather(*(engine.raise_all([alert]) for engine in (alarm.engine, other, alarm.engine, other)))
    assert sum(map(len, raised)) == 1


async def test_models_without_a_price_and_answers_without_usage_are_told_once_a_day(alarm: Alarm, record: Any) -> None:
    strange = record(cost_usd=None, response_model="new-model", price_source="unknown model: openai/new-model")
    mute = record(total_tokens=None, usage_details={"usage_missing": True})
    alarm.house.context.announce([strange, strange, mute])
    await alarm.tick()
    alarm.house.context.announce([strange, mute])
    await alarm.tick(60)
    assert sorted(await alarm.raised()) == [
        "unpriced_model:openai:new-model:2026-11-18",
        "usage_missing:openai:openai.chat:2026-11-18",
    ]


async def test_a_failing_provider_is_told(alarm: Alarm, record: Any) -> None:
    bad = {"outcome": "upstream_error", "status": 503, "error": "overloaded"}
    alarm.house.context.announce([record() for _ in range(9)] + [record(**bad) for _ in range(10)])
    await alarm.tick()
    assert await alarm.raised(kind="provider_failing") == []  # 19 calls are too few
    alarm.house.context.announce([record(outcome="upstream_error", status=400)])  # the caller's own mistake
    await alarm.tick()
    (one,) = (await alarm.house.get("/alerts", kind="provider_failing"))["alerts"]
    assert (one["facts"]["calls"], one["facts"]["failed"]) == (20, 10)
    assert "overloaded" in one["text"]


async def test_a_burst_is_told_against_what_is_usual(alarm: Alarm, record: Any) -> None:
    for _ in range(60):  # an hour of 10 calls a minute
        alarm.house.context.announce([record() for _ in range(10)])
        await alarm.tick(60)
    assert await alarm.raised(kind="burst") == []
    alarm.house.context.announce([record() for _ in range(300)])
    await alarm.tick()
    (one,) = (await alarm.house.get("/alerts", kind="burst"))["alerts"]
    assert (one["user"], one["facts"]["calls"]) == ("alice", 4 * 10 + 300)


async def test_a_day_that_stands_out_is_told(alarm: Alarm, record: Any) -> None:
    usual = [record(started_at=f"2026-11-{day}T10:00:00.000000Z", cost_usd="1") for day in range(11, 18)]
    await alarm.house.ledger.append([*usual, record(cost_usd="2.5")])
    await alarm.tick(601)
    found = await alarm.raised(kind="anomaly")
    assert sorted(found) == ["anomaly:alice:cost_usd:2026-11-18", "anomaly:model:test-model:cost_usd:2026-11-18"]


async def test_the_house_tells_of_itself(alarm: Alarm) -> None:
    context = alarm.house.context
    context.drain_stats = lambda: {"backlog_age_seconds": 120.0, "backlog_records": 900, "is_ledger_away": True}
    context.config_mistakes = lambda: ["limits.yaml:3:5: unknown name `tokns`"]
    alarm.house.worker.stats = {"worker": 0, "quota": {"state": "local", "shared": True}, "spool": {"lost": 3}}
    await alarm.tick(11)
    await alarm.tick(11)
    found = {one["kind"]: one for one in (await alarm.house.get("/alerts"))["alerts"]}
    assert set(found) == {"ledger_behind", "config_refused", "store_away"}
    assert len(await alarm.raised()) == 4  # behind, and losing, are two
    assert "tokns" in found["config_refused"]["text"]


async def test_alerts_are_acknowledged_and_dismissed_by_whom_they_concern(alarm: Alarm) -> None:
    house = alarm.house
    at = "2026-11-18T11:00:00.000000Z"
    await alarm.engine.raise_all([Alert("a", "daily", "info", at, "t", "t", "alice"), Alert("b", "daily", "info", at, "t", "t")])
    seen = await house.ask("POST", "/alerts/a/acknowledge", ALICE)
    assert (seen["state"], seen["changed_by"]) == ("acknowledged", "user:alice")
    await house.ask("POST", "/alerts/b/dismiss", ALICE, status=404)
    await house.ask("POST", "/alerts/b/dismiss")
    assert await alarm.raised(state="open") == []
    assert await alarm.raised(state="dismissed") == ["b"]


async def test_a_webhook_is_signed_and_groups_what_comes_together(alarm: Alarm, receiver: Receiver) -> None:
    await aim(alarm.house, {"channel": "webhook", "name": "ops", "url": receiver.url, "secret": "s3cret", "group_seconds": 30})
    at = "2026-11-18T11:00:00.000000Z"
    await alarm.engine.raise_all([Alert("a", "daily", "info", at, "first", "t")])
    await alarm.tick(10)
    await alarm.engine.raise_all([Alert("b", "daily", "info", at, "second", "t")])
    await alarm.tick(10)
    assert receiver.got == []
    await alarm.tick(10)
    ((headers, body),) = receiver.got
    assert [one["title"] for one in orjson.loads(body)["alerts"]] == ["first", "second"]
    time, signed = headers["x-weighbridge-signature"].removeprefix("t=").split(",v1=")
    assert hmac.compare_digest(signed, hmac.new(b"s3cret", time.encode() + b"." + body, sha256).hexdigest())
    assert headers["x-weighbridge-delivery"] == orjson.loads(body)["delivery"]


async def test_what_does_not_arrive_is_tried_again_and_then_a_dead_letter(alarm: Alarm, receiver: Receiver) -> None:
    await aim(alarm.house, {"channel": "webhook", "name": "ops", "url": receiver.url, "group_seconds": 0})
    at = "2026-11-18T11:00:00.000000Z"
    receiver.answers = [503, 429, 200]
    await alarm.engine.raise_all([Alert("a", "daily", "info", at, "t", "t")])
    await alarm.tick()
    assert len({headers["x-weighbridge-delivery"] for headers, _ in receiver.got}) == 1  # one delivery, three tries
    (sent,) = (await alarm.house.get("/alerts/deliveries"))["deliveries"]
    assert (sent["state"], sent["attempts"]) == ("sent", 3)
    receiver.answers = [500, 500, 500, 410]
    await alarm.engine.raise_all([Alert("b", "daily", "info", at, "t", "t")])
    await alarm.tick(1)
    await alarm.engine.raise_all([Alert("c", "daily", "info", at, "t", "t")])
    await alarm.tick(1)
    dead = (await alarm.house.get("/alerts/deliveries", state="dead"))["deliveries"]
    assert [(one["alerts"][0]["id"], one["attempts"], one["error"]) for one in dead] == [
        ("c", 1, "answered 410"),
        ("b", 3, "answered 500"),
    ]


async def test_a_dead_letter_is_tried_again_when_an_admin_says_so(alarm: Alarm, receiver: Receiver) -> None:
    house = alarm.house
    await aim(house, {"channel": "webhook", "name": "ops", "url": receiver.url, "group_seconds": 0})
    receiver.answers = [410]
    await alarm.engine.raise_all([Alert("a", "daily", "info", "2026-11-18T11:00:00.000000Z", "t", "t")])
    await alarm.tick()
    (dead,) = (await house.get("/alerts/deliveries"))["deliveries"]
    assert dead["state"] == "dead"
    path = f"/alerts/deliveries/{dead['id']}/retry"
    assert (await house.ask("POST", path))["state"] == "pending"
    assert (await house.ask("POST", path, status=409))["error"]["code"] == "not_dead"
    house.clock.at += 60
    await alarm.tick()
    (sent,) = (await house.get("/alerts/deliveries"))["deliveries"]
    assert (sent["id"], sent["state"]) == (dead["id"], "sent")
    assert [headers["x-weighbridge-delivery"] for headers, _ in receiver.got] == [dead["id"]] * 2
    assert "retry delivery" in [one["action"] for one in (await house.get("/audit"))["audit"]]
    await house.ask("POST", "/alerts/deliveries/nobody/retry", status=404)
    await house.ask("POST", path, key=ALICE_KEY, status=403)


async def test_a_dead_letter_to_nobody_stays_one(alarm: Alarm, receiver: Receiver) -> None:
    await aim(alarm.house, {"channel": "webhook", "name": "ops", "url": receiver.url, "group_seconds": 0})
    receiver.answers = [410]
    await alarm.engine.raise_all([Alert("a", "daily", "info", "2026-11-18T11:00:00.000000Z", "t", "t")])
    await alarm.tick()
    (dead,) = (await alarm.house.get("/alerts/deliveries"))["deliveries"]
    await alarm.house.ask("PUT", "/alerts/destinations", json={"destinations": []})
    refused = await alarm.house.ask("POST", f"/alerts/deliveries/{dead['id']}/retry", status=409)
    assert refused["error"]["code"] == "no_destination"
    assert [one["state"] for one in (await alarm.house.get("/alerts/deliveries"))["deliveries"]] == ["dead"]


async def test_a_delivery_of_a_process_that_died_is_taken_up_once(alarm: Alarm, receiver: Receiver) -> None:
    await aim(alarm.house, {"channel": "webhook", "name": "ops", "url": receiver.url, "group_seconds": 30})
    dying, survivors = Deliveries(alarm.house.context, Tasks()), [alarm.deliveries, Deliveries(alarm.house.context, alarm.tasks)]
    await dying.hand_over([Alert("a", "daily", "info", "2026-11-18T11:00:00.000000Z", "t", "t")])
    assert [await one.resume() for one in survivors] == [0, 0]  # its process may live
    alarm.house.clock.at += 30 + 61
    assert sorted(await asyncio.gather(*(one.resume() for one in survivors))) == [0, 1]
    await alarm.tick()
    ((_, body),) = receiver.got
    assert orjson.loads(body)["alerts"][0]["id"] == "a"
    alarm.house.clock.at += 1000
    assert [await one.resume() for one in survivors] == [0, 0]


async def test_what_happened_before_the_start_is_told(alarm: Alarm, record: Any) -> None:
    await alarm.house.ledger.append([record()])
    alarm.house.worker.used["user:alice:*:tokens"] = 990
    await alarm.tick()
    assert [name.rsplit(":", 1)[1] for name in await alarm.raised(kind="daily")] == ["0.9"]


async def test_the_ledger_away_loses_no_alert(alarm: Alarm, record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> bool:
        raise LedgerError("away")

    alarm.house.context.announce([record(cost_usd=None)])
    with monkeypatch.context() as outage:
        outage.setattr(alarm.house.ledger, "put_entry", away)
        await alarm.tick()
    assert await alarm.raised() == []
    await alarm.tick()
    assert len(await alarm.raised(kind="unpriced_model")) == 1


async def test_slack_gets_words_by_severity_kind_and_hour(alarm: Alarm, receiver: Receiver) -> None:
    await aim(
        alarm.house,
        {
            "channel": "slack",
            "name": "chat",
            "url": receiver.url,
            "min_severity": "warning",
            "kinds": ["daily"],
            "group_seconds": 0,
            "quiet_hours": {"start": "22:00", "end": "13:30", "timezone": "Europe/Berlin"},
        },
    )
    at = "2026-11-18T11:00:00.000000Z"
    wanted = Alert("a", "daily", "warning", at, "wanted", "t")
    await alarm.engine.raise_all(
        [wanted, Alert("b", "daily", "info", at, "mild", "t"), Alert("c", "burst", "critical", at, "other", "t")]
    )
    await alarm.tick()
    assert receiver.got == []  # 13:00 in Berlin is still quiet
    await alarm.engine.raise_all([Alert("d", "daily", "critical", at, "urgent", "t")])
    await alarm.tick()
    await alarm.tick(1800)
    assert [orjson.loads(body)["text"] for _, body in receiver.got] == ["[critical] urgent: t", "[warning] wanted: t"]


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(envelope.content.decode())
        return "250 OK"


async def test_mail_arrives(alarm: Alarm) -> None:
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    smtp_url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    mail = {"channel": "email", "name": "mail", "smtp_url": smtp_url, "sender": "wb@example.org", "recipients": ["ops@example.org"]}
    await aim(alarm.house, mail)
    trial = await alarm.house.ask("POST", "/alerts/test", json={"destination": "mail"})
    server.close()
    await server.wait_closed()
    assert trial["delivered"] is True
    assert "Subject: [weighbridge] A test alert" in mailbox.messages[0]
    failed = await alarm.house.ask("POST", "/alerts/test", json={"destination": "mail"})
    assert failed["delivered"] is False


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_mail_goes_by_tls_with_a_password_and_to_nobody_else(
    alarm: Alarm, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, mailbox = trustme.CA(), Mailbox()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    logins: list[tuple[bytes, bytes]] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss")

    def make() -> SMTP:
        is_upgraded = scheme == "smtp+starttls"
        options: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if is_upgraded else {"auth_require_tls": False}
        with warnings.catch_warnings(action="ignore"):  # it does not see the TLS around it
            return SMTP(mailbox, authenticator=check, auth_required=True, **options)

    around = tls if scheme == "smtps" else None
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=around)
    url = f"{scheme}://ops:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    mail = {"channel": "email", "name": "mail", "smtp_url": url, "sender": "wb@example.org", "recipients": ["ops@example.org"]}
    await aim(alarm.house, mail)
    stranger = await alarm.house.ask("POST", "/alerts/test", json={"destination": "mail"})
    assert stranger["delivered"] is False, "a server whose certificate nobody vouches for got the password"
    assert (logins, mailbox.messages) == ([], [])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    trial = await alarm.house.ask("POST", "/alerts/test", json={"destination": "mail"})
    assert trial["delivered"] is True, trial
    assert logins == [(b"ops", b"p@ss")]
    assert "A test alert" in mailbox.messages[0]
    server.close()
    await server.wait_closed()


async def test_secrets_are_never_shown_and_stay_when_sent_back(alarm: Alarm, receiver: Receiver) -> None:
    sent = [
        {"channel": "webhook", "name": "w", "url": "https://example.org/hook", "secret": "s3cret"},
        {"channel": "slack", "name": "s", "url": "https://hooks.example.org/services/T0/B0/tokentoken"},
        {
            "channel": "email",
            "name": "m",
            "smtp_url": "smtps://u:passw0rd@mail.example.org",
            "sender": "a@b.c",
            "recipients": ["d@e.f"],
        },
    ]
    shown = await aim(alarm.house, *sent)
    everything = str(shown) + str(await alarm.house.get("/audit"))
    assert not [secret for secret in ("s3cret", "tokentoken", "passw0rd") if secret in everything]
    await aim(alarm.house, *shown["destinations"])
    kept = await alarm.deliveries.destinations()
    assert [getattr(kept[0], "secret", ""), kept[1].url, kept[2].smtp_url] == ["s3cret", sent[1]["url"], sent[2]["smtp_url"]]  # type: ignore[union-attr]
    await alarm.house.ask("PUT", "/alerts/destinations", status=400, json={"destinations": [{"channel": "fax", "name": "f"}]})
    await alarm.house.ask("PUT", "/alerts/destinations", status=422, json={"destinations": [sent[0], sent[0]]})


async def test_the_engine_runs_with_the_application(house: Any, record: Any) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    from proxy.control.app import build_app

    client: TestClient[Any, Any] = TestClient(TestServer(build_app(house.context)))
    await client.start_server()
    try:
        house.context.announce([record(cost_usd=None)])
        for _ in range(60):
            if (await house.get("/alerts"))["alerts"]:
                break
            await asyncio.sleep(0.05)
        assert [one["kind"] for one in (await house.get("/alerts"))["alerts"]] == ["unpriced_model"]
    finally:
        await client.close()
    assert house.context.feed.listeners == []


async def test_a_state_of_the_house_resolves_by_itself(alarm: Alarm) -> None:
    context = alarm.house.context
    lost = Alert("store_away:local:2026-11-18T05", "store_away", "critical", "2026-11-18T05:10:00.000000Z", "t", "t")
    others = Alert("ledger_behind:2026-11-18T11", "ledger_behind", "critical", "2026-11-18T11:10:00.000000Z", "t", "t")
    for alert in (lost, others):  # of a process that is gone, and of another replica
        await context.ledger.put_entry(alert.as_entry())
    context.config_mistakes = lambda: ["limits.yaml:3:5: unknown name `tokns`"]
    alarm.house.worker.stats = {"worker": 0, "quota": {"state": "open", "shared": True}}
    await alarm.tick(11)
    context.config_mistakes = list
    await alarm.tick(3600)  # the store is still away: the next hour's alert stands beside the first
    assert len(await alarm.raised(state="open", kind="store_away")) == 2
    alarm.house.worker.stats = {"worker": 0, "quota": {"state": "normal", "shared": True}}
    await alarm.tick(11)
    assert await alarm.raised(state="open") == [others.id]
    gone = (await alarm.house.get("/alerts", state="resolved"))["alerts"]
    assert {one["id"].split(":")[0] for one in gone} == {"store_away", "config_refused"}
    assert len(gone) == 4
    assert {one["changed_by"] for one in gone} == {"weighbridge"}


def written(text: str, environ: dict[str, str] | None = None) -> AlertRules:
    return read_alert_rules(load_texts({"alerts.yaml": text}, environ or {}).alerts, environ or {})


async def test_destinations_of_the_file_stand_beside_those_of_the_api(alarm: Alarm, receiver: Receiver) -> None:
    house = alarm.house
    house.context.alert_rules = written(
        """
        destinations:
          - {name: ops, channel: webhook, url: "${HOOK}", secret: "${SECRET}", group_seconds: 0s, teams: [research], users: [bob]}
        """,
        {"HOOK": receiver.url, "SECRET": "s3cret"},
    )
    shown = await house.get("/alerts/destinations")
    assert (shown["destinations"], shown["configured"][0]["name"]) == ([], "ops")
    assert "s3cret" not in str(shown)
    taken = {"channel": "webhook", "name": "ops", "url": receiver.url}
    await house.ask("PUT", "/alerts/destinations", status=409, json={"destinations": [taken]})
    assert (await house.ask("POST", "/alerts/test", json={"destination": "ops"}))["delivered"] is True
    receiver.got.clear()
    at = "2026-11-18T11:00:00.000000Z"
    for name, user, team in (("a", "alice", "research"), ("b", "bob", None), ("c", "carol", "sales"), ("d", None, None)):
        await alarm.engine.raise_all([Alert(name, "daily", "info", at, name, "t", user, team=team)])
    await alarm.tick()
    assert [one["title"] for _, body in receiver.got for one in orjson.loads(body)["alerts"]] == ["a", "b"]


async def test_a_limits_alert_knows_its_team(alarm: Alarm, record: Any) -> None:
    alarm.house.worker.used |= {"user:alice:*:tokens": 600, "team:research:*:cost_usd": 85 * 10**9}
    alarm.house.context.announce([record()])
    await alarm.tick(11)
    found = (await alarm.house.get("/alerts"))["alerts"]
    assert {(one["user"], one["team"]) for one in found} == {("alice", "research"), (None, "research")}


async def test_what_stands_out_is_decided_by_the_file_and_by_the_question(alarm: Alarm, record: Any) -> None:
    house = alarm.house
    usual = [record(started_at=f"2026-11-{day}T10:00:00.000000Z", cost_usd="1", key_id="abc") for day in range(11, 18)]
    await house.ledger.append([*usual, record(cost_usd="2.5", key_id="abc")])
    house.context.alert_rules = written("anomalies: {cost_usd: 3, by: [key, model]}")
    await alarm.tick(601)
    assert await alarm.raised(kind="anomaly") == []
    assert (await house.get("/usage/anomalies"))["anomalies"] == []
    assert len((await house.get("/usage/anomalies", cost_factor="2"))["anomalies"]) == 1
    house.context.alert_rules = written("anomalies: {cost_usd: 2.4, by: [key, model]}")
    await alarm.tick(601)
    assert sorted(await alarm.raised(kind="anomaly")) == [
        "anomaly:key:abc:cost_usd:2026-11-18",
        "anomaly:model:test-model:cost_usd:2026-11-18",
    ]
    assert [one["factor"] for one in (await house.get("/usage/anomalies"))["rules"]] == [2.0, 2.4, 3.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
async def test_apprise_reaches_what_it_knows(alarm: Alarm, receiver: Receiver) -> None:
    address = receiver.url.replace("http://", "json://")
    await aim(alarm.house, {"channel": "apprise", "name": "any", "url": address, "group_seconds": 0})
    assert (await alarm.house.get("/alerts/destinations"))["destinations"][0]["url"] == "json://(kept)"
    assert (await alarm.house.ask("POST", "/alerts/test", json={"destination": "any"}))["delivered"] is True
    assert orjson.loads(receiver.got[0][1])["title"] == "[weighbridge] A test alert"
    receiver.answers = [500]
    assert (await alarm.house.ask("POST", "/alerts/test", json={"destination": "any"}))["delivered"] is False


async def test_an_answer_that_was_cut_is_not_one_without_usage(alarm: Alarm, record: Any) -> None:
    cut = record(outcome="upstream_aborted", usage_source="estimated", usage_details={"usage_missing": True})
    alarm.house.context.announce([cut])
    await alarm.tick()
    assert await alarm.raised(kind="usage_missing") == []
