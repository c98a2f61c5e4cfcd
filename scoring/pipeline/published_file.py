"""The published predictions of a partition, read back batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.destinations.manifest import Manifest
from scoring.errors import JobError, PublicationError
from scoring.pipeline.context import PartitionContext
from scoring.storage.base import Storage

_BATCH_ROWS = 131_072


class PublishedPredictions:
    """The file that ``manifest`` describes; PublicationError where it is gone, broken or another one."""

    def __init__(self, context: PartitionContext, manifest: Manifest) -> None:
        if context.job.destination.format != "parquet":
            raise JobError(
                f"{context.name}: a destination of the kind {context.job.destination.format} cannot "
                "be read back"
            )
        self._context = context
        self._manifest = manifest
        with self._file() as file:
            self.schema: pa.Schema = file.schema_arrow

    @contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        storage, output = storage_of(self._context, self._manifest), self._manifest.output
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(storage.open(output.uri))
                file = stack.enter_context(pq.ParquetFile(opened))
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                what = "is gone" if isinstance(error, FileNotFoundError) else f"is broken: {error}"
                raise PublicationError(
                    f"{output.uri} {what}; score {self._context.name} again"
                ) from None
            if file.metadata.num_rows != self._manifest.rows.scored:
                raise PublicationError(
                    f"{output.uri} has {file.metadata.num_rows:,} rows, and its manifest says "
                    f"{self._manifest.rows.scored:,}; score {self._context.name} again"
                )
            yield file

    def missing(self, columns: list[str]) -> list[str]:
        """Return which of ``columns`` are not published: an earlier state of the job had others."""
        return [name for name in columns if name not in self.schema.names]

    def batches(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield ``columns``, in at least one table; PublicationError where one is missing."""
        if missing := self.missing(columns):
            raise PublicationError(
                f"{self._manifest.output.uri} has no column {', '.join(map(repr, missing))}, which the "
                f"job file names today; score {self._context.name} again"
            )
        yield self.schema.empty_table().select(columns)
        with self._file() as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield pa.table(batch)


def storage_of(context: PartitionContext, manifest: Manifest) -> Storage:
    """Return where the file lies that ``manifest`` describes, which need not be where is staged."""
    return context.connections.storage(manifest.output.uri, context.job.destination.encryption)


def published_manifest(context: PartitionContext) -> Manifest:
    """Return the manifest of what the job has published; PublicationError where that is nothing, or
    another job's.
    """
    manifest = context.publisher.published(context.partition)
    if manifest is None:
        raise PublicationError(
            f"nothing is published for {context.name}; `scoring run {context.job.name} "
            f"{context.partition.key}` scores it"
        )
    if not context.job.is_own(manifest.job):
        raise PublicationError(
            f"what is published for {context.partition.key} under {context.publisher.uri} is the job "
            f"{manifest.job}'s; give {context.job.name} a destination of its own, or list its former "
            "names in destination.former_names"
        )
    return manifest
