"""A busy moment reaches a viewer as a few calls and one sum, and nothing of it is missing from the two together."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.control.feed import CALLS_PER_BEAT, NOTHING, events_of, tally
from tests.sample_records import samples


def parsed(events: bytes) -> list[tuple[str, Any]]:
    found = []
    for event in events.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        found.append((fields["event"], orjson.loads(fields["data"])))
    return found


def test_a_few_calls_are_shown_one_by_one() -> None:
    records = samples(3)
    assert [(name, data["id"]) for name, data in parsed(events_of(NOTHING, records))] == [("call", one.id) for one in records]


def test_of_many_the_newest_are_shown_and_the_others_summed() -> None:
    records = samples(CALLS_PER_BEAT + 40, total_tokens=7, cost_usd="0.000000000000000001")
    records[0] = records[0]._replace(total_tokens=None, cost_usd=None)
    (kind, sums), *calls = parsed(events_of(tally(records[:-CALLS_PER_BEAT]), records[-CALLS_PER_BEAT:]))
    assert (kind, sums) == ("calls", {"calls": 40, "total_tokens": 39 * 7, "cost_usd": "0.000000000000000039"})
    assert [data["id"] for _, data in calls] == [one.id for one in records[-CALLS_PER_BEAT:]]
