"""The Kubernetes manifest of the service for predictions, without a cluster.

Its objects are read into the types of Kubernetes' client, which are made from the API's
description. What these do not know, or find missing, is a mistake.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from devstack.services import predictions
from scoring.cli import main as cli_main

REPOSITORY = Path(__file__).resolve().parents[2]
OBJECTS: dict[str, Any] = {
    found["kind"]: found
    for found in yaml.safe_load_all((REPOSITORY / "deploy" / "serve.yaml").read_text())
}
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


TYPES = {
    "Deployment": "V1Deployment",
    "Service": "V1Service",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
}


def read_as_the_api_does(manifest: dict[str, Any]) -> Any:
    """What is left of an object when Kubernetes' types have read it."""
    client = ApiClient()
    typed = client._ApiClient__deserialize(manifest, TYPES[manifest["kind"]])
    return client.sanitize_for_serialization(typed)


@pytest.mark.parametrize("kind", TYPES)
def test_its_objects_are_what_the_api_describes(kind: str) -> None:
    assert read_as_the_api_does(OBJECTS[kind]) == OBJECTS[kind]


def test_a_mistake_is_found() -> None:
    service = OBJECTS["Service"]
    misspelt = {**service, "spec": {**service["spec"], "selectors": {"app": "another"}}}
    assert read_as_the_api_does(misspelt) != misspelt
    without = {**OBJECTS["Deployment"], "spec": {"replicas": 2}}
    with pytest.raises(ValueError, match="selector"):
        read_as_the_api_does(without)


def test_its_objects_belong_together() -> None:
    assert sorted(OBJECTS) == [
        "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service",
    ]  # fmt: skip
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "scoring-serve")
    assert "replicas" not in OBJECTS["Deployment"]["spec"], "that number is the autoscaler's"
    assert "cpu" in CONTAINER["resources"]["requests"]  # what the autoscaler compares with


def test_its_command_is_one_and_its_probes_are_open_routes() -> None:
    from scoring.serving.guard import OPEN

    options = cli_main._parser().parse_args(CONTAINER["args"][1:])
    assert options.port == CONTAINER["ports"][0]["containerPort"]
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] in OPEN
    pause = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert POD["terminationGracePeriodSeconds"] >= pause + predictions.GRACE_SECONDS


def test_it_has_few_rights_and_secrets_by_reference_only() -> None:
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    pod = POD["securityContext"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in (REPOSITORY / "Dockerfile").read_text()
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    for variable in CONTAINER["env"]:
        if variable["name"].startswith("AIRFLOW_CONN_"):
            secret = variable["valueFrom"]["secretKeyRef"]["name"]
            assert f"secret generic {secret}" in page
