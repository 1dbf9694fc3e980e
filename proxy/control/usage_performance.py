"""GET usage/performance: how fast and how well providers and models answer.

Means, success and tokens per second come from the roll-ups, and so from every call of the period. Percentiles come from the newest
answered calls, of which at most SAMPLE are looked at: each row says how many were its own.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from aiohttp import web

from proxy.control.context import context_of
from proxy.control.figures import add_up, averages
from proxy.control.filters import FILTERS, GROUP_NAMES, group_as_json, ledger_groups, read_request
from proxy.control.parameters import Choices, Integer
from proxy.control.periods import PERIOD
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.ledger.ledger import GroupSums, Sums
from proxy.records import UsageRecord

SAMPLE = 2000
MAX_ROWS = 10_000
_GROUPS = tuple(name for name in GROUP_NAMES if name != "tag")
_GROUP_BY = Choices("group_by", "Whose answers are looked at together.", ("provider", "model"), choices=_GROUPS, at_most=3)
_LIMIT = Integer("limit", "Rows at most, most calls first.", 200, minimum=1, maximum=1000)
_KNOWN = (*PERIOD, *FILTERS, _GROUP_BY, _LIMIT)
Key = tuple[str | None, ...]


async def measure(request: web.Request) -> web.Response:
    ledger = context_of(request).ledger
    values, period, which = read_request(request, _KNOWN)
    names = ledger_groups(values["group_by"])
    apart = names if "outcome" in names else (*names, "outcome")
    rows, newest = await asyncio.gather(
        ledger.sums(which, apart, MAX_ROWS), ledger.records(replace(which, outcome=which.outcome or "ok"), SAMPLE, None)
    )
    samples = _samples(newest.records, names)
    found = [
        {**group_as_json(dict(zip(names, key, strict=True))), **_row(parts), **_percentiles(samples.get(key, []))}
        for key, parts in _by_group(rows, names).items()
    ]
    found.sort(key=lambda row: -int(str(row["requests"])))
    return json_reply(
        {**period.as_json(), "group_by": list(values["group_by"]), "sample": len(newest.records), "rows": found[: values["limit"]]}
    )


def _by_group(rows: Iterable[GroupSums], names: Sequence[str]) -> dict[Key, dict[str, Sums]]:
    """Sums by outcome of each group."""
    found: dict[Key, dict[str, Sums]] = defaultdict(dict)
    for row in rows:
        found[tuple(row.group[name] for name in names)][str(row.group["outcome"])] = row.sums
    return found


def _row(parts: dict[str, Sums]) -> dict[str, object]:
    whole, ok = add_up(parts.values()), parts.get("ok", Sums())
    means = averages(ok)
    return {
        "requests": whole.requests,
        "ok": whole.ok,
        "failed": whole.failed,
        "denied": whole.denied,
        "client_aborted": whole.client_aborted,
        "success_rate": averages(whole)["success_rate"],
        "duration_ms": means["duration_ms"],
        "time_to_first_byte_ms": means["time_to_first_byte_ms"],
        # Of the whole time, waiting included: what a caller gets.
        "output_tokens_per_second": round(ok.output_tokens / ok.duration_ms * 1000, 3) if ok.duration_ms else None,
    }


def _samples(records: Sequence[UsageRecord], names: Sequence[str]) -> dict[Key, list[UsageRecord]]:
    read = [_reader(name) for name in names]
    found: dict[Key, list[UsageRecord]] = defaultdict(list)
    for record in records:
        if record.usage_source != "tracked":  # it did not pass here: nobody measured its time
            found[tuple(one(record) for one in read)].append(record)
    return found


def _reader(name: str) -> Callable[[UsageRecord], str | None]:
    if name == "model":
        return lambda record: record.response_model or record.request_model
    at = UsageRecord._fields.index(name)
    return lambda record: record[at]  # type: ignore[return-value]


def _percentiles(records: Sequence[UsageRecord]) -> dict[str, object]:
    durations = sorted(record.duration_ms for record in records)
    first_bytes = sorted(record.time_to_first_byte_ms for record in records if record.time_to_first_byte_ms is not None)
    return {
        "sample": len(durations),
        **{f"duration_p{share}_ms": nearest_rank(durations, share) for share in (50, 95, 99)},
        **{f"time_to_first_byte_p{share}_ms": nearest_rank(first_bytes, share) for share in (50, 95, 99)},
    }


def nearest_rank(ordered: Sequence[float], share: int) -> float | None:
    """The smallest value that `share` per cent of them do not exceed; None of none."""
    return round(ordered[-(-len(ordered) * share // 100) - 1], 3) if ordered else None


ROUTES = (
    Route(
        "GET",
        "/usage/performance",
        measure,
        "user",
        "Latency, success and speed by provider and model",
        "Performance",
        _KNOWN,
        is_shared=True,
    ),
)
