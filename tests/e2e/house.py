"""The real proxy as a process: configuration in a temporary directory, ready when it says so, stopped as an operator stops it.

Used as `with house_of({...files}) as house:`, or `async with`; the log is shown when a start or a stop goes wrong. Blocking
on purpose: many SDKs are, and a test that awaits can use the same calls from `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any

ADMIN_KEY = "wb-admin-e2e-0123456789abcdef0123456789"
PROVIDER_KEY = "sk-the-providers-own-key"
READY_SECONDS = 180.0
STOP_SECONDS = 120.0
RECORD_SECONDS = 60.0
ROOT = pathlib.Path(__file__).resolve().parents[2]
_compiled: list[bytes] = []

WIRE_FORMATS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "cohere": "cohere",
    "ollama": "ollama",
    "mistral": "openai",
    "groq": "openai",
    "together": "openai",
}


def virtual_key(user: str) -> str:
    """The key that stands for a user in `limits_yaml`."""
    return f"wb-e2e-{user}-0123456789abcdef"


def providers_yaml(provider_url: str, **more: str) -> str:
    """Every known provider at one address; `more` adds lines to a provider by its name."""
    lines = ["providers:"]
    for name, api in WIRE_FORMATS.items():
        lines += [f"  {name}:", f"    base_url: {provider_url}", f"    api: {api}", f"    api_key: {PROVIDER_KEY}"]
        lines += [f"    {line}" for line in more.get(name, "").splitlines()]
    return "\n".join(lines) + "\n"


def limits_yaml(users: Mapping[str, str], head: str = "mode: balanced") -> str:
    """One key a user; the value is the user's limits in YAML flow style, e.g. `{requests: {per_minute: 5}}`."""
    lines = [head, "users:", *(f"  {user}: {limits}" for user, limits in users.items()), "keys:"]
    for user in users:
        digest = sha256(virtual_key(user).encode()).hexdigest()
        lines.append(f'  - {{key_sha256: "{digest}", user: {user}, name: e2e}}')
    return "\n".join(lines) + "\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class House:
    """One running proxy. Also survives being killed: `kill` and `start` again keep directory and port."""

    def __init__(
        self, files: Mapping[str, str], workers: int = 1, env: Mapping[str, str] | None = None, is_demo: bool = False
    ) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="weighbridge-e2e-"))
        self.config = self.directory / "config"
        self.data = self.directory / "data"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._env = dict(env or {})
        serve = ("serve", "--config", str(self.config), "--workers", str(workers))
        self._arguments = ("demo",) if is_demo else serve
        self.config.mkdir()
        for name, text in files.items():
            self.write(name, text)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        path = self.directory / "proxy.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write(self, name: str, text: str) -> None:
        """Replace a configuration file the way editors do: beside it, then over it."""
        beside = self.config / f".{name}.new"
        beside.write_text(text)
        beside.replace(self.config / name)

    # life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start and wait until /readyz says 200. Raises AssertionError with the log where it does not come up."""
        self._take_price_list()
        command = [sys.executable, "-m", "proxy", *self._arguments, "--host", "127.0.0.1", "--port", str(self.port)]
        env = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "DATABASE_URL")}
        env |= {"WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY, "WEIGHBRIDGE_DATA_DIR": str(self.data), **self._env}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
        with (self.directory / "proxy.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=env, cwd=self.directory, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            assert self.process.poll() is None, f"the proxy stopped with {self.process.returncode}:\n{self.log[-6000:]}"
            if self._is_ready():
                self._keep_price_list()
                return
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the proxy was not ready within {READY_SECONDS} s:\n{self.log[-6000:]}")

    def stop(self) -> None:
        """SIGTERM to the supervisor; it must end by itself, with 0, and take its children with it."""
        process = self.process
        assert process is not None
        self.process = None
        group = process.pid
        process.terminate()
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(group, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"the proxy did not stop within {STOP_SECONDS} s of SIGTERM:\n{self.log[-6000:]}") from None
        assert status == 0, f"the proxy ended with {status} after SIGTERM:\n{self.log[-6000:]}"
        assert not _group_is_alive(group), "the proxy left processes behind"

    def kill(self) -> None:
        """kill -9 the supervisor and all its children at once: the machine lost its power."""
        process = self.process
        if process is None:
            return
        self.process = None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _take_price_list(self) -> None:
        """The first house compiles the price list; all after it find it where their own run before would have left it."""
        if _compiled and not self._price_list.exists():
            for folder in (self.data, self._price_list.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._price_list.write_bytes(_compiled[0])

    def _keep_price_list(self) -> None:
        if not _compiled and self._price_list.exists():
            _compiled.append(self._price_list.read_bytes())

    @property
    def _price_list(self) -> pathlib.Path:
        return self.data / "run" / "prices.json"  # as in proxy/assembly.py

    def workers(self) -> list[int]:
        """Process ids of the relay workers."""
        assert self.process is not None
        return [pid for pid in _descendants(self.process.pid) if "_worker" in _arguments(pid)]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    # the control API ----------------------------------------------------------------------------------------------

    def api(self, path: str, method: str = "GET", body: object = None, key: str = ADMIN_KEY) -> Any:
        """JSON of one control API call. Raises AssertionError where it does not answer 2xx."""
        status, found = self.api_answer(path, method, body, key)
        assert status < 300, f"{method} /api/v1/{path} answered {status}: {found}"
        return found

    def api_answer(self, path: str, method: str = "GET", body: object = None, key: str = ADMIN_KEY) -> tuple[int, Any]:
        """Status and JSON of one control API call."""
        sent = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data=sent, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, text.decode(errors="replace")

    def record(self, record_id: str) -> dict[str, Any]:
        """The ledger's record of one answer; waits until it is there."""
        assert record_id, "the answer carried no x-weighbridge-request-id"
        until = time.monotonic() + RECORD_SECONDS
        while True:
            status, found = self.api_answer(f"usage/records/{record_id}")
            if status == 200:
                record: dict[str, Any] = found
                return record
            assert status == 404, f"GET usage/records/{record_id} answered {status}: {found}"
            assert time.monotonic() < until, f"{record_id} did not reach the ledger within {RECORD_SECONDS} s:\n{self.log[-3000:]}"
            time.sleep(0.05)

    def records(self, **filters: str) -> list[dict[str, Any]]:
        """All records that match, newest first; an id that comes twice is an error."""
        found: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            query = urllib.parse.urlencode({"limit": "500", **filters, **({"cursor": cursor} if cursor else {})})
            page = self.api(f"usage/records?{query}")
            for record in page["records"]:
                assert record["id"] not in found, f"record {record['id']} is in the ledger twice"
                found[record["id"]] = record
            cursor = page.get("next_cursor") or ""
            if not cursor:
                return list(found.values())

    def records_when(self, count: int, seconds: float = RECORD_SECONDS, **filters: str) -> list[dict[str, Any]]:
        """Records once there are at least `count`; then a moment longer, so that a surplus would show."""
        until = time.monotonic() + seconds
        while True:
            found = self.records(**filters)
            if len(found) >= count:
                time.sleep(0.3)
                return self.records(**filters)
            shown = [(record["id"], record["outcome"], record["status"], record["error"]) for record in found[:5]]
            assert time.monotonic() < until, f"{len(found)} of {count} records after {seconds} s: {shown}\n{self.log[-3000:]}"
            time.sleep(0.1)

    def limits_of(self, user: str) -> list[dict[str, Any]]:
        """A user's limits with used, reserved and remaining."""
        limits: list[dict[str, Any]] = self.api(f"users/{user}")["limits"]
        return limits

    def nothing_held(self, user: str, seconds: float = 30.0) -> None:
        """Every reservation of the user has been settled or given back. Raises AssertionError where one stays."""
        until = time.monotonic() + seconds
        while True:
            limits = self.limits_of(user)
            assert limits, f"{user} has no limits to look at"
            held = [limit for limit in limits if float(limit["reserved"])]
            if not held:
                return
            assert time.monotonic() < until, f"still held {seconds} s later: {held}"
            time.sleep(0.1)

    # context ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> House:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self.process is not None:
                if error is None:
                    self.stop()
                else:
                    print(f"--- the proxy's log ---\n{self.log[-6000:]}")
                    self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def __aenter__(self) -> House:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)


def _group_is_alive(group: int) -> bool:
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def _descendants(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(path.parent.name))
    found, waiting = [], [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _arguments(pid: int) -> list[str]:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
