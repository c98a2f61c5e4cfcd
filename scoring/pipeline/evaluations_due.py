"""Which published partitions are to be evaluated: their actuals are there, and were not compared yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from scoring.job.partitions import Partition
from scoring.monitoring.evaluation import Evaluation
from scoring.monitoring.source_changes import NotComparableError, SourceComparison
from scoring.pipeline.actuals import file_of_actuals
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.evaluate import read_evaluation


def evaluations_due(context: PartitionContext, now: datetime) -> list[Partition]:
    """Return the published partitions of the job that were never evaluated, or not as they are
    published now, or whose actuals have changed since.

    Files of actuals are compared by size, ETag and time of change.  Of a query, and of files over
    https, nothing can be compared: these partitions are due until ``arrive_within_days`` after they
    have ended.  Raises PublicationError where the destination cannot be read.
    """
    config = context.job.actuals
    assert config is not None
    job = file_of_actuals(context.job_file, {}).job
    source = SourceComparison(job, context.roots, context.connections)
    until = timedelta(days=config.arrive_within_days)
    found = []
    for manifest in context.publisher.all_published():
        if not context.job.is_own(manifest.job):
            continue
        partition = context.job.parse(manifest.partition)
        evaluation = read_evaluation(replace(context, partition=partition))
        current = evaluation if evaluation and evaluation.is_of(manifest) else None
        if _is_due(partition, current, source, partition.end + until > now):
            found.append(partition)
    return found


def _is_due(
    partition: Partition, current: Evaluation | None, source: SourceComparison, may_arrive: bool
) -> bool:
    if not source.is_comparable:
        return may_arrive or current is None
    if current is None:
        return source.is_there(partition)
    try:
        return source.change(partition, current.actuals.files) is not None
    except NotComparableError:  # the actuals have been removed: what is known stays
        return False
