"""Every view, light and dark, wide and narrow: it shows data, axe-core finds nothing, and pictures of it are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.conftest import CALM, DESKTOP
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
ROWS_JUDGED = 12
"""Rows of a table are alike: axe-core is shown the first ones, and spends its time on the rest of the page."""
RUN_AXE = """async ([rows, rules]) => {
  const told = (node) => `${node.html.slice(0, 200)} ${node.failureSummary}`;
  const alike = [[`tbody tr:nth-child(n+${rows + 1})`], [`.feed li:nth-child(n+${rows + 1})`]];
  const found = await axe.run({exclude: alike}, {resultTypes: ['violations'], ...(rules ? {runOnly: rules} : {})});
  return found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(told).join(' | ')}`);
}"""
UNEXPLAINED = """() => {
  const explained = (element) => element.querySelector('[title]:not([title=""])') || element.title;
  const numbers = [...document.querySelectorAll('th.number-cell, .gauge, .tile-name, .tile-amount, .live-rate')];
  return numbers.filter((one) => !explained(one)).map((one) => one.innerText);
}"""
CHARTS_WITHOUT_CSV = """() => [...document.querySelectorAll('main .panel')]
  .filter((panel) => panel.querySelector('.chart'))
  .filter((panel) => ![...panel.querySelectorAll('button')].some((one) => one.innerText.includes('CSV')))
  .map((panel) => panel.innerText.slice(0, 60))"""
TALLEST = 3200


@pytest.fixture(scope="module")
def admin(browser: Browser, house: DemoHouse) -> Iterator[Visit]:
    """One tab for all views: logging in anew for each would be most of the time."""
    house.open_alert()
    with browser.new_context(viewport=DESKTOP, **CALM) as context:  # type: ignore[arg-type]
        started = Visit.start(context, house.url)
        started.log_in(ADMIN_KEY)
        yield started


def look(visit: Visit, axe: str, name: str, pictures: Path) -> None:
    """Judge and keep what is on the screen: light, dark (of which only the colours differ) and on a phone."""
    if not visit.page.evaluate("() => 'axe' in globalThis"):
        visit.page.evaluate(axe)
    for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
        visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        picture(visit, pictures / f"{name}-{scheme}.png", DESKTOP)
        assert visit.page.evaluate(RUN_AXE, [ROWS_JUDGED, rules]) == [], f"{name}, {scheme}"
    visit.page.emulate_media(color_scheme="light")
    picture(visit, pictures / f"{name}-phone.png", PHONE)
    wide = visit.page.evaluate("() => document.documentElement.scrollWidth")
    visit.page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    assert wide <= PHONE["width"], f"{name} is {wide} px wide on a phone"


def picture(visit: Visit, path: Path, size: dict[str, int]) -> None:
    """The whole view, in a window as tall as it is."""
    visit.page.set_viewport_size(size)  # type: ignore[arg-type]
    visit.settle()
    tall = visit.page.evaluate("() => document.documentElement.scrollHeight")
    visit.page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(tall, TALLEST))})
    visit.page.mouse.move(1, 1)
    visit.page.screenshot(path=path)


@pytest.mark.parametrize("name", VIEWS)
def test_view_shows_data_and_is_accessible(admin: Visit, axe: str, pictures: Path, name: str) -> None:
    admin.troubles.clear()
    admin.page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    admin.open(VIEWS[name])
    assert admin.page.locator("h1").count() == 1
    assert admin.page.locator("main .state-failed").count() == 0
    assert admin.page.locator("main tbody tr, main .chart svg path").count() > 0
    assert admin.page.evaluate(UNEXPLAINED) == [], "numbers without an explanation"
    assert admin.page.evaluate(CHARTS_WITHOUT_CSV) == []
    look(admin, axe, name, pictures)
    assert admin.troubles == []


def test_a_single_call_is_shown_with_its_timings(admin: Visit, house: DemoHouse, axe: str, pictures: Path) -> None:
    assert house.chat("wb-demo-margaret-laptop") == 200
    found = next(
        record
        for record in house.api("GET", "usage/records?limit=100&outcome=ok")["records"]
        if record["timings"] and record["total_tokens"]
    )
    admin.troubles.clear()
    admin.open(f"record/{found['id']}")
    assert admin.page.locator(".waterfall-name").all_inner_texts() == [
        "Admitted",
        "Forwarded",
        "First byte",
        "Last byte",
        "Settled",
        "Recorded",
    ]
    assert found["cost_usd"] is None or admin.page.get_by_text(found["cost_usd"], exact=True).count() >= 1
    look(admin, axe, "record", pictures)
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
    with browser.new_context(viewport=DESKTOP, **CALM) as context:  # type: ignore[arg-type]
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
    with browser.new_context(viewport=DESKTOP, **CALM) as context:  # type: ignore[arg-type]
        visit = Visit.start(context, house.url)
        visit.page.goto(f"{house.url}/dashboard")
        look(visit, axe, "log-in", pictures)
        visit.page.get_by_label("Key").fill("wb-nobody-knows-this")
        visit.page.get_by_role("button", name="Log in").click()
        visit.page.get_by_text("This key is not known here").wait_for()
        assert visit.page.evaluate("() => sessionStorage.length") == 0
        visit.forgive("401")
        assert visit.troubles == []


def asked_until(visit: Visit, wanted: Locator) -> None:
    """Ask again (the key `r`) until the edit of a file has been seen: within a second, on a machine that has time."""
    for _ in range(30):
        visit.page.keyboard.press("r")
        visit.settle()
        if wanted.is_visible():
            return
        visit.page.wait_for_timeout(300)
    expect(wanted).to_be_visible()


def test_a_refused_file_is_told_with_its_mistakes(admin: Visit, house: DemoHouse, axe: str, pictures: Path) -> None:
    before = house.limits_file.read_text(encoding="utf-8")
    try:
        house.limits_file.write_text(
            before.replace("tokens: {per_day: 3_000_000}", "tokens: {per_dya: 3_000_000}"), encoding="utf-8"
        )
        admin.troubles.clear()
        admin.open("overview")
        asked_until(admin, admin.page.get_by_text("A changed configuration was refused.", exact=True))
        admin.page.get_by_role("link", name="Show the mistakes").click()
        expect(admin.page.locator(".mistakes li").first).to_contain_text("per_dya")
        admin.settle()
        look(admin, axe, "limits-refused", pictures)
        assert admin.troubles == []
    finally:
        house.limits_file.write_text(before, encoding="utf-8")
    asked_until(admin, admin.page.get_by_text("The files are in force as saved"))


def test_waiting_and_finding_nothing_are_designed(admin: Visit, axe: str, pictures: Path) -> None:
    admin.troubles.clear()
    admin.page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    admin.page.route("**/api/v1/usage/**", lambda route: None)  # never answered
    admin.page.goto(f"{admin.origin}/dashboard#/records?range=yesterday")
    expect(admin.page.locator(".skeleton").first).to_be_visible()
    admin.page.screenshot(path=pictures / "records-loading.png")
    admin.page.unroute("**/api/v1/usage/**")
    admin.open("records?range=7d&user=nobody-of-that-name")
    look(admin, axe, "records-empty", pictures)
    assert admin.troubles == []
