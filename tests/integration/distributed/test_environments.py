"""A model of an old scikit-learn is scored by Celery workers, which build one environment for it."""

from __future__ import annotations

from pathlib import Path

from scoring.models.environment.build import FOLDER
from tests import old_python, small_job
from tests.integration.distributed.cluster import Cluster

JOB = "old"
MONTHS = ["2013-02", "2013-03"]
SHARDS = 5


def _model(dags: Path) -> Path:
    return dags.parent / "old.pkl"


def write_jobs(dags: Path) -> None:
    old_python.train_small(_model(dags))
    small_job.write_job(
        dags / "jobs",
        name=JOB,
        end=MONTHS[-1],
        inputs=old_python.SMALL_INPUTS,
        model={"versions": [old_python.small_version(_model(dags))]},
        destination={"uri": f"{{data}}/predictions/{JOB}"},
    )


def test_workers_build_one_environment_and_give_the_digits_of_the_models_own_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    model = _model(cluster.dags)
    cluster.s3.upload_file(str(model), cluster.bucket, f"models/{model.name}")
    cluster.unpause(JOB)
    runs = cluster.succeeded(JOB, len(MONTHS))
    scores = [task for task in cluster.tasks(JOB) if task.task_id == "score"]
    assert [(task.state, task.try_number) for task in scores] == [("success", 1)] * SHARDS
    assert {cluster.worker_of(task) for task in scores} == set(cluster.stack.workers)

    logs = "".join(cluster.task_log(JOB, run.run_id, "score") for run in runs)
    assert logs.count(" was built in ") == 1
    records = list(Path(cluster.environment[FOLDER]).glob("*/environment.json"))
    assert len(records) == 1
    for month in MONTHS:
        published, manifest = cluster.published(f"predictions/{JOB}", month)
        flights = cluster.laptop / "flights" / f"{month}.parquet"
        count = old_python.assert_own_digits(published, model, flights, tmp_path)
        assert count == small_job.MONTHS[month] - small_job.rows_quarantined(month)
        assert manifest["model"]["runtime_versions"] == {
            "scikit-learn": old_python.old_environment().sklearn
        }
