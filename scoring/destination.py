"""Where everything of a partition lies under the destination of its job.

::

    DESTINATION/month=2013-05/predictions.parquet             what readers read
    DESTINATION/_manifests/month=2013-05.json                 what was scored, by what, from what
    DESTINATION/_manifests/month=2013-05.next-DIGEST.json     only while a publication is under way
    DESTINATION/_quarantine/month=2013-05/DIGEST.parquet      the rows that were not scored, and why
    DESTINATION/_staging/month=2013-05/ATTEMPT/…              only while a run is under way
    DESTINATION/_locks/month=2013-05                          held by the one that publishes

Readers of datasets pass over names that begin with an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import escape

from scoring.connections import Connections
from scoring.job import Job
from scoring.manifest import Manifest, parse_manifest
from scoring.partition import Partition
from scoring.uri import Roots

_NEXT = ".next-"


@dataclass(frozen=True)
class Destination:
    """The URIs under one destination, and what is published there."""

    uri: str
    connections: Connections = field(default_factory=Connections, compare=False, repr=False)

    @classmethod
    def of(cls, job: Job, roots: Roots, connections: Connections | None = None) -> Destination:
        uri = roots.expand(job.destination.uri).rstrip("/")
        return cls(uri, connections or Connections())

    def output(self, partition: Partition) -> str:
        return f"{self.uri}/{partition.path}/predictions.parquet"

    def quarantine(self, partition: Partition, sha256: str) -> str:
        return f"{self.uri}/_quarantine/{partition.path}/{sha256[:16]}.parquet"

    def quarantines(self, partition: Partition) -> str:
        """Where the quarantines of all publications of ``partition`` lie."""
        return f"{self.uri}/_quarantine/{partition.path}"

    def manifest(self, path: str) -> str:
        return f"{self.uri}/_manifests/{path}.json"

    def next_manifest(self, path: str, sha256: str) -> str:
        """Where a manifest waits for the swap of its predictions, which have the digest ``sha256``."""
        return f"{self.uri}/_manifests/{path}{_NEXT}{sha256[:16]}.json"

    def next_manifests(self, path: str) -> list[str]:
        """The manifests that wait, or that a publisher which died has left."""
        pattern = f"{escape(self.uri)}/_manifests/{path}{_NEXT}*.json"
        return [found.uri for found in self.connections.storage(self.uri).find(pattern)]

    def staging(self, partition: Partition, attempt: str) -> str:
        return f"{self.uri}/_staging/{partition.path}/{attempt}"

    def lock(self, partition: Partition) -> str:
        return f"{self.uri}/_locks/{partition.path}"

    def published(self, partition: Partition) -> Manifest | None:
        """The manifest of what readers of ``partition`` get now; None if nothing is published.

        The instant of publication is the swap of the predictions.  The new manifest is written
        before it, under a ``.next-`` name, so whichever manifest has the digest of the predictions
        is the true one, even if the publisher died in between.
        """
        return self._published(partition.path)

    def all_published(self) -> Iterator[Manifest]:
        """The manifests of all published partitions, in order of their keys."""
        found = self.connections.storage(self.uri).find(f"{escape(self.uri)}/_manifests/*.json")
        files = (f.uri.rpartition("/")[2].removesuffix(".json") for f in found)
        names = {file.partition(_NEXT)[0] for file in files}
        for path in sorted(names):
            manifest = self._published(path)
            if manifest is not None:
                yield manifest

    def _published(self, path: str) -> Manifest | None:
        storage, uri = self.connections.storage(self.uri), self.manifest(path)
        for waiting in self.next_manifests(path):
            data = storage.read(waiting)  # None: published in this very moment
            manifest = parse_manifest(data, waiting) if data is not None else None
            if manifest and storage.sha256(manifest.output.uri) == manifest.output.sha256:
                return manifest
        current = storage.read(uri)
        return parse_manifest(current, uri) if current is not None else None
