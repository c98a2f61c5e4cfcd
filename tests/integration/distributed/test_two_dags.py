"""Two Dags publish the same months at the same time: one wins, the other says so and tries again."""

from __future__ import annotations

import io

import pyarrow.parquet as pq

from tests.integration.distributed.cluster import Cluster

DESTINATION = "predictions/two"
CONTESTED = ("2013-03", "2013-04")
MODELS = {"left": "v1", "right": "v2"}


def test_one_backfill_wins_each_month_and_the_other_converges(cluster: Cluster) -> None:
    for dag_id, first in {"left": "2013-02-01", "right": "2013-03-01"}.items():
        cluster.wait_for(f"Dag {dag_id}", lambda dag_id=dag_id: cluster.api.dag(dag_id))
        cluster.airflow(
            "backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", "2013-04-30",
            "--max-active-runs", "3",
        )  # fmt: skip
    for dag_id in MODELS:
        cluster.unpause(dag_id)
    runs = {"left": cluster.succeeded("left", 3), "right": cluster.succeeded("right", 2)}
    assert {run.run_type for of_dag in runs.values() for run in of_dag} == {"backfill"}

    tries = {
        (run.data_interval_start.strftime("%Y-%m"), dag_id): task.try_number
        for dag_id, of_dag in runs.items()
        for run in of_dag
        for task in cluster.tasks(dag_id)
        if run.run_id == task.run_id and task.task_id == "upload" and run.data_interval_start
    }
    assert tries.pop(("2013-02", "left")) == 1
    for month in CONTESTED:
        (loser,) = [d for d in MODELS if tries[month, d] == 2]
        (winner,) = [d for d in MODELS if tries[month, d] == 1]
        (run,) = [
            r for r in runs[loser] if r.data_interval_start and r.data_interval_start.strftime("%Y-%m") == month
        ]  # fmt: skip
        log = cluster.task_log(loser, run.run_id, "upload")
        assert "was written by another process in the meantime; that one's stays" in log
        data, manifest = cluster.published(DESTINATION, month)
        # The loser's second try came after the winner: its month stands, whole.
        assert manifest["run"]["dag_id"] == loser
        assert manifest["job"] == loser
        assert manifest["model"]["version"] == MODELS[loser]
        table = pq.read_table(io.BytesIO(data))
        assert set(table["model_version"].to_pylist()) == {MODELS[loser]}
        assert len(table) == manifest["rows"]["scored"]
        assert winner != loser
    assert cluster.uploads() == []
    left_over = [
        key for key in cluster.objects(DESTINATION) if "_staging" in key or ".next-" in key
    ]
    assert left_over == []
