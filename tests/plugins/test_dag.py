from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.cli import cli_parser
from airflow.sdk import DAG, Asset
from airflow.serialization.serialized_objects import DagSerialization
from jinja2 import Template
from scoring_airflow import job_dag
from scoring_airflow.timetable import PartitionTimetable

from scoring.errors import JobError
from scoring.job.loader import load_job
from tests import small_job


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCORING_DATA", "/data")

    def make(**changes) -> DAG:
        return job_dag(load_job(small_job.write_job(tmp_path, **changes)))

    return make


def test_three_tasks_in_a_row_whatever_the_number_of_shards(make) -> None:
    dag = make()
    assert dag.dag_id == "small_flights"
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "extract": {"score"},
        "score": {"upload"},
        "upload": set(),
    }
    assert {task.task_id: task.is_mapped for task in dag.tasks} == {
        "extract": False,
        "score": True,
        "upload": False,
    }


def test_what_the_job_says_about_itself_is_shown(make) -> None:
    dag = make()
    assert dag.description == "Arrival delay of a few flights."
    assert dag.tags == {"flights", "scoring"}
    assert {task.owner for task in dag.tasks} == {"analytics"}
    assert dag.owner == "analytics"
    for message in (
        "Arrival delay of a few flights.",
        "One run scores one month, from 2013-02 to 2013-04, in UTC time.",
        "{data}/flights/{partition}.parquet",
        "{data}/predictions/small_flights",
        "`predicted_delay`",
        "small_flights.yaml",
        "| v1 | 2013-02 | `{models}/v1.skops` |",
        "| v2 | 2013-04 | `{models}/v2.skops` |",
        "Each month is scored with the version that was in force then.",
    ):
        assert message in dag.doc_md


@pytest.mark.parametrize(
    ("kind", "cron", "first", "zone"),
    [
        ("month", "0 3 2 * *", "2013-02", "UTC"),
        ("month", "0 0 1 * *", "2013-12", "Pacific/Kiritimati"),
        ("week", "0 0 * * 1", "2013-W01", "America/New_York"),
        ("day", "0 3 * * *", "2013-03-10", "America/New_York"),
        ("hour", "15 * * * *", "2013-11-03T01-0500", "America/New_York"),
    ],
)
def test_the_backfill_that_it_shows_scores_one_partition(
    make, kind: str, cron: str, first: str, zone: str
) -> None:
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": first}
    dag = make(
        partition=kind, schedule=cron, start=first, end=None, timezone=zone,
        model={"versions": [version]},
    )  # fmt: skip
    (command,) = [line.strip() for line in dag.doc_md.splitlines() if "airflow scoring" in line]
    options = cli_parser.get_parser().parse_args(shlex.split(command)[1:])
    assert (options.dag_id, options.partitions) == ("small_flights", [first])
    assert options.model_version == "v1"


def test_every_task_knows_the_job_file(make, tmp_path: Path) -> None:
    dag = make()
    path = str(tmp_path / "small_flights.yaml")
    assert dag.get_task("extract").job_file == path
    assert dag.get_task("score").unmap({"shard": {}}).job_file == path
    assert dag.get_task("upload").job_file == path


def test_the_timetable_is_of_the_jobs_cron_zone_and_partitions(make) -> None:
    dag = make(timezone="America/New_York")
    # Midnight in New York at the job's start, and the last second before it is May there.
    end = datetime(2013, 5, 1, 3, 59, 59, tzinfo=UTC)
    assert dag.timetable == PartitionTimetable("0 3 2 * *", "America/New_York", "month", end)
    assert dag.catchup is True
    assert dag.start_date == datetime(2013, 2, 1, 5, tzinfo=UTC)


def test_a_job_that_has_ended_can_be_triggered(make) -> None:
    # With an end_date, Airflow would give a run that is triggered later no tasks.
    assert make().end_date is None


