"""Weighbridge beside its peers: saturation, streams, latency at a low rate, and the method of LiteLLM's AIGatewayBench."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.load import Bench, Shape, chat_body, settle_down
from tests.bench.machine import move, resident_kb
from tests.bench.rounds import Direct, Measurable, Rounds, run_rounds
from tests.bench.subjects import Subject
from tests.bench.tables import Report, Table

OURS = ("weighbridge", "weighbridge+redis")
REQUEST_BYTES = 2_000
GATEWAY_LATENCY_US = 20_000
ELSEWHERE = "weighbridge, control on another core"


def plain(bench: Bench, subjects: Sequence[Measurable], report: Report, *, connections: int, seconds: float, rounds: int) -> Rounds:
    """As fast as they can: requests of 2 KB, answers of 600 bytes, not streamed."""
    bench.plain()
    shape = Shape(connections=connections, seconds=seconds, body=chat_body(REQUEST_BYTES))
    found = run_rounds(bench, "plain", subjects, shape, rounds)
    table = Table(
        "Requests at saturation",
        f"{connections} connections, {REQUEST_BYTES}-byte requests, 600-byte answers; medians of {rounds} interleaved rounds of "
        f"{seconds:g} s; CPU over all processes of the subject.",
        ("proxy", "req/s", "CPU µs/request", "worker", "control", "× nginx", "× raw", "p50 µs", "p99 µs", "MB", "failed"),
    )
    for subject in subjects:
        name = subject.name
        table.add(
            name,
            found.median(name, lambda each: each.measured.per_second),
            found.us(name),
            found.us(name, "worker"),
            found.us(name, "control"),
            found.us(name) / found.us("nginx"),
            found.us(name) / found.us("raw"),
            found.median(name, lambda each: each.measured.p50),
            found.median(name, lambda each: each.measured.p99),
            found.median(name, lambda each: sum(each.kb.values()) / 1024),
            sum(each.measured.failed for each in found.rows[name]),
        )
    report.show(table)
    for ours in OURS:
        if ours in found.rows:
            report.target(f"{ours}: CPU µs per request", found.us(ours), 60)
            for peer, least in (("envoy", 1.0), ("nginx", 0.35), ("litellm", 100.0)):
                if peer in found.rows:
                    # by CPU, not by req/s: on a shared machine a core's time is the only thing that is the subject's own
                    report.target(
                        f"{ours}: requests per CPU second / {peer}'s", found.us(peer) / found.us(ours), least, at_least=True
                    )
    if all(ours in found.rows for ours in OURS):
        report.target("embedded / with Redis, CPU per request", found.us(OURS[0]) / found.us(OURS[1]), 1.05)
    report.failed += found.failed
    report.keep("plain", found.rows)
    return found


def streams(
    bench: Bench,
    subjects: Sequence[Measurable],
    report: Report,
    *,
    counts: Sequence[int],
    delays_us: Sequence[int],
    seconds: float,
    rounds: int,
) -> None:
    """100 chunks of 180 bytes a stream, at the pace of a model and without any."""
    for delay in delays_us:
        for count in counts:
            bench.plain()
            bench.set(chunks=100, delay_us=delay)
            shape = Shape(
                connections=count,
                seconds=seconds,
                warm_seconds=1.0 if delay == 0 else 4.2 if seconds >= 2 else 2.2,
                ramp_seconds=0.3 if delay == 0 else 2.013 if seconds >= 2 else 1.013,
                is_stream=True,
                events=100,
                body=chat_body(REQUEST_BYTES, is_stream=True),
            )
            title = f"{count} streams at once, {delay / 1000:g} ms between chunks"
            found = run_rounds(bench, title, subjects, shape, rounds)
            _show_streams(report, found, subjects, rounds, seconds)
    bench.plain()


def _show_streams(report: Report, found: Rounds, subjects: Sequence[Measurable], rounds: int, seconds: float) -> None:
    table = Table(
        f"Streams: {found.title}",
        f"100 chunks of 180 bytes each; medians of {rounds} interleaved rounds of {seconds:g} s; every stream checked for order, "
        "number and end.",
        ("proxy", "chunks/s", "CPU µs/chunk", "× nginx", "chunk p50 µs", "p99 µs", "first byte p50 µs", "p99 µs", "MB", "failed"),
    )
    for subject in subjects:
        name = subject.name
        table.add(
            name,
            found.median(name, lambda each: each.measured.chunks_per_second),
            found.us_per_chunk(name),
            found.us_per_chunk(name) / found.us_per_chunk("nginx"),
            found.median(name, lambda each: each.measured.chunk_p50),
            found.median(name, lambda each: each.measured.chunk_p99),
            found.median(name, lambda each: each.measured.first_byte_p50),
            found.median(name, lambda each: each.measured.first_byte_p99),
            found.median(name, lambda each: sum(each.kb.values()) / 1024),
            sum(each.measured.failed for each in found.rows[name]),
        )
    report.show(table)
    for ours in OURS:
        if ours in found.rows and "nginx" in found.rows:
            ratio = found.us_per_chunk(ours) / found.us_per_chunk("nginx")
            report.target(f"{ours}: CPU per chunk / nginx's, {found.title}", ratio, 1.5)
    report.failed += found.failed
    report.keep(f"streams, {found.title}", found.rows)


def low_rate(bench: Bench, subjects: Sequence[Measurable], report: Report, *, rate: int, seconds: float, rounds: int) -> None:
    """Latency where nobody has to wait for anybody, beside the provider alone."""
    bench.plain()
    everyone = [Direct(bench), *subjects]
    shape = Shape(connections=20, seconds=seconds, rate=float(rate), body=chat_body(REQUEST_BYTES))
    found = run_rounds(bench, "low rate", everyone, shape, rounds)
    table = Table(
        f"Added latency at {rate} requests a second",
        f"20 connections on a fixed timetable, latency from the planned start; "
        f"medians of {rounds} interleaved rounds of {seconds:g} s.",
        ("proxy", "p50 µs", "p99 µs", "added p50", "added p99", "CPU µs/request", "worker", "failed"),
    )
    p50 = {each.name: found.median(each.name, lambda row: row.measured.p50) for each in everyone}
    p99 = {each.name: found.median(each.name, lambda row: row.measured.p99) for each in everyone}
    for each in everyone:
        name = each.name
        failed = sum(row.measured.failed for row in found.rows[name])
        cpu = (found.us(name), found.us(name, "worker")) if each.roles() else ("-", "-")
        table.add(name, p50[name], p99[name], p50[name] - p50["direct"], p99[name] - p99["direct"], *cpu, failed)
    report.show(table)
    for ours in OURS:
        if ours in p50 and "envoy" in p50:
            report.target(f"{ours}: p50 / envoy's", p50[ours] / p50["envoy"], 1.0)
        if ours in p50 and "nginx" in p50:
            report.target(f"{ours}: p99 / nginx's", p99[ours] / p99["nginx"], 2.0)
    report.failed += found.failed
    report.keep("low rate", found.rows)


def gateway(
    bench: Bench, subjects: Sequence[Measurable], report: Report, *, concurrency: Sequence[int], seconds: float, rounds: int
) -> None:
    """AIGatewayBench's method: a provider that takes 20 ms, and what the gateway adds to the slowest hundredth."""
    with Subject(ELSEWHERE, bench) as elsewhere:
        elsewhere.start(bench)
        for pid in elsewhere.roles()["control"]:
            move(pid, bench.load_cores)
        _gateway(bench, [Direct(bench), *subjects, elsewhere], report, concurrency, seconds, rounds)


