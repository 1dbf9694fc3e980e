"""The compose file: valid by the specification, every file it names is there, nothing can be had without a password."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from tests.deploy.conftest import DEPLOY

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROXIES = {name: service for name, service in SERVICES.items() if name.startswith("weighbridge")}


def parse(compose: dict[str, Any]) -> None:
    PyCompose.from_json(json.dumps({key: value for key, value in compose.items() if not key.startswith("x-")}))


def test_it_is_valid_by_the_specification() -> None:
    parse(COMPOSE)


@pytest.mark.parametrize(("place", "value"), [("imag", "x"), ("volumes", [3]), ("ports", ["99999:1"])])
def test_a_mistake_would_be_noticed(place: str, value: object) -> None:
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["redis"][place] = value
    with pytest.raises(ValueError):
        parse(wrong)


def test_all_services_are_there_and_watched() -> None:
    assert SERVICES.keys() == {*PROXIES, "redis", "postgres", "prometheus", "grafana"}
    assert len(PROXIES) == 2
    for name, service in SERVICES.items():
        assert name in PROXIES or service["healthcheck"]["test"][0] == "CMD"  # the proxies' stands in the image
        assert service["restart"] == "unless-stopped"
        for other in service.get("depends_on", {}):
            assert other in SERVICES


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_no_two_proxies_share_a_spool_or_a_port() -> None:
    spools = [volume.split(":")[0] for service in PROXIES.values() for volume in service["volumes"] if "/var/lib/" in volume]
    assert len(spools) == len(set(spools)) == 2
    ports = [port.split(":")[0] for service in PROXIES.values() for port in service["ports"]]
    assert len(ports) == len(set(ports)) == 2


def test_proxies_are_locked_down() -> None:
    for service in PROXIES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["stop_grace_period"] == "110s"


def test_stores_are_not_reachable_from_outside() -> None:
    assert not any("ports" in SERVICES[name] for name in ("redis", "postgres"))
    assert all(port.startswith("127.0.0.1:") for name in ("prometheus", "grafana") for port in SERVICES[name]["ports"])


def test_secrets_come_from_the_environment_file_and_must_be_set() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / ".env.example").read_text()
    asked = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in asked} == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    assert all(rest.startswith(":?") for _, rest in asked)
    for name in ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "WEIGHBRIDGE_ADMIN_KEY"):
        assert re.search(rf"^{name}=$", example, re.MULTILINE)
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


def test_prometheus_scrapes_the_proxies() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]
    assert scraped["targets"] == [f"{name}:8080" for name in PROXIES]
