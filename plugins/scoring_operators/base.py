"""What the three operators have in common: which job, which partition, which attempt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from scoring.errors import PublicationError, ScoringError, SourceError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scoring.run import PartitionRun

RETRIED = (SourceError, PublicationError)
"""Errors that time may mend; all others are failures that a retry only repeats."""


class PartitionOperator(BaseOperator):
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
        data_interval_start: str = "{{ data_interval_start }}",
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
        moment = datetime.fromisoformat(self.data_interval_start)
        partition = partition_at(moment, job_file.job.partition, job_file.job.zone)
        job_file.job.partition_to_score(partition.key)
        dag_run = context["dag_run"]
        return PartitionRun(
            job_file, partition, job_file.roots(), _attempt(dag_run.dag_id, dag_run.run_id)
        )


def _attempt(dag_id: str, run_id: str) -> str:
    """A folder name for a Dag run, readable and never the same for two runs."""
    digest = hashlib.sha256(f"{dag_id}\0{run_id}".encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9-]+", "_", run_id)[:60] + "-" + digest


@contextmanager
def told_to_airflow() -> Iterator[None]:
    """Turns the library's errors into Airflow's: retried where time may mend them, else final."""
    try:
        yield
    except RETRIED as error:
        raise AirflowException(str(error)) from error
    except ScoringError as error:
        raise AirflowFailException(str(error)) from error
