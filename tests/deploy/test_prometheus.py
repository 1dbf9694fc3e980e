"""The alert rules: right by promtool, each fires and rests as its unit test says, all over metrics that there are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY, Exposed

FOLDER = DEPLOY / "prometheus"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def run(*command: str, cwd: Path = FOLDER) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_configuration_are_valid(promtool: str) -> None:
    run(promtool, "check", "rules", "rules.yml")
    run(promtool, "check", "config", "prometheus.yml")


def test_alerts_come_and_stay_away_as_they_should(promtool: str) -> None:
    run(promtool, "test", "rules", "rules_test.yml")


def test_a_wrong_rule_would_be_noticed(promtool: str, tmp_path: Path) -> None:
    """The unit tests are worth something only if they fail."""
    text = (FOLDER / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(text.replace("weighbridge_ledger_away == 1", "weighbridge_ledger_away == 2"))
    shutil.copy(FOLDER / "rules_test.yml", tmp_path)
    with pytest.raises(AssertionError, match="WeighbridgeLedgerAway"):
        run(promtool, "test", "rules", "rules_test.yml", cwd=tmp_path)


def test_each_alert_has_a_test_in_which_it_comes_and_one_in_which_it_does_not() -> None:
    came, stayed_away = set(), set()
    for test in yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]:
        for expected in test["alert_rule_test"]:
            (came if expected["exp_alerts"] else stayed_away).add(expected["alertname"])
    names = {rule["alert"] for rule in rules()}
    assert came == names
    assert names - stayed_away <= {"WeighbridgeStrictLimitOverrun"}  # worker 1 beside it stays quiet in the same test


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_alerts_look_at_what_there_is(rule: dict[str, Any], exposed: Exposed) -> None:
    exposed.check(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_what_must_be_alerted_is() -> None:
    wanted = (
        "RecordsLost SpoolBacklogOld LedgerAway UsageMissing Unpriced DenialsSpike ProviderFailing QuotaStoreAway ConfigRefused"
    )
    wanted += " WorkerRestarts HighOverhead"
    assert {f"Weighbridge{name}" for name in wanted.split()} <= {rule["alert"] for rule in rules()}
