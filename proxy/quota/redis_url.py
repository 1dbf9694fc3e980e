"""REDIS_URL: where Redis is.

redis://, rediss:// (TLS), unix:///path?db=0, redis+cluster://host:port,host:port, redis+sentinel://host:port,host:port/name/db
(rediss+… for TLS). Before the hosts `user:password@`; query: ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs=none, db.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote, urlsplit

from proxy.errors import ConfigError
from proxy.quota.resp_client import Address

SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """What REDIS_URL says."""

    kind: str
    """single, cluster or sentinel."""
    addresses: tuple[Address, ...]
    """The server, some nodes of the cluster, or the sentinels."""
    master_name: str = ""
    database: int = 0


def parse_url(url: str) -> RedisPlace:
    """Read REDIS_URL.

    Raises:
        ConfigError: not such an address; the text never repeats the password.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"REDIS_URL: unknown scheme {parts.scheme!r}; one of {', '.join(SCHEMES)}")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = set(query) - {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
    if unknown:
        raise ConfigError(f"REDIS_URL: unknown option {', '.join(sorted(unknown))}")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    common = Address(
        user=unquote(user) or None,
        password=unquote(password) if credentials and ":" in credentials else None,
        tls=_tls(query) if parts.scheme.startswith("rediss") else None,
    )
    kind = parts.scheme.partition("+")[2] or "single"
    path = [part for part in parts.path.split("/") if part]
    try:
        if parts.scheme == "unix":
            return RedisPlace("single", (replace(common, path=parts.path, database=int(query.get("db", 0))),))
        addresses = tuple(_host_port(common, text, 26_379 if kind == "sentinel" else 6_379) for text in hosts.split(",") if text)
        if not addresses:
            raise ConfigError("REDIS_URL: no host")
        if kind == "sentinel":
            if not path:
                raise ConfigError("REDIS_URL: redis+sentinel:// needs the master's name after the hosts: …:26379/mymaster")
            return RedisPlace(kind, addresses, path[0], int(path[1]) if len(path) > 1 else int(query.get("db", 0)))
        database = int(path[0]) if path else int(query.get("db", 0))
    except ValueError as error:
        raise ConfigError(f"REDIS_URL: not a number: {error}") from error
    if kind == "cluster" and database:
        raise ConfigError("REDIS_URL: a cluster has no numbered databases")
    if kind == "single" and len(addresses) > 1:
        raise ConfigError("REDIS_URL: several hosts need redis+cluster:// or redis+sentinel://")
    return RedisPlace(kind, tuple(replace(address, database=database) for address in addresses))


def _host_port(common: Address, text: str, default_port: int) -> Address:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    return replace(common, host=unquote(host) or "127.0.0.1", port=int(port) if port else default_port)


def _tls(query: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
        if query.get("ssl_certfile"):
            context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"REDIS_URL: cannot load the TLS files: {error}") from error
    if query.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
