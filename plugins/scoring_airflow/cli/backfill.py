"""``airflow scoring backfill``: Airflow's own backfills, for partitions by their keys.

Airflow has one active backfill for each Dag, over one range of dates.  So there is one for each run of
consecutive partitions, and each waits for the one before.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.models import DagModel
from airflow.models.backfill import (
    AlreadyRunningBackfill,
    Backfill,
    BackfillDagRun,
    ReprocessBehavior,
    _create_backfill,
)
from airflow.models.dagrun import DagRun
from airflow.timetables.base import DataInterval
from airflow.utils import cli as cli_utils
from airflow.utils.platform import getuser
from airflow.utils.providers_configuration_loader import providers_configuration_loaded
from airflow.utils.session import create_session
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from scoring.destinations.base import Publisher, open_publisher
from scoring.errors import PartitionError, ScoringError
from scoring.job.loader import JobFile, load_job
from scoring.job.partitions import Partition, partition_at, partitions_between
from scoring.job.schema import Job
from scoring.monitoring.coverage import coverage
from scoring.monitoring.plan import stretches
from scoring_airflow.connections import connections_of
from scoring_airflow.stored_dags import job_file_of, last_runs, runs_of, stored_dag

if TYPE_CHECKING:
    from airflow.timetables.base import DagRunInfo

LOOK_SECONDS = 2.0
_FINISHED = ("success", "failed")


@dataclass(frozen=True)
class Run:
    """The run of a partition in a backfill.

    ``state`` is the run's, or why the backfill has none: ``in flight`` where another run was at work.
    """

    key: str
    state: str
    run_id: str

    @property
    def is_over(self) -> bool:
        return self.state in _FINISHED or not self.run_id


@cli_utils.action_cli  # type: ignore[untyped-decorator]  # mypy does not read Airflow
@providers_configuration_loaded  # type: ignore[untyped-decorator]
def command(options: argparse.Namespace) -> None:
    """Run the command; exit with 1 if a partition failed, with the error's status if none was
    scored.
    """
    try:
        status = backfill(options)
    except ScoringError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    if status:
        raise SystemExit(status)


def backfill(options: argparse.Namespace) -> int:
    dag = stored_dag(options.dag_id)
    job_file = load_job(job_file_of(dag))
    job, publisher = job_file.job, _publisher(job_file)
    partitions = job.partitions_to_score(options.partitions)
    if options.model_version:
        job.version_for(partitions[0], options.model_version)
    due = _due(dag, job, partitions)
    _say_what_is_not_due([p for p in partitions if p.key not in due], due)
    chosen = [p for p in partitions if p.key in due]
    if options.missing or options.stale or options.failed:
        wanted = _selected(options, job_file, chosen)
        chosen = [p for p in chosen if p in wanted]
    if not chosen or options.dry_run:
        print("\n".join(p.key for p in chosen) or "nothing to do: no partition is left to score")
        return 0
    _check_paused(options.dag_id, options.wait)
    conf = {"model_version": options.model_version} if options.model_version else {}
    runs: list[Run] = []
    for stretch in stretches(chosen):
        within = partitions_between(stretch.first, stretch.last)
        number = _create(dag, job, [due[p.key] for p in within], conf)
        runs += _watched(number, job, publisher) if options.wait else _runs(number, job)
    _print_table(runs, publisher, job)
    return int(any(run.state != "success" for run in runs)) if options.wait else 0


def _selected(
    options: argparse.Namespace, job_file: JobFile, partitions: list[Partition]
) -> set[Partition]:
    """Return those of ``partitions`` that one of the options selects."""
    found: set[Partition] = set()
    states = {"missing", "failed"} if options.missing else set()
    if options.stale:
        states.add("stale")
    if states:
        known = coverage(job_file, job_file.roots(), connections_of(job_file.job), partitions)
        found |= {one.partition for one in known if one.state in states}
    if options.failed:
        runs = runs_of([options.dag_id]).get(options.dag_id, [])
        failed = {
            key for key, run in last_runs(runs, job_file.job).items() if run.state == "failed"
        }
        found |= {p for p in partitions if p.key in failed}
    return found


def _publisher(job_file: JobFile) -> Publisher:
    return open_publisher(job_file.job, job_file.roots(), connections_of(job_file.job))


def _due(dag: Any, job: Job, partitions: list[Partition]) -> Mapping[str, DagRunInfo]:
    """Return what the Dag's timetable says of the partitions whose data interval has ended."""
    first, last = min(partitions).start, max(partitions).end
    infos = dag.iter_dagrun_infos_between(first.astimezone(UTC), last.astimezone(UTC))
    now = datetime.now(UTC)
    return {
        partition_at(info.data_interval.start, job.partition, job.zone).key: info
        for info in infos
        if info.data_interval.end < now
    }


def _say_what_is_not_due(late: list[Partition], due: Mapping[str, DagRunInfo]) -> None:
    if not late:
        return
    keys = ", ".join(p.key for p in late)
    if not due:
        raise PartitionError(f"{keys}: not due yet by the job's schedule, so there is no run")
    print(f"left out, not due yet by the job's schedule: {keys}", file=sys.stderr)


