"""The Dag that evaluates predictions, from the job file to the record beside the manifests."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session

from tests import small_job

REPOSITORY = Path(__file__).resolve().parents[2]
MONTHS = ("2013-02", "2013-03", "2013-04")
ACTUALS = {"source": {"uri": "{data}/truth/{partition}.parquet"}, "column": "truth"}


@pytest.fixture
def dags(dags_folder: Path, airflow_database: None) -> dict[str, DAG]:
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    small_job.write_job(dags_folder / "jobs", actuals=ACTUALS)
    bag = BundleDagBag(dags_folder, bundle_path=dags_folder, bundle_name="dags-folder")
    assert bag.import_errors == {}
    return dict(bag.dags)


def truth(data: Path, month: str, error: float) -> None:
    """Actuals of each flight of ``month`` that are ``error`` above what v1 predicts."""
    (data / "truth").mkdir(exist_ok=True)
    flights = pq.read_table(data / "flights" / f"{month}.parquet")
    slope = small_job.SLOPES["v2" if month == "2013-04" else "v1"]
    delays = [None if d is None else slope * d + error for d in flights["delay"].to_pylist()]
    table = pa.table({"flight": flights["flight"], "truth": pa.array(delays, pa.float64())})
    pq.write_table(table, data / "truth" / f"{month}.parquet")


def evaluated(data: Path) -> dict[str, dict[str, Any]]:
    folder = data / "predictions/small_flights/_evaluations"
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {one["partition"]: one for one in found}


def mapped(run: DagRun) -> dict[str, str]:
    """The state of each mapped task by its label."""
    with create_session() as session:
        found = run.get_task_instances(session=session)
        return {
            str(task.rendered_map_index): str(task.state)
            for task in found
            if task.task_id == "evaluate" and task.map_index >= 0
        }


def test_each_month_is_evaluated_when_its_actuals_are_there(dags: dict[str, DAG], data: Path):
    for month in (3, 4, 5):
        run = dags["small_flights"].test(logical_date=datetime(2013, month, 2, 3, tzinfo=UTC))
        assert run.state == "success"
    truth(data, "2013-02", 0.5)
    truth(data, "2013-04", -2.0)
    evaluate = dags["small_flights.evaluate"]
    run = evaluate.test(logical_date=datetime(2013, 6, 1, 6, tzinfo=UTC))
    assert run.state == "success"
    assert mapped(run) == {"2013-02": "success", "2013-04": "success"}
    found = evaluated(data)
    assert {month: one["regression"]["bias"] for month, one in found.items()} == {
        "2013-02": pytest.approx(-0.5),
        "2013-04": pytest.approx(2.0),
    }
    assert found["2013-02"]["rows"]["with_actual"] == 2450
    assert found["2013-04"]["model_version"] == "v2"

    truth(data, "2013-03", 1.0)
    run = evaluate.test(logical_date=datetime(2013, 6, 2, 6, tzinfo=UTC))
    assert mapped(run) == {"2013-03": "success"}
    run = evaluate.test(logical_date=datetime(2013, 6, 3, 6, tzinfo=UTC))
    assert (run.state, mapped(run)) == ("success", {})

    run = evaluate.test(
        logical_date=datetime(2013, 6, 4, 6, tzinfo=UTC), run_conf={"partition": "2013-02"}
    )
    assert mapped(run) == {"2013-02": "success"}


def test_a_conf_that_it_does_not_read_fails(dags: dict[str, DAG], data: Path):
    run = dags["small_flights.evaluate"].test(
        logical_date=datetime(2013, 6, 4, 6, tzinfo=UTC), run_conf={"model_version": "v2"}
    )
    assert run.state == "failed"


def test_it_runs_at_its_times_and_when_a_month_is_published(dags: dict[str, DAG]):
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dags["small_flights.evaluate"]))
    assert "0 6 * * *" in stored.timetable.summary
    (outlet,) = dags["small_flights"].task_dict["upload"].outlets
    assert [asset.uri for _, asset in stored.timetable.asset_condition.iter_assets()] == [
        outlet.uri
    ]
    assert stored.catchup is False


def test_a_job_without_actuals_has_one_dag(dags_folder: Path, airflow_database: None):
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    small_job.write_job(dags_folder / "jobs")
    bag = BundleDagBag(dags_folder, bundle_path=dags_folder, bundle_name="dags-folder")
    assert set(bag.dags) == {"small_flights"}
