"""The manifests: valid by Kubernetes' own schemas, and saying what the program needs."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config.load import load
from tests.deploy.conftest import DEPLOY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

FOLDER = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.29", "1.37"
NOT_BUILT_IN = ("kustomization.yaml", "servicemonitor.yaml")
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent.name != "config")


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def container(name: str = "deployment.yaml") -> dict[str, Any]:
    found: dict[str, Any] = manifest(name)["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", [path for path in FILES if path.name not in NOT_BUILT_IN], ids=lambda path: path.name)
def test_manifests_are_valid(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_a_mistake_would_be_noticed() -> None:
    wrong = copy.deepcopy(manifest("deployment.yaml"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_kustomizations_name_every_file() -> None:
    base = manifest("kustomization.yaml")
    assert set(base["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(base["configMapGenerator"][0]["files"]) == {f"config/{path.name}" for path in (FOLDER / "config").iterdir()}
    assert base["generatorOptions"]["disableNameSuffixHash"] is True  # else a changed limit would replace all pods
    for entry in manifest("statefulset/kustomization.yaml")["resources"]:
        assert (FOLDER / "statefulset" / entry).exists()


def test_the_configuration_is_in_order() -> None:
    documents = load(FOLDER / "config", {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"})
    grace = manifest("deployment.yaml")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert documents.settings().stop_seconds + 10 + 60 + 5 < grace  # proxy/supervisor/supervisor.py's patience, and preStop


def test_the_configuration_is_mounted_so_that_changes_appear() -> None:
    mounts = {mount["name"]: mount for mount in container()["volumeMounts"]}
    assert "subPath" not in mounts["config"]
    assert mounts["config"]["mountPath"] in container()["args"]


def test_the_container_may_do_nothing_it_need_not() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    security = container()["securityContext"]
    assert security == {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    image = (DEPLOY.parent / "Dockerfile").read_text()
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in image


def test_ports_and_probes_fit_together() -> None:
    one = container()
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    arguments = one["args"]
    assert int(arguments[arguments.index("--port") + 1]) == ports["http"]
    assert int(arguments[arguments.index("--control-port") + 1]) == ports["control"]
    assert one["startupProbe"]["httpGet"] == one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert {port["targetPort"] for port in manifest("service.yaml")["spec"]["ports"]} == ports.keys()
    offered = {port["name"] for port in manifest("service.yaml")["spec"]["ports"]}
    assert manifest("servicemonitor.yaml")["spec"]["endpoints"][0]["port"] in offered


def test_everything_selects_the_same_pods() -> None:
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert manifest("deployment.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service.yaml")["spec"]["selector"] == labels
    assert manifest("pdb.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("servicemonitor.yaml")["spec"]["selector"]["matchLabels"] == manifest("service.yaml")["metadata"]["labels"]
    target = manifest("hpa.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifest("deployment.yaml")["metadata"]["name"])


def test_more_than_one_worker_has_a_redis() -> None:
    arguments = container()["args"]
    assert int(arguments[arguments.index("--workers") + 1]) > 1
    secret = manifest("secret.example.yaml")
    assert secret["metadata"]["name"] == container()["envFrom"][0]["secretRef"]["name"]
    assert {"REDIS_URL", "DATABASE_URL", "WEIGHBRIDGE_ADMIN_KEY"} <= secret["stringData"].keys()
    keys = {name for name in secret["stringData"] if name.endswith("_API_KEY")}
    assert all(f"${{{name}}}" in (FOLDER / "config" / "providers.yaml").read_text() for name in keys)


def test_the_stateful_set_is_the_deployment_with_volumes() -> None:
    plain, durable = manifest("deployment.yaml"), manifest("statefulset/statefulset.yaml")
    pod, durable_pod = plain["spec"]["template"], durable["spec"]["template"]
    pod["spec"]["volumes"] = [volume for volume in pod["spec"]["volumes"] if volume["name"] != "data"]
    assert durable_pod == pod
    assert [claim["metadata"]["name"] for claim in durable["spec"]["volumeClaimTemplates"]] == ["data"]
    assert durable["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_providers_are_reached_and_the_metadata_address_is_not() -> None:
    rules = manifest("networkpolicy.yaml")["spec"]["egress"]
    blocks = [to["ipBlock"] for rule in rules for to in rule["to"] if "ipBlock" in to]
    assert blocks[0]["cidr"] == "0.0.0.0/0"
    assert "169.254.0.0/16" in blocks[0]["except"]
    control = [rule for rule in manifest("networkpolicy.yaml")["spec"]["ingress"] if rule["ports"][0]["port"] == "control"]
    assert all("from" in rule for rule in control)
