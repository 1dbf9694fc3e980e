"""What people do with the dashboard, done in a real browser and held against the control API."""

from __future__ import annotations

import csv
import io
import re
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import CALM
from tests.browser.demo_house import DemoHouse
from tests.browser.visit import Visit
from tests.waiting import within


def chart(page: Page) -> tuple[float, float]:
    """A point inside the tallest column of the first chart."""
    box = page.locator("main .chart svg").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.85


def test_a_column_leads_to_its_records(visit: Visit, house: DemoHouse) -> None:
    visit.open("explore?range=30d&metric=cost_usd&group_by=model&interval=day")
    visit.page.mouse.move(*chart(visit.page))
    day = visit.page.locator(".chart-tip-title").inner_text()
    visit.page.mouse.click(*chart(visit.page))
    expect(visit.page.locator("h1")).to_have_text("Records")
    visit.settle()
    asked = dict(parse_qsl(visit.hash.partition("?")[2]))
    assert set(asked) == {"from", "to", "model"}, f"{day} led to {visit.hash}"
    found = house.api("GET", f"usage/records?{urlencode(asked)}&limit=1000")["records"]
    assert visit.page.locator("tbody tr").count() == min(100, len(found)) > 0
    assert {record["started_at"][:10] for record in found} == {asked["from"]}


def test_filters_stand_in_the_address_and_can_be_taken_away(visit: Visit) -> None:
    visit.open("records?range=30d")
    visit.page.get_by_label("Filter by", exact=True).select_option("user")
    visit.page.get_by_label("User to filter by").fill("katherine")
    visit.page.get_by_role("button", name="Filter", exact=True).click()
    expect(visit.page.locator(".chip")).to_have_text("User: katherine")
    visit.settle()
    assert "user=katherine" in visit.hash
    visit.page.reload()
    visit.page.locator("tbody tr").first.wait_for()
    visit.settle()
    assert set(visit.page.locator("tbody tr td:nth-child(2)").all_inner_texts()) == {"katherine"}
    visit.page.get_by_role("button", name="Remove filter User katherine").click()
    expect(visit.page.locator(".chip")).to_have_count(0)
    assert "user=" not in visit.hash


def test_narrowing_down_by_a_name(visit: Visit) -> None:
    visit.open("explore?range=30d&group_by=user&metric=requests")
    visit.row("katherine").get_by_role("button", name="katherine").click()
    expect(visit.page.locator(".chip")).to_have_text("User: katherine")
    visit.settle()
    assert "group_by=model" in visit.hash
    assert visit.page.get_by_text("gpt-4o-2024-08-06").count() > 0


def test_an_alert_is_acknowledged_then_dismissed(visit: Visit, house: DemoHouse) -> None:
    alert = house.open_alert()
    visit.open("alerts?state=open")
    visit.row(alert["facts"]["limit"]).get_by_role("button", name="Acknowledge").click()
    visit.told("Acknowledged")
    visit.open("alerts?state=acknowledged")
    expect(visit.row(alert["facts"]["limit"])).to_contain_text("by admin")
    visit.row(alert["facts"]["limit"]).get_by_role("button", name="Dismiss").click()
    visit.told("Dismissed")
    states = {one["id"]: one["state"] for one in house.api("GET", "alerts")["alerts"]}
    assert states[alert["id"]] == "dismissed"


def seconds_until(house: DemoHouse, key: str, status: int) -> float:
    """From now to the first call that is answered so; on every replica that takes a second at most."""
    began = time.monotonic()
    while house.chat(key) != status:
        assert time.monotonic() - began < 30, f"still not {status}"
        time.sleep(0.05)
    return time.monotonic() - began


def test_a_key_is_made_used_and_revoked(visit: Visit, house: DemoHouse) -> None:
    visit.open("keys")
    visit.page.get_by_role("button", name="Make a key").click()
    visit.page.locator("input[name=user]").fill("hedy")
    visit.page.locator("input[name=name]").fill("torpedo")
    visit.page.get_by_role("button", name="Make", exact=True).click()
    key = visit.page.locator(".secret code").inner_text()
    visit.page.get_by_role("button", name="I have it").click()
    assert house.chat(key) == 200
    visit.row("hedy").get_by_role("button", name="Revoke").click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    visit.told("revoked")
    expect(visit.page.locator("main tbody tr").filter(has_text="hedy")).to_have_count(0)
    assert within(1.0, seconds_until(house, key, 401))
    visit.open("audit")
    expect(visit.row("revoke key")).to_contain_text("admin")