def test_a_job_without_an_end_goes_on(make) -> None:
    dag = make(end=None)
    assert dag.timetable.last is None
    assert "from 2013-02, in UTC time" in dag.doc_md


def test_the_model_version_is_chosen_from_a_list(make) -> None:
    dag = make()
    param = dag.params.get_param("model_version")
    assert param.schema["enum"] == [None, "v1", "v2"]
    assert param.resolve() is None
    assert param.resolve("v2") == "v2"
    with pytest.raises(ValueError, match="'v9' is not one of"):
        param.resolve("v9")


def test_a_newer_publication_is_replaced_only_when_the_conf_of_the_run_says_so(make) -> None:
    dag = make()
    assert list(dag.params) == ["partition", "model_version"]
    template = Template(dag.get_task("upload").replace_newer)
    rendered = {
        str(conf): template.render(dag_run=SimpleNamespace(conf=conf))
        for conf in (None, {}, {"replace_newer": True}, {"replace_newer": False})
    }
    assert list(rendered.values()) == ["False", "False", "True", "False"]


def test_a_job_that_is_scored_by_a_function_has_no_versions(make, tmp_path: Path) -> None:
    dag = make(model=None, scorer="total.py")
    assert dag.params.get_param("model_version").schema["enum"] == [None]
    assert "Scored by `total.py`." in dag.doc_md


def test_retries_wait_longer_each_time(make) -> None:
    dag = make(run={"retries": 5, "retry_delay_seconds": 60.0})
    for task in dag.tasks:
        assert task.retries == 5
        assert task.retry_delay == timedelta(seconds=60)
        assert not task.retry_exponential_backoff  # it would count the tries of former runs
        assert (task.retry_policy.first, task.retry_policy.retries) == (timedelta(seconds=60), 5)


def test_what_the_job_says_about_running_it(make) -> None:
    dag = make(run={"max_active_runs": 7, "queue": "big", "pool": "models"})
    assert dag.max_active_runs == 7
    assert {(task.queue, task.pool) for task in dag.tasks} == {("big", "models")}


def test_queue_pool_and_executor_are_airflows_own_by_default(make) -> None:
    dag = make()
    assert {(task.queue, task.pool, task.executor) for task in dag.tasks} == {
        ("default", "default_pool", None)
    }
    assert {task.execution_timeout for task in dag.tasks} == {None}
    assert (dag.deadline, dag.has_on_failure_callback) == (None, False)
    for word in ("queue", "pool", "late", "reported by"):
        assert word not in dag.doc_md


def test_what_has_to_be_there_for_the_tasks_is_shown(make) -> None:
    alert = {"notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier"}
    dag = make(
        run={"queue": "big", "pool": "models", "executor": "LocalExecutor", "deadline_hours": 1.5},
        alerts=[alert | {"arguments": {"to": "team@example.org"}}],
    )
    for message in (
        "queue `big`: some worker has to take tasks from it",
        "pool `models`. Without such a pool (Admin, Pools) they stay *scheduled*",
        "run by `LocalExecutor`",
        "late 1.5 hours after it was queued",
        "reported by `SmtpNotifier`",
    ):
        assert message in dag.doc_md


def test_a_task_may_take_so_long(make) -> None:
    dag = make(run={"execution_timeout_minutes": 1.5})
    assert {task.execution_timeout for task in dag.tasks} == {timedelta(seconds=90)}


def test_every_task_runs_in_the_executor_that_the_job_names(make) -> None:
    dag = make(run={"executor": "LocalExecutor"})
    assert {task.executor for task in dag.tasks} == {"LocalExecutor"}


def test_an_unknown_executor_is_a_mistake_of_the_job(make, tmp_path: Path) -> None:
    with pytest.raises(JobError) as error:
        make(run={"executor": "KubernetesExecutor"})
    lines = (tmp_path / "small_flights.yaml").read_text().splitlines()
    line = lines.index("  executor: KubernetesExecutor") + 1
    assert str(error.value) == (
        f"{tmp_path}/small_flights.yaml is not a valid job file (1 problem):\n  line {line}, "
        'run.executor: "KubernetesExecutor" is not one of Airflow\'s executors here: LocalExecutor'
    )


