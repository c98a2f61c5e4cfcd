"""One native stack for all tests of this folder: Postgres, Valkey, S3, Airflow and two Celery workers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import load_data
from devstack.commands.stack import StackOptions, running
from devstack.home import Home
from devstack.services.ports import free_port
from tests import small_job
from tests.integration.distributed import jobs
from tests.integration.distributed.cluster import Cluster

# A fault is noticed in seconds, where an installation may take a minute or ten.
SHORT = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
}


@pytest.fixture(scope="package")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the bucket is loaded from: real flights and models, and those of the small jobs."""
    folder = tmp_path_factory.mktemp("laptop")
    small_job.write_data(folder)
    jobs.write_data(folder)
    # In a process of its own: one that has trained models in threads cannot be forked any more.
    subprocess.run([sys.executable, "-m", "examples", "--data", str(folder)], check=True)
    return folder


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory, laptop: Path) -> Iterator[Cluster]:
    home = Home(tmp_path_factory.mktemp("distributed") / "run")
    dags = home.root / "dags"
    shutil.copytree("dags", dags, ignore=shutil.ignore_patterns("*.yaml", "__pycache__"))
    (dags / "jobs").mkdir(exist_ok=True)
    jobs.write_jobs(dags)
    options = StackOptions(home, dags, free_port(), settings=SHORT)
    with pytest.MonkeyPatch.context() as without_coverage:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            without_coverage.delenv(name, raising=False)  # Airflow takes twice as long with it
        with running(options, print) as stack:
            load_data.load(laptop, stack.environment)
            yield Cluster(stack, dags, laptop)
