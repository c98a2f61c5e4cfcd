"""The jobs behind the pages: their files, and the state of their partitions, read side by side.

What is kept in the process costs nothing when it is thrown away, and is never the truth: a job file
counts by its bytes, and each look at a job lists what is at its destination.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fastapi import HTTPException

from scoring.destinations.manifest import Manifest
from scoring.errors import JobError, PartitionError, ScoringError
from scoring.job.loader import JobFile, load_job
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.monitoring.coverage import Covered, coverage, finished_partitions
from scoring.monitoring.source_changes import SourceListings
from scoring.pipeline.context import PartitionContext
from scoring.storage.connections import Connections
from scoring_airflow.connections import aws_conn_id_of, connections_of
from scoring_airflow.stored_dags import StoredJob

JOBS_AT_ONCE = 8
PATIENCE_SECONDS = 20.0
REMEMBERED = 1024

log = logging.getLogger(__name__)

_files: dict[tuple[str, str], JobFile] = {}
_partitions: dict[tuple[str, str, str, str | None], list[Partition]] = {}
_connections: dict[tuple[str | None, str | None], Connections] = {}


@dataclass(frozen=True)
class CoveredJob:
    """A job and its partitions; ``problem`` says in words why nothing is known of them.

    ``file`` is None where the job file cannot be read.
    """

    stored: StoredJob
    file: JobFile | None
    partitions: tuple[Covered, ...] = ()
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.stored.dag_id


def covered_jobs(jobs: Iterable[StoredJob], now: datetime) -> list[CoveredJob]:
    """Return the state of all partitions of ``jobs`` that have ended by ``now``, in their order.

    A storage that does not answer is the problem of its jobs, and not of the others.
    """
    listings = SourceListings()
    threads = ThreadPoolExecutor(JOBS_AT_ONCE, thread_name_prefix="scoring-jobs")
    try:
        asked = [(job, threads.submit(covered_job, job, now, listings)) for job in jobs]
        ends = time.monotonic() + PATIENCE_SECONDS
        return [_answer(job, future, ends) for job, future in asked]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _answer(job: StoredJob, future: Future[CoveredJob], ends: float) -> CoveredJob:
    try:
        return future.result(max(0.0, ends - time.monotonic()))
    except TimeoutError:
        return CoveredJob(job, None, problem=not_answered())


def not_answered() -> str:
    """Return what to show of a storage that takes longer than ``PATIENCE_SECONDS``."""
    return f"its storage has not answered within {PATIENCE_SECONDS:.0f} seconds"


def covered_job(
    stored: StoredJob,
    now: datetime,
    listings: SourceListings | None = None,
    only: Sequence[Partition] | None = None,
) -> CoveredJob:
    """Return the state of the partitions of one job; what goes wrong is its ``problem``.

    Jobs that are looked at together share ``listings``.  With ``only``, the state of these
    partitions, whether they have ended or not.
    """
    try:
        file = job_file(stored)
    except ScoringError as error:
        return CoveredJob(stored, None, problem=str(error))
    try:
        found = coverage(
            file,
            file.roots(),
            connections(file.job),
            _ended(file.job, now) if only is None else only,
            listings=listings,
        )
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one job, the others are shown
        forget_connections(file.job)
        return CoveredJob(stored, file, problem=in_words(error, f"the state of {stored.dag_id}"))
    return CoveredJob(stored, file, tuple(found))


def _ended(job: Job, now: datetime) -> Sequence[Partition]:
    """Return the partitions that have ended by ``now``; they are counted when one has ended since."""
    key = (job.partition, job.timezone, job.start, job.end)
    known = _partitions.get(key)
    if not known or known[-1].end > now or _has_another(job, known[-1], now):
        if len(_partitions) >= REMEMBERED:
            _partitions.clear()
        known = _partitions[key] = finished_partitions(job, now)
    return known


def _has_another(job: Job, last: Partition, now: datetime) -> bool:
    return last != job.last_partition and last.next().end <= now


def in_words(error: Exception, what: str) -> str:
    """Return what to show of an error; one that is not ours may quote a secret, and is only logged."""
    if isinstance(error, ScoringError):
        return str(error)
    log.warning("cannot read %s", what, exc_info=error)
    return f"{what} cannot be read ({type(error).__name__}): see the log of Airflow's API server"


def job_file(stored: StoredJob) -> JobFile:
    """Return the job file as it is now; JobError where this machine does not have it."""
    path = stored.job_file
    if "{{" in path:
        raise JobError(f"the job file of this Dag is known only when it runs: {path}")
    try:
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise JobError(
            f"{path} cannot be read ({error.strerror}): the API server needs the same job files as "
            "the Dag processor"
        ) from None
    found = _files.get((path, digest))
    if found is None:
        found = load_job(path)
        if len(_files) >= REMEMBERED:
            _files.clear()
        _files[path, found.sha256] = found
    return found


def readable_file(job: StoredJob) -> JobFile:
    """Return the job file; HTTPException, which says what is wrong with it, where it is not read."""
    try:
        return job_file(job)
    except Exception as error:  # noqa: BLE001 - the answer says what is wrong with the job
        raise HTTPException(503, in_words(error, job.dag_id)) from None


def partition_context(job: StoredJob, key: str) -> PartitionContext:
    """Return what is needed to read a partition; HTTPException where there cannot be one."""
    file = readable_file(job)
    try:
        partition = file.job.partition_to_score(key)
    except PartitionError as error:
        raise HTTPException(404, str(error)) from None
    # Nothing is scored here, so no attempt of that name is ever staged.
    return PartitionContext(file, partition, file.roots(), "pages", connections(file.job))


def published(context: PartitionContext, name: str) -> Manifest | None:
    """Return the manifest of a partition; None also where another job has published it, whose rows
    the user may have no right to see. HTTPException where it cannot be read.
    """
    try:
        found = context.publisher.published(context.partition)
    except Exception as error:  # noqa: BLE001
        forget_connections(context.job)
        raise HTTPException(503, in_words(error, name)) from None
    return found if found is not None and context.job.is_own(found.job) else None


def connections(job: Job) -> Connections:
    """Return the connections of ``job``; to make a client of S3 takes long."""
    key = (aws_conn_id_of(job), job.run.mlflow_conn_id)
    found = _connections.get(key)
    if found is None:
        found = _connections[key] = connections_of(job)
    return found


def forget_connections(job: Job) -> None:
    """Make new connections next time: those that failed may have old keys."""
    _connections.pop((aws_conn_id_of(job), job.run.mlflow_conn_id), None)
