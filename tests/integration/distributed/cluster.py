"""What the tests of this folder ask of the running stack: its runs and tasks, and what lies in its
bucket.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from devstack.commands.stack import Stack
from devstack.services import object_store
from tests.integration.airflow_under_test import AirflowUnderTest


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
class Cluster(AirflowUnderTest):
    """The stack with its bucket; ``laptop`` is the folder that the bucket was loaded from."""

    stack: Stack
    laptop: Path

    def __post_init__(self) -> None:
        self.s3 = object_store.client(self.stack.object_store)
        self.bucket = self.stack.object_store.bucket

    @classmethod
    def of(cls, stack: Stack, dags: Path, laptop: Path) -> Cluster:
        return cls(
            stack.home, dags, stack.environment, stack.database, stack.supervisor, stack.api, stack, laptop
        )  # fmt: skip

    def restart(self, name: str, environment: Mapping[str, str]) -> None:
        """Kill a service and start it again with this environment."""
        services = self.supervisor.services
        index = services.index(self.service(name))
        services[index] = replace(services[index], environment=environment)
        os.kill(services[index].process.pid, signal.SIGKILL)
        services[index].process.wait()
        self.supervisor.watch()

    def tasks(self, dag_id: str) -> list[Task]:
        """All task instances of a Dag, in the order in which they started."""
        rows = self.database.execute(
            "SELECT run_id, task_id, map_index, state, try_number, start_date, "
            f"external_executor_id FROM task_instance WHERE dag_id = '{dag_id}' ORDER BY start_date"
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
        code = "import json, sys; from scoring.cli.main import main; sys.exit(max(map(main, json.loads(sys.argv[1]))))"
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
        logs = {name: self.home.logs / f"{name}.log" for name in self.stack.workers}
        (worker,) = [name for name, log in logs.items() if line in log.read_text()]
        return worker

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
