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
from scoring_airflow.connections import airflow_connections, aws_conn_id_of

if TYPE_CHECKING:
    from airflow.sdk import Context

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
    """

    template_fields: Sequence[str] = ("job_file", "data_interval_start")
    ui_color: ClassVar[str] = "#e8f1fb"

    def __init__(
        self,
        *,
        job_file: str,
        data_interval_start: str = "{{ data_interval_start | default('') }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_file = job_file
        self.data_interval_start = data_interval_start

    def partition_context(self, context: Context) -> PartitionContext:
        """Return what the library scores: one attempt per Dag run, so that a retry finds its
        staging.
        """
        from scoring.job.loader import load_job
        from scoring.job.partitions import partition_at
        from scoring.pipeline.context import PartitionContext

        job_file = load_job(self.job_file)
        partition = partition_at(self._moment(), job_file.job.partition, job_file.job.zone)
        job_file.job.partition_to_score(partition.key)
        dag_run = context["dag_run"]
        return PartitionContext(
            job_file,
            partition,
            job_file.roots(),
            _attempt(dag_run.dag_id, dag_run.run_id),
            airflow_connections(aws_conn_id_of(job_file.job), job_file.job.run.mlflow_conn_id),
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

    def _moment(self) -> datetime:
        if not self.data_interval_start:
            raise PartitionError(
                "this run has no data interval, so it is not known what to score: it was triggered "
                "without a logical date. `airflow backfill create` scores partitions by their dates"
            )
        try:
            return datetime.fromisoformat(self.data_interval_start)
        except ValueError:
            raise PartitionError(
                f"data_interval_start is {self.data_interval_start!r}, which is not a moment such "
                "as 2013-05-02T03:00:00+00:00"
            ) from None


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
