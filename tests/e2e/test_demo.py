"""`weighbridge demo` without any key or server: a past to look at, calls coming in, every screen with something on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from proxy.demo.people import DEMO_KEYS
from tests.e2e.house import House


@pytest.fixture(scope="module")
def demo() -> Iterator[House]:
    with House({}, is_demo=True) as started:
        yield started


def test_there_is_a_past(demo: House) -> None:
    totals = demo.api("usage/summary?range=month&group_by=user")
    users = {group["group"]["user"] if isinstance(group.get("group"), dict) else group.get("user") for group in totals["groups"]}
    assert set(DEMO_KEYS) <= users
    assert len(demo.api("usage/records?limit=1000")["records"]) == 1000


def test_calls_come_in(demo: House) -> None:
    newest = demo.api("usage/records?limit=1")["records"][0]["id"]
    until = time.monotonic() + 20
    while demo.api("usage/records?limit=1")["records"][0]["id"] <= newest:
        assert time.monotonic() < until, "no live traffic within twenty seconds"
        time.sleep(0.2)


@pytest.mark.parametrize(
    "path", ["stats?range=30d", "limits", "usage/projection", "usage/anomalies", "recommendations", "keys", "prices"]
)
def test_every_screen_has_something_to_show(demo: House, path: str) -> None:
    found = demo.api(path)
    assert any(found.values()) if isinstance(found, dict) else found


def test_the_spike_is_found(demo: House) -> None:
    assert any("alan" in str(anomaly) for anomaly in demo.api("usage/anomalies")["anomalies"])


def test_a_demo_key_works(demo: House) -> None:
    """The call that the demo's own greeting proposes."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{demo.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {DEMO_KEYS['ada']}"})
    assert answer.status_code == 200
    record = demo.record(answer.headers["x-weighbridge-request-id"])
    assert (record["user"], record["team"], record["outcome"]) == ("ada", "research", "ok")


def test_the_dashboard_is_served(demo: House) -> None:
    page = httpx.get(f"{demo.url}/dashboard", follow_redirects=True)
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
