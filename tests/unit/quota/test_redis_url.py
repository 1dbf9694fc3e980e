"""REDIS_URL."""

from __future__ import annotations

import pytest

from proxy.errors import ConfigError
from proxy.quota.redis_url import parse_url
from proxy.quota.resp_client import Address


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("redis://cache", "single", Address("cache")),
        ("redis://cache:7000/2", "single", Address("cache", 7000, database=2)),
        ("redis://:p%40ss@cache", "single", Address("cache", password="p@ss")),
        ("redis://proxy:word@cache:1/0", "single", Address("cache", 1, user="proxy", password="word")),
        ("redis://[::1]:7000", "single", Address("::1", 7000)),
        ("redis://cache?db=3", "single", Address("cache", database=3)),
        ("unix:///run/redis.sock?db=4", "single", Address(path="/run/redis.sock", database=4)),
        ("redis+cluster://a:1,b:2", "cluster", Address("a", 1)),
        ("redis+sentinel://a,b:2/house/5", "sentinel", Address("a", 26_379)),
    ],
)
def test_where_redis_is(url: str, kind: str, address: Address) -> None:
    place = parse_url(url)
    assert (place.kind, place.addresses[0]) == (kind, address)


def test_all_hosts_are_read() -> None:
    place = parse_url("redis+sentinel://:word@a,b:2/house/5")
    assert [str(address) for address in place.addresses] == ["a:26379", "b:2"]
    assert (place.master_name, place.database, place.addresses[1].password) == ("house", 5, "word")


def test_tls_by_scheme() -> None:
    assert parse_url("rediss://cache").addresses[0].tls is not None
    assert parse_url("redis://cache").addresses[0].tls is None
    trusting = parse_url("rediss+cluster://cache?ssl_cert_reqs=none").addresses[0].tls
    assert trusting is not None
    assert not trusting.check_hostname


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://cache", "unknown scheme"),
        ("redis://", "no host"),
        ("redis://:very-secret@cache:port", "not a number"),
        ("redis://:very-secret@cache/x", "not a number"),
        ("redis://:very-secret@cache?decode=1", "unknown option decode"),
        ("redis://a,b", "several hosts"),
        ("redis+cluster://a/1", "no numbered databases"),
        ("redis+sentinel://a", "master's name"),
        ("rediss://a?ssl_ca_certs=/nowhere/ca.pem", "TLS files"),
    ],
)
def test_what_it_is_not(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_url(url)
    assert "very-secret" not in str(caught.value)
