"""What a source is: the rows of one partition, the same each time they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.registry import SOURCES
from scoring.storage.connections import Connections

if TYPE_CHECKING:
    import pyarrow as pa


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SourceFileRecord(_Record):
    """``sha256`` is of the file's bytes; in S3 the ``etag`` is enough, unless the job gives a
    digest. ``modified_ns`` shows, without reading a file on disk again, that nobody has written it.
    """

    uri: str
    bytes: int
    sha256: str | None
    etag: str | None = None
    modified_ns: int | None = None


class SourceRecord(_Record):
    """``sha256`` is the digest of the files' digests, in order; of a query, that of its rows.

    A query has no ``files``; ``query_sha256`` is the digest of its text and its bound values.
    """

    uri: str
    rows: int
    bytes: int
    sha256: str
    files: list[SourceFileRecord]
    query_sha256: str | None = None

    @property
    def identity(self) -> tuple[str, int, str | None]:
        """What two records have in common exactly where the same rows were read."""
        return (self.sha256, self.rows, self.query_sha256)


class Source(Protocol):
    """The rows of one partition, in an order that is the same each time they are read."""

    @property
    def uri(self) -> str:
        """Where the rows come from, in messages and in the manifest; it holds no secret."""

    @property
    def text_only(self) -> bool:
        """Whether the source knows no types, so that text is parsed into those of the contract."""

    @property
    def rows(self) -> int | None:
        """How many rows there are; None where only reading them all can show it."""

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """Yield tables of the job's columns, in source order, with as many rows as ``sizes`` says
        next.

        Only the last table may be shorter than its size; a source without rows gives one empty
        table.  Raises SourceError naming the source, and the column if one is missing.
        """

    def record(self, rows: int) -> SourceRecord:
        """Return what was read, for the manifest; ``rows`` were, and ``batches`` is at its end."""


class SourceKind(Protocol):
    """A kind of source, such as ``scoring.sources.parquet.ParquetSource``."""

    def __call__(
        self, job: Job, partition: Partition, roots: Roots, connections: Connections
    ) -> Source:
        """Return the source of ``partition``; SourceMissingError if it is not there (yet)."""


def open_source(job: Job, partition: Partition, roots: Roots, connections: Connections) -> Source:
    """Return the source of ``partition``, of the kind that the job names.

    Raises SourceMissingError if it is not there (yet).
    """
    kind: SourceKind = SOURCES.load(job.source.kind)
    return kind(job, partition, roots, connections)
