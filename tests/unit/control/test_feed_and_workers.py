"""The live feed never waits for a viewer; the link to the workers never waits for a worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.control.feed import CALLS_PER_BEAT, MAX_VIEWERS, QUEUE_BEATS, LiveFeed
from proxy.control.workers import WorkersLink
from proxy.errors import QuotaStoreError
from proxy.limits.limit import Limit
from proxy.quota.store import SeedCount
from proxy.records import UsageRecord

LIMIT = Limit("users.a.tokens.per_day", "user:a:*:tokens", "tokens", "day", 100)


def make_record(user: str) -> UsageRecord:
    return UsageRecord(**dict.fromkeys(UsageRecord._fields) | {"id": user, "user": user})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.feed.BEAT_SECONDS", 0.1)


async def beat() -> None:
    await asyncio.sleep(0.12)


async def test_a_slow_viewer_loses_beats_and_is_told_how_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.feed.BEAT_SECONDS", 0.0)
    dropped: list[int] = []
    feed = LiveFeed(on_drop=dropped.append)
    viewer = feed.join(None)
    assert viewer is not None
    for _ in range(QUEUE_BEATS + 2):
        feed.publish([make_record("a")] * 3)
        await asyncio.sleep(0.001)
    assert (viewer.queue.qsize(), viewer.dropped, dropped) == (QUEUE_BEATS, 6, [3, 3])


async def test_a_users_viewer_sees_that_users_records_only() -> None:
    feed = LiveFeed()
    viewer = feed.join("a")
    assert viewer is not None
    feed.publish([make_record("a"), make_record("b"), make_record("a")])
    feed.publish([make_record("b")])
    await beat()
    assert (viewer.queue.qsize(), viewer.queue.get_nowait().calls) == (1, 2)
    feed.leave(viewer)
    feed.publish([make_record("a")])
    await beat()
    assert viewer.queue.qsize() == 0


async def test_what_all_viewers_see_is_written_once_a_beat() -> None:
    feed = LiveFeed()
    viewers = [feed.join(None) for _ in range(3)]
    feed.publish([make_record("a")])
    await asyncio.sleep(0.01)  # the first is shown at once, what comes before the next beat together
    feed.publish([make_record("b")])
    feed.publish([make_record("c")])
    await beat()
    seen = [[viewer.queue.get_nowait() for _ in range(viewer.queue.qsize())] for viewer in viewers if viewer is not None]
    assert [[one.calls for one in beats] for beats in seen] == [[1, 2]] * 3
    assert seen[0][1].events is seen[2][1].events


async def test_what_a_second_held_goes_out_with_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.feed.BEAT_SECONDS", 3600.0)
    monkeypatch.setattr("proxy.control.feed.RATE_SECONDS", 3600.0)
    feed = LiveFeed()
    house, bob = feed.join(None), feed.join("b")
    assert house is not None
    assert bob is not None
    feed.publish([make_record("a")])  # shown at once
    first = await asyncio.wait_for(house.queue.get(), 30)
    assert (first.calls, first.events.count(b"event: rate")) == (1, 0)
    feed.publish([make_record("b")])
    feed._reckon_rates()  # a second is over: no write of its own
    assert house.queue.empty()
    feed._beat()
    second = house.queue.get_nowait()
    assert (second.calls, second.events.count(b"event: rate"), house.queue.empty()) == (1, 1, True)
    assert orjson.loads(second.events.split(b"data: ")[1].partition(b"\n")[0])["calls"] == 1, "of the second that was"
    assert bob.queue.get_nowait().events.count(b"event: rate") == 0, "in bob's second there was nothing yet"
    feed._reckon_rates()
    feed._beat()
    assert [viewer.queue.get_nowait().events.count(b"event: rate") for viewer in (house, bob)] == [1, 1]


async def test_what_is_summed_and_what_is_shown_is_each_call_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.feed.BEAT_SECONDS", 3600.0)
    feed = LiveFeed()
    viewer = feed.join(None)
    assert viewer is not None
    feed.publish([make_record("first")])
    await asyncio.wait_for(viewer.queue.get(), 30)
    names = [f"user-{number}" for number in range(CALLS_PER_BEAT + 4)]
    feed.publish([make_record(name) for name in names[:6]])
    feed.publish([make_record(name) for name in names[6:]])
    feed._beat()
    beat = viewer.queue.get_nowait()
    kind, *calls = [event.split(b"data: ") for event in beat.events.split(b"\n\n") if event]
    assert (kind[0], orjson.loads(kind[1])["calls"], beat.calls) == (b"event: calls\n", 4, len(names))
    assert [orjson.loads(data)["user"] for _, data in calls] == names[4:]


def test_viewers_are_bounded() -> None:
    feed = LiveFeed()
    assert all(feed.join(None) for _ in range(MAX_VIEWERS))
    assert feed.join(None) is None


class Worker:
    """A socket that answers with what it is given: an object, bytes as they are, or None for silence."""

    def __init__(self, directory: Path, number: int, *answers: object) -> None:
        self.path, self.answers, self.asked = directory / f"worker-{number}.sock", list(answers), []

    async def __aenter__(self) -> Worker:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(orjson.loads(await reader.readline()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await reader.read()
        else:
            writer.write(answer if isinstance(answer, bytes) else orjson.dumps(answer) + b"\n")
        writer.close()


def row(used: int, reserved: int = 0) -> dict[str, Any]:
    return {"used": used, "reserved": reserved, "window_id": "2026-11-18", "resets_at": 5.0}


async def test_counts_of_workers_that_count_apart_are_added_up(tmp_path: Path) -> None:
    async with Worker(tmp_path, 0, [row(10, 1)]), Worker(tmp_path, 1, [row(30, 2)]):
        link = WorkersLink(tmp_path)
        (apart,) = await link.quota([LIMIT], is_shared=False) or []
        assert (apart.used, apart.reserved, apart.window_id, apart.resets_at) == (40, 3, "2026-11-18", 5.0)
        (shared,) = await link.quota([LIMIT], is_shared=True) or []
        assert shared.used in (10, 30)


@pytest.mark.parametrize("bad", [None, b"", b"not json\n", b'{"error": "no"}\n', {"error": "starting"}, [], [row(1), row(2)]])
async def test_a_worker_that_answers_badly_is_left_out(tmp_path: Path, bad: object) -> None:
    async with Worker(tmp_path, 0, bad), Worker(tmp_path, 1, [row(5)]):
        (status,) = await WorkersLink(tmp_path, answer_seconds=0.1).quota([LIMIT], is_shared=False) or []
        assert status.used == 5


async def test_without_any_worker_nothing_is_known(tmp_path: Path) -> None:
    link = WorkersLink(tmp_path, answer_seconds=0.1)
    (tmp_path / "worker-0.sock").touch()  # left behind by one that was killed
    assert await link.stats() == []
    assert await link.quota([LIMIT]) is None
    assert await link.quota([]) == []
    with pytest.raises(QuotaStoreError):
        await link.add([SeedCount("c", "day", "w", 5)])
    await link.add([])


async def test_usage_is_added_at_one_worker(tmp_path: Path) -> None:
    async with Worker(tmp_path, 0, {"error": "draining"}) as first, Worker(tmp_path, 1, {"ok": True}) as second:
        await WorkersLink(tmp_path).add([SeedCount("user:a:*:tokens", "day", "2026-11-18", 5)])
        assert (len(first.asked), len(second.asked)) == (1, 1)
        assert second.asked[0]["counts"] == [
            {"counter": "user:a:*:tokens", "window": "day", "window_id": "2026-11-18", "amount": 5}
        ]


async def test_many_limits_are_asked_in_parts(tmp_path: Path) -> None:
    limits = [Limit(f"l{n}", f"user:{n}:*:tokens", "tokens", "day", 1) for n in range(450)]
    parts = [[row(1)] * 200, [row(2)] * 200, [row(3)] * 50]
    async with Worker(tmp_path, 0, *parts):
        found = await WorkersLink(tmp_path).quota(limits, is_shared=True)
    assert found is not None
    assert [status.used for status in found] == [1] * 200 + [2] * 200 + [3] * 50
