"""Which partitions of a job are published, and which would come out otherwise if scored again.

What is here asks no clock and no Airflow: a caller says which partitions it wants to know of, by
``finished_partitions`` from the moment that it takes for now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from scoring.destinations.attempts import attempts
from scoring.destinations.base import open_publisher
from scoring.destinations.catalog import Catalog, catalog_of
from scoring.destinations.index import ManifestSummary
from scoring.destinations.layout import Layout
from scoring.job.loader import JobFile
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.monitoring.source_changes import SourceComparison, SourceListings
from scoring.monitoring.stale import Reason, StaleCheck
from scoring.storage.base import Storage
from scoring.storage.connections import Connections

State = Literal["published", "stale", "held", "failed", "missing"]
STATES: tuple[State, ...] = ("published", "stale", "held", "failed", "missing")


@dataclass(frozen=True)
class Covered:
    """The state of one partition.

    ``reasons`` say why it is stale; ``unchecked`` says what could not be compared. ``model_version``
    is the one that scored what is ``published``, also where the partition is held meanwhile. A
    partition is ``failed`` where nothing is published and a run from the shell has ended with its
    rows still staged; what Airflow's tasks leave behind may belong to a run at work, and does not
    count.
    """

    partition: Partition
    state: State
    model_version: str | None = None
    reasons: tuple[Reason, ...] = ()
    unchecked: tuple[str, ...] = ()
    published: ManifestSummary | None = None


def finished_partitions(job: Job, now: datetime) -> list[Partition]:
    """Return the partitions of ``job`` that have ended by the moment ``now``, in order."""
    found: list[Partition] = []
    last, partition = job.last_partition, job.first_partition
    while partition.end.timestamp() <= now.timestamp() and not (last and last < partition):
        found.append(partition)
        partition = partition.next()
    return found


def coverage(
    job_file: JobFile,
    roots: Roots,
    connections: Connections,
    partitions: Sequence[Partition],
    *,
    digests: bool = False,
    listings: SourceListings | None = None,
) -> list[Covered]:
    """Return the state of each of ``partitions``, in their order.

    Files are compared by size, ETag and time of change; with ``digests`` by their bytes, which
    reads all of them. Model registries and databases are not asked. Give the same ``listings`` and
    ``connections`` for jobs that are looked at together: a source that they share is listed once.
    """
    job = job_file.job
    publisher = open_publisher(job, roots, connections)
    storage = connections.storage(publisher.uri, job.destination.encryption)
    catalog = catalog_of(publisher)
    ended = _ended(storage, publisher.staging) if catalog.staged else set()
    source = SourceComparison(job, roots, connections, digests, listings or SourceListings())
    check = StaleCheck(job_file, catalog, source, storage, Layout.of(job, roots), digests)
    return [_covered(partition, job, catalog, check, ended) for partition in partitions]


def _covered(
    partition: Partition, job: Job, catalog: Catalog, check: StaleCheck, ended: set[str]
) -> Covered:
    published = catalog.summaries.get(partition.key)
    version = published.model_version if published else None
    if published and not job.is_own(published.job):
        taken = Reason("taken", f"what is published there is the job {published.job}'s")
        return Covered(partition, "missing", reasons=(taken,))
    if partition.path in catalog.held:
        return Covered(partition, "held", version, published=published)
    if published is None:
        return Covered(partition, "failed" if partition.path in ended else "missing")
    reasons, unchecked = check.compare(partition)
    state: State = "stale" if reasons else "published"
    return Covered(partition, state, version, tuple(reasons), tuple(unchecked), published)


def _ended(storage: Storage, staging: str) -> set[str]:
    """Return the paths of partitions of which all attempts have ended, as is known of their
    processes.
    """
    found = attempts(storage, staging)
    gone = {a.path for a in found if a.why_abandoned(storage, days_kept=None)}
    return gone - {a.path for a in found if not a.why_abandoned(storage, days_kept=None)}
