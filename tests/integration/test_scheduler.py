"""A real scheduler scores months: by catchup, by a backfill, and after it was killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from devstack.airflow.api import DagRun
from scoring.cli import main as cli
from tests import shell, small_job
from tests.integration.airflow_under_test import AirflowUnderTest as Stack

MONTHS = ["2013-02", "2013-03", "2013-04"]
SHARDS = {"2013-02": 3, "2013-03": 2, "2013-04": 1}


def write_jobs(jobs: Path) -> None:
    small_job.write_job(jobs)
    small_job.write_job(jobs, name="broken", partition="fortnight")
    small_job.write_job(jobs, name="named", destination={"uri": "{data}/predictions/named"})
    small_job.write_job(
        jobs,
        name="interrupted",
        scorer=small_job.write_waiting_scorer(jobs, "interrupted"),
        destination={"uri": "{data}/predictions/interrupted"},
    )


def _months(runs: list[DagRun]) -> dict[str, DagRun]:
    """The runs by month; each month begins at 03:00 on its 2nd, and comes once."""
    by_start = {run.data_interval_start: run for run in runs}
    assert len(by_start) == len(runs)
    expected = [datetime.fromisoformat(f"{month}-02T03:00:00+00:00") for month in MONTHS]
    assert sorted(by_start) == expected
    return dict(zip(MONTHS, (by_start[start] for start in expected), strict=True))


def _finished(stack: Stack, dag_id: str, run_type: str, count: int) -> list[DagRun] | None:
    """All runs of the Dag when there are as many as expected and all have ended."""
    runs = [run for run in stack.api.runs(dag_id) if run.run_type == run_type]
    ended = [run for run in runs if run.state in ("success", "failed")]
    return stack.api.runs(dag_id) if len(ended) == len(runs) == count else None


def _scored(stack: Stack, dag_id: str) -> dict[str, DagRun]:
    """The runs by month, after catchup has made and finished them."""
    stack.unpause(dag_id)
    return _months(
        stack.wait_for(
            "finished run of each month", lambda: _finished(stack, dag_id, "scheduled", 3)
        )
    )


def _tasks(stack: Stack, run: DagRun, dag_id: str = "small_flights") -> dict[tuple[str, int], str]:
    tasks = [task for task in stack.api.task_instances(dag_id, []) if task.run_id == run.run_id]
    assert len({(task.task_id, task.map_index) for task in tasks}) == len(tasks)
    return {(task.task_id, task.map_index): task.state for task in tasks}


def _all_tasks_succeeded(month: str) -> dict[tuple[str, int], str]:
    scores = [("score", index) for index in range(SHARDS[month])]
    return dict.fromkeys([("extract", -1), *scores, ("upload", -1)], "success")


def _published(data: Path, month: str, job: str = "small_flights") -> tuple[bytes, dict[str, Any]]:
    folder = data / "predictions" / job
    manifest = json.loads((folder / "_manifests" / f"month={month}.json").read_text())
    return (folder / f"month={month}" / "predictions.parquet").read_bytes(), manifest


def _by_shell(stack: Stack, data: Path, month: str, *options: str) -> tuple[bytes, dict[str, Any]]:
    """The same month, scored by the shell command into another folder."""
    job = str(stack.dags / "jobs" / "small_flights.yaml")
    assert cli.main(["run", job, month, "--data", str(data), "--json", *options]) == 0
    return _published(data, month)


def test_catchup_scores_every_month_as_the_shell_does(
    stack: Stack, copy_of_data: Callable[[str], Path]
) -> None:
    runs = _scored(stack, "small_flights")
    data = copy_of_data("shell")
    for month, run in runs.items():
        assert (run.state, run.run_type) == ("success", "scheduled")
        assert _tasks(stack, run) == _all_tasks_succeeded(month)
        predictions, manifest = _published(stack.home.data, month)
        expected, by_shell = _by_shell(stack, data, month)
        assert predictions == expected
        assert shell.record_the_same(manifest, by_shell)
        assert manifest["run"]["run_id"] == run.run_id
        assert manifest["rows"]["in"] == small_job.MONTHS[month]
        assert manifest["rows"]["quarantined"] == small_job.rows_quarantined(month)
    versions = {month: _published(stack.home.data, month)[1]["model"]["version"] for month in runs}
    assert versions == {"2013-02": "v1", "2013-03": "v1", "2013-04": "v2"}


def test_a_broken_job_beside_it_is_listed_with_its_own_file(stack: Stack) -> None:
    _scored(stack, "small_flights")
    # While Airflow parses the file again, its import errors are gone for a moment.
    (failure,) = stack.wait_for("import error", stack.api.import_failures)
    assert failure.file == "jobs/broken.yaml"
    path = stack.dags / "jobs" / "broken.yaml"
    assert failure.message.startswith(f"{path} is not a valid job file (1 problem):\n  line ")
    assert 'partition: "fortnight" is not allowed' in failure.message
    dag = stack.api.dag("small_flights")
    assert dag is not None
    assert not dag.is_stale
    assert stack.api.dag("broken") is None


def test_a_backfill_scores_months_again_with_another_model(
    stack: Stack, copy_of_data: Callable[[str], Path]
) -> None:
    before = _scored(stack, "small_flights")
    april = _published(stack.home.data, "2013-04")
    stack.airflow(
        "backfill", "create", "--dag-id", "small_flights",
        "--from-date", "2013-02-01", "--to-date", "2013-03-31",
        "--reprocess-behavior", "completed", "--dag-run-conf", '{"model_version": "v2"}',
    )  # fmt: skip
    runs = _months(
        stack.wait_for(
            "finished backfill", lambda: _finished(stack, "small_flights", "backfill", 2)
        )
    )
    data = copy_of_data("shell")
    for month in ("2013-02", "2013-03"):
        assert (runs[month].state, runs[month].run_type) == ("success", "backfill")
        assert _tasks(stack, runs[month]) == _all_tasks_succeeded(month)
        predictions, manifest = _published(stack.home.data, month)
        expected, by_shell = _by_shell(stack, data, month, "--model-version", "v2")
        assert predictions == expected
        assert shell.record_the_same(manifest, by_shell)
        assert manifest["model"]["version"] == "v2"
    assert runs["2013-04"] == before["2013-04"]
    assert _published(stack.home.data, "2013-04") == april


def _versions(stack: Stack, job: str) -> dict[str, str]:
    """The model version that each month is published with."""
    months = [m for m in MONTHS if (stack.home.data / "predictions" / job / f"month={m}").exists()]
    return {
        month: _published(stack.home.data, month, job)[1]["model"]["version"] for month in months
    }


def test_runs_name_their_month_however_they_are_made(stack: Stack) -> None:
    stack.wait_for("Dag named", lambda: stack.api.dag("named"))
    stack.airflow("scoring", "backfill", "named", "2013-02..2013-03")  # waits, as the Dag is paused
    february = "backfill__2013-02__2013-03-02T03:00:00+00:00"
    march = "backfill__2013-03__2013-04-02T03:00:00+00:00"
    assert [run.run_id for run in stack.api.runs("named")] == [february, march]

    stack.unpause("named")
    april = "scheduled__2013-04__2013-05-02T03:00:00+00:00"
    # Catchup makes the month that is left, and none of those that the backfill has made.
    assert [run.run_id for run in stack.succeeded("named", 3)] == [february, march, april]
    assert _versions(stack, "named") == {"2013-02": "v1", "2013-03": "v1", "2013-04": "v2"}

    conf = {"partition": "2013-02", "model_version": "v2"}
    stack.airflow("dags", "trigger", "named", "--conf", json.dumps(conf))
    *others, by_hand = stack.succeeded("named", 4)
    assert [run.run_id for run in others] == [february, march, april]
    assert by_hand.run_type == "manual"
    assert _versions(stack, "named")["2013-02"] == "v2"
    shown = stack.database.execute(
        "SELECT conf, rendered_map_index FROM dag_run JOIN task_instance USING (dag_id, run_id) "
        f"WHERE run_id = '{by_hand.run_id}' AND task_id = 'score' ORDER BY map_index"
    )
    labels = [f"2013-02 v2, shard {n}: {rows} rows" for n, rows in enumerate((980, 980, 490))]
    assert shown == [(conf, label) for label in labels]

    done = stack.airflow(
        "scoring", "backfill", "named", "2013-03..2013-04", "--model-version", "v2", "--wait"
    )
    assert "2013-03: success, 1,176 rows scored with model version v2" in done
    assert _versions(stack, "named") == dict.fromkeys(MONTHS, "v2")

    stack.api.run_again("named", february, only_failed_tasks=False)
    stack.wait_for("February by policy", lambda: _versions(stack, "named")["2013-02"] == "v1")
    runs = stack.succeeded("named", 4)
    assert [run.run_id for run in runs] == [february, march, april, by_hand.run_id]
    assert _tasks(stack, runs[0], "named") == _all_tasks_succeeded("2013-02")


def test_a_killed_scheduler_loses_no_month_and_publishes_none_twice(stack: Stack) -> None:
    stack.unpause("interrupted")
    in_progress = "SELECT 1 FROM task_instance WHERE dag_id = 'interrupted' AND state = 'running' AND task_id = 'score'"
    stack.wait_for("score task at work", lambda: stack.database.execute(in_progress))
    killed = stack.service("scheduler").process.pid
    os.kill(killed, signal.SIGKILL)
    stack.wait_for(
        "scheduler started again", lambda: stack.service("scheduler").process.pid != killed
    )
    small_job.release(stack.home.data, "interrupted")
    runs = _scored(stack, "interrupted")
    for month, run in runs.items():
        assert run.state == "success"
        assert _tasks(stack, run, "interrupted") == _all_tasks_succeeded(month)
        predictions, manifest = _published(stack.home.data, month, "interrupted")
        assert hashlib.sha256(predictions).hexdigest() == manifest["output"]["sha256"]
        wanted = small_job.MONTHS[month] - small_job.rows_quarantined(month)
        assert manifest["rows"]["scored"] == wanted
    events = stack.database.execute(
        "SELECT extra FROM asset_event WHERE source_dag_id = 'interrupted'"
    )
    assert Counter(extra["partition"] for (extra,) in events) == dict.fromkeys(MONTHS, 1)
