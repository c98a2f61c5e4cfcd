"""Two real Airflows in folders of their own: that of ``make run`` without workers, and all of
``make stack``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy import load_data
from devstack.airflow import components, installation
from devstack.airflow.api import AirflowApi
from devstack.commands import session
from devstack.commands.stack import StackOptions, running
from devstack.home import Home
from devstack.secrets import load_or_create, write_private
from devstack.services import postgres
from devstack.services.ports import free_port
from scoring.models.environment.build import FOLDER
from tests import small_job
from tests.integration.airflow_under_test import AirflowUnderTest
from tests.integration.distributed import jobs
from tests.integration.distributed.cluster import Cluster

# A killed triggerer is taken for dead after 10 s, in place of 30 s.
SOON = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10"}
# Dag files do not change while the tests run: they are read again every five minutes, in place of
# every half.
SELDOM = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300"}

USERS = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer"}


def _add_viewer(home: Home) -> None:
    """Give the user ``viewer`` a password, which is the user's name: for tests only."""
    known = json.loads(home.passwords.read_text())
    write_private(home.passwords, json.dumps(known | {"viewer": "viewer"}) + "\n")


def _write_jobs(request: pytest.FixtureRequest, folder: Path) -> None:
    """What the modules that use the requested fixture have in their functions ``write_jobs``, if
    they have one.

    Airflow takes half a minute to start, and as long to find a new file: all modules share one
    Airflow, which finds the jobs of all when it starts.
    """
    for module in {
        i.module for i in request.session.items if request.fixturename in i.fixturenames
    }:
        if hasattr(module, "write_jobs"):
            module.write_jobs(folder)


@pytest.fixture(scope="package")
def stack(
    small_data: Path,
    environments: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[AirflowUnderTest]:
    """Scheduler, API server, Dag processor, triggerer and Postgres.

    All modules share one; see ``_write_jobs``.
    """
    home = Home(tmp_path_factory.mktemp("stack") / "run")
    home.root.mkdir()
    shutil.copytree(small_data, home.data)
    dags = home.root / "dags"
    shutil.copytree("dags", dags, ignore=shutil.ignore_patterns("*.yaml", "__pycache__"))
    _write_jobs(request, dags / "jobs")

    secrets = load_or_create(home.secrets)
    with session.supervised(home, "the tests", print) as supervisor:
        database = postgres.start(home, secrets.database_password, supervisor)
        settings = installation.describe(home, dags, free_port(), secrets, database.url)
        installation.write_files(home, settings, secrets)
        _add_viewer(home)
        environment = {**installation.process_environment(settings), **SELDOM, **USERS}
        components.migrate(home, environment, database, supervisor)
        components.start(home, environment, database, supervisor)
        # Only the triggerer lacks the Dags folder among the places that it imports from.
        triggerer = {**environment, **SOON, "PYTHONPATH": str(dags)}
        components.start_triggerer(home, triggerer, supervisor)
        api = AirflowApi(settings.api_url, installation.UI_USER, secrets.ui_password)
        yield AirflowUnderTest(home, dags, environment, database, supervisor, api)


@pytest.fixture(scope="package")
def laptop(tmp_path_factory: pytest.TempPathFactory, example_data: Path) -> Path:
    """What the bucket is loaded from: real flights and models, and those of the small jobs."""
    folder = tmp_path_factory.mktemp("laptop")
    small_job.write_data(folder)
    shutil.copytree(example_data, folder, dirs_exist_ok=True)
    jobs.write_data(folder)
    return folder


@pytest.fixture(scope="package")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    laptop: Path,
    environments: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Cluster]:
    """All of ``make stack``: Postgres, Valkey, S3, Airflow and two Celery workers.  All modules
    share one.
    """
    home = Home(tmp_path_factory.mktemp("distributed") / "run")
    dags = home.root / "dags"
    shutil.copytree("dags", dags, ignore=shutil.ignore_patterns("*.yaml", "__pycache__"))
    (dags / "jobs").mkdir(exist_ok=True)
    jobs.write_jobs(dags)
    _write_jobs(request, dags)
    # Not where the tests' own environments are: workers build theirs.
    settings = {**SELDOM, FOLDER: str(tmp_path_factory.mktemp("of_workers"))}
    options = StackOptions(home, dags, free_port(), settings=settings)
    with running(options, print) as stack:
        load_data.load(laptop, stack.environment)
        yield Cluster.of(stack, dags, laptop)
        pids = [service.process.pid for service in stack.supervisor.services]
    assert len(pids) == 9
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not stack.supervisor.services
