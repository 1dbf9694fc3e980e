"""Background tasks are held, named, and their failures told."""

from __future__ import annotations

import asyncio
import gc

from structlog.testing import capture_logs

from proxy.telemetry.tasks import Tasks


async def test_a_failure_is_logged_counted_and_told() -> None:
    told: list[tuple[str, str]] = []
    tasks = Tasks(on_failure=lambda name, failure: told.append((name, str(failure))))

    async def fails() -> None:
        raise ValueError("broken")

    with capture_logs() as lines:
        tasks.start(fails(), name="drain")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert told == [("drain", "broken")]
    assert tasks.failed == 1
    assert [(line["event"], line["task"]) for line in lines] == [("task failed", "drain")]


async def test_a_task_that_nobody_holds_is_not_collected() -> None:
    tasks, done, go = Tasks(), asyncio.Event(), asyncio.Event()

    async def works() -> None:
        await go.wait()
        done.set()

    tasks.start(works(), name="alone")
    await asyncio.sleep(0)
    gc.collect()
    go.set()
    await asyncio.wait_for(done.wait(), 30)
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_close_cancels_and_names_what_will_not_end() -> None:
    tasks = Tasks()
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def obedient() -> None:
        await asyncio.sleep(60)

    tasks.start(stubborn(), name="stubborn")
    tasks.start(obedient(), name="obedient")
    await asyncio.sleep(0)
    with capture_logs() as lines:
        await tasks.close(patience_seconds=0.05)
    assert [line["task"] for line in lines] == ["stubborn"]
    release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tasks.failed == 0
    assert len(tasks) == 0
