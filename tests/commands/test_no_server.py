"""Commands where no server answers: on the local data, and without any."""

from __future__ import annotations

import asyncio
import http.server
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.ledger.postgres_ledger import PostgresLedger
from proxy.ledger.sqlite_ledger import SqliteLedger
from proxy.spool.writer import SpoolWriter
from tests.commands.conftest import Terminal, call
from tests.e2e.house import free_port
from tests.servers import PostgresServer


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the default address, and the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("proxy.commands.desk._is_up", lambda: False)


@pytest.fixture(params=["sqlite", "postgres"])
def shell(request: pytest.FixtureRequest, data: Path) -> Terminal:
    """A shell on a machine with a ledger of each kind, and no server."""
    if request.param == "sqlite":
        return Terminal({"WEIGHBRIDGE_DATA_DIR": str(data)})
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"local_{abs(hash(request.node.nodeid)) % 10**8}"
    server.run("createdb", name)
    return Terminal({"DATABASE_URL": server.database_url(name), "WEIGHBRIDGE_DATA_DIR": str(data)})


def store(shell: Terminal, records: list[Any]) -> None:
    async def work() -> None:
        url = shell.environment.get("DATABASE_URL")
        folder = shell.environment["WEIGHBRIDGE_DATA_DIR"]
        ledger: Any = PostgresLedger(url) if url else SqliteLedger(Path(str(folder)) / "ledger.sqlite3")
        await ledger.start()
        await ledger.append(records)
        await ledger.close()

    asyncio.run(work())


def test_a_key_is_made_without_a_server_and_audited(shell: Terminal) -> None:
    made = shell.run("keys", "create", "alice", "--name", "laptop")
    assert made.out.startswith("wb-")
    assert "no server asked" in made.err
    (key,) = shell.json("keys", "list", "--local")["keys"]
    assert (key["user"], key["created_by"]) == ("alice", "admin:command line")
    (line,) = shell.json("audit", "--local")["audit"]
    assert (line["by"], line["action"]) == ("admin:command line", "create key")


def test_what_is_asked_of_a_server_can_be_asked_of_the_data(shell: Terminal, tmp_path: Path) -> None:
    store(shell, [call(), call("bob")])
    assert shell.json("usage", "summary", "--local")["totals"]["requests"] == 2
    assert "alice" in shell.run("users", "show", "alice", "--local").out
    limits = shell.json("limits", "override", "alice", "tokens.per_day=50", "--local")["limits"]
    assert [(one["amount"], one["used"]) for one in limits] == [(50, None)]  # no worker can say how full it is
    new = tmp_path / "new.yaml"
    new.write_text("defaults: {requests: {per_day: 0}}\n")
    assert shell.json("limits", "simulate", "--limits", str(new), "--local", code=1)["refused"] == 2
    assert shell.run("usage", "export", "--format", "jsonl", "--local").out.count("\n") == 2


def test_the_spool_is_drained_into_the_ledger(shell: Terminal, data: Path) -> None:
    store(shell, [])
    spool = SpoolWriter(data / "spool", fsync="off")
    for _ in range(5):
        spool.append(call())
    spool.close()
    assert shell.json("ledger", "drain") == {"moved": 5, "known": 0, "poisoned": 0}
    assert shell.run("ledger", "drain").out.startswith("0 records moved")
    assert shell.json("usage", "summary", "--local")["totals"]["requests"] == 5


def test_old_records_go_and_sums_stay(shell: Terminal) -> None:
    long_ago = timedelta(days=120)
    store(shell, [call(ago=long_ago), call()])
    before = (datetime.now(UTC) - timedelta(days=60)).date().isoformat()
    assert "say --yes" in shell.run("ledger", "forget", "--before", before, code=2).err
    shell.run("ledger", "forget", "--before", before, "--yes")
    assert len(shell.json("usage", "records", "--local")["records"]) == 1
    assert shell.json("usage", "summary", "--range", "all", "--local")["totals"]["requests"] == 2
    assert shell.json("audit", "--local")["audit"][0]["action"] == "forget records"
    assert shell.json("ledger", "check")["is_sound"]


def test_a_ledger_whose_sums_are_wrong_is_found_out(data: Path) -> None:
    shell = Terminal({"WEIGHBRIDGE_DATA_DIR": str(data)})
    store(shell, [call(), call()])
    assert shell.json("ledger", "check")["is_sound"]
    with sqlite3.connect(data / "ledger.sqlite3") as connection:
        connection.execute('DELETE FROM "usage_records" WHERE "id" = (SELECT min("id") FROM "usage_records")')
    connection.close()
    found = shell.json("ledger", "check", code=1)
    (requests,) = [one for one in found["differences"] if one["field"] == "requests"]
    assert (requests["records"], requests["sums"]) == ("1", "2")
    assert "Something is wrong" in shell.run("ledger", "check", code=1).out


def test_without_server_and_data_it_says_what_to_do(data: Path) -> None:
    told = Terminal({"WEIGHBRIDGE_DATA_DIR": str(data)}).run("usage", "summary", code=3).err
    assert "weighbridge serve" in told
    assert "WEIGHBRIDGE_URL" in told
    assert str(data) in told
    assert not data.exists()
    for words in (("ledger", "check"), ("ledger", "drain"), ("ledger", "vacuum")):
        assert "There is no ledger at" in Terminal({"WEIGHBRIDGE_DATA_DIR": str(data)}).run(*words, code=3).err


def test_a_server_that_is_away_is_told_with_its_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = Terminal({"WEIGHBRIDGE_URL": url}).run("keys", "list", code=3).err
    assert told.startswith(f"Nobody answers at {url} (")
    assert "weighbridge serve" in told
    assert "must begin with http" in Terminal({"WEIGHBRIDGE_URL": "ftp://x"}).run("keys", "list", code=2).err


def test_a_stranger_at_the_address_is_told_from_the_control_api() -> None:
    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = 404 if "records" in self.path else 200
            self.send_response(status)
            self.send_header("content-length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *words: Any) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    shell = Terminal({"WEIGHBRIDGE_URL": f"http://127.0.0.1:{server.server_port}", "WEIGHBRIDGE_ADMIN_KEY": "k"})
    for words in (("usage", "records"), ("keys", "list")):
        told = shell.run(*words, code=1).err
        assert "is not Weighbridge's control API" in told
        assert "--control-port" in told
    server.shutdown()
    server.server_close()


def test_a_download_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    class Breaking(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\nff\r\nonly a part")
            self.close_connection = True

        def log_message(self, *words: Any) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Breaking)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    target = tmp_path / "x.csv"
    shell = Terminal({"WEIGHBRIDGE_URL": f"http://127.0.0.1:{server.server_port}", "WEIGHBRIDGE_ADMIN_KEY": "k"})
    assert "broke off" in shell.run("usage", "export", "-o", str(target), code=3).err
    assert list(tmp_path.iterdir()) == []
    server.shutdown()
    server.server_close()
