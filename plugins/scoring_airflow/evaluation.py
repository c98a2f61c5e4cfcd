"""The Dag that evaluates a job's predictions as their actuals arrive."""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.trigger import CronTriggerTimetable

from scoring.job.loader import JobFile
from scoring_airflow import notifications
from scoring_airflow.conf import check_conf
from scoring_airflow.dag import asset_of, task_arguments
from scoring_airflow.operators.evaluate import EvaluateOperator, FindActualsOperator
from scoring_airflow.params import evaluated_partition_param

SUFFIX = ".evaluate"
"""What the id of the Dag adds to that of the job: no job can have such a name."""


def evaluation_dag(job_file: JobFile) -> DAG:
    """Return the Dag of a job with ``actuals``: find the partitions that are due, evaluate each.

    It runs at the times of ``actuals.schedule``, and when a partition is published. A run has no
    partition of its own, since actuals arrive when they arrive: it evaluates whichever are due.
    """
    job = job_file.job
    assert job.actuals is not None
    with DAG(
        dag_id=f"{job.name}{SUFFIX}",
        description=f"How wrong the predictions of {job.name} were.",
        tags={*job.tags, "scoring"},
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable(job.actuals.schedule, timezone=job.timezone),
            assets=[asset_of(job_file)],
        ),
        start_date=job.first_partition.start,
        catchup=False,
        max_active_runs=1,
        params={"partition": evaluated_partition_param(job)},
        default_args=task_arguments(job, str(job_file.path)),
        on_failure_callback=notifications.on_failure(job_file),
        auto_register=False,
    ) as dag:
        find = FindActualsOperator(
            task_id="find_actuals",
            job_file=str(job_file.path),
            pre_execute=partial(check_conf, keys=("partition",)),
        )
        EvaluateOperator.partial(
            task_id="evaluate",
            map_index_template="{{ task.partition }}",
        ).expand(partition=find.output)
    return dag
