"""A real Airflow tells people of failed and late runs, and ends tasks that hang."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests import small_job
from tests.integration.airflow_under_test import AirflowUnderTest as Stack

NOTIFIER = """\
from airflow.sdk import BaseNotifier


class ToFile(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, path, text):
        super().__init__()
        self.path, self.text = path, text

    def notify(self, context):
        with open(self.path, "a") as file:
            file.write(self.text + "\\n")
"""

# Hangs the first time.
HANGING = """\
import os, time
from pathlib import Path

def run(df, model):
    seen = Path(os.environ["SCORING_DATA"], "seen")
    if not seen.exists():
        seen.touch()
        while True:
            time.sleep(0.05)
    return df.assign(predicted_delay=model.predict(df))[["predicted_delay"]]
"""


def _reported(root: Path, job: str) -> Path:
    return root / f"alerts_{job}.txt"


def write_jobs(jobs: Path) -> None:
    root = jobs.parent.parent
    (jobs.parent / "to_file.py").write_text(NOTIFIER)
    (jobs / "hanging.py").write_text(HANGING)

    def job(name: str, when: dict[str, list[str]] | None = None, **changes: object) -> None:
        text = "{{ job }} {{ partition }}: {{ problem }}"
        arguments = {"path": str(_reported(root, name)), "text": text}
        small_job.write_job(
            jobs,
            name=name,
            destination={"uri": f"{{data}}/predictions/{name}"},
            alerts=[{"notifier": "to_file.ToFile", "arguments": arguments, **(when or {})}],
            **{"end": "2013-02"} | changes,
        )

    job("failing", source={"uri": "{data}/nowhere/{partition}.parquet"})
    job(
        "hanging",
        scorer="hanging.py",
        run={"execution_timeout_minutes": 0.25, "shard_rows": 5000},
    )
    job("late", scorer=small_job.write_waiting_scorer(jobs, "late"), run={"deadline_hours": 0.001})
    job("in_time", run={"deadline_hours": 6})
    job("no_pool", run={"pool": "nobody_made_it"})
    v1, v2 = small_job.JOB["model"]["versions"]
    two_months = {
        "end": "2013-03",
        "model": {"versions": [v1, v2 | {"in_force_from": "2013-03"}]},
        "run": {"max_active_runs": 1},
    }
    job("held", checks={"drift": {"hold": {"PSI": 0.25}}}, **two_months)
    job("drifting", {"when": ["drift"]}, checks={"drift": {}}, **two_months)


def _ended(stack: Stack, dag_id: str) -> str:
    """The state in which the only run of the Dag has ended."""
    stack.unpause(dag_id)
    (run,) = stack.ended(dag_id, 1)
    return run.state


def _tries(stack: Stack, dag_id: str) -> dict[str, tuple[str, int]]:
    return {t.task_id: (t.state, t.try_number) for t in stack.api.task_instances(dag_id, [])}


def _lines(stack: Stack, job: str) -> list[str]:
    path = _reported(stack.home.root, job)
    return path.read_text().splitlines() if path.exists() else []


def test_a_failed_run_is_reported_once_after_the_last_retry(stack: Stack) -> None:
    assert _ended(stack, "failing") == "failed"
    assert _tries(stack, "failing")["extract"] == ("failed", 3)  # two retries
    stack.wait_for("alert", lambda: _lines(stack, "failing"))
    assert _lines(stack, "failing") == ["failing 2013-02: failed in task extract"]


def test_a_held_run_is_reported_with_its_reason(stack: Stack) -> None:
    stack.unpause("held")
    states = [run.state for run in stack.ended("held", 2)]
    assert sorted(states) == ["failed", "success"]
    stack.wait_for("alert", lambda: _lines(stack, "held"))
    (line,) = _lines(stack, "held")
    assert line.startswith("held 2013-03: held: predicted_delay, compared with 2013-02: PSI ")
    assert line.endswith(
        '`scoring publish held 2013-03 --accept "why"` publishes it as it is; a corrected source or '
        "job is scored again"
    )


def test_drift_is_reported_by_the_task_that_has_published_it(stack: Stack) -> None:
    stack.unpause("drifting")
    assert [run.state for run in stack.ended("drifting", 2)] == ["success", "success"]
    (line,) = _lines(stack, "drifting")
    assert line.startswith("drifting 2013-03: published, but ")
    assert "most of all predicted_delay, PSI " in line


def test_a_task_that_hangs_is_ended_and_tried_again(stack: Stack) -> None:
    assert _ended(stack, "hanging") == "success"
    assert _tries(stack, "hanging")["score"] == ("success", 2)
    log = stack.task_log("hanging", stack.api.runs("hanging")[0].run_id, "score")
    assert "AirflowTaskTimeout" in log
    assert (stack.home.data / "predictions/hanging/month=2013-02/predictions.parquet").is_file()
    assert _lines(stack, "hanging") == []


def test_a_late_run_is_reported_while_it_is_still_at_work(stack: Stack) -> None:
    stack.unpause("late")
    stack.wait_for("alert", lambda: _lines(stack, "late"))
    assert _lines(stack, "late") == [
        "late 2013-02: not published 0.001 hours after the run was queued"
    ]
    assert [run.state for run in stack.api.runs("late")] == ["running"]

    rows = (
        "SELECT missed, callback.state FROM deadline JOIN callback ON callback.id = callback_id "
        "JOIN dag_run ON dag_run.id = dagrun_id WHERE dag_id = 'late'"
    )
    stack.wait_for(
        "end of the callback", lambda: stack.database.execute(rows) == [(True, "success")]
    )
    small_job.release(stack.home.data, "late")
    assert _ended(stack, "late") == "success"
    assert len(_lines(stack, "late")) == 1


def test_a_run_in_time_leaves_no_deadline_and_no_word(stack: Stack) -> None:
    assert _ended(stack, "in_time") == "success"
    rows = "SELECT 1 FROM deadline JOIN dag_run ON dag_run.id = dagrun_id WHERE dag_id = 'in_time'"
    stack.wait_for("deadline taken away", lambda: not stack.database.execute(rows))
    assert _lines(stack, "in_time") == []


def test_without_its_pool_a_task_waits_and_the_dag_says_why(stack: Stack) -> None:
    stack.unpause("no_pool")
    warning = "non-existent pool 'nobody_made_it' will not be scheduled"
    log = stack.home.logs / "scheduler.log"
    stack.wait_for("warning of the scheduler", lambda: warning in log.read_text())
    states = Counter(t.state for t in stack.api.task_instances("no_pool", ["scheduled"]))
    assert states == {"scheduled": 1}
    doc = stack.database.execute(
        "SELECT data::text LIKE '%%nobody_made_it%%stay *scheduled*, and Airflow reports no "
        "error%%' FROM serialized_dag WHERE dag_id = 'no_pool'"
    )
    assert doc == [(True,)]
