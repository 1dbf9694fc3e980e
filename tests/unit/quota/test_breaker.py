"""The breaker opens after failures in a row and closes by probes only."""

from __future__ import annotations

from proxy.quota.breaker import FAILURES_TO_OPEN, PROBES_TO_CLOSE, Breaker


def opened() -> Breaker:
    breaker = Breaker()
    outcomes = [breaker.failed() for _ in range(FAILURES_TO_OPEN)]
    assert outcomes == [False] * (FAILURES_TO_OPEN - 1) + [True]
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = opened()
    assert (breaker.is_open, breaker.trips) == (True, 1)
    assert not breaker.failed()


def test_a_success_between_them_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(3 * FAILURES_TO_OPEN):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open
    breaker.failed()
    breaker.probed()
    assert not breaker.failed()


def test_only_probes_in_a_row_close_it() -> None:
    breaker = opened()
    breaker.succeeded()
    assert breaker.is_open
    for _ in range(PROBES_TO_CLOSE - 1):
        assert not breaker.probed()
    breaker.failed()
    for _ in range(PROBES_TO_CLOSE - 1):
        assert not breaker.probed()
    assert breaker.probed()
    assert not breaker.is_open
    assert not breaker.failed()
