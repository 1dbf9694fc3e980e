"""The link to the relay workers: one JSON line out, one back, over each worker's unix socket in `<data_dir>/run/`.

Rules of this file: a worker that does not answer in time is left out, never waited for; nothing here is on a call's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import structlog

from proxy.errors import QuotaStoreError
from proxy.limits.limit import Limit, LimitStatus
from proxy.quota.store import SeedCount

ANSWER_SECONDS = 1.0
MAX_LINE_BYTES = 4 * 1024 * 1024
LIMITS_PER_CALL = 200
"""A worker answers between two calls of its clients: a question must not cost it more than a millisecond."""

_log = structlog.get_logger("control.workers")


class WorkersLink:
    """Asks all workers, and merges what they say."""

    def __init__(self, run_directory: Path, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._directory = run_directory
        self._answer_seconds = answer_seconds

    async def stats(self) -> list[dict[str, object]]:
        """The gauges of every worker that answers."""
        return [answer for answer in await self._ask_all({"call": "stats"}) if isinstance(answer, dict)]

    async def quota(self, limits: Sequence[Limit], is_shared: bool | None = None) -> list[LimitStatus] | None:
        """Where each limit stands now, in the order given; None where no worker answers.

        Args:
            is_shared: whether all workers count on the same counters; None: ask them.
        """
        if not limits:
            return []
        statuses: list[LimitStatus] = []
        shared = is_shared if is_shared is not None else await self._counts_are_shared()
        for start in range(0, len(limits), LIMITS_PER_CALL):
            part = limits[start : start + LIMITS_PER_CALL]
            question = {"call": "quota", "limits": [_as_question(limit) for limit in part]}
            answers = [one for one in await self._ask_all(question) if isinstance(one, list) and len(one) == len(part)]
            if not answers:
                return None
            merged = answers[:1] if shared else answers
            statuses += [_merge(limit, [answer[index] for answer in merged]) for index, limit in enumerate(part)]
        return statuses

    async def add(self, counts: Sequence[SeedCount]) -> None:
        """Count usage that did not pass the proxy, at one worker.

        Raises:
            QuotaStoreError: no worker took it.
        """
        if not counts:
            return
        sent = {"call": "add", "counts": [_as_count(count) for count in counts]}
        for path in self._sockets():
            answer = await self._ask(path, sent)
            if isinstance(answer, dict) and answer.get("ok"):
                return
        raise QuotaStoreError("no worker took the tracked usage into its counters")

    async def _counts_are_shared(self) -> bool:
        for stats in await self.stats():
            quota = stats.get("quota")
            if isinstance(quota, dict):
                return bool(quota.get("shared"))
        return False

    def _sockets(self) -> list[Path]:
        return sorted(self._directory.glob("worker-*.sock"))

    async def _ask_all(self, question: Mapping[str, object]) -> list[object]:
        return [
            answer
            for answer in await asyncio.gather(*(self._ask(path, question) for path in self._sockets()))
            if answer is not None
        ]

    async def _ask(self, path: Path, question: Mapping[str, object]) -> object | None:
        try:
            async with asyncio.timeout(self._answer_seconds):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE_BYTES)
                try:
                    writer.write(orjson.dumps(question) + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
            answer: object = orjson.loads(line)
        except (OSError, TimeoutError, ValueError) as failure:  # gone, silent, or not JSON: this worker is left out
            _log.debug("worker did not answer", socket=path.name, call=question["call"], reason=repr(failure))
            return None
        if isinstance(answer, dict) and "error" in answer:
            _log.warning("worker refused", socket=path.name, call=question["call"], reason=answer["error"])
            return None
        return answer


def _as_question(limit: Limit) -> dict[str, object]:
    return {
        "name": limit.name,
        "counter": limit.counter,
        "resource": limit.resource,
        "window": limit.window,
        "amount": limit.amount,
        "mode": limit.mode,
    }


def _as_count(count: SeedCount) -> dict[str, object]:
    return {"counter": count.counter, "window": count.window, "window_id": count.window_id, "amount": count.amount}


def _merge(limit: Limit, rows: Sequence[object]) -> LimitStatus:
    found = [row for row in rows if isinstance(row, dict)]
    first = found[0] if found else {}
    resets_at = first.get("resets_at")
    return LimitStatus(
        limit=limit,
        used=sum(_count(row.get("used")) for row in found),
        reserved=sum(_count(row.get("reserved")) for row in found),
        window_id=str(first.get("window_id", "")),
        resets_at=float(resets_at) if isinstance(resets_at, (int, float)) else None,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
