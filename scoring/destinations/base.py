"""What a destination is: predictions are written there and then replace a partition as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from scoring.destinations.manifest import Manifest, ObjectRecord
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.registry import DESTINATIONS
from scoring.storage.connections import Connections

if TYPE_CHECKING:
    import pyarrow as pa


class Publication(Protocol):
    """One partition on its way to its readers, who see nothing of it before ``commit``."""

    def write(self, table: pa.Table) -> None:
        """Append predictions; all tables have the schema of the first."""

    def close(self) -> ObjectRecord:
        """End the predictions, still unseen; what ``commit`` will publish."""

    def write_quarantine(self, tables: Iterator[pa.Table]) -> ObjectRecord | None:
        """Store the quarantined rows; None where there are none."""

    def write_left_out(self, tables: Iterator[pa.Table]) -> ObjectRecord | None:
        """Store the rows that are left out, for a job that keeps them; None where there are none."""

    def commit(self, manifest: Manifest) -> Manifest:
        """Publish everything in one step for readers, and return the manifest as it was published.

        Raises NewerPublicationError where another run has published this partition since the
        ``mark``, and PublicationError for what cannot be written: readers keep what they had.
        """

    def abort(self) -> None:
        """Leave what is published as it is; after ``commit``, do nothing."""


class Publisher(Protocol):
    """Publishes the partitions of one job under one URI."""

    @property
    def uri(self) -> str: ...

    @property
    def staging(self) -> str:
        """The folder in which runs stage their tables: in S3 or in the file system."""

    @property
    def held(self) -> str:
        """The folder of the records of partitions that are held, in the same storage."""

    @property
    def evaluations(self) -> str:
        """The folder of the evaluations of partitions, in the same storage."""

    def published(self, partition: Partition) -> Manifest | None:
        """Return the manifest of what readers of ``partition`` get now; None if nothing is
        published.
        """

    def all_published(self) -> Iterator[Manifest]:
        """Yield the manifests of all published partitions, in order of their keys."""

    def columns(self, but: Partition | None = None) -> pa.Schema | None:
        """Return the columns and types in which partitions are published; None if no partition is.

        ``but`` is about to be replaced, and does not count.
        """

    def mark(self, partition: Partition) -> str | None:
        """Return a mark of what is published now, for ``begin``; None if nothing is.

        Raises DestinationTakenError where another job publishes.
        """

    def check_writable(self, partition: Partition) -> None:
        """Raise PublicationError if this process may not publish, so that it is known before
        scoring.
        """

    def begin(
        self,
        partition: Partition,
        mark: str | None,
        run: Mapping[str, str],
        work: str,
        replace_newer: bool = False,
    ) -> AbstractContextManager[Publication]:
        """Begin to publish ``partition``; what is not committed within the block is aborted.

        ``mark`` is what was published when the run read its source, ``run`` says who publishes (as
        in the manifest), ``work`` is a folder of the run's own. Raises NewerPublicationError where
        another run has published since, unless ``replace_newer``, and DestinationTakenError as
        ``mark`` does.
        """


class PublisherKind(Protocol):
    """A kind of destination, such as ``scoring.destinations.parquet.ParquetPublisher``."""

    def __call__(self, job: Job, roots: Roots, connections: Connections) -> Publisher: ...


def open_publisher(job: Job, roots: Roots, connections: Connections) -> Publisher:
    """Return the publisher of ``job``, of the kind that its destination names."""
    kind: PublisherKind = DESTINATIONS.load(job.destination.format)
    return kind(job, roots, connections)
