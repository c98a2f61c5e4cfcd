"""`scoring serve` as `make stack SERVE=1` starts it: its token, its keys, its end."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from deploy import healthcheck
from devstack.airflow import components
from devstack.commands import session
from devstack.home import Home
from devstack.secrets import Secrets
from devstack.services import object_store, predictions
from devstack.services.object_store import ObjectStore
from devstack.services.predictions import Service
from devstack.supervise.supervisor import Supervisor
from tests.s3_server import BUCKET
from tests.scoring.factories import Place

ROW = '{"id": 1, "x": 1.0}'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("serve") / "run")


@pytest.fixture(scope="module")
def supervisor(home: Home) -> Iterator[Supervisor]:
    with session.supervised(home, "the tests", print) as running:
        yield running


@pytest.fixture(scope="module")
def service(home: Home, s3_server: ObjectStore, supervisor: Supervisor) -> Service:
    """The service of one job, whose model is in the bucket; the last test ends it."""
    place = Place(home.root)
    place.model()
    place.job()
    model = place.data / "models" / "v1.skops"
    object_store.client(s3_server).upload_file(str(model), BUCKET, "models/v1.skops")
    found = predictions.start(place.folder, home, Secrets(), s3_server, supervisor)
    supervisor.wait_until(
        lambda: healthcheck.problem("serve", {}, str(found.port)) is None,
        "serve",
        home.logs / "serve.log",
    )
    return found


def curl(*arguments: str, token: str | None = None) -> Any:
    """What the service answers, as JSON."""
    header = "" if token is None else f"Authorization: Bearer {token}"
    done = subprocess.run(
        ["curl", "--silent", "--header", "@-", *arguments],
        input=header, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_it_answers_those_who_have_the_token(service: Service) -> None:
    url, file = f"{service.url}/v1/jobs/sample/predict", service.token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert curl(url, "--json", ROW)["status"] == 401
    answer = curl(url, "--json", ROW, token=file.read_text().strip())
    assert answer["rows"][0]["status"] == "scored"


def test_it_knows_no_secret_but_its_own(service: Service, supervisor: Supervisor) -> None:
    (process,) = [each.process for each in supervisor.services]
    environment = psutil.Process(process.pid).environ()
    assert not [name for name in environment if name.startswith(("AIRFLOW__", "AWS_"))]
    connections = [name for name in environment if name.startswith("AIRFLOW_CONN_")]
    assert connections == ["AIRFLOW_CONN_SCORING_S3"]


def test_it_is_healthy_until_it_ends_with_the_rest(
    service: Service, supervisor: Supervisor
) -> None:
    (process,) = [each.process for each in supervisor.services]
    family = [process.pid, *(p.pid for p in psutil.Process(process.pid).children(recursive=True))]
    assert len(family) > 2, "its processes"
    port = str(service.port)
    assert healthcheck.problem("serve", {}, port) is None
    components.end(supervisor)
    assert supervisor.services == []
    assert [pid for pid in family if psutil.pid_exists(pid)] == []
    problem = healthcheck.problem("serve", {}, port)
    assert problem is not None
    assert problem.startswith("the service does not answer: ")
