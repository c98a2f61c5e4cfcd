"""The three operators in a Dag of your own, with a task of yours behind them.

Copy this file and ``own_dag.yaml`` to ``dags/``, and change both. The job file lies beside the Dag
file and not in ``dags/jobs/``: the loader makes a Dag of each file there, and two Dags would
publish the same months.
"""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, CronDataIntervalTimetable, task
from scoring_airflow import ExtractOperator, ScoreOperator, UploadOperator

with DAG(
    dag_id="own_dag",
    # A run scores the partition that its data interval begins in: here the month that has just
    # ended.
    schedule=CronDataIntervalTimetable("0 3 2 * *", timezone="UTC"),
    start_date=datetime(2013, 2, 1, tzinfo=UTC),
    end_date=datetime(2013, 12, 31, tzinfo=UTC),
    catchup=True,
    default_args={"job_file": str(Path(__file__).with_suffix(".yaml")), "retries": 3},
):
    extract = ExtractOperator(task_id="extract")
    score = ScoreOperator.partial(task_id="score").expand(shard=extract.output)
    upload = UploadOperator(task_id="upload", scored=score.output)

    @task
    def announce(figures: dict[str, str | int]) -> str:
        return (
            f"{figures['partition']}: {figures['rows_scored']} predictions in {figures['output']}"
        )

    announce(upload.output)
