"""The benchmarks still run and still check what they measure. Correctness only: nothing here looks at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop

from tests.bench import plans, way
from tests.bench.cli import parser
from tests.bench.load import Bench, Shape, chat_body, measured
from tests.bench.machine import BenchError, build_tools, work_folder
from tests.bench.peers import find_peers
from tests.bench.profiling import listing
from tests.bench.promises import PROOFS
from tests.bench.proofs import book
from tests.bench.proofs.verdict import PRICES
from tests.bench.rounds import Direct, Rounds, run_rounds, weigh
from tests.bench.subjects import Subject, limits_text
from tests.bench.tables import Report, Table, figure
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with work_folder() as folder:
        made = Bench(folder)
        made.plain()
        yield made
        made.close()


@pytest.fixture(scope="module")
def subject(bench: Bench) -> Iterator[Subject]:
    with Subject("weighbridge", bench, files={"prices.yaml": PRICES}) as started:
        started.start(bench)
        yield started


def test_every_request_is_answered_and_recorded(bench: Bench, subject: Subject) -> None:
    """2 KB requests over several connections through the real process: none fails, CPU is told by role."""
    found = weigh(bench, subject, Shape(8, 30.0, 0.0, body=chat_body(), requests=200))
    assert (found.measured.ok, found.measured.failed) == (200, 0), found.measured.note
    assert set(found.us) == {"worker", "control", "supervisor"}
    assert found.kb["worker"] > 10_000
    records = subject.house.records_when(200)
    assert len(records) == 200
    assert {(record["outcome"], record["input_tokens"], record["output_tokens"]) for record in records} == {("ok", 19, 21)}


def test_every_chunk_comes_once_and_in_order(bench: Bench, subject: Subject) -> None:
    """As many events as were sent, in order, and not all at once."""
    bench.set(chunks=20, delay_us=2_000)
    shape = Shape(4, 30.0, 0.0, is_stream=True, events=20, body=chat_body(is_stream=True), requests=12)
    found = bench.run(subject.target, shape)
    bench.plain()
    assert (found.ok, found.failed) == (12, 0), found.note
    assert found.chunks == 12 * 20
    assert 12 < found.frames <= 12 * 23  # text, finish, usage, [DONE]; what one read brings goes out as one HTTP chunk


def test_numbers_in_the_request_change(bench: Bench, subject: Subject) -> None:
    """What the sweeps over users, keys and models rest on."""
    body = chat_body(200, model="bench-@@@@@@@")
    found = bench.run(subject.target, Shape(2, 30.0, 0.0, body=body, vary=5, requests=10))
    assert (found.ok, found.failed) == (10, 0), found.note
    subject.house.records_when(10, model="gpt-4o-mini")
    asked = [record["request_model"] for record in subject.house.records() if record["request_model"].startswith("bench-")]
    assert sorted(asked) == sorted([f"bench-{number:07d}" for number in range(5)] * 2)


def test_a_failed_stream_is_noticed(bench: Bench) -> None:
    """The load generator wants more events than come: every stream is a failure, and it says why."""
    bench.set(chunks=5)
    found = bench.run(Direct(bench).target, Shape(1, 30.0, 0.0, is_stream=True, events=6, requests=3))
    bench.plain()
    assert (found.ok, found.failed) == (0, 3)
    assert "number of events" in found.note


def test_the_book_adds_up(bench: Bench, subject: Subject) -> None:
    """One of the promises, small: the ledger equals the provider's book."""
    verdict = book.compare(bench, subject.house, "smoke", calls=300)
    assert verdict.is_kept, verdict.found
    assert "300 records of 300 answers" in verdict.found


async def test_pages_and_sums_read_no_more_than_they_must(postgres: PostgresServer) -> None:
    """The plans of all that the ledger asks, small: one that reads every record is found out at 5,000 already."""
    postgres.run("createdb", "plans")
    url, first_at = postgres.database_url("plans"), plans.month_of(datetime.now(UTC)) - timedelta(days=plans.DAYS)
    await plans.fill(url, 5_000, first_at, every=timedelta(days=30))
    found, _ = await plans.look(url, 5_000, first_at)
    assert [name for name, seen in found.items() if not plans.is_bounded(name, seen)] == []
    assert found["newest page"].records_read >= plans.PAGE


def test_the_way_without_sockets_serves(tmp_path: Path) -> None:
    """Product and raw relay answer on wires in memory, and each of ours is in the spool."""

    async def play() -> tuple[int, int]:
        requests, answer = way.sdk_requests(is_traced=True), [way.whole_answer()]
        rig, spool = way.our_rig(tmp_path, requests, answer, limits_text())
        await rig.run(50)
        raw = way.raw_rig(requests, answer)
        await raw.run(50)
        appended = spool.stats().appended
        spool.close()
        assert raw.bytes_out == 50 * len(answer[0])
        assert rig.bytes_out > raw.bytes_out
        return appended, rig.bytes_out

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        appended, _ = runner.run(play())
    assert appended == 50


def test_rounds_are_interleaved(bench: Bench) -> None:
    subjects = [Direct(bench), Direct(bench)]
    subjects[1].name = "again"
    found = run_rounds(bench, "both", subjects, Shape(1, 5.0, 0.0, requests=5), 2)
    assert {name: len(rows) for name, rows in found.rows.items()} == {"direct": 2, "again": 2}
    assert found.failed == 0
    assert Rounds("none", {}).us("direct") != Rounds("none", {}).us("direct"), "nothing measured is not a number"


def test_what_is_found_can_be_shown_and_kept(tmp_path: Path) -> None:
    report = Report()
    table = Table("T", "how", ("what", "CPU µs"))
    table.add("a", 12.345)
    table.add("b", float("nan"))
    report.show(table)
    report.target("a", 2.0, 1.0)
    report.target("b", 2.0, 1.0, at_least=True)
    report.write(tmp_path / "out.json")
    assert "| a    |   12.3 |" in table.text()
    assert [figure(value) for value in (1234.5, 123.4, 7)] == ["1,234", "123", "7"]
    assert json.loads((tmp_path / "out.json").read_text())["missed"] == ["a: 2.00, wanted ≤ 1.00"]


def test_peers_that_are_not_here_are_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tests.bench.peers._binary", lambda name: None)
    found, missing = find_peers(bench, None)
    assert missing == ["nginx", "haproxy", "envoy", "litellm"]
    assert [peer.name for peer in found] == ["raw", "aiohttp"]


def test_no_compiler_is_a_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BenchError, match="need a C compiler"):
        build_tools(tmp_path)


def test_a_load_that_says_nothing_is_a_failure() -> None:
    found = measured("", "connect: Connection refused")
    assert (found.ok, found.failed, found.note) == (0, 1, "connect: Connection refused")


def test_the_profile_sums_by_function() -> None:
    text = listing("main (a.py:1);work (b.py:7) 30\nmain (a.py:2);work (b.py:9) 10\nmain (a.py:1) 60\n")
    assert text.splitlines()[:3] == ["SELF", " 60.0% main (a.py)", " 40.0% work (b.py)"]
    assert "100.0% main (a.py)" in text


def test_the_command_line_names_everything() -> None:
    text = parser().format_help()
    assert all(word in text for word in ("plain", "streams", "low", "gateway", "scaling", "promises", "profile", "--quick"))
    assert {"overshoot", "kills", "postgres", "redis", "sigterm", "book"} <= set(PROOFS)