def test_a_limit_is_overridden_and_the_override_removed(visit: Visit, house: DemoHouse) -> None:
    visit.open("user/alan")
    visit.page.get_by_role("button", name="Override limits").click()
    visit.page.locator("select[name=resource]").select_option("cost_usd")
    visit.page.locator("select[name=window]").select_option("per_month")
    visit.page.locator("input[name=amount]").fill("123.456789012345")
    visit.page.locator("input[name=reason]").fill("a bigger experiment")
    visit.page.get_by_role("button", name="Put in force").click()
    visit.told("in force")
    expect(visit.page.get_by_text("Limits are overridden")).to_be_visible()
    expect(visit.page.locator("main tbody tr").filter(has_text="override")).to_contain_text("dollars a month")
    override = house.api("GET", "users/alan/limits")["override"]
    assert override["limits"] == {"cost_usd": {"per_month": "123.456789012345"}}, "not one digit of money may be lost"
    assert override["until"] is not None
    visit.page.get_by_role("button", name="Remove override").click()
    visit.told("The override is gone")
    assert house.api("GET", "users/alan/limits")["override"] is None


def test_the_emergency_stop_stops_and_lets_go(visit: Visit, house: DemoHouse) -> None:
    key = "wb-demo-grace-notebook"
    assert house.chat(key) == 200
    visit.open("user/grace")
    visit.page.get_by_role("button", name="Emergency stop").click()
    visit.page.get_by_role("dialog").locator("input[name=reason]").fill("runs in circles")
    visit.page.get_by_role("button", name="Stop now").click()
    visit.told("Stopped: user grace")
    assert within(1.0, seconds_until(house, key, 503))
    visit.open("records?user=grace&outcome=denied&range=today")
    for _ in range(30):  # from the spool into the ledger
        if visit.page.locator("tbody tr").count():
            break
        visit.page.keyboard.press("r")
        visit.settle()
        visit.page.wait_for_timeout(300)
    expect(visit.row("grace")).to_contain_text("denied")
    visit.open("overview")
    expect(visit.page.get_by_text("Stopped: user grace.")).to_be_visible()
    visit.open("limits")
    visit.page.get_by_role("button", name="Release").click()
    visit.told("Released: user grace")
    assert within(1.0, seconds_until(house, key, 200))


def test_dark_mode_is_kept(visit: Visit) -> None:
    visit.open("overview")
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.keyboard.press("t")
    dark = visit.page.evaluate(ground)
    assert dark != light
    visit.page.reload()
    visit.settle()
    assert visit.page.evaluate(ground) == dark
    visit.page.get_by_role("button", name="Light or dark").click()
    assert visit.page.evaluate(ground) == light


def test_it_is_worked_by_keyboard_alone(visit: Visit) -> None:
    visit.open("overview")
    visit.page.keyboard.press("Tab")
    expect(visit.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("main")).to_be_focused()
    visit.page.keyboard.press("?")
    expect(visit.page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    visit.page.keyboard.press("Escape")
    expect(visit.page.get_by_role("dialog")).to_have_count(0)
    visit.page.keyboard.press("g")
    visit.page.keyboard.press("e")
    expect(visit.page.locator("h1")).to_have_text("Explore")
    visit.settle()
    visit.page.locator(".chart-focus").focus()
    for press in ("End", "ArrowLeft", "ArrowLeft", "Enter"):
        visit.page.keyboard.press(press)
    expect(visit.page.locator("h1")).to_have_text("Records")


def test_a_chart_is_downloaded_as_csv_with_exact_money(visit: Visit, house: DemoHouse) -> None:
    visit.open("explore?range=last_month&metric=cost_usd&group_by=team&interval=day")
    with visit.page.expect_download() as started:
        visit.page.get_by_title("Download this chart’s numbers as CSV").click()
    head, *rows = csv.reader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8")))
    assert head[:2] == ["from", "to"]
    told = {name.removesuffix(" (USD)"): sum(_nano(row[index + 2]) for row in rows) for index, name in enumerate(head[2:])}
    groups = house.api("GET", "usage/summary?range=last_month&group_by=team")["groups"]
    assert told == {group["team"]: _nano(group["cost_usd"]) for group in groups}


def _nano(text: str) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * 10**12 + int((part + "0" * 12)[:12])


def test_a_limit_is_tried_on_past_use(visit: Visit, house: DemoHouse) -> None:
    visit.open("limits")
    visit.page.get_by_label("Amount").fill("1 000 000")
    visit.page.get_by_role("button", name="Try", exact=True).click()
    verdict = visit.page.locator("[role=status]", has_text="would have met it")
    verdict.wait_for()
    points = house.api("GET", "usage/timeseries?range=30d&interval=day&group_by=user")["points"]
    over = {point["user"] for point in points if point["total_tokens"] > 1_000_000}
    assert f"{len(over)} of " in verdict.inner_text()


def test_live_calls_appear(visit: Visit, house: DemoHouse) -> None:
    visit.open("overview")
    expect(visit.page.locator(".live-on")).to_be_visible()
    assert house.chat("wb-demo-margaret-laptop") == 200
    expect(visit.page.locator(".feed li", has_text="margaret → gpt-4o-mini").first).to_be_visible()


def test_a_channel_is_tried(visit: Visit) -> None:
    visit.open("alerts")
    visit.page.locator(".channel", has_text="ops-chat").get_by_role("button", name="Send a test").click()
    visit.told("The test message reached ops-chat")


def test_a_changed_file_is_tried_on_past_calls(visit: Visit) -> None:
    visit.open("limits")
    field = visit.page.get_by_label("limits.yaml to try")
    visit.page.get_by_role("button", name="Start from the file in force").click()
    expect(field).to_have_value(re.compile("premium"))
    field.fill("users:\n  linus: {requests: {per_day: 5}}\n")
    visit.page.get_by_role("button", name="Hold the last 30 days against it").click()
    expect(visit.page.locator("main tbody tr", has_text="users.linus.requests.per_day")).to_contain_text("linus", timeout=30_000)
    field.fill("users:\n  linus: {requests: {per_dya: 5}}\n")
    visit.page.get_by_role("button", name="Hold the last 30 days against it").click()
    expect(visit.page.get_by_role("alert").filter(has_text="per_dya")).to_be_visible()
    visit.forgive("status of 4")


def test_finding_goes_to_a_user(visit: Visit) -> None:
    visit.open("overview")
    visit.page.keyboard.press("Control+k")
    visit.page.get_by_role("combobox", name="Go to").fill("kath")
    expect(visit.page.get_by_role("option", name="katherine")).to_be_visible()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("h1")).to_have_text("katherine")


