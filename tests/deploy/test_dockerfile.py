"""The image's recipe, as far as it can be checked without an engine: what it copies exists, who it runs as, how it is asked if
it is well. Its steps themselves have been run by hand in a clean directory (README, Operations)."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement

from tests.deploy.conftest import ROOT
from tests.e2e.house import House

TEXT = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))
STEPS = [(line.split()[0], line.split(maxsplit=1)[1].strip()) for line in TEXT.splitlines() if line.strip() and line[0] != " "]
FINAL = STEPS[max(index for index, (word, _) in enumerate(STEPS) if word == "FROM") :]


def final(word: str) -> list[str]:
    return [rest for step, rest in FINAL if step == word]


def locked(name: str) -> dict[str, str]:
    """Version of each package in a lock file; each has its hashes."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text()):
        pinned = re.match(r"([a-z0-9._-]+)==(\S+)", block)
        if pinned:
            assert "--hash=sha256:" in block, f"{pinned[1]} has no hash"
            found[pinned[1]] = pinned[2]
    return found


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[ignored.index("*") + 1].startswith("!")
    for step, rest in STEPS:
        if step == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source.removeprefix("./")).exists(), source
                assert f"!{source.removeprefix('./')}" in ignored, f"{source} does not reach the build"


def test_only_hashed_packages_are_installed() -> None:
    installs = [rest for step, rest in STEPS if step == "RUN" and "pip install" in rest]
    commands = [command for rest in installs for command in re.findall(r"pip install[^&]*", rest)]
    assert len(commands) == 3
    assert all("--require-hashes" in command or "--no-index" in command for command in commands)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name, wanted in (
        ("requirements.lock", project["project"]["dependencies"]),
        ("deploy/build.lock", project["build-system"]["requires"]),
    ):
        versions = locked(name)
        for requirement in map(Requirement, wanted):
            pinned = versions.get(requirement.name.lower().replace("_", "-").replace(".", "-"))
            assert pinned, f"{requirement.name} is not in {name}"
            assert requirement.specifier.contains(pinned, prereleases=True), f"{name} pins {requirement.name} {pinned}"


def test_no_host_is_named() -> None:
    for step, rest in STEPS:
        if step == "FROM":
            assert "/" not in rest.split()[0]
    assert "index-url" not in TEXT


def test_it_runs_as_nobody_in_particular() -> None:
    assert final("USER") == ["10001:10001"]
    assert "-o 10001" in next(rest for rest in final("RUN") if "/var/lib/weighbridge" in rest)
    assert json.loads(final("VOLUME")[0]) == ["/var/lib/weighbridge"]
    assert "WEIGHBRIDGE_DATA_DIR=/var/lib/weighbridge" in final("ENV")[0]


def test_it_is_stopped_and_reached_as_the_program_expects() -> None:
    assert final("STOPSIGNAL") == ["SIGTERM"]
    assert final("EXPOSE") == ["8080"]
    assert json.loads(final("ENTRYPOINT")[0]) == ["weighbridge"]
    assert json.loads(final("CMD")[0]) == ["serve", "--host", "0.0.0.0"]
    assert "org.opencontainers.image.licenses" in final("LABEL")[0]


def test_its_health_check_tells_a_living_proxy_from_a_dead_one(running: House) -> None:
    command = json.loads(final("HEALTHCHECK")[0].split("CMD", 1)[1])
    assert command[0] == "python"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: nobody can come between
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/healthz"
        for url, is_well in ((f"{running.url}/healthz", True), (dead, False)):
            done = subprocess.run(
                [sys.executable, *command[1:]], env={**os.environ, "HEALTH_URL": url}, capture_output=True, timeout=20
            )
            assert (done.returncode == 0) is is_well, done.stderr
