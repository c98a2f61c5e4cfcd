"""The Helm values without a cluster. They were compared with the chart's schema by hand; see
docs/kubernetes.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.healthcheck import COMPONENTS
from devstack.airflow.environment import QUEUES, S3_CONNECTION, airflow_environment
from devstack.commands import compose

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
PLAIN = ("serve.yaml", "stream.yaml", "stream-autoscaling.yaml")
FILES = ["helm-values.yaml", "helm-values-celery.yaml"]
COMPOSE = airflow_environment(compose.in_containers())
OF_THE_PLACE = {"SCORING_DATA", "LOKY_MAX_CPU_COUNT"}  # may differ from docker-compose.yaml


def values(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return loaded


@pytest.mark.parametrize("name", FILES)
def test_settings_are_those_of_docker_compose(name: str) -> None:
    settings = {item["name"]: item["value"] for item in values(name)["env"]}
    assert settings.keys() <= COMPOSE.keys()
    for variable in settings.keys() - OF_THE_PLACE:
        assert settings[variable] == COMPOSE[variable], variable


def test_celery_has_all_settings_of_the_first_file() -> None:
    first, second = (values(name)["env"] for name in FILES)
    assert [item for item in first if item not in second] == []


@pytest.mark.parametrize("name", FILES)
def test_there_is_no_secret_in_them(name: str) -> None:
    text = (DEPLOY / name).read_text()
    without_comments = re.sub(r"#.*", "", text)
    assert not re.search(r"://[^\s/]*:[^\s/]*@", without_comments)
    assert "password:" not in without_comments
    for secret in ("fernetKey", "jwtSecret", "apiSecretKey", "brokerUrl"):
        assert not re.search(rf"^\s*{secret}:", without_comments, re.MULTILINE)


def test_every_secret_that_they_name_is_made_in_the_docs() -> None:
    text = "".join((DEPLOY / name).read_text() for name in [*FILES, *PLAIN])
    named = set(re.findall(r"scoring-[a-z-]+", text))
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    assert named == set(re.findall(r"secret generic (scoring-[a-z-]+)", page))


def test_they_fit_the_image_and_the_code() -> None:
    base, celery = (values(name) for name in FILES)
    text = "".join((DEPLOY / name).read_text() for name in FILES)
    for script, component in re.findall(r"(/opt/scoring/deploy/\w+\.py)(?:, ([a-z-]+))?", text):
        assert (DEPLOY / Path(script).name).is_file()
        assert not component or component in COMPONENTS
    assert base["config"]["core"]["dags_folder"] == COMPOSE["AIRFLOW__CORE__DAGS_FOLDER"]
    (secret,) = base["secret"]
    assert secret["envName"] == f"AIRFLOW_CONN_{S3_CONNECTION.upper()}"
    assert base["config"]["logging"]["remote_log_conn_id"] == S3_CONNECTION
    worker = celery["workers"]["celery"]
    assert worker["args"][-1] == ",".join(QUEUES)
    concurrency = celery["config"]["celery"]["worker_concurrency"]
    assert celery["config"]["core"]["parallelism"] == worker["replicas"] * concurrency
    pod = base["securityContexts"]["pod"]
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in dockerfile
