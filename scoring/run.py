"""One attempt to score one partition of a job: what all its steps need to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from scoring.connections import Connections
from scoring.destination import Destination
from scoring.job import Job
from scoring.job_file import JobFile
from scoring.objects import Storage
from scoring.partition import Partition
from scoring.uri import Roots


@dataclass(frozen=True)
class PartitionRun:
    """``attempt`` names the staging folder, so two attempts at one partition never mix."""

    job_file: JobFile
    partition: Partition
    roots: Roots
    attempt: str
    connections: Connections = field(default_factory=Connections)

    @property
    def job(self) -> Job:
        return self.job_file.job

    @cached_property
    def destination(self) -> Destination:
        return Destination.of(self.job, self.roots, self.connections)

    @property  # not cached: a run is handed to other processes, a connection cannot be
    def storage(self) -> Storage:
        """Where this run stages and publishes."""
        return self.connections.storage(self.destination.uri, self.job.destination.encryption)

    @property
    def staging(self) -> str:
        return self.destination.staging(self.partition, self.attempt)

    def staged(self, kind: str, number: int) -> str:
        """The URI of a staged table, such as ``rows-00007.arrow``."""
        return f"{self.staging}/{kind}-{number:05d}.arrow"
