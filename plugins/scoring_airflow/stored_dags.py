"""What Airflow's database knows of the jobs: their Dags, the job files these name, and their runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow.models import DagModel
from airflow.models.dag import DagTag
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from sqlalchemy import func, or_, select

from scoring.errors import PartitionError
from scoring.job.partitions import Partition, partition_at
from scoring.job.schema import Job
from scoring_airflow.timetable import BY_DATE

UNDER_WAY = ("queued", "running")

REMEMBERED = 4096

EVALUATES = "scoring_airflow.operators.evaluate"
"""The module of operators that name a job, but score none of its partitions."""

RUNS_READ, RUNS_SHOWN = 1_000, 20


@dataclass(frozen=True)
class StoredJob:
    """The Dag of a job: the path of the job file that its tasks name, and what Airflow shows of it.

    ``next_date`` is the logical date of the next run that the scheduler will make.
    """

    dag_id: str
    job_file: str
    is_paused: bool
    next_date: datetime | None
    tags: tuple[str, ...]


@dataclass(frozen=True)
class PartitionRun:
    """The run of a partition that was queued last; ``state`` is Airflow's."""

    run_id: str
    state: str


@dataclass(frozen=True)
class DatedRun(PartitionRun):
    """A run as a list of runs shows it: ``model_version`` and ``accepted`` are what its conf says."""

    run_type: str
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    triggered_by: str | None
    model_version: str | None
    accepted: str | None

    @classmethod
    def of(cls, run: Any) -> DatedRun:
        conf = run.conf or {}
        version = conf.get("model_version")
        accepted = conf.get("accept_drift") or conf.get("accept_changes")
        return cls(
            run.run_id,
            str(run.state),
            str(run.run_type),
            run.queued_at or run.run_after,
            run.start_date,
            run.end_date,
            run.triggering_user_name,
            str(version) if version else None,
            str(accepted) if accepted else None,
        )


_DATED = (
    *(DagRun.run_id, DagRun.state, DagRun.run_type, DagRun.conf, DagRun.data_interval_start),
    *(DagRun.queued_at, DagRun.run_after, DagRun.start_date, DagRun.end_date),
    DagRun.triggering_user_name,
)


@dataclass(frozen=True)
class NextRuns:
    """When a Dag runs: its schedule in Airflow's words, and the run that the scheduler makes next,
    if any: where its data interval begins, and from when on it is made.
    """

    schedule: str
    next_start: datetime | None
    next_at: datetime | None


_job_files: dict[str, str | None] = {}  # by the digest of the stored Dag


def stored_jobs(dag_ids: Collection[str]) -> list[StoredJob]:
    """Return those of ``dag_ids`` that score partitions, by name, without Dags whose file is gone."""
    with create_session() as session:
        dags = {
            dag.dag_id: dag
            for dag in session.execute(
                select(DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun).where(
                    DagModel.dag_id.in_(dag_ids), DagModel.is_stale.is_(False)
                )
            )
        }
        digests = _latest(session, dags)
        unknown = {row.id for row in digests.values() if row.dag_hash not in _job_files}
        if len(_job_files) + len(unknown) > REMEMBERED:
            _job_files.clear()
            unknown = {row.id for row in digests.values()}
        if unknown:
            of = select(SerializedDagModel).where(SerializedDagModel.id.in_(unknown))
            for stored in session.scalars(of):
                _job_files[stored.dag_hash] = _job_file_in(stored.data or {})
        tags: dict[str, list[str]] = {}
        of_dags = select(DagTag.dag_id, DagTag.name).where(DagTag.dag_id.in_(dags))
        for row in session.execute(of_dags):
            tags.setdefault(row.dag_id, []).append(row.name)
        return [
            StoredJob(
                dag_id,
                path,
                dags[dag_id].is_paused,
                dags[dag_id].next_dagrun,
                tuple(sorted(tags.get(dag_id, []))),
            )
            for dag_id, row in sorted(digests.items())
            if (path := _job_files[row.dag_hash]) is not None
        ]


def is_stored(dag_id: str) -> bool:
    """Return whether there is a Dag of that name whose file is not gone."""
    wanted = select(DagModel.dag_id).where(DagModel.dag_id == dag_id, DagModel.is_stale.is_(False))
    with create_session() as session:
        return session.scalar(wanted) is not None


def next_runs(dag_id: str) -> NextRuns:
    """Return when the Dag runs."""
    wanted = select(
        DagModel.timetable_description,
        DagModel.next_dagrun_data_interval_start,
        DagModel.next_dagrun_create_after,
    ).where(DagModel.dag_id == dag_id)
    with create_session() as session:
        found = session.execute(wanted).one_or_none()
    return NextRuns((found[0] or "") if found else "", *(found[1:] if found else (None, None)))


