"""The Dag that a job file stands for."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param

from scoring.destination import Destination
from scoring.job import Job
from scoring.job_file import JobFile
from scoring_operators import alerts
from scoring_operators.extract import ExtractOperator
from scoring_operators.retries import GrowingPauses
from scoring_operators.score import ScoreOperator
from scoring_operators.upload import UploadOperator


def job_dag(job_file: JobFile) -> DAG:
    """One run a partition: extract the rows, score each shard, publish the predictions.

    Raises JobError for what only Airflow can tell: an executor or a notifier that it has not.
    """
    alerts.check_alerts(job_file)
    _check_executor(job_file)
    job, last = job_file.job, job_file.job.last_partition
    with DAG(
        dag_id=job.name,
        description=job.description or None,
        doc_md=_doc(job_file),
        tags={*job.tags, "scoring"},
        # By name: a plain cron string means another timetable, and another one still in tests.
        schedule=CronDataIntervalTimetable(job.schedule, timezone=job.timezone),
        start_date=job.first_partition.start,
        end_date=last.end.astimezone(UTC) - timedelta(seconds=1) if last else None,
        catchup=True,
        max_active_runs=job.run.max_active_runs,
        params={"model_version": _model_version_param(job)},
        default_args=_task_arguments(job, str(job_file.path)),
        on_failure_callback=alerts.on_failure(job_file),
        deadline=alerts.deadline(job_file),
        auto_register=False,  # or Airflow would run what there is of a Dag whose making failed
    ) as dag:
        extract = ExtractOperator(
            task_id="extract", model_version="{{ params.model_version or '' }}"
        )
        score = ScoreOperator.partial(
            task_id="score",
            map_index_template="shard {{ task.shard.number }}: {{ task.shard.rows }} rows",
        ).expand(shard=extract.output)
        UploadOperator(task_id="upload", scored=score.output, outlets=[_asset(job_file)])
    return dag


def _task_arguments(job: Job, path: str) -> dict[str, Any]:
    pause = timedelta(seconds=job.run.retry_delay_seconds)
    arguments: dict[str, Any] = {
        "job_file": path,
        "owner": job.owner,
        "retries": job.run.retries,
        "retry_delay": pause,
        "retry_policy": GrowingPauses(pause, job.run.retries),
    }
    if job.run.execution_timeout_minutes:
        arguments["execution_timeout"] = timedelta(minutes=job.run.execution_timeout_minutes)
    for name in ("queue", "pool", "executor"):
        if value := getattr(job.run, name):
            arguments[name] = value
    return arguments


def _check_executor(job_file: JobFile) -> None:
    """JobError for an executor that Airflow has not: Airflow would refuse all jobs for one of them."""
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
            ("run", "executor"), f'"{name}" is none of Airflow\'s executors here: {known}'
        ) from None


def _model_version_param(job: Job) -> Param:
    return Param(
        None,
        type=["null", "string"],
        enum=[None, *job.version_names],
        title="Model version",
        description="Score with this version; empty: the version that the job's policy says.",
    )


def _asset(job_file: JobFile) -> Asset:
    uri = Destination.of(job_file.job, job_file.roots()).uri
    return Asset(
        name=f"{job_file.job.name} predictions", uri=uri if "://" in uri else Path(uri).as_uri()
    )


def _doc(job_file: JobFile) -> str:
    job = job_file.job
    until = f" to {job.end}" if job.end else ""
    return (
        f"{job.description}\n\n"
        f"One run scores one {job.partition}, from {job.start}{until}, in {job.timezone} time.\n\n"
        f"- from `{job.source.place}`\n- to `{job.destination.uri}`\n"
        f"- column `{job.output.prediction}`\n- job file `{job_file.path.name}`\n\n"
        f"{_model_doc(job)}\n\n{_again_doc(job)}\n{_run_doc(job)}"
    )


def _model_doc(job: Job) -> str:
    if job.model is None:
        return f"Scored by `{job.scorer}`."
    rows = "\n".join(f"| {v.version} | {v.in_force_from} | `{v.uri}` |" for v in job.model.versions)
    policy = {
        "as_of": f"Each {job.partition} is scored with the version that was in force then.",
        "current": f"Every {job.partition} is scored with the newest version.",
    }
    return (
        f"{policy[job.model.policy]}\n\n"
        f"| model version | in force from | file |\n|---|---|---|\n{rows}"
    )


def _again_doc(job: Job) -> str:
    first = job.first_partition
    end = (first.end.astimezone(UTC) - timedelta(seconds=1)).astimezone(job.zone)
    command = (
        f"airflow backfill create --dag-id {job.name} --from-date {first.start.isoformat()} "
        f"--to-date {end.isoformat()} --reprocess-behavior completed"
    )
    if job.model is None:
        return f"To score a {job.partition} again, here {first.key}:\n\n    {command}"
    newest = job.version_names[-1]
    return (
        f"To score a {job.partition} again, here {first.key} with {newest}:\n\n    {command} "
        f'--dag-run-conf \'{{"model_version": "{newest}"}}\''
    )


def _run_doc(job: Job) -> str:
    """What one has to know when a run does not start, or is late."""
    told = []
    if job.run.queue:
        told.append(
            f"Tasks wait in the queue `{job.run.queue}`: some worker has to take tasks from it."
        )
    if job.run.pool:
        told.append(
            f"Tasks need a slot of the pool `{job.run.pool}`. Without such a pool (Admin, Pools) they "
            "stay *scheduled* for ever, without an error."
        )
    if job.run.executor:
        told.append(f"Tasks are run by `{job.run.executor}`.")
    if job.run.deadline_hours:
        told.append(f"A run is late {job.run.deadline_hours:g} hours after it was queued.")
    if job.alerts:
        names = ", ".join(f"`{alert.notifier.rpartition('.')[2]}`" for alert in job.alerts)
        told.append(f"A failed or late run is told by {names}.")
    return "".join(f"\n{line}\n" for line in told)
