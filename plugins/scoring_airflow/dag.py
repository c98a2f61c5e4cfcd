"""The Dag that a job file stands for."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset

from scoring.destinations.layout import Layout
from scoring.job.loader import JobFile, check_every_partition
from scoring.job.schema import Job
from scoring_airflow import notifications
from scoring_airflow.conf import check_conf
from scoring_airflow.dag_docs import dag_doc
from scoring_airflow.operators.extract import ExtractOperator
from scoring_airflow.operators.score import ScoreOperator
from scoring_airflow.operators.upload import UploadOperator
from scoring_airflow.params import model_version_param, partition_param
from scoring_airflow.retry import retry_arguments
from scoring_airflow.timetable import PartitionTimetable


def job_dag(job_file: JobFile) -> DAG:
    """Return one run a partition: extract the rows, score each shard, publish the predictions.

    Raises JobError for a job that would score several partitions from the same rows, and for what
    only Airflow can detect: an executor or a notifier that it does not have.
    """
    check_every_partition(job_file)
    notifications.check_alerts(job_file)
    _check_executor(job_file)
    job = job_file.job
    with DAG(
        dag_id=job.name,
        description=job.description or None,
        doc_md=dag_doc(job_file),
        tags={*job.tags, "scoring"},
        schedule=_timetable(job),
        start_date=job.first_partition.start,
        catchup=True,
        max_active_runs=job.run.max_active_runs,
        params={"partition": partition_param(job), "model_version": model_version_param(job)},
        default_args=task_arguments(job, str(job_file.path)),
        on_failure_callback=notifications.on_failure(job_file),
        deadline=notifications.deadline(job_file),
        auto_register=False,  # or Airflow would run what there is of a Dag whose making failed
    ) as dag:
        extract = ExtractOperator(
            task_id="extract",
            model_version="{{ params.model_version or '' }}",
            pre_execute=check_conf,
        )
        score = ScoreOperator.partial(
            task_id="score",
            map_index_template="{{ task.label }}",
        ).expand(shard=extract.output)
        UploadOperator(
            task_id="upload",
            scored=score.output,
            # Not a Param: Airflow takes 2 ms to check one, for each job at each parse.
            replace_newer="{{ (dag_run.conf or {}).get('replace_newer', false) }}",
            accept_drift="{{ (dag_run.conf or {}).get('accept_drift') or '' }}",
            accept_changes="{{ (dag_run.conf or {}).get('accept_changes') or '' }}",
            outlets=[asset_of(job_file)],
        )
    return dag


def _timetable(job: Job) -> PartitionTimetable:
    last = job.last_partition
    return PartitionTimetable(
        job.schedule,
        job.timezone,
        job.partition,
        last.end.astimezone(UTC) - timedelta(seconds=1) if last else None,
    )


def task_arguments(job: Job, path: str) -> dict[str, Any]:
    """Return the arguments that all tasks of a job have."""
    pause = timedelta(seconds=job.run.retry_delay_seconds)
    arguments: dict[str, Any] = {
        "job_file": path,
        "owner": job.owner,
        **retry_arguments(pause, job.run.retries),
    }
    if job.run.execution_timeout_minutes:
        arguments["execution_timeout"] = timedelta(minutes=job.run.execution_timeout_minutes)
    for name in ("queue", "pool", "executor"):
        if value := getattr(job.run, name):
            arguments[name] = value
    return arguments


def _check_executor(job_file: JobFile) -> None:
    """Raise JobError for an unknown executor: Airflow would refuse all jobs for one of them."""
    name = job_file.job.run.executor
    if name is None:
        return
    from airflow.exceptions import UnknownExecutorException
    from airflow.executors.executor_loader import ExecutorLoader

    try:
        ExecutorLoader.lookup_executor_name_by_str(name, team_name=None, validate_teams=False)
    except UnknownExecutorException:
        known = ", ".join(
            e.alias or e.module_path
            for e in ExecutorLoader.get_executor_names(validate_teams=False)
        )
        raise job_file.error(
            ("run", "executor"), f'"{name}" is not one of Airflow\'s executors here: {known}'
        ) from None


def asset_of(job_file: JobFile) -> Asset:
    """Return the asset that the predictions of a job are."""
    uri = Layout.of(job_file.job, job_file.roots()).uri
    return Asset(
        name=f"{job_file.job.name} predictions", uri=uri if "://" in uri else Path(uri).as_uri()
    )
