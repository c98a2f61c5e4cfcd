"""One attempt to score one partition of a job: what all its steps need to know."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from scoring.destinations.base import Publisher, open_publisher
from scoring.job.loader import JobFile
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.models.base import ModelFile
from scoring.models.resolve import resolve_model
from scoring.storage.base import Storage
from scoring.storage.connections import Connections

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class PartitionContext:
    """``attempt`` names the staging folder, so two attempts at one partition never mix.

    ``columns`` are the types to publish in, where those of the destination itself do not count.
    ``staged_in`` is the staging folder, where it is not one of the destination.
    ``published_by`` is the job whose partitions count as published so far, where it is not this
    one with its own destination.
    """

    job_file: JobFile
    partition: Partition
    roots: Roots
    attempt: str
    connections: Connections = field(default_factory=Connections)
    columns: pa.Schema | None = None
    staged_in: str | None = None
    published_by: Job | None = None

    @property
    def job(self) -> Job:
        return self.job_file.job

    @property
    def name(self) -> str:
        """Job and partition, as messages name them."""
        return f"{self.job.name} {self.partition.key}"

    @property
    def publisher(self) -> Publisher:
        return open_publisher(self.job, self.roots, self.connections)

    @property
    def so_far(self) -> Publisher:
        """What is published so far, to be read only: types of columns, references of drift."""
        return open_publisher(self.published_by or self.job, self.roots, self.connections)

    @cached_property
    def staging(self) -> str:
        own = f"{self.publisher.staging}/{self.partition.path}/{self.attempt}"
        return self.staged_in or own

    @property  # not cached: a context is handed to other processes, a connection cannot be
    def storage(self) -> Storage:
        """Where this attempt stages its tables."""
        return self.connections.storage(self.staging, self.job.destination.encryption)

    def model_file(self, pinned_version: str | None = None) -> ModelFile:
        """Return the model file that scores the partition; see ``resolve_model``."""
        return resolve_model(
            self.job_file, self.partition, self.roots, self.connections, pinned_version
        )

    def with_inputs_of(self, model: ModelFile) -> PartitionContext:
        """Return this context for ``model``, whose signature may be the contract of the job."""
        if model.inputs is None:
            return self
        return replace(self, job_file=self.job_file.with_inputs(model.inputs))

    def staged(self, kind: str, number: int) -> str:
        """Return the URI of a staged table, such as ``rows-00007.arrow``."""
        return f"{self.staging}/{kind}-{number:05d}.arrow"
