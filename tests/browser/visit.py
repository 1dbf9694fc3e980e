"""One browser tab on the dashboard, which keeps what a good page never has: console errors, and requests to other origins."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

SETTLED = "() => document.querySelector('h1') && !document.querySelector('.skeleton, .stale')"
SETTLE_MS = 20_000


@dataclass
class Visit:
    """A tab, and what went wrong in it."""

    page: Page
    origin: str
    troubles: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, context: BrowserContext, origin: str) -> Visit:
        context.set_default_timeout(SETTLE_MS)
        visit = cls(context.new_page(), origin)
        visit.page.on("console", visit._hear)
        visit.page.on("pageerror", lambda error: visit.troubles.append(f"uncaught: {error}"))
        visit.page.on("request", visit._look_at)
        return visit

    def log_in(self, key: str) -> None:
        self.page.goto(f"{self.origin}/dashboard")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("navigation", name="Views").wait_for(state="attached")

    def open(self, view: str) -> None:
        """Open a view by its address and wait until it shows data."""
        self.page.goto(f"{self.origin}/dashboard#/{view}")
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_timeout(100)  # a click has to reach the view before it can be waited for
        self.page.wait_for_function(SETTLED, timeout=SETTLE_MS)

    @property
    def hash(self) -> str:
        return urlsplit(self.page.url).fragment

    def told(self, text: str) -> None:
        """A note says so."""
        expect(self.page.locator(".toasts")).to_contain_text(text)

    def row(self, text: str) -> Locator:
        return self.page.locator("main tbody tr").filter(has_text=text).first

    def forgive(self, part: str) -> None:
        """Drop expected troubles: a test that provokes an error hears of it."""
        self.troubles = [trouble for trouble in self.troubles if part not in trouble]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"console {message.type}: {message.text} {message.location.get('url', '')}")

    def _look_at(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", f"blob:{self.origin}", "data:")):
            self.troubles.append(f"request off-origin: {request.url}")