def _gateway(
    bench: Bench, everyone: Sequence[Measurable], report: Report, concurrency: Sequence[int], seconds: float, rounds: int
) -> None:
    columns = [
        "proxy",
        *[f"added p99 µs at {count}" for count in concurrency],
        "first byte µs",
        "chunks in : out",
        "RSS growth MB",
        "failed",
    ]
    table = Table(
        "AIGatewayBench's method",
        f"Provider with {GATEWAY_LATENCY_US // 1000} ms of latency; added p99 against concurrency; streams of 50 chunks at 5 ms "
        "for first byte (p50, over the provider's) and fidelity.",
        columns,
    )
    p99: dict[str, list[float]] = {each.name: [] for each in everyone}
    first_kb = {each.name: _kb(each) for each in everyone}
    failed = dict.fromkeys(p99, 0)
    bench.plain()
    bench.set(latency_us=GATEWAY_LATENCY_US)
    for count in concurrency:
        shape = Shape(connections=count, seconds=seconds, warm_seconds=0.5, body=chat_body(REQUEST_BYTES))
        found = run_rounds(bench, f"gateway at {count}", everyone, shape, rounds)
        report.keep(f"gateway, concurrency {count}", found.rows)
        for each in everyone:
            p99[each.name].append(found.median(each.name, lambda row: row.measured.p99))
            failed[each.name] += sum(row.measured.failed for row in found.rows[each.name])
    bench.set(latency_us=0, chunks=50, delay_us=5_000)
    body = chat_body(REQUEST_BYTES, is_stream=True)
    shape = Shape(connections=4, seconds=30, warm_seconds=0, is_stream=True, events=50, body=body, requests=24)
    found = run_rounds(bench, "gateway streams", everyone, shape, 1)
    report.keep("gateway, streams", found.rows)
    first = {each.name: found.median(each.name, lambda row: row.measured.first_byte_p50) for each in everyone}
    bench.plain()
    settle_down()
    for each in everyone:
        streamed = found.rows[each.name][0].measured
        failed[each.name] += streamed.failed
        table.add(
            each.name,
            *[own - direct for own, direct in zip(p99[each.name], p99["direct"], strict=True)],
            first[each.name] - first["direct"],
            f"{streamed.ok * 50} : {streamed.chunks}",
            (_kb(each) - first_kb[each.name]) / 1024,
            failed[each.name],
        )
    report.show(table)
    report.failed += sum(failed.values())


def _kb(subject: Measurable) -> float:
    return sum(resident_kb(pid) for pids in subject.roles().values() for pid in pids)
