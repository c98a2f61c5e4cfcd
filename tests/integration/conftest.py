"""A real Airflow, made of the pieces of ``make run``, in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from devstack.airflow import components, installation
from devstack.airflow.api import AirflowApi, NotReachable
from devstack.commands import session
from devstack.home import Home
from devstack.secrets import load_or_create
from devstack.services import postgres
from devstack.services.ports import free_port
from devstack.services.postgres import Database
from devstack.supervise.supervisor import Supervisor

Found = TypeVar("Found")


@dataclass
class Stack:
    """Scheduler, API server, Dag processor and Postgres, kept running by ``supervisor``."""

    home: Home
    dags: Path
    environment: dict[str, str]
    database: Database
    supervisor: Supervisor
    api: AirflowApi

    def wait_for(self, what: str, look: Callable[[], Found | None], seconds: float = 300) -> Found:
        """What ``look`` finds, as soon as it finds something; a failed test after ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := look():
                    return found
            except NotReachable:  # it is starting
                pass
            self.supervisor.watch(0.1)
        logs = (service.last_lines() for service in self.supervisor.services)
        pytest.fail(f"no {what} within {seconds} s\n" + "\n\n".join(logs))

    def airflow(self, *arguments: str) -> str:
        """What the ``airflow`` command prints; it has to succeed."""
        command = [components.AIRFLOW, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        folder = self.home.task_logs / f"dag_id={dag_id}" / f"run_id={run_id}"
        return "".join(path.read_text() for path in folder.glob(f"task_id={task_id}/**/*.log"))


@pytest.fixture(scope="module")
def stack(
    small_data: Path, tmp_path_factory: pytest.TempPathFactory, write_jobs: Callable[[Path], None]
) -> Iterator[Stack]:
    """``write_jobs``, a fixture of the module, gets the folder of job files before all is started."""
    home = Home(tmp_path_factory.mktemp("stack") / "run")
    home.root.mkdir()
    shutil.copytree(small_data, home.data)
    dags = home.root / "dags"
    shutil.copytree("dags", dags, ignore=shutil.ignore_patterns("*.yaml", "__pycache__"))
    write_jobs(dags / "jobs")

    secrets = load_or_create(home.secrets)
    with session.supervised(home, "the tests", print) as supervisor:
        database = postgres.start(home, secrets.database_password, supervisor)
        settings = installation.describe(home, dags, free_port(), secrets, database.url)
        installation.write_files(home, settings, secrets)
        environment = installation.process_environment(settings)
        for name in [name for name in environment if name.startswith("COVERAGE_")]:
            del environment[name]  # Airflow takes twice as long while coverage watches it
        components.migrate(home, environment, database, supervisor)
        components.start(home, environment, database, supervisor)
        api = AirflowApi(settings.api_url, installation.UI_USER, secrets.ui_password)
        yield Stack(home, dags, environment, database, supervisor, api)