def stored_dag(dag_id: str) -> Any:
    """Return the Dag as Airflow has stored it; PartitionError if there is none."""
    with create_session() as session:
        stored = session.scalar(SerializedDagModel.latest_item_select_object(dag_id))
        if stored is None:
            raise PartitionError(
                f"Airflow has no Dag {dag_id}: `airflow dags list` names them, and `airflow dags "
                "list-import-errors` job files that are invalid"
            )
        return stored.dag


def job_file_of(dag: Any) -> str:
    """Return the job file that the tasks of a Dag name; PartitionError if they name none."""
    for task in dag.tasks:
        if getattr(task, "_task_module", None) == EVALUATES:
            continue
        if isinstance(path := getattr(task, "job_file", None), str):
            return path
    raise PartitionError(
        f"{dag.dag_id} is not the Dag of a job: none of its tasks scores a job_file. Use `airflow "
        "backfill create`"
    )


def last_runs(runs: Iterable[Any], job: Job) -> dict[str, PartitionRun]:
    """Return the last run of each partition of ``job``, by key: the one that was queued last."""
    found: dict[str, PartitionRun] = {}
    for run in sorted(runs, key=lambda run: run.queued_at or run.run_after):
        if key := partition_key(run, job):
            found[key] = PartitionRun(run.run_id, str(run.state))
    return found


def runs_of(dag_ids: Collection[str], states: Collection[str] = ()) -> dict[str, list[Any]]:
    """Return what ``last_runs`` needs of the runs of each Dag; only those in ``states``, if any."""
    columns = (
        *(DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.conf),
        *(DagRun.data_interval_start, DagRun.queued_at, DagRun.run_after),
    )
    wanted = select(*columns).where(DagRun.dag_id.in_(dag_ids))
    if states:
        wanted = wanted.where(DagRun.state.in_(states))
    found: dict[str, list[Any]] = {}
    with create_session() as session:
        for run in session.execute(wanted):
            found.setdefault(run.dag_id, []).append(run)
    return found


def runs_of_partition(dag_id: str, job: Job, partition: Partition) -> list[DatedRun]:
    """Return the last runs of one partition, the one that was queued last first."""
    within = DagRun.data_interval_start.between(
        partition.start, partition.end - timedelta(microseconds=1)
    )
    # Only a run by hand, or by another one, may name a partition in its conf.
    wanted = (
        select(*_DATED)
        .where(DagRun.dag_id == dag_id, or_(within, DagRun.run_type.not_in(BY_DATE)))
        .order_by(func.coalesce(DagRun.queued_at, DagRun.run_after).desc())
        .limit(RUNS_READ)
    )
    with create_session() as session:
        found = session.execute(wanted).all()
    of_partition = [run for run in found if partition_key(run, job) == partition.key]
    return [DatedRun.of(run) for run in of_partition[:RUNS_SHOWN]]


def key_of_run(dag_id: str, run_id: str, job: Job) -> str | None:
    """Return the key of the partition that a run scores; None where there is no such run, or where
    it has neither dates nor a conf that say so.
    """
    wanted = select(*_DATED).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    with create_session() as session:
        run = session.execute(wanted).one_or_none()
    return partition_key(run, job) if run is not None else None


def partition_key(run: Any, job: Job) -> str | None:
    """Return the key of the partition that ``run`` scores, by its conf or its data interval."""
    if wanted := (run.conf or {}).get("partition"):
        return str(wanted)
    start = run.data_interval_start
    return partition_at(start, job.partition, job.zone).key if start else None


def _latest(session: Any, dag_ids: Collection[str]) -> dict[str, Any]:
    """Return id and digest of the latest stored version of each Dag."""
    newest = (
        func.row_number()
        .over(
            partition_by=SerializedDagModel.dag_id,
            order_by=(DagVersion.version_number.desc(), SerializedDagModel.created_at.desc()),
        )
        .label("newest")
    )
    ranked = (
        select(
            SerializedDagModel.id, SerializedDagModel.dag_id, SerializedDagModel.dag_hash, newest
        )
        .join(DagVersion, DagVersion.id == SerializedDagModel.dag_version_id)
        .where(SerializedDagModel.dag_id.in_(dag_ids))
        .subquery()
    )
    rows = session.execute(select(ranked).where(ranked.c.newest == 1))
    return {row.dag_id: row for row in rows}


def _job_file_in(data: dict[str, Any]) -> str | None:
    """Return the job file that the tasks of a stored Dag name; None if none that scores does.

    The Dag is not built, as by ``job_file_of``: that takes Airflow milliseconds.
    """
    for task in data.get("dag", {}).get("tasks", []):
        facts = task.get("__var", task)
        facts = {**facts.get("partial_kwargs", {}), **facts}
        if facts.get("_task_module") == EVALUATES:
            continue
        if isinstance(path := facts.get("job_file"), str):
            return path
    return None
