"""What the tests of this folder ask of the running stack: its runs and tasks, and what lies in its bucket."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg2
import pytest

from devstack.airflow import components
from devstack.airflow.api import DagRun, NotReachable
from devstack.airflow.task_log import failure_reason
from devstack.commands.stack import Stack
from devstack.services import object_store

Found = TypeVar("Found")
FINISHED = ("success", "failed")


class Task(NamedTuple):
    """A task instance as the database has it."""

    run_id: str
    task_id: str
    map_index: int
    state: str
    try_number: int
    start: datetime | None
    message: str | None  # the broker's, which brought it to a worker


@dataclass
class Cluster:
    """The stack with its bucket; ``laptop`` is the folder that the bucket was loaded from."""

    stack: Stack
    dags: Path
    laptop: Path

    def __post_init__(self) -> None:
        self.s3 = object_store.client(self.stack.object_store)
        self.bucket = self.stack.object_store.bucket

    def wait_for(self, what: str, look: Callable[[], Found | None], seconds: float = 300) -> Found:
        """What ``look`` finds, as soon as it finds something; a failed test after ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := look():
                    return found
            except (NotReachable, psycopg2.OperationalError):  # it is starting
                pass
            self.stack.supervisor.watch(0.2)
        logs = (service.last_lines() for service in self.stack.supervisor.services)
        pytest.fail(f"no {what} within {seconds} s\n" + "\n\n".join(logs))

    def airflow(self, *arguments: str) -> str:
        """What the ``airflow`` command prints; it has to succeed."""
        command = [components.AIRFLOW, *arguments]
        done = subprocess.run(
            command, env=self.stack.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def unpause(self, dag_id: str) -> None:
        self.wait_for(f"Dag {dag_id}", lambda: self.stack.api.dag(dag_id))
        self.wait_for("answer", lambda: self.stack.api.unpause(dag_id) is None)

    def ended(self, dag_id: str, count: int, seconds: float = 300) -> list[DagRun]:
        """The runs of a Dag, when there are ``count`` of them and all have ended."""

        def look() -> list[DagRun] | None:
            runs = self.stack.api.runs(dag_id)
            return runs if len(runs) == count and all(r.state in FINISHED for r in runs) else None

        return self.wait_for(f"end of {count} runs of {dag_id}", look, seconds)

    def succeeded(self, dag_id: str, count: int, seconds: float = 300) -> list[DagRun]:
        """The runs of a Dag, when there are ``count`` of them and all have succeeded."""
        runs = self.ended(dag_id, count, seconds)
        assert {run.state for run in runs} == {"success"}, self.why_failed(dag_id)
        return runs

    def why_failed(self, dag_id: str) -> str:
        """The last words of each log of the Dag's failed tasks; empty when none has failed."""
        return "\n".join(
            f"{task}: {[failure_reason(log) for log in self.logs(dag_id, task.run_id, task.task_id)]}"
            for task in self.tasks(dag_id)
            if task.state == "failed"
        )

    def tasks(self, dag_id: str) -> list[Task]:
        """All task instances of a Dag, in the order in which they started."""
        rows = self.stack.database.execute(
            "SELECT run_id, task_id, map_index, state, try_number, start_date, external_executor_id "
            f"FROM task_instance WHERE dag_id = '{dag_id}' ORDER BY start_date"
        )
        return [Task(*row) for row in rows]

    def score_on_laptop(
        self, job: str, months: list[str], *options: str
    ) -> dict[str, tuple[bytes, dict[str, Any]]]:
        """Month → predictions and manifest as the shell command makes them from local files."""
        path = self.dags / "jobs" / f"{job}.yaml"
        common = ["--data", str(self.laptop), "--json", *options]
        calls = [["run", str(path), month, *common] for month in months]
        # One process for all months: to import everything takes longer than to score one.
        code = "import json, sys; from scoring import cli; sys.exit(max(map(cli.main, json.loads(sys.argv[1]))))"
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(calls)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        folder = self.laptop / "predictions" / job
        return {
            month: (
                (folder / f"month={month}" / "predictions.parquet").read_bytes(),
                json.loads((folder / "_manifests" / f"month={month}.json").read_text()),
            )
            for month in months
        }

    def worker_of(self, task: Task) -> str:
        """Which worker a task was executed by, as its log says."""
        line = f"[{task.message}] Executing workload in Celery"
        logs = {name: self.stack.home.logs / f"{name}.log" for name in self.stack.workers}
        (worker,) = [name for name, log in logs.items() if line in log.read_text()]
        return worker

    def logs(self, dag_id: str, run_id: str, task_id: str) -> list[Path]:
        folder = self.stack.home.task_logs / f"dag_id={dag_id}" / f"run_id={run_id}"
        return sorted(folder.glob(f"task_id={task_id}/**/*.log"))

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        return "".join(path.read_text() for path in self.logs(dag_id, run_id, task_id))

    def objects(self, prefix: str) -> dict[str, tuple[str, datetime]]:
        """Key → ETag and time of writing, of all objects below ``prefix``."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{prefix}/"
        )
        found = [item for page in pages for item in page.get("Contents", [])]
        return {item["Key"]: (item["ETag"], item["LastModified"]) for item in found}

    def uploads(self) -> list[str]:
        """Multipart uploads that were neither completed nor aborted."""
        found = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [upload["Key"] for upload in found]

    def get(self, key: str) -> bytes:
        data: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    def published(self, destination: str, month: str) -> tuple[bytes, dict[str, Any]]:
        """The bytes of a month's predictions, and its manifest, which names their digest."""
        data = self.get(f"{destination}/month={month}/predictions.parquet")
        manifest = json.loads(self.get(f"{destination}/_manifests/month={month}.json"))
        assert manifest["output"]["sha256"] == hashlib.sha256(data).hexdigest()
        return data, manifest
