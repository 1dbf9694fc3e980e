"""What a measurement needs of the machine: cores, priorities, CPU time and memory of processes, compiled tools.

Rules of this file: the program under test runs on one core, load and provider on another, where there are two; what the system does
not allow (real-time class, negative nice) is left out and said. Figures come from /proc. Linux only, like the C programs.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(RuntimeError):
    """The benchmark cannot be run here; the text says what is missing."""


def build_tools(folder: Path) -> None:
    """Compile provider and load generator into `folder`.

    Raises:
        BenchError: there is no C compiler, or it does not like the source.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError(
            "The benchmarks need a C compiler for their provider and load generator: install one (Debian: apt-get install gcc)."
        )
    for name in ("mock", "lg"):
        command = [compiler, "-O2", "-o", str(folder / name), str(TOOLS / f"{name}.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{name}.c did not compile:\n{done.stderr[-2000:]}")


def raise_file_limit() -> int:
    """As many open files as allowed, for this process and its children; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, 262_144), hard):  # the first needs rights that containers often give
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    return hard


def cores() -> tuple[set[int], set[int]]:
    """Cores for the program under test and for everything else; the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return ({usable[0]}, {usable[1]}) if len(usable) > 1 else ({usable[0]}, {usable[0]})


@contextlib.contextmanager
def pinned(where: Iterable[int]) -> Iterator[None]:
    """What is started meanwhile runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(where))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, where: Iterable[int]) -> None:
    """A running process with all its threads onto these cores."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # a thread may end meanwhile
            os.sched_setaffinity(int(task), set(where))


def usable_prefix(*prefix: str) -> list[str]:
    """The prefix if this user may use it, else nothing."""
    found = shutil.which(prefix[0])
    if found is None or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        return []
    return list(prefix)


REAL_TIME = usable_prefix("chrt", "-r", "1")
"""For provider and load generator, so that what they measure is not their own waiting for a core."""


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                waiting += [int(child) for child in Path(f"/proc/{one}/task/{task}/children").read_text().split()]
    return found


def hurry(pid: int) -> None:
    """The program under test, all its threads, before whatever else runs on its core. Silently not, where that is not allowed."""
    for one in family(pid):
        for task in Path(f"/proc/{one}/task").glob("*"):
            with contextlib.suppress(PermissionError, ProcessLookupError):  # a thread may end meanwhile
                os.setpriority(os.PRIO_PROCESS, int(task.name), -20)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with its threads (10 ms steps); 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kb(pid: int) -> float:
    """Resident memory in KiB; 0 where the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1024
    except OSError:
        return 0.0


def arguments(pid: int) -> list[str]:
    """The command line; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def load_average() -> float:
    return os.getloadavg()[0]


class Program:
    """A child process with its log, ended with everything it started."""

    def __init__(self, name: str, command: Sequence[str], port: int, folder: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.port = name, port
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def wait_until_it_listens(self, seconds: float = 60.0) -> None:
        """Raises BenchError with the end of its log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if is_listening(self.port):
                return
            time.sleep(0.05)
        self.stop()
        raise BenchError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-1500:]}")

    def stop(self) -> None:
        everyone = family(self.process.pid)
        for how in (15, 9):
            for one in reversed(everyone):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
                if how == 15 and not [one for one in everyone if resident_kb(one)]:
                    return


def is_listening(port: int) -> bool:
    """Whether somebody takes connections on 127.0.0.1, without making one (which would count as a client)."""
    wanted = f"0100007F:{port:04X}"
    anyone = f"00000000:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[1] in (wanted, anyone):
            return True
    return False


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder that nginx's worker may enter as well."""
    folder = Path(tempfile.mkdtemp(prefix="weighbridge-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
