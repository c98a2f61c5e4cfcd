"""What the three operators have in common: which job, which partition, which attempt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from scoring.errors import (
    UNPUBLISHED,
    DestinationTakenError,
    NewerPublicationError,
    NotStagedError,
    PartitionError,
    PublicationError,
    RegistryUnavailableError,
    ResourceError,
    ScoringError,
    SourceColumnsError,
    SourceError,
    resource_error,
)
from scoring_airflow.connections import connections_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scoring.job.partitions import Partition
    from scoring.job.schema import Job
    from scoring.models.base import ModelFile
    from scoring.pipeline.context import PartitionContext

TRANSIENT = (SourceError, PublicationError, ResourceError, RegistryUnavailableError)
"""Errors that may be gone at the next try; a retry only repeats all others."""

_CLEAR = "clear the run from its first task"

PERMANENT = (
    NewerPublicationError,
    NotStagedError,
    DestinationTakenError,
    SourceColumnsError,
)
"""Those among them that stay."""


class PartitionOperator(BaseOperator):  # type: ignore[misc]  # mypy does not read Airflow
    """Base of the operators: a step of scoring one partition of a job.

    :param job_file: path of the job file.
    :param data_interval_start: the moment whose partition is scored, as ISO 8601 text with an
        offset; by default the run's own data interval.
    :param partition: the key of the partition to score instead, such as ``2013-05``; by default the
        one in the run's conf.  Empty or None for that of the data interval.  Templated.
    """

    template_fields: Sequence[str] = ("job_file", "data_interval_start", "partition")
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self,
        *,
        job_file: str,
        data_interval_start: str = "{{ data_interval_start | default('') }}",
        # Not a Param: own Dags need not have one, and a conf has it in any case.
        partition: str | None = "{{ (dag_run.conf or {}).get('partition') or '' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_file = job_file
        self.data_interval_start = data_interval_start
        self.partition = partition

    def partition_context(self, context: Context) -> PartitionContext:
        """Return what the library scores: one attempt per Dag run, so that a retry finds its
        staging.
        """
        from scoring.job.loader import load_job
        from scoring.pipeline.context import PartitionContext

        job_file, dag_run = load_job(self.job_file), context["dag_run"]
        check_dates_decide(dag_run)
        partition = self._partition(job_file.job)
        return PartitionContext(
            job_file,
            partition,
            job_file.roots(),
            _attempt(dag_run.dag_id, dag_run.run_id),
            connections_of(job_file.job),
        )

    def asked_model(
        self, context: Context, attempt: PartitionContext
    ) -> Callable[[], ModelFile] | None:
        """Return the model that the Dag's ``ExtractOperator`` would take today; None where it has
        no such task.
        """
        from scoring_airflow.operators.extract import ExtractOperator

        tasks = self.dag.task_dict if self.has_dag() else {}
        found = {name: task for name, task in tasks.items() if isinstance(task, ExtractOperator)}
        above = found.keys() & self.get_flat_relative_ids(upstream=True) if found else set()
        if len(above or found) != 1:
            return None
        extract = found[next(iter(above or found))]
        version = self.render_template(extract.model_version, context)
        return lambda: attempt.model_file(version or None)

    def _partition(self, job: Job) -> Partition:
        """Return the partition that is requested, or that of the data interval; log which and why."""
        from scoring.job.partitions import partition_at

        if self.partition:
            partition = job.partition_to_score(self.partition)
            self.log.info(f"{job.name} {partition.key}: requested as partition")
            return partition
        start = self._moment(job)
        partition = partition_at(start, job.partition, job.zone)
        interval = f"the run's data interval begins at {start.isoformat()}"
        try:
            job.partition_to_score(partition.key)
        except PartitionError as error:
            raise PartitionError(f"{error}; {interval}. {_trigger_with(job)}") from None
        self.log.info(f"{job.name} {partition.key}: {interval}")
        return partition

    def _moment(self, job: Job) -> datetime:
        if not self.data_interval_start:
            raise PartitionError(
                "this run has no data interval, so it is not known what to score: it was triggered "
                f"without a logical date. {_trigger_with(job)}"
            )
        try:
            return datetime.fromisoformat(self.data_interval_start)
        except ValueError:
            raise PartitionError(
                f"data_interval_start is {self.data_interval_start!r}, which is not a moment such "
                "as 2013-05-02T03:00:00+00:00"
            ) from None


def check_dates_decide(dag_run: Any) -> None:
    """Raise PartitionError for a scheduled or backfill run whose conf asks for a partition: all
    runs of a backfill have one conf, so all would score the same.
    """
    wanted = (dag_run.conf or {}).get("partition")
    run_type = str(getattr(dag_run.run_type, "value", dag_run.run_type))
    if wanted and run_type in ("scheduled", "backfill"):
        raise PartitionError(
            f"the conf of this {run_type} run asks for partition {wanted}, and its dates decide what "
            "it scores. Trigger a run by hand for that partition; a backfill with "
            "--dag-run-conf '{}' removes the request from the runs it covers"
        )


def _trigger_with(job: Job) -> str:
    return (
        "Trigger a run with the conf "
        f'{{"partition": "{job.start}"}}, or the key of another {job.partition}'
    )


def triggered_by(context: Context) -> dict[str, str]:
    """Return the task's run and try, for the manifest's ``run``."""
    dag_run = context["dag_run"]
    return {
        "by": "airflow",
        "dag_id": dag_run.dag_id,
        "run_id": dag_run.run_id,
        "try_number": str(context["ti"].try_number),
    }


def clear_command(context: Context) -> str | None:
    """Return what clears the whole run in a shell; None for a run without a logical date."""
    dag_run = context["dag_run"]
    if dag_run.logical_date is None:
        return None
    moment = dag_run.logical_date.isoformat()
    return f"airflow tasks clear {dag_run.dag_id} --start-date {moment} --end-date {moment} --yes"


def _attempt(dag_id: str, run_id: str) -> str:
    """Return a folder name for a Dag run, readable and never the same for two runs."""
    digest = hashlib.sha256(f"{dag_id}\0{run_id}".encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9-]+", "_", run_id)[:60] + "-" + digest


@contextmanager
def fail_if_permanent(context: Context | None = None) -> Iterator[None]:
    """Fail without retry on permanent errors; let Airflow retry transient ones.

    Where the message says that the run has to be cleared, and ``context`` is given, it has the
    command.
    """
    try:
        yield
    except ScoringError as error:
        text = _with_command(str(error), context)
        if isinstance(error, UNPUBLISHED):
            text += "\nNothing was published."
        if not isinstance(error, TRANSIENT) or isinstance(error, PERMANENT):
            # Without the error itself: the log would show its text twice, with a traceback each.
            raise AirflowFailException(text) from error.__cause__
        if text == str(error):
            raise
        raise type(error)(text) from error.__cause__
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        found = resource_error(error)
        if found is None:
            raise
        raise found from error


def _with_command(text: str, context: Context | None) -> str:
    command = clear_command(context) if context and _CLEAR in text else None
    return text.replace(_CLEAR, f"{_CLEAR}, `{command}`") if command else text
