"""The supervisor over children that start late, die, hang, or do not listen."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.supervised import Supervised

QUICK = {"BACKOFF_SECONDS": [0.0, 0.05, 0.1, 0.2], "STOP_MARGIN_SECONDS": 3.0, "CONTROL_SECONDS": 1.0}


def at(entries: list[dict[str, Any]]) -> list[float]:
    return [entry["at"] for entry in entries]


def test_control_comes_first_and_goes_last(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=2, guests=1, control={"ready_after": 0.3}, worker={"stop_takes": 0.2}) as house:
        house.when("ready", "guest")
        house.when("ready", "worker_1")
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        started = {name: house.journal("started", name)[0] for name in ("worker_0", "worker_1", "guest")}
        assert at(house.journal("ready", "control"))[0] < min(at(list(started.values())))
        assert max(started["worker_0"]["pid"], started["worker_1"]["pid"]) < started["guest"]["pid"]  # in the order of their births
        assert at(house.journal("ended", "guest"))[0] <= at(house.journal("stop", "worker_0"))[0]
        assert (
            max(at(house.journal("ended", "worker_0") + house.journal("ended", "worker_1")))
            <= at(house.journal("stop", "control"))[0]
        )


def test_workers_start_side_by_side(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=3, worker={"ready_after": 1.0}) as house:
        ready = [at(house.when("ready", f"worker_{number}"))[0] for number in range(3)]
        assert max(at(house.journal("started"))) < min(ready)
        house.signal(signal.SIGINT)
        assert house.code() == 0


def test_calls_do_not_wait_for_a_control_plane_that_hangs(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, control={"ready_after": None}) as house:
        house.when("ready", "worker_0")
        assert at(house.journal("ready", "worker_0"))[0] - at(house.journal("started", "control"))[0] < 20
        assert "control_plane_not_ready" in house.log
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_calls_go_on_while_the_control_plane_dies_for_ever(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, control={"dies_after": 0, "code": 3}) as house:
        house.when("ready", "worker_0")
        house.when("started", "control", count=8)
        assert len(house.journal("started", "worker_0")) == 1
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_dead_worker_is_started_again_and_its_restarts_are_counted(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=2, constants=QUICK) as house:
        for deaths in range(3):
            pid = house.when("ready", "worker_0", count=deaths + 1)[-1]["pid"]
            os.kill(pid, signal.SIGKILL)
        started = house.when("started", "worker_0", count=4)
        assert [entry["restarts"] for entry in started] == ["0", "1", "2", "3"]
        assert len(house.journal("started", "worker_1")) == 1
        assert "SIGKILL" in house.log
        house.when("ready", "worker_0", count=4)
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_restarts_come_ever_more_slowly(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=2, constants=QUICK, worker_0={"dies_after": 0, "code": 1}) as house:
        starts = at(house.when("started", "worker_0", count=7))
        waits = [later - earlier for earlier, later in pairwise(starts)]
        assert waits[0] >= 0.05
        assert all(wait >= 0.2 for wait in waits[2:])
        assert len(house.journal("started", "worker_1")) == 1  # the others serve on
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_house_in_which_no_worker_starts_gives_up(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=2, guests=1, constants=QUICK, worker={"dies_after": 0, "code": 1}) as house:
        assert house.code() == 1
        assert len(house.journal("started", "worker_0")) >= 3
        assert len(house.journal("ended", "control")) == 1  # in order, even so
        assert not house.journal("started", "guest")
        assert "giving_up" in house.log


def test_workers_that_served_once_are_tried_for_ever(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, worker={"dies_after": [0.5, 0, 0, 0, 0, 0, 0, None]}) as house:
        house.when("ready", "worker_0", count=2)
        assert len(house.journal("started", "worker_0")) == 8
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_one_that_never_gets_ready_is_replaced(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK | {"READY_SECONDS": 3.0}, worker={"ready_after": [None, 0.0]}) as house:
        house.when("ready", "worker_0")
        assert len(house.journal("started", "worker_0")) == 2
        assert "child_not_ready" in house.log
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_one_that_is_slow_to_get_ready_is_given_more_time_at_each_start(tmp_path: Path) -> None:
    """On a starved machine a start takes longer than anybody thought; killing it for ever would be no service at all."""
    with Supervised(tmp_path, constants=QUICK | {"READY_SECONDS": 1.5}, worker={"ready_after": 2.0}) as house:
        house.when("ready", "worker_0")
        assert house.log.count("child_not_ready") >= 1
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_running_answers_are_waited_for(tmp_path: Path) -> None:
    with Supervised(tmp_path, worker={"stop_takes": 1.5}) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        assert len(house.journal("ended", "worker_0")) == 1


def test_a_child_that_does_not_listen_is_killed_and_it_shows(tmp_path: Path) -> None:
    with Supervised(tmp_path, stop_seconds=0.5, constants=QUICK, worker={"is_deaf": True}) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGTERM)
        assert house.code() == 1
        assert "child_killed" in house.log
        assert len(house.journal("ended", "control")) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_all_at_once(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with Supervised(tmp_path, workers=2, stop_seconds=60, worker={"stop_takes": 60}, control={"stop_takes": 60}) as house:
        house.when("ready", "worker_0")
        house.when("ready", "worker_1")
        house.signal(number)
        house.when("stop", "worker_0")
        asked_at = time.monotonic()
        house.signal(number)
        assert house.code() == code
        assert time.monotonic() - asked_at < 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_one_to_the_parent(tmp_path: Path, number: signal.Signals) -> None:
    with Supervised(tmp_path, workers=2, worker={"stop_takes": 0.3}) as house:
        house.when("ready", "worker_0")
        house.when("ready", "worker_1")
        house.signal(number, to_group=True)
        assert house.code() == 0
        assert len(house.journal("ended")) == 3


def test_a_signal_to_the_group_does_not_end_children_that_are_just_starting(tmp_path: Path) -> None:
    """Until Python has imported everything they cannot ignore it yet: it is blocked for them."""
    with Supervised(tmp_path, control={"signals_after": 0.5}) as house:
        house.when("started", "control")
        house.signal(signal.SIGTERM, to_group=True)
        assert house.code() == 0
        assert len(house.journal("ended", "control")) == 1


def test_one_that_is_not_ready_is_not_waited_for(tmp_path: Path) -> None:
    with Supervised(tmp_path, stop_seconds=60, worker={"ready_after": 60}) as house:
        house.when("started", "worker_0")
        asked_at = time.monotonic()
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        assert time.monotonic() - asked_at < 20


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=2) as house:
        house.when("ready", "worker_0")
        house.when("ready", "worker_1")
        house.process.kill()
        house.when("orphaned", count=3)
        house.until(lambda: not house.alive(), "the end of all children")


def test_a_roll_replaces_all_without_hurry(tmp_path: Path) -> None:
    """Control first; a worker's successor is ready before it is asked to go, and it may finish what it does."""
    with Supervised(tmp_path, workers=2, worker={"stop_takes": [1.0, 0.0]}) as house:
        house.when("ready", "worker_1")
        house.when("ready", "worker_0")
        house.signal(signal.SIGHUP)
        house.when("ended", "worker_0")
        house.when("ended", "worker_1")
        for name in ("worker_0", "worker_1"):
            first, second = house.when("ready", name, count=2)
            stopped = house.journal("stop", name)[0]
            assert second["at"] <= stopped["at"]
            assert stopped["pid"] == first["pid"]
            assert second["restarts"] == "0"  # nobody died
            alone = house.when("alone", name)[0]
            assert alone["pid"] == second["pid"]
            assert alone["at"] >= house.journal("ended", name)[0]["at"]
        assert at(house.journal("ready", "control"))[1] <= at(house.journal("started", "worker_0"))[1]
        house.until(lambda: len(house.alive()) == 3, "control and two workers")
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_hang_up_of_the_whole_group_rolls_once(tmp_path: Path) -> None:
    with Supervised(tmp_path) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGHUP, to_group=True)
        house.when("ended", "worker_0")
        time.sleep(0.3)
        assert len(house.journal("started")) == 4
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_release_that_does_not_start_leaves_the_workers_alone(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, control={"dies_after": [None, 0, 0, None]}) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGHUP)
        house.when("ready", "control", count=2)  # the fourth one is well again
        assert len(house.journal("started", "worker_0")) == 1
        assert "roll_failed" in house.log
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_worker_that_has_no_able_successor_stays(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, worker={"dies_after": [None, 0]}) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGHUP)
        house.until(lambda: "roll_failed" in house.log, "a failed roll")
        assert len(house.journal("started", "worker_0")) == 2
        assert house.journal("ready", "worker_0")[0]["pid"] in house.alive()
        assert not house.journal("stop", "worker_0")
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_worker_that_dies_while_its_successor_starts_has_only_one(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, worker={"ready_after": [0.0, 0.6]}) as house:
        old = house.when("ready", "worker_0")[0]["pid"]
        house.signal(signal.SIGHUP)
        house.when("started", "worker_0", count=2)
        os.kill(old, signal.SIGKILL)
        house.when("ready", "worker_0", count=2)
        time.sleep(0.5)
        assert len(house.journal("started", "worker_0")) == 2
        new = house.journal("ready", "worker_0")[1]["pid"]
        os.kill(new, signal.SIGKILL)  # and it is kept like any other
        house.when("ready", "worker_0", count=3)
        house.signal(signal.SIGTERM)
        assert house.code() == 0


