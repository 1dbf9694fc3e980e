"""A supervisor in a process of its own, over children that do what the test says and write down what befell them.

This file is three programs: imported by tests it is `Supervised`; run as `house` it is the supervisor; run as `child` one of its
children, which starts in 30 ms because it imports nothing of ours. A behaviour may be a list: one entry per start, the last
one for all further starts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
BEHAVIOUR = {"ready_after": 0.0, "dies_after": None, "code": 0, "stop_takes": 0.0, "is_deaf": False, "signals_after": 0.0}


class Supervised:
    """`with Supervised(tmp_path, workers=2, worker={...}) as house:`; the supervisor is ended by the test, or killed after it."""

    def __init__(
        self, folder: Path, workers: int = 1, guests: int = 0, stop_seconds: float = 5.0, constants: dict[str, Any] | None = None,
        **behaviours: dict[str, Any],
    ) -> None:  # fmt: skip
        """
        Args:
            constants: of proxy/supervisor/supervisor.py, made short.
            behaviours: by name: control, worker (all of them), worker_0 …, guest.
        """
        self._folder = folder
        self._spec = {
            "workers": workers,
            "guests": guests,
            "stop_seconds": stop_seconds,
            "constants": constants or {},
            "behaviours": behaviours,
            "journal": str(folder / "journal"),
        }
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Supervised:
        spec = self._folder / "spec.json"
        spec.write_text(json.dumps(self._spec))
        with (self._folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "house", str(spec)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            print(self.log, "\n".join(map(str, self.journal())))
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def journal(self, event: str | None = None, name: str | None = None) -> list[dict[str, Any]]:
        """What happened to the children, in order of time."""
        path = self._folder / "journal"
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        entries.sort(key=lambda entry: entry["at"])
        return [one for one in entries if event in (None, one["event"]) and name in (None, one["name"])]

    def when(self, event: str, name: str | None = None, count: int = 1) -> list[dict[str, Any]]:
        """Those entries, once there are so many."""
        self.until(lambda: len(self.journal(event, name)) >= count, f"{count} × {event} of {name or 'anyone'}")
        return self.journal(event, name)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.log}\n{self.journal()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals, to_group: bool = False) -> None:
        (os.killpg if to_group else os.kill)(self.process.pid, number)

    def code(self) -> int:
        """The exit code, when it comes; and nobody is left behind."""
        code = self.process.wait(PATIENCE_SECONDS)
        assert not self.alive(), f"left behind: {self.alive()}"
        return code

    def alive(self) -> list[int]:
        """Process ids of children that run."""
        return sorted({entry["pid"] for entry in self.journal("started") if _runs(entry["pid"])})


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_house(spec_path: str) -> int:
    """The real supervisor over this file's children."""
    import asyncio

    from proxy.supervisor import supervisor
    from proxy.supervisor.listeners import listening_sockets

    spec = json.loads(Path(spec_path).read_text())
    for name, value in spec["constants"].items():
        setattr(supervisor, name, tuple(value) if isinstance(value, list) else value)
    count = spec["workers"]
    house = supervisor.Supervisor(
        ["control"],
        [[f"worker_{number}"] for number in range(count)],
        listening_sockets("127.0.0.1", 0, count),
        lambda: float(spec["stop_seconds"]),
        [["guest"] for _ in range(spec["guests"])],
        [sys.executable, "-S", "-E", __file__, "child", spec_path],
    )
    return asyncio.run(house.run())


def run_child(spec_path: str, name: str, options: dict[str, str]) -> int:
    """One child; it speaks the protocol of proxy/supervisor/link.py by hand."""
    spec = json.loads(Path(spec_path).read_text())

    def tell(event: str) -> int:
        line = json.dumps(
            {"name": name, "pid": os.getpid(), "event": event, "at": time.monotonic(), "restarts": options["restarts"]}
        )
        with open(spec["journal"], "a+") as journal:
            journal.write(line + "\n")
            journal.flush()
            journal.seek(0)
            return sum(f'"name": "{name}"' in one and '"started"' in one for one in journal)

    start = tell("started")
    wanted = {**spec["behaviours"].get(name.split("_")[0], {}), **spec["behaviours"].get(name, {})}
    behaviour = BEHAVIOUR | {
        key: value[min(start, len(value)) - 1] if isinstance(value, list) else value for key, value in wanted.items()
    }
    link = socket.socket(fileno=int(options["link-fd"]))
    until = time.monotonic() + behaviour["signals_after"]
    while time.monotonic() < until:
        time.sleep(0.01)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    if behaviour["ready_after"] is not None:
        time.sleep(behaviour["ready_after"])
    if behaviour["dies_after"] == 0:
        return behaviour["code"]
    if behaviour["ready_after"] is not None:
        tell("ready")
        link.send(b"ready\n")
    link.settimeout(behaviour["dies_after"])
    word = b"alone\n"
    try:
        while word == b"alone\n":
            word = link.recv(16)
            if word == b"alone\n":
                tell("alone")
    except TimeoutError:
        return behaviour["code"]
    tell("stop" if word else "orphaned")
    if behaviour["is_deaf"]:
        time.sleep(600)
    time.sleep(behaviour["stop_takes"])
    tell("ended")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "house":
        sys.exit(run_house(sys.argv[2]))
    given = sys.argv[4:]
    sys.exit(
        run_child(sys.argv[2], sys.argv[3], {key.lstrip("-"): value for key, value in zip(given[::2], given[1::2], strict=True)})
    )
