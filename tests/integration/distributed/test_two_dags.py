"""Two Dags publish the same months at the same time: one wins, the other fails at once and says so."""

from __future__ import annotations

import io

import pyarrow.parquet as pq

from devstack.airflow.api import DagRun
from tests.integration.distributed.cluster import Cluster

DESTINATION = "predictions/two"
CONTESTED = ("2013-03", "2013-04")
MODELS = {"left": "v1", "right": "v2"}


def test_one_backfill_wins_each_month_and_the_other_fails_without_a_retry(cluster: Cluster) -> None:
    for dag_id, first in {"left": "2013-02-01", "right": "2013-03-01"}.items():
        cluster.wait_for(f"Dag {dag_id}", lambda dag_id=dag_id: cluster.api.dag(dag_id))
        cluster.airflow(
            "backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", "2013-04-30",
            "--max-active-runs", "3",
        )  # fmt: skip
    for dag_id in MODELS:
        cluster.unpause(dag_id)
    runs = {
        "left": by_month(cluster.ended("left", 3)),
        "right": by_month(cluster.ended("right", 2)),
    }
    assert {run.run_type for of_dag in runs.values() for run in of_dag.values()} == {"backfill"}
    assert runs["left"].pop("2013-02").state == "success"
    uploads = {
        (dag_id, task.run_id): task
        for dag_id in MODELS
        for task in cluster.tasks(dag_id)
        if task.task_id == "upload"
    }
    for (dag_id, run_id), upload in uploads.items():
        # A try that ended for another reason, such as a service that had too much to do, may be
        # repeated; one that was refused may not.
        tries = [path.read_text() for path in cluster.task_logs(dag_id, run_id, "upload")]
        assert len(tries) == upload.try_number
        assert not any("The newer publication stands" in text for text in tries[:-1])

    staged = []
    for month in CONTESTED:
        (winner,) = [dag_id for dag_id in MODELS if runs[dag_id][month].state == "success"]
        (loser,) = [dag_id for dag_id in MODELS if runs[dag_id][month].state == "failed"]
        won, lost = runs[winner][month].run_id, runs[loser][month].run_id
        assert uploads[winner, won].state == "success"
        assert uploads[loser, lost].state == "failed"
        log = cluster.task_log(loser, lost, "upload")
        assert f"the run {won} of the Dag {winner} has published this month" in log
        assert f"after the run {lost} of the Dag {loser} had read the source" in log
        assert "The newer publication stands; nothing was changed" in log
        data, manifest = cluster.published(DESTINATION, month)
        assert (manifest["job"], manifest["run"]["run_id"]) == (winner, won)
        assert manifest["model"]["version"] == MODELS[winner]
        table = pq.read_table(io.BytesIO(data))
        assert set(table["model_version"].to_pylist()) == {MODELS[winner]}
        assert len(table) == manifest["rows"]["scored"]
        staged += cluster.objects(f"{DESTINATION}/_staging/month={month}")
    assert cluster.uploads() == []
    # What lost stays staged, in case somebody decides for it.
    left_over = [
        key for key in cluster.objects(DESTINATION) if "_staging" in key or ".next-" in key
    ]
    assert left_over == sorted(staged)
    for month in CONTESTED:
        assert len({k.split("/")[4] for k in staged if f"month={month}" in k}) == 1


def by_month(runs: list[DagRun]) -> dict[str, DagRun]:
    return {
        run.data_interval_start.strftime("%Y-%m"): run for run in runs if run.data_interval_start
    }
