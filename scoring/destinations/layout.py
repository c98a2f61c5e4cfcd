"""Where everything of a partition lies under the destination of its job.

::

    DESTINATION/month=2013-05/predictions.parquet             what readers read
    DESTINATION/_manifests/month=2013-05.json                 what was scored, by what, from what
    DESTINATION/_manifests/month=2013-05.next-DIGEST.json     only while a publication is under way
    DESTINATION/_quarantine/month=2013-05/DIGEST.parquet      the rows that were not scored, and why
    DESTINATION/_left_out/month=2013-05/DIGEST.parquet        the same for rows that are left out
    DESTINATION/_staging/month=2013-05/ATTEMPT/…              only while a run is under way
    DESTINATION/_columns.arrow                                the types of the columns of all partitions
    DESTINATION/_index.json                                   what coverage needs of all manifests
    DESTINATION/_timeline.json                                the figures of all manifests and evaluations
    DESTINATION/_stale.json                                   which stale partitions were reported
    DESTINATION/_staging/month=2013-05/ATTEMPT.lock           held by a run from the shell (S3: .owner)
    DESTINATION/_held/month=2013-05.json                      what is staged, and held, and why
    DESTINATION/_challengers/VERSION/…                        the same, of a version that is not published
    DESTINATION/_evaluations/month=2013-05.json               how wrong the predictions were
    DESTINATION/_locks/month=2013-05                          held by the one that publishes

Readers of datasets pass over names that begin with an underscore.
"""

from __future__ import annotations

from dataclasses import dataclass

from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots

NEXT = ".next-"
CHALLENGERS = "_challengers"


@dataclass(frozen=True)
class Layout:
    """The URIs under one destination.  ``path`` is a partition's folder, such as ``month=2013-05``."""

    uri: str

    @classmethod
    def of(cls, job: Job, roots: Roots) -> Layout:
        return cls(roots.expand(job.destination.uri).rstrip("/"))

    def output(self, partition: Partition) -> str:
        return self.output_at(partition.path)

    def output_at(self, path: str) -> str:
        return f"{self.uri}/{path}/predictions.parquet"

    def quarantine(self, partition: Partition, sha256: str) -> str:
        return f"{self.quarantines(partition)}/{sha256[:16]}.parquet"

    def quarantines(self, partition: Partition) -> str:
        """Return the folder of the quarantines of all publications of ``partition``."""
        return f"{self.uri}/_quarantine/{partition.path}"

    def left_out(self, partition: Partition, sha256: str) -> str:
        return f"{self.left_outs(partition)}/{sha256[:16]}.parquet"

    def left_outs(self, partition: Partition) -> str:
        """Return the folder of the left-out rows of all publications of ``partition``."""
        return f"{self.uri}/_left_out/{partition.path}"

    @property
    def manifests(self) -> str:
        return f"{self.uri}/_manifests"

    def manifest(self, path: str) -> str:
        return f"{self.manifests}/{path}.json"

    def next_manifest(self, path: str, sha256: str) -> str:
        """Return where a manifest waits for the swap of its predictions, which have the digest
        ``sha256``.
        """
        return f"{self.manifests}/{path}{NEXT}{sha256[:16]}.json"

    @property
    def index(self) -> str:
        """Return where the index of the manifests lies; it can be removed at any time."""
        return f"{self.uri}/_index.json"

    @property
    def timeline(self) -> str:
        """Return where the figures of all manifests and evaluations lie; it can be removed, too."""
        return f"{self.uri}/_timeline.json"

    @property
    def stale(self) -> str:
        """Return where it stands which stale partitions were reported; it can be removed, too."""
        return f"{self.uri}/_stale.json"

    @property
    def held(self) -> str:
        """Return the folder in which a file stands for each partition that is held."""
        return f"{self.uri}/_held"

    @property
    def evaluations(self) -> str:
        """Return the folder of the evaluations of published partitions."""
        return f"{self.uri}/_evaluations"

    @property
    def columns(self) -> str:
        return f"{self.uri}/_columns.arrow"

    @property
    def columns_lock(self) -> str:
        return f"{self.uri}/_locks/columns"

    @property
    def staging(self) -> str:
        return f"{self.uri}/_staging"

    def path_of(self, uri: str) -> str:
        """Return the path of the partition that a published object belongs to, or one that waits or
        is hidden; that of a challenger, too.
        """
        first, _, rest = uri.removeprefix(f"{self.uri}/").partition("/")
        if first == CHALLENGERS:
            version = rest.partition("/")[0]
            return Layout(f"{self.uri}/{CHALLENGERS}/{version}").path_of(uri)
        if not first.startswith("_"):
            return first
        name = rest.partition("/")[0].lstrip(".").partition("?")[0]
        return name.partition(NEXT)[0].partition(".json")[0]

    def lock(self, partition: Partition) -> str:
        return f"{self.uri}/_locks/{partition.path}"
