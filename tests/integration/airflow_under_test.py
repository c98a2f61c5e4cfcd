"""A running Airflow, and what its tests ask of it; the same for ``make run``'s and for ``make
stack``'s processes.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg2
import pytest

from devstack.airflow import components
from devstack.airflow.api import AirflowApi, DagRun, NotReachable
from devstack.airflow.task_log import failure_reason
from devstack.home import Home
from devstack.services.postgres import Database
from devstack.supervise.processes import Service
from devstack.supervise.supervisor import Supervisor

Found = TypeVar("Found")
FINISHED = ("success", "failed")
PAUSE_SECONDS = 0.5  # each look costs the API server some hundredths of a second of a core
HANG_SECONDS = 1500  # below the timeout of pytest, so that a hang shows the services' last lines


@dataclass
class AirflowUnderTest:
    """Airflow's processes and its database, kept running by ``supervisor``."""

    home: Home
    dags: Path
    environment: Mapping[str, str]
    database: Database
    supervisor: Supervisor
    api: AirflowApi

    def wait_for(self, what: str, look: Callable[[], Found | None]) -> Found:
        """What ``look`` finds, as soon as it finds something; dead services are started meanwhile."""
        deadline = time.monotonic() + HANG_SECONDS
        while time.monotonic() < deadline:
            try:
                if found := look():
                    return found
            except (NotReachable, psycopg2.OperationalError):  # it is starting
                pass
            self.supervisor.watch(PAUSE_SECONDS)
        logs = (service.last_lines() for service in self.supervisor.services)
        pytest.fail(f"no {what} within {HANG_SECONDS} s\n" + "\n\n".join(logs))

    def service(self, name: str) -> Service:
        (service,) = [s for s in self.supervisor.services if s.name == name]
        return service

    def airflow(self, *arguments: str) -> str:
        """What the ``airflow`` command prints; it has to succeed."""
        command = [components.AIRFLOW, *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def unpause(self, dag_id: str) -> None:
        self.wait_for(f"Dag {dag_id}", lambda: self.api.dag(dag_id))
        self.wait_for("answer", lambda: self.api.unpause(dag_id) is None)

    def ended(self, dag_id: str, count: int) -> list[DagRun]:
        """The runs of a Dag, when there are ``count`` of them and all have ended."""

        def look() -> list[DagRun] | None:
            runs = self.api.runs(dag_id)
            return runs if len(runs) == count and all(r.state in FINISHED for r in runs) else None

        return self.wait_for(f"end of {count} runs of {dag_id}", look)

    def succeeded(self, dag_id: str, count: int) -> list[DagRun]:
        """The runs of a Dag, when there are ``count`` of them and all have succeeded."""
        runs = self.ended(dag_id, count)
        assert {run.state for run in runs} == {"success"}, self.why_failed(dag_id)
        return runs

    def why_failed(self, dag_id: str) -> str:
        """The last words of each log of the Dag's failed tasks; empty when none has failed."""
        failed = self.database.execute(
            "SELECT run_id, task_id, map_index FROM task_instance "
            f"WHERE dag_id = '{dag_id}' AND state = 'failed'"
        )
        return "\n".join(
            f"{task_id}[{index}] of {run_id}: "
            f"{[failure_reason(log) for log in self.task_logs(dag_id, run_id, task_id)]}"
            for run_id, task_id, index in failed
        )

    def task_logs(self, dag_id: str, run_id: str, task_id: str) -> list[Path]:
        folder = self.home.task_logs / f"dag_id={dag_id}" / f"run_id={run_id}"
        return sorted(folder.glob(f"task_id={task_id}/**/*.log"))

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        return "".join(path.read_text() for path in self.task_logs(dag_id, run_id, task_id))