def test_a_successor_that_dies_while_the_old_one_still_finishes_is_replaced(tmp_path: Path) -> None:
    with Supervised(tmp_path, constants=QUICK, worker={"stop_takes": [3.0, 0.0]}) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGHUP)
        house.when("stop", "worker_0")
        os.kill(house.journal("ready", "worker_0")[1]["pid"], signal.SIGKILL)
        house.when("ready", "worker_0", count=3)
        assert not house.journal("ended", "worker_0")
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        assert len(house.journal("ended", "worker_0")) == 2  # the old one was waited for


def test_a_stop_in_the_middle_of_a_roll(tmp_path: Path) -> None:
    with Supervised(tmp_path, workers=2, worker={"ready_after": [0.0, 30.0]}) as house:
        house.when("ready", "worker_0")
        house.when("ready", "worker_1")
        house.signal(signal.SIGHUP)
        house.when("started", "worker_0", count=2)
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        assert len(house.journal("ended", "worker_0")) == len(house.journal("ended", "worker_1")) == 1


def test_a_roll_asked_for_during_a_roll_follows_it(tmp_path: Path) -> None:
    with Supervised(tmp_path, worker={"ready_after": 0.4}) as house:
        house.when("ready", "worker_0")
        house.signal(signal.SIGHUP)
        house.when("started", "worker_0", count=2)
        house.signal(signal.SIGHUP)
        house.when("ended", "worker_0", count=2)
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        assert len(house.journal("started", "worker_0")) == 3


def test_a_stop_in_a_pause_between_restarts_comes_at_once(tmp_path: Path) -> None:
    constants = QUICK | {"BACKOFF_SECONDS": [30.0, 30.0]}
    with Supervised(tmp_path, workers=2, constants=constants, worker_0={"dies_after": 0, "code": 1}) as house:
        house.until(lambda: "child_died" in house.log, "the death of worker 0")
        asked_at = time.monotonic()
        house.signal(signal.SIGTERM)
        assert house.code() == 0
        assert time.monotonic() - asked_at < 20
