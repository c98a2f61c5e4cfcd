"""Where everything of a partition lies under the destination of its job.

::

    DESTINATION/month=2013-05/predictions.parquet             what readers read
    DESTINATION/_manifests/month=2013-05.json                 what was scored, by what, from what
    DESTINATION/_manifests/month=2013-05.next.json            only while a publication is under way
    DESTINATION/_quarantine/month=2013-05/DIGEST.parquet      the rows that were not scored, and why
    DESTINATION/_staging/month=2013-05/ATTEMPT/…              only while a run is under way
    DESTINATION/_locks/month=2013-05                          held by the one that publishes

Readers of datasets pass over names that begin with an underscore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scoring.job import Job
from scoring.manifest import Manifest, parse_manifest
from scoring.partition import Partition
from scoring.storage import storage_for
from scoring.uri import Roots

_NEXT = ".next"


@dataclass(frozen=True)
class Destination:
    """The URIs under one destination, and what is published there."""

    uri: str

    @classmethod
    def of(cls, job: Job, roots: Roots) -> Destination:
        return cls(roots.expand(job.destination.uri).rstrip("/"))

    def output(self, partition: Partition) -> str:
        return f"{self.uri}/{partition.path}/predictions.parquet"

    def quarantine(self, partition: Partition, sha256: str) -> str:
        return f"{self.uri}/_quarantine/{partition.path}/{sha256[:16]}.parquet"

    def quarantines(self, partition: Partition) -> str:
        return f"{self.uri}/_quarantine/{partition.path}/*.parquet"

    def manifest(self, path: str) -> str:
        return f"{self.uri}/_manifests/{path}.json"

    def next_manifest(self, path: str) -> str:
        return f"{self.uri}/_manifests/{path}{_NEXT}.json"

    def staging(self, partition: Partition, attempt: str) -> str:
        return f"{self.uri}/_staging/{partition.path}/{attempt}"

    def lock(self, partition: Partition) -> str:
        return f"{self.uri}/_locks/{partition.path}"

    def published(self, partition: Partition) -> Manifest | None:
        """The manifest of what readers of ``partition`` get now; None if nothing is published.

        The instant of publication is the swap of the predictions.  The new manifest is written
        before it, under its ``.next`` name, so whichever manifest has the digest of the
        predictions is the true one, even if the publisher died in between.
        """
        return self._published(partition.path)

    def all_published(self) -> Iterator[Manifest]:
        """The manifests of all published partitions, in order of their keys."""
        found = storage_for(self.uri).find(f"{self.uri}/_manifests/*.json")
        names = {f.uri.rpartition("/")[2].removesuffix(".json").removesuffix(_NEXT) for f in found}
        for path in sorted(names):
            manifest = self._published(path)
            if manifest is not None:
                yield manifest

    def _published(self, path: str) -> Manifest | None:
        storage = storage_for(self.uri)
        uri, next_uri = self.manifest(path), self.next_manifest(path)
        current, coming = storage.read(uri), storage.read(next_uri)
        if coming is not None:
            manifest = parse_manifest(coming, next_uri)
            if storage.sha256(manifest.output.uri) == manifest.output.sha256:
                return manifest
            current = storage.read(uri)
        return parse_manifest(current, uri) if current is not None else None
