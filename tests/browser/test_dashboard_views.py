"""Every view, light and dark, wide and narrow: it shows data, axe-core finds nothing, and pictures of it are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import DESKTOP
from tests.browser.demo_house import ADMIN_KEY, DemoHouse
from tests.browser.visit import Visit

VIEWS = {
    "overview": "overview",
    "explore": "explore?metric=total_tokens&group_by=team",
    "users": "users",
    "teams": "users?show=teams",
    "user": "user/katherine",
    "limits": "limits",
    "alerts": "alerts?state=all",
    "records": "records?range=7d",
    "models": "models",
    "keys": "keys?show=all",
    "audit": "audit",
    "system": "system",
}
PHONE = {"width": 390, "height": 844}
RUN_AXE = """async () => {
  const told = (node) => `${node.html.slice(0, 200)} ${node.failureSummary}`;
  const found = await axe.run(document, {resultTypes: ['violations']});
  return found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(told).join(' | ')}`);
}"""


@pytest.fixture(scope="module")
def admin(browser: Browser, house: DemoHouse) -> Iterator[Visit]:
    """One tab for all views: logging in anew for each would be most of the time."""
    house.api("PATCH", "users/katherine/limits", {"tokens": {"per_day": 5_000_000}, "reason": "busy week"})
    house.api("POST", "keys", {"user": "grace", "name": "for the pictures"})
    house.open_alert()
    with browser.new_context(viewport=DESKTOP, color_scheme="light") as context:  # type: ignore[arg-type]
        started = Visit.start(context, house.url)
        started.log_in(ADMIN_KEY)
        yield started


def look(visit: Visit, axe: str, name: str, pictures: Path) -> None:
    """Judge and keep what is on the screen, light and dark."""
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        visit.settle()
        visit.page.screenshot(path=pictures / f"{name}-{scheme}.png", full_page=True)
        if not visit.page.evaluate("() => 'axe' in globalThis"):
            visit.page.evaluate(axe)
        assert visit.page.evaluate(RUN_AXE) == [], f"{name}, {scheme}"
    visit.page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("name", VIEWS)
def test_view_shows_data_and_is_accessible(admin: Visit, axe: str, pictures: Path, name: str) -> None:
    admin.troubles.clear()
    admin.page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    admin.open(VIEWS[name])
    assert admin.page.locator("h1").count() == 1
    assert admin.page.locator("main .state-failed").count() == 0
    assert admin.page.locator("main tbody tr, main .chart svg path").count() > 0
    look(admin, axe, name, pictures)
    assert admin.troubles == []


def test_a_single_call_is_shown_with_its_timings(admin: Visit, house: DemoHouse, axe: str, pictures: Path) -> None:
    assert house.chat("wb-demo-margaret-laptop") == 200
    found = next(
        record for record in house.api("GET", "usage/records?limit=100")["records"] if record["timings"] and record["total_tokens"]
    )
    admin.troubles.clear()
    admin.open(f"record/{found['id']}")
    assert admin.page.locator(".waterfall li").count() >= 4
    assert found["cost_usd"] is None or admin.page.get_by_text(found["cost_usd"], exact=True).count() >= 1
    look(admin, axe, "record", pictures)
    assert admin.troubles == []


@pytest.mark.parametrize("name", VIEWS)
def test_view_fits_a_phone(admin: Visit, pictures: Path, name: str) -> None:
    admin.troubles.clear()
    admin.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    admin.open(VIEWS[name])
    wide = admin.page.evaluate("() => document.documentElement.scrollWidth")
    admin.page.screenshot(path=pictures / f"{name}-phone.png", full_page=True)
    assert wide <= PHONE["width"], f"{name} is {wide} px wide"
    assert admin.troubles == []


def test_the_phone_menu_opens_and_leads_on(admin: Visit) -> None:
    admin.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    admin.open("overview")
    admin.page.get_by_role("button", name="Menu").click()
    admin.page.get_by_role("link", name="Limits").click()
    admin.settle()
    assert admin.page.locator("h1").inner_text() == "Limits"
    assert admin.page.locator("main").is_visible()


def test_a_user_sees_their_own_usage_and_nothing_else(browser: Browser, house: DemoHouse, axe: str, pictures: Path) -> None:
    with browser.new_context(viewport=DESKTOP) as context:  # type: ignore[arg-type]
        visit = Visit.start(context, house.url)
        visit.log_in("wb-demo-ada-laptop")
        visit.settle()
        assert visit.page.locator("h1").inner_text() == "My usage"
        assert visit.page.get_by_role("navigation", name="Views").get_by_role("link").all_inner_texts() == [
            "My usage",
            "My records",
            "Explore",
        ]
        look(visit, axe, "my-usage", pictures)
        visit.open("users")
        assert visit.page.get_by_text("This view is for admins").is_visible()
        look(visit, axe, "not-allowed", pictures)
        visit.open("records?range=90d")
        assert set(visit.page.locator("tbody tr td:nth-child(2)").all_inner_texts()) == {"ada"}
        assert visit.troubles == []


def test_the_door_is_accessible_and_says_when_a_key_is_wrong(browser: Browser, house: DemoHouse, axe: str, pictures: Path) -> None:
    with browser.new_context(viewport=DESKTOP) as context:  # type: ignore[arg-type]
        visit = Visit.start(context, house.url)
        visit.page.goto(f"{house.url}/dashboard")
        look(visit, axe, "log-in", pictures)
        visit.page.get_by_label("Key").fill("wb-nobody-knows-this")
        visit.page.get_by_role("button", name="Log in").click()
        visit.page.get_by_text("This key is not known here").wait_for()
        assert visit.page.evaluate("() => sessionStorage.length") == 0
        visit.forgive("401")
        assert visit.troubles == []
