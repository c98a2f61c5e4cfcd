"""What docker-compose.yaml starts, natively: tasks pass through a real broker to two workers, with a real S3."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from devstack.airflow.api import NotReachable
from devstack.airflow.environment import S3_CONNECTION
from devstack.commands.stack import Stack, StackOptions, running
from devstack.home import Home
from devstack.services import object_store
from devstack.services.ports import free_port

pytestmark = pytest.mark.integration

SECONDS = 120.0

# Each task waits for the three others: two workers with two hands each are needed for that.
DAG = f'''
import time
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import dag, task

HERE = Path(__file__).parent


@dag(schedule="@once", start_date=datetime(2013, 1, 1, tzinfo=UTC))
def queues():
    @task
    def meet(name):
        (HERE / f"here-{{name}}").touch()
        deadline = time.monotonic() + {SECONDS / 2}
        while len(list(HERE.glob("here-*"))) < 4:
            assert time.monotonic() < deadline, "the others have not come"
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


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dags")
    (folder / "queues.py").write_text(DAG)
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, dags: Path) -> Iterator[Stack]:
    home = Home(tmp_path_factory.mktemp("stack") / "run")
    with running(StackOptions(home, dags, free_port()), print) as everything:
        yield everything
        processes = [service.process.pid for service in everything.supervisor.services]
    assert len(processes) == 9
    assert not [pid for pid in processes if psutil.pid_exists(pid)]
    assert not everything.supervisor.services


def wait_for(stack: Stack, what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except NotReachable:  # it is starting
            pass
        stack.supervisor.watch(0.1)
    logs = (service.last_lines() for service in stack.supervisor.services)
    pytest.fail(f"{what}: not within {SECONDS:.0f} s\n" + "\n\n".join(logs))


def test_a_run_passes_through_both_queues_and_both_workers(stack: Stack) -> None:
    wait_for(stack, "Dag", lambda: stack.api.dag("queues") is not None)
    stack.api.unpause("queues")

    def ended() -> bool:
        return [r.state for r in stack.api.runs("queues")] in (["success"], ["failed"])

    wait_for(stack, "end of the run", ended)
    states = {task.task_id: task.state for task in stack.api.task_instances("queues", [])}
    assert states == dict.fromkeys(["meet_0", "meet_1", "meet_2", "meet_3", "store"], "success")
    stored = object_store.client(stack.object_store).get_object(Bucket="scoring", Key="seen")
    assert stored["Body"].read() == b"from a worker"
    done = "Executing workload in Celery"
    for worker in stack.workers:
        assert (stack.home.logs / f"{worker}.log").read_text().count(done) >= 2, worker


def test_a_killed_service_is_started_again_with_what_it_held(stack: Stack) -> None:
    s3 = object_store.client(stack.object_store)
    s3.put_object(Bucket="scoring", Key="kept", Body=b"kept")
    for name in ("object-store", "valkey", "postgres", "worker-1"):
        (service,) = [s for s in stack.supervisor.services if s.name == name]
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
    stack.wait_until_up()
    wait_for(stack, "S3", lambda: object_store.takes_objects(stack.object_store))
    assert s3.get_object(Bucket="scoring", Key="kept")["Body"].read() == b"kept"
    assert [run.state for run in stack.api.runs("queues")] == ["success"]


def test_no_secret_is_open_to_other_users(stack: Stack) -> None:
    secrets = [value.encode() for value in asdict(stack.secrets).values()]
    for service in stack.supervisor.services:
        command_line = " ".join(psutil.Process(service.process.pid).cmdline()).encode()
        assert not [s for s in secrets if s in command_line], service.name
    open_to_others = stat.S_IRWXG | stat.S_IRWXO
    for path in stack.home.root.rglob("*"):
        if path.is_file() and path.stat().st_mode & open_to_others:
            assert not [s for s in secrets if s in path.read_bytes()], path
