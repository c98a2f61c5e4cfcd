"""The Kubernetes manifest of the service for predictions, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from scoring.cli import main as cli_main

REPOSITORY = Path(__file__).resolve().parents[2]
OBJECTS: dict[str, Any] = {
    found["kind"]: found
    for found in yaml.safe_load_all((REPOSITORY / "deploy" / "serve.yaml").read_text())
}
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


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
    assert "cpu" in CONTAINER["resources"]["requests"]  # what the autoscaler compares with


def test_its_command_is_one_and_its_probes_are_open_routes() -> None:
    from scoring.serving.guard import OPEN

    options = cli_main._parser().parse_args(CONTAINER["args"][1:])
    assert options.port == CONTAINER["ports"][0]["containerPort"]
    for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] in OPEN
    assert POD["terminationGracePeriodSeconds"] > options.timeout_seconds


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
