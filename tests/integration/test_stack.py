"""What docker-compose.yaml starts, natively: tasks pass through a real broker to two workers, with
a real S3.
"""

from __future__ import annotations

import os
import signal
import stat
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from devstack.airflow.environment import S3_CONNECTION
from devstack.services import object_store
from tests.integration.distributed.cluster import Cluster

pytestmark = pytest.mark.integration

# Each task waits for the three others: two workers with two hands each are needed for that.
DAG = f'''
import time
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import dag, task

HERE = Path(__file__).with_name("queues")


@dag(schedule="@once", start_date=datetime(2013, 1, 1, tzinfo=UTC))
def queues():
    @task
    def meet(name):
        (HERE / f"here-{{name}}").touch()
        while len(list(HERE.glob("here-*"))) < 4:
            time.sleep(0.05)

    @task(queue="scoring")
    def store():
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        S3Hook(aws_conn_id="{S3_CONNECTION}").load_string("from a worker", "seen", "scoring")

    together = [
        meet.override(task_id=f"meet_{{n}}", queue=queue)(n)
        for n, queue in enumerate(["default", "default", "scoring", "scoring"])
    ]
    together >> store()


queues()
'''


def write_jobs(dags: Path) -> None:
    (dags / "queues.py").write_text(DAG)
    (dags / "queues").mkdir()


def test_a_run_passes_through_both_queues_and_both_workers(cluster: Cluster) -> None:
    cluster.unpause("queues")
    cluster.succeeded("queues", 1)
    tasks = cluster.tasks("queues")
    states = {task.task_id: task.state for task in tasks}
    assert states == dict.fromkeys(["meet_0", "meet_1", "meet_2", "meet_3", "store"], "success")
    assert cluster.get("seen") == b"from a worker"
    workers = Counter(cluster.worker_of(task) for task in tasks if task.task_id != "store")
    assert workers == dict.fromkeys(cluster.stack.workers, 2)


def test_a_killed_service_is_started_again_with_what_it_held(cluster: Cluster) -> None:
    cluster.s3.put_object(Bucket=cluster.bucket, Key="kept", Body=b"kept")
    runs = cluster.api.runs("queues")
    for name in ("object-store", "valkey", "postgres", "worker-1"):
        service = cluster.service(name)
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
    cluster.stack.wait_until_up()
    cluster.wait_for("S3", lambda: object_store.takes_objects(cluster.stack.object_store))
    assert cluster.get("kept") == b"kept"
    assert cluster.api.runs("queues") == runs


def test_no_secret_is_open_to_other_users(cluster: Cluster) -> None:
    secrets = [value.encode() for value in asdict(cluster.stack.secrets).values()]
    for service in cluster.supervisor.services:
        command_line = " ".join(psutil.Process(service.process.pid).cmdline()).encode()
        assert not [s for s in secrets if s in command_line], service.name
    open_to_others = stat.S_IRWXG | stat.S_IRWXO
    for path in cluster.home.root.rglob("*"):
        if path.is_file() and path.stat().st_mode & open_to_others:
            assert not [s for s in secrets if s in path.read_bytes()], path