def test_a_dag_does_not_score_all_months_from_one_file(make) -> None:
    with pytest.raises(JobError, match=r"source\.uri: is the same for every month; add"):
        make(source={"uri": "{data}/flights.parquet"})
    assert make(source={"uri": "{data}/flights.parquet"}, end="2013-02").dag_id == "small_flights"


@pytest.mark.parametrize(
    ("destination", "uri"),
    [
        ("{data}/out", "file:///data/out"),
        ("file:///data/out/", "file:///data/out"),
        ("/my data/jürgen#1", "file:///my%20data/j%C3%BCrgen%231"),
    ],
)
def test_upload_announces_the_published_asset(make, destination: str, uri: str) -> None:
    dag = make(destination={"uri": destination})
    assert dag.get_task("upload").outlets == [Asset("small_flights predictions", uri)]
    assert dag.get_task("extract").outlets == []


def test_airflow_can_store_it(make) -> None:
    dag = make()
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.dag_id == "small_flights"
    assert [task.task_id for task in stored.tasks] == ["extract", "score", "upload"]
    assert stored.get_task("upload").owner == "analytics"


ALERT = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
LARGEST = {
    "owner": "o" * 500,
    "description": "d" * 10_000,
    "tags": ["t" * 100],
    "run": {
        "queue": "q" * 256,
        "pool": "p" * 256,
        "aws_conn_id": "a" * 250,
        "shard_rows": 1_000_000_000,
        "max_active_runs": 1_000,
        "retries": 100,
        "retry_delay_seconds": 86_400,
        "execution_timeout_minutes": 44_640,
        "deadline_hours": 8_784,
        "threads": 1_024,
    },
    "checks": {"max_quarantined_fraction": 1, "min_rows": 1_000_000_000_000, "examples": 1_000},
    "source": {"wait": {"timeout_hours": 8_784, "poke_interval_seconds": 86_400}},
    "inputs": {
        "a": {"type": "int64", "min": -(2**63), "max": 2**63 - 1, "allowed": [2**63 - 1]},
        "b": {"type": "float64", "min": -1.7976931348623157e308, "max": 1.7976931348623157e308},
    },
    "alerts": [{"notifier": ALERT, "arguments": {"smtp_conn_id": "s", "to": "x" * 10_000}}],
}
SMALLEST = {
    "run": {
        "retry_delay_seconds": 0.001,
        "execution_timeout_minutes": 0.001,
        "deadline_hours": 0.0001,
        "retries": 0,
    },
    "checks": {"min_rows": 0, "examples": 0},
}


@pytest.mark.parametrize("limits", [LARGEST, SMALLEST], ids=["largest", "smallest"])
def test_airflow_can_store_a_job_with_all_its_numbers_at_their_limits(make, limits) -> None:
    dag = make(**limits)
    stored = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    extract, run = stored.get_task("extract"), limits["run"]
    assert extract.retries == run["retries"] < 2**31
    assert extract.retry_delay == timedelta(seconds=run["retry_delay_seconds"])
    assert extract.execution_timeout == timedelta(minutes=run["execution_timeout_minutes"])
    assert extract.execution_timeout > timedelta(0)
    assert stored.max_active_runs == run.get("max_active_runs", 4) < 2**31
    longest = (stored.start_date + timedelta(hours=8_784) * 2).isoformat()
    assert longest  # a deadline and a wait end within the years that datetime has
    for number in range(1, run["retries"] + 2):
        decision = dag.get_task("extract").retry_policy.evaluate(
            RuntimeError(), number, run["retries"]
        )
        assert timedelta(0) <= decision.retry_delay <= timedelta(minutes=30)
