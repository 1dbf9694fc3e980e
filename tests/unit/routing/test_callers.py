"""Keys to fingerprints."""

from hashlib import sha256

from proxy.routing.callers import Caller, key_digest, own_key_user


def test_the_digest_is_what_sha256sum_prints() -> None:
    assert key_digest("wb-abc") == key_digest(b"wb-abc") == sha256(b"wb-abc").hexdigest()


def test_an_own_key_is_named_by_twelve_digits_of_its_digest() -> None:
    assert own_key_user("sk-abc") == "key-" + sha256(b"sk-abc").hexdigest()[:12]


def test_equal_callers_are_one_key_of_a_memo_and_others_are_not() -> None:
    assert hash(Caller("a", key_id="1")) == hash(Caller("a", key_id="1"))
    memo = {Caller("a", key_id="1"): 1, Caller("a", key_id="1", tier="gold"): 2}
    assert memo[Caller("a", key_id="1")] == 1
    assert memo[Caller("a", key_id="1", tier="gold")] == 2
