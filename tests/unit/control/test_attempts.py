"""How often log-ins may go wrong."""

from __future__ import annotations

from proxy.control.attempts import IN_ALL, PER_ACCOUNT, PER_ADDRESS, PER_PAIR, WINDOW_SECONDS, Attempts


def fail(attempts: Attempts, times: int, address: str | None, account: str, now: float = 0.0) -> int:
    """How many of these were let through."""
    return sum(attempts.begin(address, account, now) is None for _ in range(times))


def test_one_address_and_account() -> None:
    attempts = Attempts()
    assert fail(attempts, 50, "1.2.3.4", "root") == PER_PAIR
    assert attempts.begin("1.2.3.4", "root", 100.0) == WINDOW_SECONDS - 100
    assert attempts.begin("5.6.7.8", "root", 100.0) is None


def test_an_address_that_tries_many_accounts() -> None:
    attempts = Attempts()
    assert sum(fail(attempts, 1, "1.2.3.4", f"user-{number}") for number in range(100)) == PER_ADDRESS


def test_an_account_that_is_tried_from_everywhere() -> None:
    attempts = Attempts()
    assert sum(fail(attempts, 1, f"10.0.0.{number}", "root") for number in range(200)) == PER_ACCOUNT


def test_all_together() -> None:
    attempts = Attempts()
    assert sum(fail(attempts, 1, f"10.0.{number}.1", f"user-{number}") for number in range(1000)) == IN_ALL


def test_an_address_that_nobody_knows_holds_up_nobody_else() -> None:
    attempts = Attempts()
    assert fail(attempts, 50, None, "root") == PER_PAIR
    assert sum(fail(attempts, 1, None, f"user-{number}") for number in range(PER_ADDRESS * 2)) == PER_ADDRESS * 2


def test_time_forgets() -> None:
    attempts = Attempts()
    for step in range(PER_PAIR):
        assert attempts.begin("a", "root", float(step * 10)) is None
    assert attempts.begin("a", "root", 50.0) == WINDOW_SECONDS - 50  # when the first one is forgotten
    assert attempts.begin("a", "root", WINDOW_SECONDS + 0.5) is None
    assert attempts.begin("a", "root", WINDOW_SECONDS + 0.5) is not None


def test_a_good_one_counts_nowhere() -> None:
    attempts = Attempts()
    for _ in range(IN_ALL * 2):
        assert attempts.begin("a", "root", 0.0) is None
        attempts.forgive("a", "root")
    assert attempts._times == {}


def test_memory_stays_small_under_made_up_names() -> None:
    attempts = Attempts()
    for number in range(200_000):
        attempts.begin(f"10.{number}", f"user-{number}", number * 10.0)
    assert len(attempts._times) < 20_000
