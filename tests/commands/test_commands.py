"""Every command against a running house, on SQLite and on PostgreSQL: as JSON and as a table."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import NOW, Place, call
from tests.e2e.house import ADMIN_KEY, ROOT, virtual_key

TABLE_RULE = "─"


# keys ---------------------------------------------------------------------------------------------------------------------


def test_keys_are_made_listed_rotated_and_revoked(place: Place) -> None:
    shell = place.terminal
    key = shell.run("keys", "create", "carol", "--name", "laptop", "--expires", "+30d", "--models", "gpt-*, o3").out.strip()
    assert key.startswith("wb-")
    assert "\n" not in key
    (made,) = shell.json("keys", "list", "--user", "carol")["keys"]
    assert (made["name"], made["state"], made["created_by"]) == ("laptop", "active", "admin")
    assert made["settings"]["models"] == ["gpt-*", "o3"]
    assert place.house.api("session", key=key)["user"] == "carol"
    rotated = shell.json("keys", "rotate", made["key_id"], "--grace", "0")
    assert rotated["replaces"]["key_id"] == made["key_id"]
    assert place.house.api_answer("session", key=key)[0] == 401
    assert "is revoked" in shell.run("keys", "revoke", rotated["key_id"]).out
    assert place.house.api_answer("session", key=rotated["key"])[0] == 401
    table = shell.run("keys", "list", "--all", "--user", "carol").out
    assert "expired" in table
    assert "revoked" in table
    assert key not in table
    refusal = shell.run("keys", "revoke", "000000000000", code=1)
    assert refusal.err == "There is no such key, or it is not yours to see.\n"
    assert refusal.out == ""


def test_a_key_is_hashed_for_limits_yaml(place: Place) -> None:
    assert len(place.terminal.run("keys", "hash", stdin="wb-something\n").out.strip()) == 64
    assert "standard input" in place.terminal.run("keys", "hash", stdin="\n", code=1).err


# usage --------------------------------------------------------------------------------------------------------------------


def test_records(place: Place) -> None:
    shell = place.terminal
    found = shell.json("usage", "records", "--user", "alice", "--limit", "3")
    assert [one["user"] for one in found["records"]] == ["alice"] * 3
    assert found["next_cursor"]
    one = found["records"][0]
    assert shell.json("usage", "record", one["id"]) == one
    facts = shell.run("usage", "record", one["id"]).out
    assert "$0.000400" in facts
    assert "team" in facts
    table = shell.run("usage", "records", "--limit", "100").out
    assert table.count("model-a") == 13
    assert TABLE_RULE in table
    assert shell.run("usage", "records", "--user", "nobody").out == "No calls.\n"
    assert "There is no such record" in shell.run("usage", "record", "no-such-id", code=1).err


def test_summary(place: Place) -> None:
    found = place.terminal.json("usage", "summary", "--range", "24h", "--by", "user,model", "--compare")
    rows = {(row["user"], row["model"]): row for row in found["groups"]}
    assert rows["alice", "model-a"]["cost_usd"] == "0.004"  # ten of 0.0004
    assert found["totals"]["unpriced"] == 1
    assert found["previous"]["totals"]["requests"] == 0
    table = place.terminal.run("usage", "summary", "--range", "24h", "--by", "user").out
    assert "13 calls" in table
    assert "weighbridge prices reprice" in table
    assert TABLE_RULE in table
    assert place.terminal.run("usage", "summary", "--range", "fortnight", code=2).err.startswith("Parameter `range` must be")


def test_timeseries(place: Place) -> None:
    found = place.terminal.json("usage", "timeseries", "--range", "24h", "--interval", "hour", "--by", "user")
    assert sum(point["requests"] for point in found["points"] if point["user"] == "alice") == 10
    assert "alice" in place.terminal.run("usage", "timeseries", "--range", "24h", "--interval", "hour", "--by", "user").out


def test_projection_and_anomalies(place: Place) -> None:
    assert place.terminal.json("usage", "projection")["cost_usd"]["so_far"]
    assert "so far" in place.terminal.run("usage", "projection").out
    assert "alice" in place.terminal.run("usage", "projection", "--by", "user").out
    assert place.terminal.json("usage", "anomalies")["rules"]
    assert place.terminal.run("usage", "anomalies").out


def test_sessions_and_speed(place: Place) -> None:
    shell = place.terminal
    assert "s-9" in [one["session"] for one in shell.json("usage", "sessions", "--user", "bob")["sessions"]]
    assert "s-9" in shell.run("usage", "sessions").out
    found = shell.json("usage", "session", "s-9")
    assert (found["totals"]["requests"], found["calls"][0]["user"]) == (1, "bob")
    assert "1 calls, 120 tokens, $0.0004" in shell.run("usage", "session", "s-9").out
    assert shell.run("usage", "session", "s-0", code=1).err
    (row,) = shell.json("usage", "performance", "--user", "alice")["rows"]
    assert (row["model"], row["success_rate"], row["duration_p95_ms"]) == ("model-a", 1.0, 500.0)
    assert "500 ms" in shell.run("usage", "performance", "--user", "alice").out


def test_recommendations(place: Place) -> None:
    place.store([call("rec", outcome="upstream_aborted", cost_usd="0.5"), call("rec", tags={"env": "lab"})])
    found = place.terminal.json("usage", "recommendations", "--user", "rec")
    assert [(one["outcome"], one["cost_usd"]) for one in found["paid_failures"]] == [("upstream_aborted", "0.5")]
    shown = place.terminal.run("usage", "recommendations", "--user", "rec").out
    assert "Calls that failed and were paid for" in shown
    assert "$0.50" in shown
    groups = place.terminal.json("usage", "summary", "--by", "tag", "--tag", "env=lab")["groups"]
    assert [(one["tag"], one["requests"]) for one in groups] == [("env=lab", 1)]


def test_export_is_whole_or_not_there(place: Place, tmp_path: Path) -> None:
    shell = place.terminal
    lines = shell.run("usage", "export", "--format", "jsonl", "--user", "alice").out.splitlines()
    assert [json.loads(line)["user"] for line in lines] == ["alice"] * 10
    target = tmp_path / "usage.csv"
    done = shell.run("usage", "export", "-o", str(target), "--user", "bob")
    assert done.out == ""
    assert "2 records" in done.err
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["user"] for row in rows] == ["bob", "bob"]
    shell.run("usage", "export", "--format", "xml", "-o", str(target), code=2)
    assert len(list(csv.DictReader(io.StringIO(target.read_text())))) == 2  # the earlier one is still whole
    assert os.listdir(tmp_path) == ["usage.csv"]
    refused = shell.run("usage", "export", "-o", str(tmp_path / "nowhere" / "x.csv"), code=2)
    assert "No such file or directory" in refused.err


def test_usage_from_elsewhere_is_tracked_once(place: Place, tmp_path: Path) -> None:
    shell = place.terminal
    words = ("usage", "track", "--user", "tracy", "--provider", "openai", "--model", "model-a", "--input-tokens", "5", "--id")
    assert shell.json(*words, f"one-{place.kind}") == {"accepted": 1, "duplicates": 0, "counted_in_limits": True}
    assert shell.run(*words, f"one-{place.kind}").out == "0 accepted, 1 known already.\n"
    batch = tmp_path / "usage.jsonl"
    batch.write_text("\n".join(json.dumps({"user": "tracy", "provider": "p", "model": "m", "id": f"b{n}"}) for n in range(1500)))
    assert shell.json("usage", "track", "--file", str(batch))["accepted"] == 1500
    assert shell.json("usage", "track", "--file", str(batch))["duplicates"] == 1500
    batch.write_text('{"user": "tracy"\n')
    assert "line 1: not JSON" in shell.run("usage", "track", "--file", str(batch), code=2).err
    assert "Needed: --user" in shell.run("usage", "track", "--user", "tracy", code=2).err


def test_live_shows_calls_as_they_happen(place: Place) -> None:
    environment = {**os.environ, "WEIGHBRIDGE_URL": place.house.url, "WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "proxy", "usage", "live", "--count", "1", "--json", "--user", "lively"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        try:
            for number in range(300):
                body = {"user": "lively", "provider": "openai", "model": "model-a", "input_tokens": number}
                place.house.api("usage/track", "POST", body)
                if watching.poll() is not None:
                    break
                watching_out = _line_within(watching, 0.1)
                if watching_out:
                    break
            assert json.loads(watching_out)["user"] == "lively"
            assert watching.wait(10) == 0
        finally:
            if watching.poll() is None:
                watching.send_signal(signal.SIGKILL)


def _line_within(process: subprocess.Popen[str], seconds: float) -> str:
    import select

    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""


# users, limits ------------------------------------------------------------------------------------------------------------


def test_users_are_listed_and_shown(place: Place) -> None:
    shell = place.terminal
    found = {one["user"]: one for one in shell.json("users", "list", "--range", "24h")["users"]}
    assert found["alice"]["requests"] == 10
    assert "alice" in shell.run("users", "list", "--range", "24h").out
    alice = shell.json("users", "show", "alice")
    assert alice["limits"][0]["name"] == "users.alice.requests.per_day"
    shown = shell.run("users", "show", "alice").out
    assert "users.alice.requests.per_day" in shown
    assert "10 calls" in shown
    unknown = shell.run("users", "show", "alicia", code=1)
    assert "There is no user 'alicia'. Did you mean alice?" in unknown.err
    assert shell.run("users", "show", "zzz", code=1).err.startswith("There is no user 'zzz'.")


def test_a_persons_data_goes_out_and_away(place: Place, tmp_path: Path) -> None:
    shell = place.terminal
    place.store([call("grace", ago=timedelta(hours=3)), call("grace", ago=timedelta(days=2))])
    target = tmp_path / "grace.jsonl"
    shell.run("users", "export", "grace", "-o", str(target))
    assert len(target.read_text().splitlines()) == 2
    assert "say --yes" in shell.run("users", "erase", "grace", code=2).err
    assert shell.json("users", "erase", "grace", "--yes")["records"] == 2
    assert shell.run("users", "export", "grace").out == ""


def test_limits_are_listed_fullest_first(place: Place) -> None:
    rows = place.terminal.json("limits", "list")["limits"]
    assert any(row["name"] == "users.alice.requests.per_day" for row in rows)
    assert place.terminal.run("limits", "near").out == "No limit is that full.\n"
    assert "users.alice.requests.per_day" in place.terminal.run("limits", "near", "--at-least", "0").out


def test_an_override_is_set_shown_and_taken_away(place: Place) -> None:
    shell = place.terminal
    made = shell.json(
        "limits", "override", "bob", "tokens.per_day=2_000_000", "cost_usd.per_month=12.50", "concurrent_requests=3",
        "--until", "+2h", "--reason", "launch",
    )  # fmt: skip
    assert made["override"]["limits"] == {
        "tokens": {"per_day": 2_000_000},
        "cost_usd": {"per_month": "12.5"},
        "concurrent_requests": 3,
    }
    table = shell.run("limits", "override", "bob").out
    assert "launch" in table
    assert "$12.50" in table
    assert shell.json("limits", "override", "bob", "concurrent_requests=none")["override"]["limits"].keys() == {
        "tokens",
        "cost_usd",
    }
    assert shell.json("limits", "override", "bob", "--remove")["override"] is None
    assert "no such override" in shell.run("limits", "override", "bob", "--remove", code=1).err
    for wrong in ("tokens.per_day", "tokens.per_day=many", "tokens.per_year=5", "a.b.c=1"):
        shell.run("limits", "override", "bob", wrong, code=2)
    assert "midnight" in shell.run("limits", "override", "bob", "requests.per_day=1", "--until", "teatime", code=2).err


def test_other_limits_are_simulated(place: Place, tmp_path: Path) -> None:
    new = tmp_path / "new-limits.yaml"
    new.write_text("users: {alice: {requests: {total: 4}}}\n")
    found = place.terminal.json("limits", "simulate", "--limits", str(new), "--days", "3", code=1)
    assert (found["refused"], found["users"][0]["user"]) == (6, "alice")
    table = place.terminal.run("limits", "simulate", "--limits", str(new), "--days", "3", code=1).out
    assert "users.alice.requests.total" in table
    assert "would be refused: 6" in table
    new.write_text("{}")
    assert "would be refused: 0" in place.terminal.run("limits", "simulate", "--limits", str(new), "--days", "3").out
    new.write_text("user: {alice: {}}\n")
    assert "limits.yaml:1:1" in place.terminal.run("limits", "simulate", "--limits", str(new), code=1).err
    assert "No such file" in place.terminal.run("limits", "simulate", "--limits", str(tmp_path / "none"), code=2).err


# prices -------------------------------------------------------------------------------------------------------------------


def test_prices_are_listed(place: Place) -> None:
    found = place.terminal.json("prices", "list", "--provider", "openai", "--model", "model-a")
    assert found["prices"][0]["source"] == "prices.yaml"
    assert "prices.yaml" in place.terminal.run("prices", "list", "--model", "model-a").out


def test_reprice_says_what_would_change_and_then_does_it(place: Place) -> None:
    shell = place.terminal
    place.store([call("penny", cost_usd=None, input_cost_usd=None, output_cost_usd=None)])
    dry = shell.json("prices", "reprice", "--user", "penny", "--dry-run")
    assert (dry["examined"], dry["changed"], dry["after_usd"], dry["dry_run"]) == (1, 1, "0.0004", True)
    assert shell.json("usage", "records", "--user", "penny")["records"][0]["cost_usd"] is None
    assert "1 changed" in shell.run("prices", "reprice", "--user", "penny", "--range", "week").out
    assert shell.json("usage", "records", "--user", "penny")["records"][0]["cost_usd"] == "0.0004"
    assert shell.json("prices", "reprice", "--user", "penny")["changed"] == 0


def test_reconcile_ends_with_1_where_the_two_differ(place: Place, tmp_path: Path) -> None:
    shell = place.terminal
    place.store([call("rita", ago=timedelta(days=40), response_model="model-r") for _ in range(4)])
    day = (NOW - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)
    start = int(day.timestamp())

    def page(input_tokens: int) -> str:
        result = {"model": "model-r", "input_tokens": input_tokens, "output_tokens": 80, "num_model_requests": 4}
        return json.dumps({"data": [{"start_time": start, "end_time": start + 86_400, "results": [result]}]})

    report = tmp_path / "usage.json"
    report.write_text(page(400))
    words = ("prices", "reconcile", "--openai", str(report))
    assert shell.json(*words)["is_within"] is True
    assert "Within 1.0 %." in shell.run(*words).out
    report.write_text(page(500))
    found = shell.json(*words, code=1)
    assert found["rows"][0]["causes"] == ["tokens"]
    assert "1 days and models differ" in shell.run(*words, code=1).out
    assert shell.json(*words, "--tolerance", "0.5")["is_within"] is True
    table = tmp_path / "usage.csv"
    table.write_text(f"Tag,Modell,Ein\n{day.date()},model-r,400\n")
    words = ("prices", "reconcile", "--csv", str(table), "--provider", "openai")
    assert shell.json(*words, "--columns", "day=Tag,model=Modell,input_tokens=Ein")["is_within"] is True
    assert "which column is the day" in shell.run(*words, code=1).err.lower()
    assert "one kind of report" in shell.run("prices", "reconcile", code=2).err
    report.write_text("no json")
    assert "not JSON" in shell.run("prices", "reconcile", "--openai", str(report), code=2).err


def test_drift_ends_with_1_where_a_model_drifts(place: Place) -> None:
    found = place.terminal.json("prices", "drift", "--range", "week", code=1)
    assert [(row["provider"], row["difference_usd"]) for row in found["models"]] == [("openrouter", "0.1")]
    assert "openrouter" in place.terminal.run("prices", "drift", "--range", "week", "--tolerance", "0.2").out


# alerts, switch, audit ----------------------------------------------------------------------------------------------------


def test_alerts(place: Place, tmp_path: Path) -> None:
    shell = place.terminal
    assert "alerts" in shell.json("alerts", "list")
    shell.run("alerts", "list", "--state", "open", "--severity", "critical")
    assert "no such alert" in shell.run("alerts", "ack", "nothing", code=1).err
    assert "no such alert" in shell.run("alerts", "dismiss", "nothing", code=1).err
    assert "Alerts go nowhere yet" in shell.run("alerts", "test", code=1).err
    (tmp_path / "aims.json").write_text('[{"name": "dead", "channel": "webhook", "url": "http://127.0.0.1:9/hook"}]')
    (made,) = shell.json("alerts", "destinations", "--set", str(tmp_path / "aims.json"))["destinations"]
    assert (made["name"], made["min_severity"]) == ("dead", "info")
    assert "webhook" in shell.run("alerts", "destinations").out
    assert shell.run("alerts", "destinations", "--set", str(tmp_path / "none.json"), code=2).err
    assert shell.json("alerts", "test", code=1)["tests"][0]["delivered"] is False
    assert "did not arrive" in shell.run("alerts", "test", "dead", code=1).out
    assert shell.json("alerts", "deliveries")["deliveries"] == []
    assert "no such delivery" in shell.run("alerts", "retry", "nothing", code=1).err
    assert "no such destination" in shell.run("alerts", "test", "other", code=1).err


def test_an_alert_is_acknowledged_and_dismissed(place: Place) -> None:
    shell = place.terminal
    shell.run("limits", "override", "quick", "requests.per_day=2")
    for _ in range(3):
        place.house.api("usage/track", "POST", {"user": "quick", "provider": "openai", "model": "model-a"})
    found: list[Any] = []
    for _ in range(100):
        found = [one for one in shell.json("alerts", "list", "--user", "quick")["alerts"] if one["state"] == "open"]
        if found:
            break
        import time

        time.sleep(0.2)
    assert found, "a spent limit raises an alert"
    assert "acknowledged" in shell.run("alerts", "ack", found[0]["id"]).out
    assert shell.json("alerts", "dismiss", found[0]["id"])["state"] == "dismissed"
    assert found[0]["id"] in shell.run("alerts", "list", "--user", "quick", "--state", "dismissed").out


def test_the_switch_stops_and_releases(place: Place) -> None:
    shell = place.terminal
    assert shell.run("switch", "show").out == "Nothing is stopped.\n"
    (stop,) = shell.json("switch", "stop", "user", "mallory", "--reason", "leak", "--cut")["stops"]
    assert (stop["scope"], stop["value"], stop["cut_streams"], stop["reason"]) == ("user", "mallory", True, "leak")
    assert "mallory" in shell.run("switch", "show").out
    assert "No such stop" in shell.run("switch", "release", "user", "alice", code=1).err
    assert shell.json("switch", "release", "user", "mallory")["stops"] == []
    shell.run("switch", "stop", "user", code=2)
    shell.run("switch", "stop", "all", "x", code=2)
    shell.run("switch", "stop", "planet", "earth", code=2)


def test_every_change_is_in_the_audit_log(place: Place) -> None:
    shell = place.terminal
    shell.run("switch", "stop", "user", "audited", "--reason", "why not")
    shell.run("switch", "release", "user", "audited")
    lines = shell.json("audit", "--limit", "2")["audit"]
    assert [(line["by"], line["action"], line["subject"]) for line in lines] == [
        ("admin", "let go", "user:audited"),
        ("admin", "stop", "user:audited"),
    ]
    table = shell.run("audit", "--limit", "5", "--range", "24h").out
    assert "user:audited" in table
    assert "why not" in table
    assert shell.json("audit", "--by", "nobody")["audit"] == []


# admins, ledger -----------------------------------------------------------------------------------------------------------


def test_admin_keys_logins_and_sessions(place: Place) -> None:
    shell = place.terminal
    assert shell.json("admins", "whoami")["role"] == "admin"
    assert "admin" in shell.run("admins", "whoami").out
    key = shell.run("admins", "keys", "create", "vera", "--role", "auditor", "--expires", "+1d").out.strip()
    assert place.house.api("session", key=key)["name"] == "auditor:vera"
    (made,) = [one for one in shell.json("admins", "keys", "list")["keys"] if one["name"] == "vera"]
    rotated = shell.json("admins", "keys", "rotate", made["key_id"], "--grace", "0")
    assert place.house.api_answer("session", key=key)[0] == 401
    assert "is revoked" in shell.run("admins", "keys", "revoke", rotated["key_id"]).out
    assert "vera" in shell.run("admins", "keys", "list", "--all").out
    assert "may log in" in shell.run("admins", "logins", "set", "root", stdin="a long enough password\n").out
    assert "12 characters" in shell.run("admins", "logins", "set", "root", stdin="short\n", code=2).err
    assert shell.json("admins", "logins", "set", "root", "--role", "auditor", "--keep-password")["role"] == "auditor"
    status, _ = place.house.api_answer("session", "POST", {"name": "root", "password": "a long enough password"}, key="")
    assert status == 201
    (session,) = shell.json("admins", "sessions", "list")["sessions"]
    assert "root" in shell.run("admins", "sessions", "list").out
    assert "logged out" in shell.run("admins", "sessions", "end", session["id"]).out
    assert shell.run("admins", "sessions", "list").out == "Nobody is logged in.\n"
    assert "root" in shell.run("admins", "logins", "list").out
    assert "removed" in shell.run("admins", "logins", "remove", "root").out


def test_the_ledgers_numbers(place: Place) -> None:
    found = place.terminal.json("ledger", "stats")
    assert found["records"] >= 13
    assert found["spool"]["backlog_records"] == 0
    assert "waiting in the spool" in place.terminal.run("ledger", "stats").out


def test_the_ledger_is_checked_and_swept_beside_a_running_house(place: Place) -> None:
    environment = {"DATABASE_URL": place.database_url, "WEIGHBRIDGE_DATA_DIR": str(place.house.data)}
    shell = type(place.terminal)(environment)
    found = shell.json("ledger", "check")
    assert (found["is_sound"], found["differences"], found["problems"]) == (True, [], [])
    assert found["records"] >= 13
    assert "In order." in shell.run("ledger", "check").out
    assert shell.json("ledger", "vacuum")["bytes_after"] > 0
    assert "A server runs on" in shell.run("ledger", "drain", code=1).err


# how commands fail --------------------------------------------------------------------------------------------------------


def test_a_missing_or_wrong_key_is_told_with_its_variable(place: Place) -> None:
    nobody = type(place.terminal)({"WEIGHBRIDGE_URL": place.house.url})
    assert "set WEIGHBRIDGE_ADMIN_KEY" in nobody.run("usage", "summary", code=1).err
    wrong = nobody.run("usage", "summary", "--key", "wb-admin-wrong", code=1)
    assert "WEIGHBRIDGE_ADMIN_KEY (or --key) is refused" in wrong.err
    assert wrong.out == ""
    own = nobody.run("audit", "--key", virtual_key("alice"), code=1)
    assert "may not do this" in own.err
    assert nobody.json("usage", "summary", "--key", virtual_key("bob"))["totals"]["requests"] == 2
    nobody.run("usage", "summary", "--key", "schlüssel€", code=2)


def test_a_reader_that_has_seen_enough_is_no_failure(place: Place) -> None:
    environment = {**os.environ, "WEIGHBRIDGE_URL": place.house.url, "WEIGHBRIDGE_ADMIN_KEY": ADMIN_KEY, "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m proxy usage export --format jsonl | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"]


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "[bold]x[/bold]"])
def test_names_from_outside_cannot_command_a_terminal(place: Place, name: str) -> None:
    place.house.api("usage/track", "POST", {"user": name, "provider": "p", "model": "m"})
    shown = place.terminal.run("usage", "records", "--limit", "3").out
    assert "\x1b" not in shown
    assert name.replace("\x1b", "�") in shown
