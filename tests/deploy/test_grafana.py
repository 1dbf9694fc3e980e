"""The dashboard: queries that parse, over metrics that a running proxy has, in panels that do not overlap."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY, Exposed

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "weighbridge.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panels_ask_for_what_there_is(panel: dict[str, Any], exposed: Exposed) -> None:
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        exposed.check(target["expr"])
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped, "the legend names a label that the query drops"


def test_queries_are_promql(promtool: str, tmp_path: Path) -> None:
    """As rules, with Grafana's variables filled in the way Grafana does."""
    found = []
    for panel in PANELS:
        for target in panel["targets"]:
            expression = (
                re.sub(r"\$__(rate_interval|range)", "5m", target["expr"]).replace("$instance", ".*").replace("$provider", "a|b")
            )
            assert "$" not in expression
            found.append({"record": f"panel_{panel['id']}:{target['refId']}", "expr": expression})
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": found}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_variables_are_filled_from_metrics_that_there_are(exposed: Exposed) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert asked
            exposed.check(f"sum by ({asked[2]}) ({asked[1]})")
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used == names


def test_panels_lie_side_by_side() -> None:
    taken: dict[tuple[int, int], str] = {}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_it_shows_what_an_operator_looks_for() -> None:
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    for name in (
        "requests_total",
        "tokens_total",
        "cost_usd_total",
        "denials_total",
        "request_duration_seconds_bucket",
        "time_to_first_byte_seconds_bucket",
        "overhead_seconds_bucket",
        "spool_backlog_age_seconds",
        "quota_store_state",
        "ledger_away",
        "spool_lost_total",
    ):
        assert f"weighbridge_{name}" in asked


def test_provisioning_points_at_what_compose_mounts() -> None:
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    mounts = {parts[1]: parts[0] for parts in (volume.split(":") for volume in grafana["volumes"])}
    provisioning = DEPLOY / mounts["/etc/grafana/provisioning"]
    provider = yaml.safe_load((provisioning / "dashboards" / "weighbridge.yaml").read_text())["providers"][0]
    assert (DEPLOY / mounts[provider["options"]["path"]] / "weighbridge.json").is_file()
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