def test_records_are_exported(visit: Visit, house: DemoHouse) -> None:
    visit.open("records?range=30d&user=intern")
    with visit.page.expect_download() as started:
        visit.page.get_by_role("button", name="CSV").click()
    head, *rows = csv.reader(io.StringIO(Path(started.value.path()).read_text(encoding="utf-8")))
    assert "cost_usd" in head
    assert {row[head.index("user")] for row in rows} == {"intern"}
    assert len(rows) >= house.api("GET", "usage/summary?range=30d&user=intern&outcome=ok")["totals"]["requests"]


def test_what_fails_says_so_and_can_be_tried_again(visit: Visit) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={"error": {"code": "ledger_away", "message": "the ledger cannot be reached", "docs": ""}})

    visit.page.route("**/api/v1/usage/records?*", refuse)
    visit.open("records?range=7d")
    expect(visit.page.get_by_text("The ledger is away")).to_be_visible()
    visit.page.unroute("**/api/v1/usage/records?*")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.locator("tbody tr").first).to_be_visible()
    visit.forgive("503")


def test_nothing_found_is_said_kindly(visit: Visit) -> None:
    visit.open("records?range=7d&user=nobody-of-that-name")
    expect(visit.page.get_by_text("No calls match")).to_be_visible()
    visit.open("nowhere")
    expect(visit.page.get_by_text("There is no such view")).to_be_visible()


def test_logging_out_forgets_the_key(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Log out").click()
    visit.page.get_by_label("Key").wait_for()
    assert visit.page.evaluate("() => sessionStorage.length") == 0


def test_the_page_holds_with_scripts_of_others_forbidden(browser: Browser, house: DemoHouse) -> None:
    """The policy is the strict one, and the browser keeps to it."""
    with browser.new_context(**CALM) as context:
        answer = context.request.get(f"{house.url}/dashboard")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_an_account_logs_in_by_password_changes_something_and_logs_out(browser: Browser, house: DemoHouse) -> None:
    house.api("PUT", "admin/logins/olga", {"password": "a long enough password", "role": "admin"})
    with browser.new_context(**CALM) as context:
        visit = Visit.start(context, house.url)
        visit.page.goto(f"{house.url}/dashboard")
        visit.page.get_by_role("button", name="Name and password").click()
        visit.page.get_by_label("Name", exact=True).fill("olga")
        visit.page.get_by_label("Password", exact=True).fill("a long enough password")
        visit.page.get_by_role("button", name="Log in", exact=True).click()
        visit.page.get_by_role("navigation", name="Views").wait_for()
        visit.page.reload()
        visit.open("user/margaret")
        visit.page.get_by_role("button", name="Emergency stop").click()
        visit.page.get_by_role("button", name="Stop now").click()
        visit.told("Stopped: user margaret")
        visit.page.get_by_role("button", name="Release").click()
        visit.told("Released: user margaret")
        assert house.api("GET", "audit?limit=1")["audit"][0]["by"] == "password:olga"
        visit.page.get_by_role("button", name="Log out").click()
        visit.page.get_by_label("Key", exact=True).wait_for()
        assert context.request.get(f"{house.url}/api/v1/session").status == 401
        assert visit.troubles == []
