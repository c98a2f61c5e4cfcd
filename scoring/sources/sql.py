"""A source that is a query: the rows that a database answers for the moments of a partition.

The query's text is the job file's, always; what differs by partition is bound to it as values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pyarrow as pa

from scoring.arrow.hashing import hash_columns
from scoring.errors import SourceError
from scoring.expressions.evaluate import columns_to_read
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.sources.base import SourceRecord
from scoring.sources.databases.base import query_digest, values_of
from scoring.sources.databases.environment import database_in_environment
from scoring.sources.rechunk import rechunked
from scoring.storage.connections import Connections


class SqlSource:
    """The rows of one partition from a database; a ``Source``."""

    text_only = False
    rows = None  # only the database could count them, by reading them all

    def __init__(
        self, job: Job, partition: Partition, roots: Roots, connections: Connections
    ) -> None:
        assert job.source.sql is not None
        assert job.source.conn_id is not None
        self.uri = job.source.place
        self._sql = job.source.sql
        self._values = values_of(partition)
        columns, _ = columns_to_read(job)
        derived = job.source.derive
        self._wanted = {n: job.inputs.get(n) if n not in derived else None for n in columns}
        self._database = (connections.database or database_in_environment)(job.source.conn_id)
        self._digest = hashlib.sha256(json.dumps(columns).encode())
        self._bytes = 0

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """See ``Source``.  Raises SourceError with the database's own message."""
        return rechunked(self._pieces(), sizes, self.uri)

    def _pieces(self) -> Iterator[pa.Table]:
        database = self._database
        try:
            for piece in database.read(self._sql, self._values, self._wanted):
                hashes = hash_columns(piece, piece.column_names)
                self._digest.update(hashes.tobytes())
                self._bytes += piece.nbytes
                yield piece
        except SourceError as error:
            raise SourceError(f"{self.uri}: {error}") from None
        except database.errors as error:
            # Without the error itself: a driver's traceback may quote how it was called.
            raise SourceError(
                f"{self.uri} cannot be read: {database.describe_error(error)}"
            ) from None

    def record(self, rows: int) -> SourceRecord:
        """See ``Source``: the digest is of the rows' hashes, in order; bytes are those in Arrow."""
        return SourceRecord(
            uri=self.uri,
            rows=rows,
            bytes=self._bytes,
            sha256=self._digest.hexdigest(),
            files=[],
            query_sha256=query_digest(self._sql, self._values),
        )
