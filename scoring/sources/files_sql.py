"""A query of the files of a partition: for joins and expressions over the whole of them.

The rows of all files are the table ``source`` of a DuckDB database in a temporary folder, so that
memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import repeat

import duckdb
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded
from scoring.errors import SourceError
from scoring.expressions.connection import SAFE
from scoring.expressions.evaluate import columns_to_read
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.registry import SOURCES
from scoring.sources.base import SourceRecord
from scoring.sources.databases.base import query_digest, values_of
from scoring.sources.databases.duckdb import query
from scoring.sources.files import FileSource
from scoring.sources.rechunk import in_schema, rechunked
from scoring.storage.connections import Connections
from scoring.storage.temporary import TemporaryFolder

_BATCH_ROWS = 131_072
_MEMORY = "1GB"
"""What DuckDB takes before it goes on in the temporary folder."""


class FilesSqlSource:
    """The rows that ``source.sql`` gives for the files at ``source.uri``; a ``Source``."""

    text_only = False  # the query has types, and casts the text of CSV files
    rows = None

    def __init__(
        self, job: Job, partition: Partition, roots: Roots, connections: Connections
    ) -> None:
        assert job.source.sql is not None
        kind = SOURCES.load(job.source.file_format)
        files: FileSource = kind(job, partition, roots, connections)
        self._files = files.reading(files.column_names())  # the query decides about types
        self.uri = files.uri
        self._sql = job.source.sql
        self._values = values_of(partition)
        self._wanted = dict.fromkeys(columns_to_read(job)[0])
        self._zone = job.timezone

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """See ``Source``.  Raises SourceError with DuckDB's own message."""
        return rechunked(self._pieces(), sizes, self.uri)

    def _pieces(self) -> Iterator[pa.Table]:
        with closing(TemporaryFolder("query")) as folder:
            settings = SAFE | {"memory_limit": _MEMORY, "temp_directory": folder.name, "threads": 1}
            with duckdb.connect(f"{folder.name}/source.duckdb", config=settings) as connection:
                connection.execute("SET TimeZone = ?", [self._zone])
                connection.execute("SET lock_configuration = true")
                self._load(connection)
                try:
                    yield from query(connection, self._sql, self._values, self._wanted)
                except SourceError as error:
                    raise SourceError(f"{self.uri}: {error}") from None
                except duckdb.Error as error:
                    first_line = str(error).splitlines()[0]
                    raise SourceError(f"{self.uri}: source.sql fails: {first_line}") from None

    def _load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the table ``source`` of the rows of all files."""
        tables = self._in_one_schema()
        first = next(tables)
        connection.register("batch", first)
        connection.execute("CREATE TABLE source AS FROM batch")
        for table in tables:
            connection.register("batch", table)
            connection.execute("INSERT INTO source FROM batch")
        connection.unregister("batch")

    def _in_one_schema(self) -> Iterator[pa.Table]:
        first: pa.Schema | None = None
        for table in self._files.batches(repeat(_BATCH_ROWS)):
            plain = pa.table(
                {name: decoded(combined_column(table, name)) for name in table.column_names}
            )
            first = first or plain.schema
            yield in_schema(plain, first, self.uri)

    def record(self, rows: int) -> SourceRecord:
        """See ``Source``: the digest is that of the files; ``query_sha256`` is of what was asked."""
        digest = query_digest(self._sql, self._values)
        return self._files.record(rows).model_copy(update={"query_sha256": digest})
