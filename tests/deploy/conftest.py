"""What the deployment files are held against: the metrics of a running proxy, and promtool."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.telemetry.metrics import Metrics
from tests.e2e.fake_provider import FakeProvider
from tests.e2e.house import House, limits_yaml, providers_yaml, virtual_key
from tests.servers import redis_server

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FROM_PROMETHEUS = frozenset(("instance", "job", "le"))
"""Labels that Prometheus adds, or that every histogram has."""
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Exposed:
    """What a proxy with Redis exposes: each series name and its labels."""

    labels: dict[str, frozenset[str]]

    def check(self, expression: str) -> None:
        """The expression asks only for metrics and labels that there are."""
        plain = re.sub(r"\$__(rate_interval|range|interval)", "5m", expression)
        names = set(re.findall(r"\bweighbridge_\w+", plain))
        missing = names - self.labels.keys()
        assert not missing, f"{missing} are not in /metrics: {expression}"
        for name, matchers in re.findall(r"\b(weighbridge_\w+)\{([^}]*)\}", plain):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
            assert asked <= self.labels[name] | FROM_PROMETHEUS, f"{name} has no {asked - self.labels[name]}: {expression}"
        known = FROM_PROMETHEUS.union(*(self.labels[name] for name in names))
        for group in re.findall(r"\bby\s*\(([^)]*)\)", plain):
            asked = {label.strip() for label in group.split(",")}
            assert asked <= known, f"no metric has {asked - known}: {expression}"


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    assert found, "promtool is missing: apt-get install --no-install-recommends prometheus"
    return found


@pytest.fixture(scope="session")
def running() -> Iterator[House]:
    """A real proxy with Redis that has answered, refused and not known a price."""
    provider = FakeProvider()
    provider.start()
    limits = limits_yaml({"ada": "{requests: {per_day: 2}}", "ben": "{requests: {per_day: 1000}}"})
    files = {"providers.yaml": providers_yaml(provider.url), "limits.yaml": limits}
    with redis_server() as redis, House(files, 1, {"REDIS_URL": redis.url}) as house:
        for user, model in [("ada", "gpt-4o-mini")] * 3 + [("ben", "a-model-without-a-price")]:
            _call(house, user, model)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while 'outcome="denied"' not in metrics_text(house):
            assert time.monotonic() < deadline, "the calls did not reach the metrics"
            time.sleep(0.1)
        yield house
    provider.stop()


@pytest.fixture(scope="session")
def exposed(running: House) -> Exposed:
    text = metrics_text(running)
    labels: dict[str, set[str]] = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        for series in [f"{name}_bucket", f"{name}_sum", f"{name}_count"] if kind == "histogram" else [name]:
            labels[series] = set()
    for name, found in re.findall(r"^(weighbridge_\w+)\{(.*)\} \S+$", text, re.MULTILINE):
        labels[name] |= set(re.findall(r'(\w+)="', found))
    declared = Metrics("0").registry
    for name, found_labels in labels.items():
        if not found_labels:  # no event of this kind yet: as it is declared
            collector = declared._names_to_collectors.get(name)
            found_labels |= set(getattr(collector, "_labelnames", ()))
    return Exposed({name: frozenset(found_labels) for name, found_labels in labels.items()})


def metrics_text(house: House) -> str:
    with urllib.request.urlopen(f"{house.url}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def _call(house: House, user: str, model: str) -> None:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "How much does a lorry weigh?"}]}).encode()
    headers = {"authorization": f"Bearer {virtual_key(user)}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{house.url}/v1/chat/completions", body, headers), timeout=30
        ) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        if error.code != 429:
            raise
