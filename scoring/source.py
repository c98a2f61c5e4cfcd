"""The rows of a partition: what a source of them is, and which kind a job has.

Another kind of source is another class with the attributes and methods of ``Source``, and a line in
``open_source``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from scoring.connections import Connections
from scoring.files import FileSource
from scoring.job import Job
from scoring.manifest import SourceRecord
from scoring.partition import Partition
from scoring.sql import SqlSource
from scoring.uri import Roots


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
        """How many rows there are; None where only reading them all can tell."""

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """Tables of the job's columns, in source order, with as many rows as ``sizes`` says next.

        Only the last table may be shorter than its size; a source without rows gives one empty
        table.  Raises SourceError naming the source, and the column if one is missing.
        """

    def record(self, rows: int) -> SourceRecord:
        """What was read, for the manifest; ``rows`` were, and ``batches`` is at its end."""


def open_source(job: Job, partition: Partition, roots: Roots, connections: Connections) -> Source:
    """The source of ``partition``; SourceMissing if it is not there (yet)."""
    if job.source.sql is not None:
        return SqlSource(job, partition, connections)
    return FileSource(job, partition, roots, connections)
