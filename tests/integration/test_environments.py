"""A model of an old scikit-learn is scored by tasks of a real Airflow, in a Python of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from scoring.cli import main as cli
from scoring.models.environment.process import PROGRAM
from tests import old_python, small_job
from tests.integration.airflow_under_test import AirflowUnderTest as Stack

MONTHS = ["2013-02", "2013-03"]
SAYING = """\
import sys
print("on stdout, by Python %d.%d" % sys.version_info[:2])
print("on stderr", file=sys.stderr)
"""


def write_jobs(jobs: Path) -> None:
    model = jobs.parent.parent / "data" / "models" / "old.pkl"
    old_python.train_small(model)
    scorer = jobs / small_job.write_waiting_scorer(jobs, "old_killed")
    scorer.write_text(SAYING + scorer.read_text())

    def job(name: str, end: str, version: dict[str, Any], **changes: Any) -> None:
        small_job.write_job(
            jobs,
            name=name,
            end=end,
            inputs=old_python.SMALL_INPUTS,
            model={"versions": [version]},
            destination={"uri": f"{{data}}/predictions/{name}"},
            **changes,
        )

    job("old", MONTHS[-1], old_python.small_version(model))
    waiting = old_python.small_version(model, variables=["SCORING_DATA"])
    job("old_killed", MONTHS[0], waiting, scorer=scorer.name, run={"shard_rows": 5000})


def _published(data: Path, name: str, month: str) -> bytes:
    return (data / f"predictions/{name}/month={month}/predictions.parquet").read_bytes()


def _process(stack: Stack) -> psutil.Process | None:
    """The process of the waiting scorer: no others are given this variable."""
    for process in psutil.process_iter():
        try:
            if str(PROGRAM) in process.cmdline() and process.environ().get("SCORING_DATA") == str(
                stack.home.data
            ):
                return process
        except psutil.Error:  # it has ended, or is another user's
            continue
    return None


def _at_work(stack: Stack, run_id: str, attempt: int) -> tuple[psutil.Process, psutil.Process]:
    """The process of the model in this try, when the scorer has begun, and the task's process."""

    def begun() -> bool:
        logs = stack.task_logs("old_killed", run_id, "score")
        return any("on stderr" in p.read_text() for p in logs if p.stem == f"attempt={attempt}")

    stack.wait_for(f"scorer of try {attempt}", begun)
    process = _process(stack)
    assert process is not None
    task = process.parent()
    assert task is not None
    return process, task


def test_tasks_and_the_shell_give_the_digits_of_the_models_own_process(
    stack: Stack, copy_of_data: Callable[[str], Path], tmp_path: Path
) -> None:
    stack.unpause("old")
    stack.succeeded("old", len(MONTHS))
    data = copy_of_data("shell")
    model = stack.home.data / "models" / "old.pkl"
    (data / "models" / "old.pkl").write_bytes(model.read_bytes())
    job = str(stack.dags / "jobs" / "old.yaml")
    for month in MONTHS:
        published = _published(stack.home.data, "old", month)
        flights = data / "flights" / f"{month}.parquet"
        count = old_python.assert_own_digits(published, model, flights, tmp_path)
        assert count == small_job.MONTHS[month] - small_job.rows_quarantined(month)
        assert cli.main(["run", job, month, "--data", str(data), "--json"]) == 0
        assert _published(data, "old", month) == published


def test_a_task_that_is_stopped_leaves_no_process_of_its_model(stack: Stack) -> None:
    stack.unpause("old_killed")
    (run,) = stack.wait_for("run", lambda: stack.api.runs("old_killed"))
    cleared, _ = _at_work(stack, run.run_id, 1)
    stack.api.run_again("old_killed", run.run_id, only_failed_tasks=False)
    stack.wait_for("end of the process", lambda: not cleared.is_running())

    process, task = _at_work(stack, run.run_id, 2)
    os.kill(task.pid, signal.SIGKILL)
    stack.wait_for("end of the process", lambda: not process.is_running())

    process, task = _at_work(stack, run.run_id, 3)
    # As where a pod is stopped: the task may finish, and its model's process with it.
    os.killpg(os.getpgid(task.pid), signal.SIGTERM)
    small_job.release(stack.home.data, "old_killed")
    stack.succeeded("old_killed", 1)
    (score,) = [t for t in stack.api.task_instances("old_killed", []) if t.task_id == "score"]
    assert score.try_number == 3
    stack.wait_for("end of the process", lambda: not process.is_running())
    log = stack.task_log("old_killed", run.run_id, "score")
    assert f"on stdout, by Python {old_python.oldest_python()}" in log
