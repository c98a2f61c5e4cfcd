"""Whole Dags from Dag files, run by Airflow's own ``dag.test()``, compared with the shell command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.utils.session import create_session
from scoring_airflow.links import PredictionsLink

from scoring.job.loader import load_job
from tests import shell, small_job
from tests.plugins.conftest import PUBLISHED

REPOSITORY = Path(__file__).resolve().parents[2]
FEBRUARY_IS_OVER = datetime(2013, 3, 2, 3, tzinfo=UTC)


def _dag(dags_folder: Path, dag_id: str) -> DAG:
    bag = BundleDagBag(dags_folder, bundle_path=dags_folder, bundle_name="dags-folder")
    assert bag.import_errors == {}
    return bag.dags[dag_id]


def _tasks(run: DagRun) -> dict[tuple[str, int], str | None]:
    """The state of each task instance, and that there are any."""
    with create_session() as session:
        found = run.get_task_instances(session=session)
        return {(task.task_id, task.map_index): task.state for task in found}


@pytest.fixture
def job(dags_folder: Path) -> Path:
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    return small_job.write_job(dags_folder / "jobs")


@pytest.mark.parametrize(("pinned", "version"), [(None, "v1"), ("v2", "v2")])
def test_a_month_by_airflow_is_the_month_by_the_shell(
    job: Path,
    dags_folder: Path,
    data: Path,
    by_shell: Callable[..., tuple[bytes, dict[str, Any]]],
    pinned: str | None,
    version: str,
) -> None:
    dag = _dag(dags_folder, "small_flights")
    conf = {"model_version": pinned} if pinned else None
    run = dag.test(logical_date=FEBRUARY_IS_OVER, run_conf=conf)
    assert run.state == "success"
    assert _tasks(run) == {
        ("extract", -1): "success",
        ("score", 0): "success",
        ("score", 1): "success",
        ("score", 2): "success",
        ("upload", -1): "success",
    }
    predictions, expected = by_shell(*(["--model-version", pinned] if pinned else []))
    assert (data / PUBLISHED).read_bytes() == predictions
    manifest = json.loads(
        (data / "predictions/small_flights/_manifests/month=2013-02.json").read_text()
    )
    assert manifest["model"]["version"] == version
    assert manifest["rows"]["scored"] == 2450
    assert shell.record_the_same(manifest, expected)


def test_mapped_tasks_are_distinguished_by_what_they_do(
    job: Path, dags_folder: Path, data: Path
) -> None:
    run = _dag(dags_folder, "small_flights").test(logical_date=FEBRUARY_IS_OVER)
    with create_session() as session:
        found = run.get_task_instances(session=session)
        labels = {task.map_index: task.rendered_map_index for task in found}
    assert {index: label for index, label in labels.items() if index >= 0} == {
        0: "2013-02 v1, shard 0: 980 rows",
        1: "2013-02 v1, shard 1: 980 rows",
        2: "2013-02 v1, shard 2: 490 rows",
    }


NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(("name", "logical_date"), [("now", NOW), ("undated", None)])
def test_a_run_by_hand_scores_the_partition_that_its_conf_names(
    dags_folder: Path, data: Path, name: str, logical_date: datetime | None
) -> None:
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    small_job.write_job(dags_folder / "jobs", name=name)
    run = _dag(dags_folder, name).test(
        logical_date=logical_date, run_conf={"partition": "2013-02", "model_version": "v2"}
    )
    assert run.state == "success"
    assert _tasks(run)["score", 2] == "success"
    (manifest,) = (data / "predictions/small_flights/_manifests").glob("*.json")
    published = json.loads(manifest.read_text())
    assert (published["partition"], published["model"]["version"]) == ("2013-02", "v2")
    with create_session() as session:
        upload = run.get_task_instance("upload", session=session)
        link = upload.xcom_pull(task_ids="upload", key=PredictionsLink().xcom_key, session=session)
    assert link.endswith("/tasks/upload/xcom")


def test_a_month_that_fails_publishes_nothing(job: Path, dags_folder: Path, data: Path) -> None:
    (data / "models" / "v1.skops").write_bytes(b"no model")
    run = _dag(dags_folder, "small_flights").test(logical_date=FEBRUARY_IS_OVER)
    assert run.state == "failed"
    assert _tasks(run)["upload", -1] == "upstream_failed"
    assert not (data / "predictions/small_flights/_manifests").exists()


CANDIDATE = {
    "versions": [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "candidate": True},
    ]
}


def test_challengers_score_the_same_rows_in_the_same_tasks(
    dags_folder: Path, data: Path, small_data: Path, tmp_path: Path
) -> None:
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    changes: dict[str, Any] = {"model": CANDIDATE, "challengers": ["v2"]}
    small_job.write_job(dags_folder / "jobs", **changes)
    run = _dag(dags_folder, "small_flights").test(logical_date=FEBRUARY_IS_OVER)
    assert run.state == "success"
    elsewhere = shutil.copytree(small_data, tmp_path / "shell" / "data")
    job = small_job.write_job(elsewhere.parent, **changes)
    expected = shell.score(job, "2013-02", elsewhere)
    assert (data / PUBLISHED).read_bytes() == (elsewhere / PUBLISHED).read_bytes()
    (record,) = _manifest(data)["challengers"]
    assert record["difference"] == expected["challengers"][0]["difference"]
    assert record["difference"]["rows"] == 2450
    beside = data / "predictions/small_flights/_challengers/v2/month=2013-02/predictions.parquet"
    assert pq.ParquetFile(beside).metadata.num_rows == 2450
    staging = data / "predictions/small_flights/_staging"
    assert [path.name for path in staging.rglob("*")] == ["month=2013-02"]


def test_a_month_that_changes_too_much_waits_for_a_conf_that_accepts_it(
    dags_folder: Path, data: Path
) -> None:
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    small_job.write_job(dags_folder / "jobs", model=CANDIDATE, checks={"max_changed_fraction": 0.1})
    dag = _dag(dags_folder, "small_flights")
    assert dag.test(logical_date=FEBRUARY_IS_OVER).state == "success"
    published = (data / PUBLISHED).read_bytes()
    pinned = {"model_version": "v2"}
    assert dag.test(logical_date=FEBRUARY_IS_OVER, run_conf=pinned).state == "failed"
    drift = {**pinned, "accept_drift": "summer"}
    assert dag.test(logical_date=FEBRUARY_IS_OVER, run_conf=drift).state == "failed"
    assert (data / PUBLISHED).read_bytes() == published
    accepted = {**pinned, "accept_changes": "v2 is right"}
    assert dag.test(logical_date=FEBRUARY_IS_OVER, run_conf=accepted).state == "success"
    manifest = _manifest(data)
    assert manifest["model"]["version"] == "v2"
    assert manifest["run"]["accepted_changes"] == "v2 is right"
    assert manifest["difference"]["changed"] > 0.9 * 2450


def _manifest(data: Path) -> dict[str, Any]:
    found = json.loads(
        (data / "predictions/small_flights/_manifests/month=2013-02.json").read_text()
    )
    assert isinstance(found, dict)
    return found


def test_the_operators_in_a_dag_of_ones_own(dags_folder: Path, data: Path) -> None:
    shutil.copy(REPOSITORY / "examples" / "own_dag.py", dags_folder)
    small_job.write_job(dags_folder, name="own_dag")
    run = _dag(dags_folder, "own_dag").test(logical_date=FEBRUARY_IS_OVER)
    assert run.state == "success"
    assert set(_tasks(run)) == {
        ("extract", -1),
        ("score", 0),
        ("score", 1),
        ("score", 2),
        ("upload", -1),
        ("announce", -1),
    }
    published = data / PUBLISHED
    with create_session() as session:
        announce = run.get_task_instance("announce", session=session)
        said = announce.xcom_pull(task_ids="announce", session=session)
    assert said == f"2013-02: 2450 predictions in {published}"


def test_the_example_of_a_dag_of_ones_own_has_a_right_job_file() -> None:
    assert load_job(REPOSITORY / "examples" / "own_dag.yaml").job.name == "own_dag"
