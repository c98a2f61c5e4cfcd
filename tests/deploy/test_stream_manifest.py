"""The Kubernetes manifests of the stream, without a cluster.

Objects of Kubernetes' own are read into the types of its client. KEDA's are not among them: for these
the tests compare what is named twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from devstack.services import streaming
from scoring.cli import main as cli_main
from scoring.job.folder import job_path
from scoring.serving.stream.address import parse_address
from scoring.serving.stream.client import client_settings
from scoring.serving.stream.consumer_group import status_of, topics_of
from scoring.serving.stream.settings import StreamSettings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text()


def objects(name: str) -> dict[str, Any]:
    text = (REPOSITORY / "deploy" / name).read_text()
    return {found["kind"]: found for found in yaml.safe_load_all(text)}


OBJECTS = objects("stream.yaml")
OF_KEDA = objects("stream-autoscaling.yaml")
DEPLOYMENT = OBJECTS["Deployment"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
VALUES = {each["name"]: each["value"] for each in CONTAINER["env"] if "value" in each}
SCALED = OF_KEDA["ScaledObject"]["spec"]
(TRIGGER,) = SCALED["triggers"]
TYPES = {"Deployment": "V1Deployment", "PodDisruptionBudget": "V1PodDisruptionBudget"}


def arguments() -> list[str]:
    """The arguments as Kubernetes passes them: ``$(NAME)`` is the variable of the container."""
    given = (re.sub(r"\$\((\w+)\)", lambda m: VALUES[m[1]], word) for word in CONTAINER["args"])
    return list(given)


@pytest.mark.parametrize("kind", TYPES)
def test_its_objects_are_what_the_api_describes(kind: str) -> None:
    client = ApiClient()
    typed = client._ApiClient__deserialize(OBJECTS[kind], TYPES[kind])
    assert client.sanitize_for_serialization(typed) == OBJECTS[kind]


def test_its_objects_belong_together() -> None:
    assert sorted(OBJECTS) == sorted(TYPES)
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert "replicas" not in DEPLOYMENT["spec"], "that number is the autoscaler's"


def test_a_cluster_without_keda_can_apply_the_deployment() -> None:
    assert not [kind for kind, of in OBJECTS.items() if "keda" in of["apiVersion"]]
    assert {of["apiVersion"] for of in OF_KEDA.values()} == {"keda.sh/v1alpha1"}


def test_its_command_is_one_and_its_probes_need_no_token() -> None:
    options = cli_main._parser().parse_args(arguments()[1:])
    assert options.metrics_host == "0.0.0.0"
    (port,) = CONTAINER["ports"]
    assert options.metrics_port == port["containerPort"]
    paths = {probe: CONTAINER[probe]["httpGet"] for probe in CONTAINER if probe.endswith("Probe")}
    assert paths == {
        "readinessProbe": {"path": "/readyz", "port": port["name"]},
        "livenessProbe": {"path": "/healthz", "port": port["name"]},
        "startupProbe": {"path": "/healthz", "port": port["name"]},
    }
    assert POD["terminationGracePeriodSeconds"] >= streaming.GRACE_SECONDS


def test_its_topics_are_addresses_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    options = cli_main._parser().parse_args(arguments()[1:])
    (connection,) = re.findall(r"^\| `STREAM_CONNECTION` \| `(\{.*?\})` \|$", PAGE, re.MULTILINE)
    monkeypatch.setenv(f"AIRFLOW_CONN_{options.connection_id.upper()}", connection)
    found = client_settings(parse_address(options.source), options.connection_id)
    assert found["bootstrap.servers"] == TRIGGER["metadata"]["bootstrapServers"]
    assert found["sasl.password"] == "PASSWORD"


def test_the_token_for_metrics_is_a_file_of_the_secret() -> None:
    options = cli_main._parser().parse_args(arguments()[1:])
    mounts = {each["name"]: each for each in CONTAINER["volumeMounts"]}
    volumes = {each["name"]: each for each in POD["volumes"]}
    (item,) = volumes["token"]["secret"]["items"]
    assert options.metrics_tokens == Path(mounts["token"]["mountPath"]) / item["path"]
    assert mounts["token"]["readOnly"] is True
    assert volumes["token"]["secret"]["defaultMode"] == 0o440  # the group is the pod's fsGroup
    assert f"--from-literal={item['key']}=" in PAGE


def test_it_scales_by_the_lag_of_the_group_that_the_deployment_is() -> None:
    target = SCALED["scaleTargetRef"]
    assert target == {
        "apiVersion": DEPLOYMENT["apiVersion"],
        "kind": "Deployment",
        "name": DEPLOYMENT["metadata"]["name"],
    }
    options = cli_main._parser().parse_args(arguments()[1:])
    (job,) = options.job
    source = parse_address(options.source)
    settings = StreamSettings(None, source, parse_address(options.to), None)  # type: ignore[arg-type]
    metadata = TRIGGER["metadata"]
    assert TRIGGER["type"] == "kafka"
    assert metadata["consumerGroup"] == status_of(settings, job, None).group
    assert metadata["topic"] == source.topic
    assert metadata["offsetResetPolicy"] == options.start
    assert all(isinstance(value, str) for value in metadata.values())  # KEDA takes texts only
    assert int(metadata["lagThreshold"]) > 0
    assert 1 <= SCALED["minReplicaCount"] <= SCALED["maxReplicaCount"]
    assert (
        TRIGGER["authenticationRef"]["name"] == OF_KEDA["TriggerAuthentication"]["metadata"]["name"]
    )


def test_its_values_are_those_of_the_example() -> None:
    job, topics = VALUES["STREAM_JOB"], set(streaming.TOPICS)
    assert job_path(job, REPOSITORY / "dags" / "jobs").is_file()
    results = parse_address(f"kafka:///{VALUES['STREAM_TO']}")
    settings = StreamSettings(None, results, results, None)  # type: ignore[arg-type]
    written = topics_of(settings, job, None)
    assert {VALUES["STREAM_FROM"], written.results, written.dead_letters} == topics
    assert SCALED["maxReplicaCount"] == streaming.TOPICS[VALUES["STREAM_FROM"]]


def test_it_has_few_rights_and_secrets_by_reference_only() -> None:
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    pod = POD["securityContext"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in (REPOSITORY / "Dockerfile").read_text()
    assert POD["automountServiceAccountToken"] is False
    references = [
        each["valueFrom"]["secretKeyRef"] for each in CONTAINER["env"] if "valueFrom" in each
    ]
    references += OF_KEDA["TriggerAuthentication"]["spec"]["secretTargetRef"]
    assert {each["name"] for each in CONTAINER["env"] if "valueFrom" in each} == {
        name for each in CONTAINER["env"] if (name := each["name"]).startswith("AIRFLOW_CONN_")
    }
    for reference in references:
        made = re.search(rf"secret generic {reference['name']} (.*)", PAGE)
        assert made, reference
        assert f"--from-literal={reference['key']}=" in made[1]
