"""What operators and users ask and do through the control API, on the real proxy while calls go through it: figures that are true
right after a call, and changes that every worker follows within a second. On SQLite with one worker, and on PostgreSQL and Redis
with two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import ADMIN_KEY, House, limits_yaml, providers_yaml, virtual_key
from tests.servers import postgres_server, redis_server
from tests.waiting import slowness, within

CHAT = "/openai/v1/chat/completions"
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How much does a lorry weigh?"}]}
OUTPUT_TOKENS = 40
ONE_SECOND = 1.0
PATIENCE_SECONDS = 60.0
IN_A_ROW = 8
LOOK_SECONDS = 0.3
"""By then every worker has looked at the rules once more."""
USERS = {
    "ada": "{team: crew, tokens: {per_day: 1_000_000}, cost_usd: {per_month: 50}, requests: {per_day: 10_000}}",
    "tracked": "{tokens: {per_day: 1_000}}",
    "filling": "{tokens: {per_day: 1_000, mode: soft}}",
    "watched": "{tokens: {per_day: 1_000_000}}",
}
PRICES = "prices:\n  openai:\n    gpt-4o-mini: {input_mtok: 1, output_mtok: 10}\n"


@pytest.fixture(scope="module", params=["SQLite, one worker", "PostgreSQL and Redis, two workers"])
def run_house(request: pytest.FixtureRequest, provider: FakeProvider) -> Iterator[House]:
    files = {
        "providers.yaml": providers_yaml(provider.url),
        "limits.yaml": limits_yaml(USERS, "mode: balanced\nalert_at: [0.5, 0.75, 0.8, 0.9, 1.0]\nteams: {crew: {}}"),
        "prices.yaml": PRICES,
    }
    if request.param.startswith("SQLite"):
        with House(files) as house:
            yield house
        return
    with (
        postgres_server() as postgres,
        redis_server() as redis,
        House(files, 2, {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}) as house,
    ):
        yield house


def post(house: House, user: str = "ada", key: str | None = None, **more: Any) -> httpx.Response:
    """One call on a connection of its own, so that each worker gets some."""
    headers = {
        "authorization": f"Bearer {key or virtual_key(user)}",
        "x-demo": f"words={OUTPUT_TOKENS}",
        "connection": "close",
        **more.pop("headers", {}),
    }
    return httpx.post(house.url + CHAT, json=BODY | more, headers=headers, timeout=30)


def seconds_until(ask: Callable[[], int], wanted: int) -> float:
    """From now to the first of an unbroken row of answers with that status, long enough that every worker has followed."""
    began = time.monotonic()
    first, count = 0.0, 0
    while count < IN_A_ROW or time.monotonic() - began < first + LOOK_SECONDS:
        asked = time.monotonic() - began
        assert asked < PATIENCE_SECONDS, f"still not {wanted} after {PATIENCE_SECONDS} seconds"
        if ask() == wanted:
            first = first if count else asked
            count += 1
        else:
            count = 0
    return first


def limit(house: House, user: str, resource: str) -> dict[str, Any]:
    (found,) = [one for one in house.limits_of(user) if one["resource"] == resource]
    return found


def test_the_figures_are_true_right_after_a_call(run_house: House) -> None:
    house, session = run_house, uuid4().hex
    before = {resource: limit(house, "ada", resource) for resource in ("tokens", "cost_usd", "requests")}
    answers = [post(house, headers={"x-weighbridge-session": session}) for _ in range(5)]
    input_tokens, output_tokens = (answers[0].json()["usage"][name] for name in ("prompt_tokens", "completion_tokens"))
    assert output_tokens == OUTPUT_TOKENS
    cost = (input_tokens * Decimal(1) + output_tokens * Decimal(10)) / 1_000_000
    after = {resource: limit(house, "ada", resource) for resource in before}  # the counters, not the ledger: at once
    assert after["tokens"]["used"] - before["tokens"]["used"] == 5 * (input_tokens + output_tokens)
    assert Decimal(after["cost_usd"]["used"]) - Decimal(before["cost_usd"]["used"]) == 5 * cost
    assert after["requests"]["used"] - before["requests"]["used"] == 5
    assert [Decimal(one["reserved"]) for one in after.values()] == [0, 0, 0]
    assert after["tokens"]["remaining"] == 1_000_000 - after["tokens"]["used"]
    records = house.records_when(5, session=session)
    assert sorted(one["id"] for one in records) == sorted(one.headers["x-weighbridge-request-id"] for one in answers)
    assert {(one["user"], one["team"], one["total_tokens"], Decimal(one["cost_usd"])) for one in records} == {
        ("ada", "crew", input_tokens + output_tokens, cost)
    }
    summary = house.api(f"usage/summary?range=day&session={session}&group_by=user,model")
    assert summary["totals"]["requests"] == 5
    assert Decimal(summary["totals"]["cost_usd"]) == 5 * cost
    assert [one["user"] for one in summary["groups"]] == ["ada"]
    assert house.api("users/ada")["sessions"][0]["session"] == session


def test_what_a_running_call_holds_is_shown(run_house: House, provider: FakeProvider) -> None:
    house, name = run_house, f"held-{uuid4().hex[:8]}"
    call = threading.Thread(target=post, args=(house, "watched"), kwargs={"headers": {"x-demo": f"call={name}"}})
    with provider.holding(name):
        call.start()
        until = time.monotonic() + PATIENCE_SECONDS
        while not limit(house, "watched", "tokens")["reserved"]:
            assert time.monotonic() < until, "nothing was held while the call ran"
            time.sleep(0.05)
        held = limit(house, "watched", "tokens")
        assert held["remaining"] == 1_000_000 - held["used"] - held["reserved"]
    call.join()
    house.nothing_held("watched")


def test_a_key_works_as_soon_as_it_is_shown(run_house: House) -> None:
    for number in range(10):
        made = run_house.api("keys", "POST", {"user": f"hasty-{number}"})
        assert post(run_house, key=made["key"]).status_code == 200


def test_a_key_works_within_a_second_and_is_refused_within_a_second(run_house: House) -> None:
    made = run_house.api("keys", "POST", {"user": "keyed", "name": "laptop"})
    assert within(ONE_SECOND, seconds_until(lambda: post(run_house, key=made["key"]).status_code, 200))
    (shown,) = run_house.api("keys?user=keyed")["keys"]
    assert (shown["state"], shown["origin"]) == ("active", "api")
    run_house.api(f"keys/{made['key_id']}", "DELETE")
    assert within(ONE_SECOND, seconds_until(lambda: post(run_house, key=made["key"]).status_code, 401))


def test_a_rotated_key_has_its_grace_and_ends(run_house: House) -> None:
    old = run_house.api("keys", "POST", {"user": "rotating"})
    began = time.monotonic()
    new = run_house.api(f"keys/{old['key_id']}/rotate", "POST", {"grace_seconds": 3})
    assert within(ONE_SECOND, seconds_until(lambda: post(run_house, key=new["key"]).status_code, 200))
    assert post(run_house, key=old["key"]).status_code == 200 or time.monotonic() - began > 3  # a slow machine was too late
    asking = time.monotonic()
    seconds = seconds_until(lambda: post(run_house, key=old["key"]).status_code, 401)
    assert asking - began + seconds > 1
    assert within(4.5, seconds)


def test_an_override_is_in_force_within_a_second_and_ends_by_itself(run_house: House) -> None:
    began, lasting = time.monotonic(), 4 * slowness()
    until = (datetime.now(UTC) + timedelta(seconds=lasting)).isoformat()
    shown = run_house.api("users/watched/limits", "PATCH", {"requests": {"per_day": 0}, "until": until, "reason": "a test"})
    assert shown["override"]["reason"] == "a test"
    assert within(ONE_SECOND, seconds_until(lambda: post(run_house, "watched").status_code, 429))
    asking = time.monotonic()
    seconds = seconds_until(lambda: post(run_house, "watched").status_code, 200)
    assert asking - began + seconds > 1
    assert within(lasting + 1.5, seconds)
    assert run_house.api("users/watched")["override"] is None


@pytest.mark.parametrize(
    ("scope", "value"), [("all", ""), ("provider", "openai"), ("model", "gpt-4o*"), ("team", "crew"), ("user", "ada")]
)
def test_the_emergency_stop_holds_and_lets_go(run_house: House, provider: FakeProvider, scope: str, value: str) -> None:
    running: list[httpx.Response] = []
    name = f"stopped-{uuid4().hex[:8]}"
    try:
        with provider.holding(name):
            slow = {"x-demo": f"call={name}, words={OUTPUT_TOKENS}"}
            call = threading.Thread(target=lambda: running.append(post(run_house, headers=slow)))
            call.start()
            while not provider.book(name):
                assert call.is_alive(), "the call did not reach the provider"
                time.sleep(0.02)
            run_house.api("switch", "POST", {"scope": scope, "value": value, "reason": "a test"})
            assert within(ONE_SECOND, seconds_until(lambda: post(run_house).status_code, 503))
            untouched = post(run_house, "watched").status_code
            assert (untouched == 200) == (scope in ("team", "user"))
        call.join()
        assert running[0].status_code == 200  # what ran went on to its end
    finally:
        run_house.api("switch", "POST", {"scope": scope, "value": value, "stopped": False})
    assert within(ONE_SECOND, seconds_until(lambda: post(run_house).status_code, 200))
    assert run_house.api("switch")["stops"] == []


def test_the_emergency_stop_cuts_streams_where_it_is_told_to(run_house: House) -> None:
    headers = {"authorization": f"Bearer {virtual_key('ada')}", "x-demo": "words=400, delay=0.1"}
    began = time.monotonic()  # the whole answer would take 40 s
    with httpx.stream("POST", run_house.url + CHAT, json=BODY | {"stream": True}, headers=headers, timeout=30) as answer:
        pieces = answer.iter_raw()
        for _ in range(5):  # the first says who speaks; then come words, and words are what is estimated
            next(pieces)
        run_house.api("switch", "POST", {"scope": "user", "value": "ada", "cut_streams": True})
        try:
            with pytest.raises(httpx.TransportError):
                list(pieces)
        finally:
            run_house.api("switch", "POST", {"scope": "user", "value": "ada", "stopped": False})
    assert within(5, time.monotonic() - began)
    record = run_house.record(answer.headers["x-weighbridge-request-id"])
    assert record["outcome"] != "ok"
    assert 0 < record["output_tokens"] < 400
    run_house.nothing_held("ada")
    assert within(ONE_SECOND, seconds_until(lambda: post(run_house).status_code, 200))


def test_tracked_usage_counts_in_the_limits_once(run_house: House) -> None:
    sent = {"id": f"job-{uuid4().hex}", "user": "tracked", "provider": "openai", "model": "gpt-4o-mini", "input_tokens": 995}
    first = run_house.api("usage/track", "POST", sent)
    assert (first["accepted"], first["counted_in_limits"]) == (1, True)
    again = run_house.api("usage/track", "POST", sent)
    assert (again["accepted"], again["duplicates"]) == (0, 1)
    assert limit(run_house, "tracked", "tokens")["used"] == 995
    assert run_house.record(sent["id"])["cost_usd"] == "0.000995"
    assert [post(run_house, "tracked").status_code for _ in range(4)] == [429] * 4


def test_a_corrected_price_is_in_force_and_the_past_is_priced_again(run_house: House) -> None:
    model, session = f"odd-model-{uuid4().hex[:6]}", uuid4().hex
    for _ in range(3):
        answer = post(run_house, model=model, headers={"x-weighbridge-session": session})
        assert answer.status_code == 200, answer.text
    records = run_house.records_when(3, session=session)
    assert [one["cost_usd"] for one in records] == [None] * 3  # unknown, not zero
    run_house.write("prices.yaml", PRICES + f"    {model}: {{input_mtok: 2, output_mtok: 4}}\n")
    until = time.monotonic() + PATIENCE_SECONDS
    while not run_house.api(f"prices?model={model}")["prices"]:
        assert time.monotonic() < until, "the new price is not in force"
        time.sleep(0.05)
    tokens = records[0]["input_tokens"], records[0]["output_tokens"]
    cost = (tokens[0] * Decimal(2) + tokens[1] * Decimal(4)) / 1_000_000
    dry = run_house.api("prices/reprice?dry_run=true", "POST")
    assert (dry["changed"], Decimal(dry["after_usd"]) - Decimal(dry["before_usd"])) == (3, 3 * cost)
    assert run_house.api(f"usage/summary?range=day&model={model}")["totals"]["unpriced"] == 3
    assert run_house.api("prices/reprice", "POST")["changed"] == 3
    totals = run_house.api(f"usage/summary?range=day&model={model}")["totals"]
    assert (totals["unpriced"], Decimal(totals["cost_usd"])) == (0, 3 * cost)
    assert Decimal(run_house.records(session=session)[0]["cost_usd"]) == cost


def test_the_metrics_move(run_house: House) -> None:
    def figure(name: str) -> float:
        page = httpx.get(f"{run_house.url}/metrics").text
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name) and 'provider="openai"' in line
        )

    before = figure("weighbridge_requests_total"), figure("weighbridge_tokens_total")
    answer = post(run_house)
    run_house.record(answer.headers["x-weighbridge-request-id"])
    usage = answer.json()["usage"]
    until = time.monotonic() + PATIENCE_SECONDS
    while figure("weighbridge_requests_total") != before[0] + 1:
        assert time.monotonic() < until, "the call was not counted"
        time.sleep(0.05)
    assert figure("weighbridge_tokens_total") == before[1] + usage["prompt_tokens"] + usage["completion_tokens"]


class Receiver:
    """A webhook receiver on a thread of its own."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(orjson.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_a_threshold_is_told_once_and_delivered(run_house: House) -> None:
    receiver = Receiver()
    aim = {"channel": "webhook", "name": "ops", "url": receiver.url, "group_seconds": 0, "users": ["filling"]}
    run_house.api("alerts/destinations", "PUT", {"destinations": [aim]})
    used = 0
    while used < 800:
        answer = post(run_house, "filling")
        assert answer.status_code == 200
        used += answer.json()["usage"]["total_tokens"]
    assert used < 900
    until = time.monotonic() + PATIENCE_SECONDS
    while not receiver.bodies:
        assert time.monotonic() < until, f"no alert arrived: {run_house.api('alerts')}"
        time.sleep(0.1)
    post(run_house, "filling")
    time.sleep(12)  # one more round of the engine
    told = [alert["facts"]["threshold"] for body in receiver.bodies for alert in body["alerts"]]
    listed = [one["facts"]["threshold"] for one in run_house.api("alerts?user=filling&kind=daily")["alerts"]]
    assert sorted(told) == sorted(listed) == sorted(set(told)), "told twice"
    assert 0.8 in told
    run_house.api("alerts/destinations", "PUT", {"destinations": []})
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_users_key_sees_its_own_and_no_more(run_house: House) -> None:
    mine, other = post(run_house, "ada"), post(run_house, "watched")
    for answer in (mine, other):
        run_house.record(answer.headers["x-weighbridge-request-id"])
    key = virtual_key("watched")
    ids = {name: answer.headers["x-weighbridge-request-id"] for name, answer in (("ada", mine), ("watched", other))}
    assert run_house.api_answer(f"usage/records/{ids['watched']}", key=key)[0] == 200
    assert run_house.api_answer(f"usage/records/{ids['ada']}", key=key)[0] == 404
    assert {one["user"] for one in run_house.api("usage/records?limit=1000", key=key)["records"]} == {"watched"}
    groups = run_house.api("usage/summary?range=all&group_by=user", key=key)["groups"]
    assert [one["user"] for one in groups] == ["watched"]
    for path in ("users/ada", "usage/records?user=ada", "keys?user=ada", "switch", "audit", "users/ada/export"):
        assert run_house.api_answer(path, key=key)[0] == 403, path
    assert run_house.api_answer("usage/records", key="wb-nobody")[0] == 401
    assert run_house.api("stats", key=key)["health"] is None
    assert run_house.api("stats", key=ADMIN_KEY)["health"]["workers"]


def test_the_audit_log_says_from_where(run_house: House) -> None:
    """Through the public port, whose worker tells the control process; what a client claims of itself counts for nothing."""
    forged = {"authorization": f"Bearer {ADMIN_KEY}", "x-weighbridge-peer": "203.0.113.7"}
    name = f"audited-{uuid4().hex[:8]}"
    url = f"{run_house.url}/api/v1/keys"
    assert httpx.post(url, json={"user": "ada", "name": name}, headers=forged).status_code == 201
    lines = [line for line in run_house.api("audit?limit=50")["audit"] if name in orjson.dumps(line).decode()]
    assert [line["address"] for line in lines] == ["127.0.0.1"]
