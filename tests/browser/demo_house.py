"""The demo as a server for browsers: the real command, on a free port, with sixty days of history and live traffic."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

ADMIN_KEY = "wb-admin-for-the-browser-tests"
START_SECONDS = 120
STOP_SECONDS = 20
ALERT_SECONDS = 60
OPERATORS_LAST = "send test alert"
"""What `proxy/demo/operator.py` does last."""


@dataclass(frozen=True)
class DemoHouse:
    """A running demo."""

    url: str
    limits_file: Path
    """The limits.yaml that is in force."""

    def api(self, method: str, path: str, body: object = None, key: str = ADMIN_KEY) -> Any:
        """One call of the control API.

        Raises:
            urllib.error.HTTPError: it is refused.
        """
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", method=method)
        request.add_header("authorization", f"Bearer {key}")
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def chat(self, key: str) -> int:
        """One small call through the proxy; its status."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode())
        request.add_header("authorization", f"Bearer {key}")
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return int(refusal.code)

    def open_alert(self) -> dict[str, Any]:
        """An open alert on a limit: the demo has one from its first minute."""
        deadline = time.monotonic() + ALERT_SECONDS
        while time.monotonic() < deadline:
            found = [one for one in self.api("GET", "alerts?state=open")["alerts"] if "limit" in one["facts"]]
            if found:
                return dict(found[0])
            time.sleep(0.3)
        raise AssertionError(f"no alert within {ALERT_SECONDS} s")


@contextmanager
def demo_house(log: Path) -> Iterator[DemoHouse]:
    """Start the demo, wait until it is ready, stop it afterwards."""
    port = _free_port()
    environ = {**os.environ, "WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "demo", "--port", str(port)], stdout=output, stderr=subprocess.STDOUT, env=environ
        )
        try:
            yield _wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> DemoHouse:
    """The demo, when calls pass and its operator has been through: by then every view has something to show."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the demo ended with {process.returncode}:\n{log.read_text()}")
        told = re.search(r"Its limits +(/.*/limits\.yaml)", log.read_text())
        try:
            if told:
                house = DemoHouse(url, Path(told[1]))
                has_calls = any(
                    one["timings"] and one["provider_request_id"]
                    for one in house.api("GET", "usage/records?range=today")["records"]
                )
                if has_calls and any(line["action"] == OPERATORS_LAST for line in house.api("GET", "audit")["audit"]):
                    return house
        except (urllib.error.URLError, OSError):
            pass  # not up yet: that is what is waited for
        time.sleep(0.3)
    raise AssertionError(f"the demo is not ready after {START_SECONDS} s:\n{log.read_text()}")


def _free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
