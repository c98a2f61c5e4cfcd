"""Published partitions that another model version would score now: what a change of history costs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from scoring.destinations.base import open_publisher
from scoring.destinations.catalog import catalog_of
from scoring.destinations.index import ManifestSummary
from scoring.errors import ModelError, PartitionError
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.monitoring.plan import Stretch, stretches
from scoring.monitoring.stale import model_change
from scoring.storage.connections import Connections

NO_VERSION = "no model version is in force any longer, so it cannot be scored again"


@dataclass(frozen=True)
class StaleModel:
    """Partitions in order that are stale for one reason: the model.

    ``is_scored_again`` is false where no version is in force, so that nothing would be scored.
    """

    reason: str
    partitions: tuple[Partition, ...]
    is_scored_again: bool = True

    @property
    def stretches(self) -> list[Stretch]:
        return stretches(self.partitions)

    def __str__(self) -> str:
        return f"{' '.join(one.keys for one in self.stretches)}: {self.reason}"


def stale_models(job: Job, roots: Roots, connections: Connections) -> list[StaleModel]:
    """Return the published partitions of ``job`` whose model is not the one in force now, by reason.

    One listing and one read, for any number of partitions; sources and other reasons are not looked
    at.
    """
    found: dict[str, list[Partition]] = {}
    summaries = catalog_of(open_publisher(job, roots, connections)).summaries
    for partition in published_partitions(job, summaries):
        try:
            change = model_change(job, partition, summaries[partition.key])
        except ModelError:
            change = NO_VERSION
        if change is not None:
            found.setdefault(change, []).append(partition)
    return [StaleModel(reason, tuple(of), reason != NO_VERSION) for reason, of in found.items()]


def published_partitions(job: Job, summaries: Mapping[str, ManifestSummary]) -> list[Partition]:
    """Return what ``job`` itself has published of ``summaries``, which are by partition key, in order.

    Those of another kind of partitions, which it may have had, are not among them.
    """
    found = []
    for key, summary in summaries.items():
        if job.is_own(summary.job):
            with suppress(PartitionError):
                found.append(job.parse(key))
    return sorted(found)
