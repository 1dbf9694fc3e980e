"""Saved changes are in force within a second, on every worker, without a restart; a broken file changes nothing but says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Crew
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import ADMIN_KEY, House, limits_yaml, providers_yaml, virtual_key
from tests.waiting import within

USER = "ada"
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Weigh this."}]}
ONE_SECOND = 1.0
PATIENCE_SECONDS = 60.0
TIGHT, WIDE = "{requests: {per_day: 0}}", "{requests: {per_day: 1_000_000}}"


@pytest.fixture(scope="module")
def running_house(provider: FakeProvider, crew: Crew) -> Iterator[House]:
    files = {"providers.yaml": providers_yaml(provider.url), "limits.yaml": limits_yaml({USER: WIDE})}
    with House(files, crew.workers, crew.env) as started:
        yield started


@pytest.fixture
def edited_house(running_house: House) -> House:
    """The house with the limits it began with in force, whatever the test before left."""
    running_house.write("limits.yaml", limits_yaml({USER: WIDE}))
    headers = {"authorization": f"Bearer {virtual_key(USER)}", "connection": "close"}
    with httpx.Client(base_url=running_house.url, headers=headers, timeout=30) as asking:
        seconds_until(asking, 200)
    return running_house


@pytest.fixture
def client(edited_house: House) -> Iterator[httpx.Client]:
    """A new connection for each call, so that each worker gets some."""
    headers = {"authorization": f"Bearer {virtual_key(USER)}", "connection": "close"}
    with httpx.Client(base_url=edited_house.url, headers=headers, timeout=30) as found:
        yield found


def status(client: httpx.Client) -> int:
    return client.post("/v1/chat/completions", json=BODY).status_code


def is_config_ok(house: House) -> bool:
    """What /metrics says of the files."""
    metrics = httpx.get(f"{house.url}/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"}, timeout=30)
    assert metrics.status_code == 200
    (line,) = [line for line in metrics.text.splitlines() if line.startswith("weighbridge_config_ok ")]
    return float(line.split()[1]) == 1.0


def seconds_until(client: httpx.Client, wanted: int, in_a_row: int = 12) -> float:
    """From now to the first of `in_a_row` answers with that status: every worker has followed."""
    began = time.monotonic()
    first, count = 0.0, 0
    while count < in_a_row:
        asked = time.monotonic() - began
        assert asked < PATIENCE_SECONDS, f"still not {wanted} after {PATIENCE_SECONDS} seconds"
        if status(client) == wanted:
            first = first if count else asked
            count += 1
        else:
            count = 0
    return first


def test_an_edit_is_in_force_within_a_second(edited_house: House, client: httpx.Client) -> None:
    assert within(ONE_SECOND, seconds_until(client, 200))
    for limits, wanted in ((TIGHT, 429), (WIDE, 200), (TIGHT, 429), (WIDE, 200)):
        edited_house.write("limits.yaml", limits_yaml({USER: limits}))
        assert within(ONE_SECOND, seconds_until(client, wanted))


def test_an_edit_in_place_is_seen_too(edited_house: House, client: httpx.Client) -> None:
    """Some editors write over the file instead of replacing it."""
    (edited_house.config / "limits.yaml").write_text(limits_yaml({USER: TIGHT}))
    assert within(ONE_SECOND, seconds_until(client, 429))


def test_a_new_key_works_and_a_removed_one_does_not(edited_house: House) -> None:
    head = "auth: keys"
    edited_house.write("limits.yaml", limits_yaml({USER: WIDE, "grace": WIDE}, head))
    headers = {"authorization": f"Bearer {virtual_key('grace')}", "connection": "close"}
    with httpx.Client(base_url=edited_house.url, headers=headers, timeout=30) as grace:
        assert within(ONE_SECOND, seconds_until(grace, 200))
        edited_house.write("limits.yaml", limits_yaml({USER: WIDE}, head))
        assert within(ONE_SECOND, seconds_until(grace, 401))


@pytest.mark.parametrize(
    "broken",
    [
        "users: [",
        "limits:\n  what: 5\n",
        limits_yaml({USER: "{requests: {per_day: -5}}"}),
        limits_yaml({USER: "{request: {per_day: 5}}"}),
    ],
    ids=["not YAML", "unknown name", "negative", "typing error"],
)
def test_a_broken_file_is_refused(edited_house: House, client: httpx.Client, broken: str) -> None:
    """The old limits stay; the log and /metrics say what is wrong; the next good file is taken."""
    edited_house.write("limits.yaml", limits_yaml({USER: TIGHT}))
    assert within(ONE_SECOND, seconds_until(client, 429))
    before = edited_house.log
    assert is_config_ok(edited_house)
    edited_house.write("limits.yaml", broken)
    until = time.monotonic() + PATIENCE_SECONDS
    while "limits.yaml" not in edited_house.log[len(before) :] or is_config_ok(edited_house):
        assert time.monotonic() < until, f"log and metrics say nothing of the broken file:\n{edited_house.log[-2000:]}"
        time.sleep(0.05)
    assert [status(client) for _ in range(6)] == [429] * 6, "a broken file must not lift limits"
    edited_house.write("limits.yaml", limits_yaml({USER: WIDE}))
    assert within(ONE_SECOND, seconds_until(client, 200))


def test_running_streams_keep_their_rules(edited_house: House, client: httpx.Client, call: str) -> None:
    """One request sees one set of rules from beginning to end."""
    headers = {"x-demo": f"call={call}, words=15, delay=0.1"}
    with client.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True}, headers=headers) as answer:
        lines = answer.iter_lines()
        next(lines)
        edited_house.write("limits.yaml", limits_yaml({USER: TIGHT}))
        assert "data: [DONE]" in list(lines)
    assert status(client) == 429
