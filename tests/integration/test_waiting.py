"""A month that is late is waited for by a real triggerer, and no worker is occupied meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.secrets import load_or_create
from devstack.services import object_store
from devstack.services.object_store import ObjectStore
from scoring.cli import main as cli
from tests import small_job
from tests.integration.airflow_under_test import AirflowUnderTest as Stack

MONTH = "2013-02"
WAIT = {"timeout_hours": 1, "poke_interval_seconds": 1}
JOBS = {
    "late_file": {"uri": "{data}/late/{partition}.parquet", "wait": WAIT},
    "late_object": {"uri": "s3://scoring/late/{partition}.parquet", "wait": WAIT},
    "never": {"uri": "{data}/never/*.parquet", "wait": {"timeout_hours": 0.001}},
}


def write_jobs(jobs: Path) -> None:
    for name, source in JOBS.items():
        small_job.write_job(
            jobs,
            name=name,
            end=MONTH,
            source=source,
            destination={"uri": f"{{data}}/predictions/{name}"},
            run={"aws_conn_id": "lake"},
        )


@pytest.fixture(scope="module")
def store(stack: Stack) -> ObjectStore:
    """The S3 service that the connection ``lake`` stands for."""
    made = object_store.start(stack.home, load_or_create(stack.home.secrets), stack.supervisor)
    stack.airflow("connections", "add", "lake", "--conn-json", made.connection)
    return made


def states(stack: Stack, dag_id: str) -> dict[str, tuple[str | None, int]]:
    """State and try of each of the Dag's tasks."""
    rows = stack.database.execute(
        f"SELECT task_id, state, try_number FROM task_instance WHERE dag_id = '{dag_id}'"
    )
    return {task_id: (state, tries) for task_id, state, tries in rows}


def deferred(stack: Stack, *dag_ids: str) -> None:
    """Returns when the extract tasks of these Dags wait, looked after by the triggerer."""
    for dag_id in dag_ids:
        stack.unpause(dag_id)
    waiting = (
        "SELECT 1 FROM task_instance i JOIN trigger t ON t.id = i.trigger_id "
        f"WHERE i.dag_id IN {dag_ids} AND i.state = 'deferred' AND t.triggerer_id IS NOT NULL"
    )
    stack.wait_for(
        "deferred tasks", lambda: len(stack.database.execute(waiting) or []) == len(dag_ids)
    )


def published_as_by_the_shell(stack: Stack, dag_id: str, data: Path) -> None:
    """Returns when the month is published, and its bytes are those of the flights on disk."""
    stack.succeeded(dag_id, 1)
    assert states(stack, dag_id)["extract"] == ("success", 1)
    job = small_job.write_job(data)
    assert cli.main(["run", str(job), MONTH, "--data", str(data), "--json"]) == 0
    path = f"month={MONTH}/predictions.parquet"
    expected = (data / "predictions" / "small_flights" / path).read_bytes()
    published = stack.home.data / "predictions" / dag_id
    assert (published / path).read_bytes() == expected
    manifest = json.loads((published / "_manifests" / f"month={MONTH}.json").read_text())
    assert manifest["rows"]["in"] == small_job.MONTHS[MONTH]


def test_a_month_that_comes_late_is_published_and_no_worker_has_waited(
    stack: Stack, store: ObjectStore, copy_of_data: Callable[[str], Path]
) -> None:
    both = ("late_file", "late_object")
    deferred(stack, *both)
    held = f"SELECT 1 FROM task_instance WHERE state IN ('queued', 'running') AND dag_id IN {both}"
    assert stack.database.execute(held) == []
    flights = stack.home.data / "flights" / f"{MONTH}.parquet"
    key = f"late/{MONTH}.parquet"
    object_store.client(store).upload_file(str(flights), store.bucket, key)
    published_as_by_the_shell(stack, "late_object", copy_of_data("one"))
    assert states(stack, "late_file")["extract"] == ("deferred", 1)
    os.kill(
        stack.service("triggerer").process.pid, signal.SIGKILL
    )  # another one takes its triggers over
    (stack.home.data / "late").mkdir()
    arriving = stack.home.data / "late" / "arriving"
    shutil.copy(flights, arriving)
    arriving.rename(stack.home.data / "late" / f"{MONTH}.parquet")
    published_as_by_the_shell(stack, "late_file", copy_of_data("other"))


def test_a_month_that_never_comes_fails_once_and_says_how_long_it_was_waited_for(
    stack: Stack, store: ObjectStore
) -> None:
    stack.unpause("never")
    (run,) = stack.ended("never", 1)
    assert run.state == "failed"
    assert states(stack, "never")["extract"] == ("failed", 1)
    log = stack.task_log("never", run.run_id, "extract")
    assert "the source of never 2013-02 is not there" in log
    assert "h (source.wait.timeout_hours)" in log
    assert not (stack.home.data / "predictions" / "never").exists()


def test_no_key_stands_in_a_log(stack: Stack, store: ObjectStore) -> None:
    logs = [*stack.home.logs.glob("*.log"), *stack.home.task_logs.rglob("*.log")]
    assert [path for path in logs if "late_object" in str(path)]
    assert not [path for path in logs if store.secret_key in path.read_text(errors="replace")]