def _check_paused(dag_id: str, wait: bool) -> None:
    """Say that the runs of a paused Dag do not start; raise PartitionError rather than wait for them."""
    with create_session() as session:
        dag = session.get(DagModel, dag_id)
        if dag is None or not dag.is_paused:
            return
    message = f"{dag_id} is paused: its runs start after `airflow dags unpause {dag_id}`"
    if wait:
        raise PartitionError(f"{message}; nothing was created. Unpause it, or leave out --wait")
    print(message, file=sys.stderr)


def _create(dag: Any, job: Job, infos: list[DagRunInfo], conf: dict[str, Any]) -> int:
    """Create one backfill as soon as nothing is in its way; return its number."""
    said = ""
    while True:
        obstacle = _obstacle(dag.dag_id, infos[-1])
        if obstacle is None:
            try:
                with _runs_named_by(dag.timetable):
                    made = _create_backfill(
                        dag_id=dag.dag_id,
                        from_date=infos[0].logical_date,
                        to_date=infos[-1].logical_date,
                        max_active_runs=job.run.max_active_runs,
                        reverse=False,
                        dag_run_conf=conf,
                        triggering_user_name=getuser(),
                        reprocess_behavior=ReprocessBehavior.COMPLETED,
                        run_on_latest_version=True,
                    )
                return int(made.id)
            except AlreadyRunningBackfill:  # created in this very moment
                obstacle = "another backfill of this Dag"
        if obstacle != said:
            print(f"waiting for {obstacle}", file=sys.stderr)
            said = obstacle
        time.sleep(LOOK_SECONDS)


def _obstacle(dag_id: str, last: DagRunInfo) -> str | None:
    """Return what has to be over first: Airflow refuses a second backfill, and its scheduler dies
    of a backfill that makes the same runs as catchup.
    """
    with create_session() as session:
        active = session.scalar(
            select(Backfill.id).where(Backfill.dag_id == dag_id, Backfill.completed_at.is_(None))
        )
        if active is not None:
            return (
                f"backfill {active} of this Dag, which Airflow closes half a minute after its end"
            )
        dag = session.get(DagModel, dag_id)
        catches_up = dag is not None and not dag.is_paused and dag.next_dagrun is not None
        if catches_up and dag.next_dagrun <= last.logical_date:
            return "catchup, which has not made all of these runs yet (or pause the Dag)"
    return None


@contextmanager
def _runs_named_by(timetable: Any) -> Iterator[None]:
    """Let ``timetable`` name the runs that this process creates.

    The scheduler asks it, and the function that creates a backfill does not.
    """
    default = DagRun.generate_run_id

    def generate_run_id(*, run_type: Any, logical_date: Any = None, run_after: Any) -> str:
        interval = DataInterval(logical_date, run_after) if logical_date else None
        return str(
            timetable.generate_run_id(
                run_type=run_type, run_after=run_after, data_interval=interval
            )
        )

    DagRun.generate_run_id = staticmethod(generate_run_id)
    try:
        yield
    finally:
        DagRun.generate_run_id = staticmethod(default)


def _runs(number: int, job: Job) -> list[Run]:
    """Return what has become of the runs of a backfill, in the order of their partitions."""
    with create_session() as session:
        found = session.execute(
            select(BackfillDagRun, DagRun)
            .outerjoin(DagRun, DagRun.id == BackfillDagRun.dag_run_id)
            .where(BackfillDagRun.backfill_id == number)
            .order_by(BackfillDagRun.logical_date)
        )
        return [
            Run(
                partition_at(link.logical_date, job.partition, job.zone).key,
                str(run.state) if run else str(link.exception_reason),
                run.run_id if run else "",
            )
            for link, run in found
        ]


def _watched(number: int, job: Job, publisher: Publisher) -> list[Run]:
    """Return the runs when all are over; report each change until then."""
    before: set[Run] = set()
    while True:
        runs = _runs(number, job)
        for run in runs:
            if run not in before:
                print(f"{run.key}: {run.state}{_published(run, publisher, job)}", flush=True)
        if all(run.is_over for run in runs):
            return runs
        before = set(runs)
        time.sleep(LOOK_SECONDS)


def _published(run: Run, publisher: Publisher, job: Job) -> str:
    manifest = publisher.published(job.parse(run.key)) if run.state == "success" else None
    if manifest is None:
        return ""
    return f", {manifest.rows.scored:,} rows scored with model version {manifest.model.version}"


def _print_table(runs: list[Run], publisher: Publisher, job: Job) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("partition", "state", "rows", "model", "run"):
        table.add_column(column, no_wrap=True)
    for run in runs:
        manifest = publisher.published(job.parse(run.key)) if run.state == "success" else None
        rows = f"{manifest.rows.scored:,}" if manifest else ""
        version = manifest.model.version if manifest else ""
        table.add_row(run.key, run.state, rows, version, run.run_id)
    console = Console()
    # Not cut off where it is read by another program.
    console.width = max(console.width, 160) if not console.is_terminal else console.width
    console.print(table)
