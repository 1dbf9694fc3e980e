"""Answers given again: only to who takes them, only what they may see, never against a change, never back in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.control.app import routes
from proxy.control.kept_answers import MAX_ANSWERS, KeptAnswers, accepted_age
from proxy.control.replies import json_reply
from tests.control.conftest import ADMIN_KEY, ALICE_KEY, BOB_KEY

SUMMARY = "/api/v1/usage/summary"


async def asked(house: Any, age: int | None = None, key: str = ADMIN_KEY, query: str = "?range=day") -> tuple[int, str | None]:
    """Requests in the answer, and its age."""
    headers = {"authorization": f"Bearer {key}"} | ({} if age is None else {"cache-control": f"max-age={age}"})
    reply = await house.client.get(SUMMARY + query, headers=headers)
    return (await reply.json())["totals"]["requests"], reply.headers.get("age")


async def test_an_answer_is_given_again_for_as_long_as_the_client_takes_it(house: Any, record: Any) -> None:
    await house.ledger.append([record()])
    assert await asked(house, 30) == (1, None)
    await house.ledger.append([record()])
    house.clock.at += 12
    assert await asked(house, 30) == (1, "12")
    assert await asked(house, 11) == (2, None)
    assert await asked(house, 30) == (2, "0")
    assert await asked(house, 30, query="?range=30d") == (2, None), "another question"
    await house.ledger.append([record()])
    house.clock.at += 61
    assert await asked(house, 3600) == (3, None), "nothing is kept for longer than a minute"


async def test_who_says_nothing_gets_the_sums_of_this_moment_and_so_do_those_after(house: Any, record: Any) -> None:
    await house.ledger.append([record()])
    assert await asked(house, 30) == (1, None)
    await house.ledger.append([record()])
    assert await asked(house) == (2, None)
    assert await asked(house, 30) == (2, "0"), "sums do not go back"


async def test_nobody_is_given_what_another_may_see(house: Any, record: Any) -> None:
    await house.ledger.append([record(), record(user="bob"), record(user="bob")])
    assert await asked(house, 30) == (3, None)
    assert await asked(house, 30, ALICE_KEY) == (1, None)
    assert await asked(house, 30, BOB_KEY) == (2, None)
    assert await asked(house, 30, ALICE_KEY) == (1, "0")
    assert (await house.client.get(SUMMARY + "?range=day", headers={"cache-control": "max-age=30"})).status == 401


async def test_a_change_forgets_what_was_answered(house: Any, record: Any) -> None:
    await house.ledger.append([record()])
    assert await asked(house, 30) == (1, None)
    await house.ask("POST", "/keys", json={"user": "alice", "name": "new"})
    assert await asked(house, 30) == (1, None)


async def test_what_was_being_made_while_something_changed_is_not_kept(house: Any, record: Any, monkeypatch: Any) -> None:
    await house.ledger.append([record()])
    begun, go_on = asyncio.Event(), asyncio.Event()
    sums = house.ledger.sums

    async def slow_sums(*args: Any, **named: Any) -> Any:
        found = await sums(*args, **named)
        begun.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(house.ledger, "sums", slow_sums)
    slow = asyncio.create_task(asked(house, 30))
    await asyncio.wait_for(begun.wait(), 30)
    await house.ask("POST", "/keys", json={"user": "alice", "name": "new"})
    go_on.set()
    assert await slow == (1, None)
    assert await asked(house, 30) == (1, None), "made before the change, not given after it"


def test_an_older_answer_does_not_replace_a_newer_one() -> None:
    kept = KeptAnswers()
    question = ("admin", None, "one")
    kept.keep(question, json_reply({"number": 2}), 10.0, kept.generation)
    kept.keep(question, json_reply({"number": 1}), 9.0, kept.generation)
    found = kept.find(question, 30.0, 11.0)
    assert found is not None
    assert found.body == json_reply({"number": 2}).body


def test_only_questions_about_sums_are_shared() -> None:
    shared = [route for route in routes() if route.is_shared]
    assert {route.method for route in shared} == {"GET"}
    assert all(route.path.startswith(("/stats", "/usage/", "/users")) and route.role == "user" for route in shared)
    assert not [route for route in shared if route.answer in ("events", "csv+jsonl", "files", "redirect")]


def test_the_answers_asked_last_are_kept() -> None:
    kept = KeptAnswers()
    for number in range(MAX_ANSWERS + 1):
        kept.keep(("admin", None, str(number)), json_reply({"number": number}), 0.0, 0)
    assert ("admin", None, "0") not in kept
    assert ("admin", None, "1") in kept
    kept.keep(("admin", None, "failed"), json_reply({}, 503), 0.0, 0)
    kept.keep(("admin", None, "large"), json_reply("x" * 2_000_000), 0.0, 0)
    assert ("admin", None, "failed") not in kept
    assert ("admin", None, "large") not in kept


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("max-age=30", 30.0),
        ("no-transform, Max-Age=5", 5.0),
        ("max-age=900", 60.0),
        ("no-cache", None),
        ("max-age=x", None),
        ("s-max-age=4", None),
        ("", None),
    ],
)
def test_what_a_client_says_of_age(sent: str, seconds: float | None) -> None:
    assert accepted_age({"cache-control": sent}) == seconds
