"""What the three operators have in common: which job, which partition, which attempt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from scoring.errors import PartitionError, PublicationError, ScoringError, SourceError
from scoring_operators.connections import airflow_connections, aws_conn_id_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scoring.run import PartitionRun

RETRIED = (SourceError, PublicationError)
"""Errors that time may mend; all others are failures that a retry only repeats."""


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

    def partition_run(self, context: Context) -> PartitionRun:
        """The attempt that this task belongs to: one per Dag run, so a retry finds its staging."""
        from scoring.job_file import load_job
        from scoring.partition import partition_at
        from scoring.run import PartitionRun

        job_file = load_job(self.job_file)
        partition = partition_at(self._moment(), job_file.job.partition, job_file.job.zone)
        job_file.job.partition_to_score(partition.key)
        dag_run = context["dag_run"]
        return PartitionRun(
            job_file,
            partition,
            job_file.roots(),
            _attempt(dag_run.dag_id, dag_run.run_id),
            airflow_connections(aws_conn_id_of(job_file.job)),
        )

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
                f"data_interval_start is {self.data_interval_start!r}, which is not a moment such as "
                "2013-05-02T03:00:00+00:00"
            ) from None


def _attempt(dag_id: str, run_id: str) -> str:
    """A folder name for a Dag run, readable and never the same for two runs."""
    digest = hashlib.sha256(f"{dag_id}\0{run_id}".encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9-]+", "_", run_id)[:60] + "-" + digest


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """Makes the library's errors final for Airflow, but those that time may mend: it retries these."""
    try:
        yield
    except RETRIED:
        raise
    except ScoringError as error:
        # Without the error itself: the log would show its text twice, with a traceback each.
        raise AirflowFailException(str(error)) from error.__cause__
