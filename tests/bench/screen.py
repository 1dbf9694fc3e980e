"""How soon the first screen can be worked with: Chromium on a ledger with many records.

    python -m tests.bench screen [--rows 10_000_000] [--database URL]

From the request for the page until every panel of the overview has its figures, through the public port, with an empty cache and as
somebody who was here before. The ledger is big_ledger.py's, as for `control`.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
from contextlib import ExitStack
from datetime import UTC, datetime

from playwright.sync_api import sync_playwright

from tests.bench.answers import digest, progress, quiet
from tests.bench.big_ledger import DAYS, SETTINGS, fill
from tests.bench.load import Bench
from tests.bench.machine import BenchError, cpu_seconds, work_folder
from tests.bench.subjects import Subject
from tests.bench.tables import Report, Table
from tests.e2e.house import ADMIN_KEY
from tests.servers import postgres_server

SCREEN_SECONDS = 1.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
READY = """() => document.querySelectorAll('.tile').length >= 4 && document.querySelectorAll('.chart svg').length >= 2
  && !document.querySelector('.skeleton')"""
SHOWN = "() => document.querySelector('.tiles, .skeleton')"
FETCHED = """() => {
  const all = performance.getEntriesByType('resource');
  return [all.length, all.reduce((sum, one) => sum + one.transferSize, 0)];
}"""


def run(report: Report, rows: int, database: str | None, loads: int) -> None:
    with ExitStack() as stack:
        url = database
        if url is None:
            url = stack.enter_context(postgres_server(SETTINGS)).url
            asyncio.run(fill(url, rows, datetime.now(UTC), progress()))
        shape = asyncio.run(digest(url))
        bench = Bench(stack.enter_context(work_folder()))
        stack.callback(bench.close)
        subject = stack.enter_context(Subject("screen", bench, env={"DATABASE_URL": url}))
        subject.start(bench)
        asyncio.run(quiet(url))
        table = Table(
            "The overview in Chromium",
            f"{shape}, over {DAYS} days. Milliseconds from asking for the page until every panel has its figures, medians "
            f"of {loads} loads; through the public port, no calls meanwhile.",
            ("cache", "frame shown", "all figures", "longest", "requests", "KB", "control CPU ms"),
        )
        for cache, found in open_often(subject, loads).items():
            ready = [one["ready"] for one in found]
            middle = {name: statistics.median(one[name] for one in found) for name in found[0]}
            table.add(
                cache, middle["frame"], middle["ready"], max(ready), middle["requests"], middle["bytes"] / 1024, middle["cpu"]
            )
            report.target(f"overview, {cache} cache: seconds to all figures", statistics.median(ready) / 1000, SCREEN_SECONDS)
            report.keep(f"screen, {cache}", found)
        report.show(table)


def open_often(subject: Subject, loads: int) -> dict[str, list[dict[str, float]]]:
    """The overview, `loads` times with an empty cache and each time once more."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise BenchError("no Chromium here: install Debian's `chromium`")
    control = subject.roles()["control"]
    address = f"http://127.0.0.1:{subject.house.port}/dashboard"
    found: dict[str, list[dict[str, float]]] = {"empty": [], "warm": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        for _ in range(loads):
            with browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce") as context:
                context.add_init_script(f"sessionStorage.setItem('weighbridge.key', '{ADMIN_KEY}')")
                page = context.new_page()
                for cache in ("empty", "warm"):
                    page.goto("about:blank")
                    before = sum(map(cpu_seconds, control))
                    page.goto(address, wait_until="commit")
                    page.wait_for_function(SHOWN, polling=5, timeout=60_000)
                    frame = page.evaluate("() => performance.now()")
                    page.wait_for_function(READY, polling=5, timeout=60_000)
                    ready = page.evaluate("() => performance.now()")
                    sums = page.evaluate(FETCHED)
                    cpu = (sum(map(cpu_seconds, control)) - before) * 1000
                    found[cache].append({"frame": frame, "ready": ready, "requests": sums[0] + 1, "bytes": sums[1], "cpu": cpu})
        browser.close()
    return found
