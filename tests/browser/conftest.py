"""A demo to look at, Chromium to look with, axe-core to judge by. What is missing is a failure, never a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.demo_house import ADMIN_KEY, DemoHouse, demo_house
from tests.browser.visit import Visit
from tests.node import node_environment

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE = "axe-core@4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-extensions", "--disable-background-networking"]
DESKTOP = {"width": 1440, "height": 900}
CALM = {"color_scheme": "light", "reduced_motion": "reduce"}
"""No pulse and no fade: they would keep the machine busy with painting."""


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoHouse]:
    with demo_house(tmp_path_factory.mktemp("demo") / "demo.log") as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail("no Chromium here: install Debian's `chromium` (the dashboard is tested in a real browser, never skipped)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, fetched for the tests only: nothing of it is shipped."""
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", AXE]
    fetched = subprocess.run(command, env=node_environment(), capture_output=True, text=True, timeout=180, check=False)
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        pytest.fail(f"{AXE} could not be fetched:\n{fetched.stderr}")
    assert sha256(script.read_bytes()).hexdigest() == AXE_SHA256, f"{AXE} is not the file that was looked at"
    return script.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: WEIGHBRIDGE_PICTURES, else a temporary folder."""
    given = os.environ.get("WEIGHBRIDGE_PICTURES")
    folder = Path(given) if given else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def visit(browser: Browser, house: DemoHouse) -> Iterator[Visit]:
    """A fresh tab, an admin logged in; anything the console says against it fails the test."""
    with browser.new_context(viewport=DESKTOP, **CALM) as context:  # type: ignore[arg-type]
        started = Visit.start(context, house.url)
        started.log_in(ADMIN_KEY)
        yield started
        assert started.troubles == []
