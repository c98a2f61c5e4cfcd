"""Files as a source: those of a partition, in the order of their names, each with its digest."""

from __future__ import annotations

import copy
import csv
import hashlib
from collections.abc import Iterator
from typing import Self

import pyarrow as pa
import pyarrow.csv

from scoring.arrow.columns import constant
from scoring.errors import SourceError, SourceMissingError
from scoring.expressions.evaluate import columns_to_read, other_type, stored_type
from scoring.job.columns import FILE, IN_FILE
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots, folder_of
from scoring.sources.base import SourceFileRecord, SourceRecord
from scoring.sources.rechunk import rechunked
from scoring.storage.base import ObjectInfo
from scoring.storage.connections import Connections


class FileSource:
    """The files of one partition: the base of a ``Source`` for each file format.

    Raises SourceMissingError if there are none.
    """

    text_only: bool
    rows: int | None

    def __init__(
        self, job: Job, partition: Partition, roots: Roots, connections: Connections
    ) -> None:
        assert job.source.uri is not None
        every_day = job.source.outside_partition == "leave_out"
        patterns = roots.source_patterns(job.source.uri, partition, every_day)
        self.uri = ", ".join(patterns)
        self.storage = connections.readable_storage(next(iter(patterns)))
        self.columns, self._one_type = columns_to_read(job)
        self._names_files = FILE in job.added_columns
        self._types: dict[str, str] = {}
        found: list[ObjectInfo] = []
        for uri, pattern in patterns.items():
            files = self.storage.find(pattern)
            if not files:
                raise SourceMissingError(
                    f"the source of {job.name} {partition.key} is not there: {uri}. Check "
                    "source.uri in the job file, or wait for the data: with source.wait, Airflow "
                    f"does{roots.hint(job.source.uri)}",
                    pattern,
                )
            found += files
        self._folder = folder_of(next(iter(patterns)))
        expected = job.source.sha256.get(partition.key)
        self.files = [self._identified(file, expected) for file in found]

    def _identified(self, file: ObjectInfo, expected: str | None) -> SourceFileRecord:
        """Return ``file`` with the marks of its bytes; their digest has to be ``expected``, if that
        is given.
        """
        try:
            file = self.storage.identify(file)
            digest = file.sha256
            if expected and digest is None:  # in S3 the ETag has been mark enough
                digest = self.storage.sha256(file.uri)
        except OSError as error:
            raise SourceError(f"{file.uri} cannot be read: {error.strerror}") from None
        if expected not in (None, digest):
            raise SourceError(
                f"{file.uri} is not the file that source.sha256 in the job file names: its digest "
                f"is {digest}, and {expected} was expected"
            )
        return SourceFileRecord(
            uri=file.uri,
            bytes=file.bytes,
            sha256=digest,
            etag=file.etag,
            modified_ns=file.modified_ns,
        )

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """See ``Source``.  Raises SourceError naming the file, and the column if one is missing."""
        return rechunked(self._pieces(), sizes, self.uri)

    def reading(self, columns: list[str]) -> Self:
        """Return the same files, of which other columns are read, in whatever types they have."""
        other = copy.copy(self)
        other.columns, other._one_type = columns, set()
        return other

    def read(self, uri: str) -> Iterator[pa.Table]:
        """Yield tables of the job's columns of one file, in its order; the first may be without
        rows.
        """
        raise NotImplementedError

    def column_names(self, publishable: bool = False) -> list[str]:
        """Return the columns of the first file; only those that could be published, if asked."""
        raise NotImplementedError

    def _pieces(self) -> Iterator[pa.Table]:
        for file in self.files:
            try:
                for table in self.read(file.uri):
                    self._check_types(file.uri, table)
                    yield self._with_file(file.uri, table)
            except (pa.ArrowException, UnicodeDecodeError, csv.Error, OSError) as error:
                first_line = str(error).splitlines()[0]
                raise SourceError(
                    f"{file.uri} cannot be read: {first_line.rstrip('.')}. Write the file again"
                ) from error

    def _check_types(self, uri: str, table: pa.Table) -> None:
        """Raise SourceError where a column that expressions read has another type in another file:
        joined in one batch, the types would become one.
        """
        for name in self._one_type:
            kind = stored_type(table.schema.field(name).type)
            if kind is not None and self._types.setdefault(name, kind) != kind:
                raise other_type(uri, name, kind, f"{self._types[name]} in a file before it")

    def _with_file(self, uri: str, table: pa.Table) -> pa.Table:
        """Return ``table`` with the file that its rows are in, for a job without row ids."""
        if not self._names_files:
            return table
        name = uri.removeprefix(self._folder)
        return table.append_column(IN_FILE, constant(name, table.num_rows))

    def record(self, rows: int) -> SourceRecord:
        """See ``Source``: the digest is of the files' digests, or of S3's marks of them, in order."""
        marks = "".join(file.sha256 or file.etag or "" for file in self.files)
        return SourceRecord(
            uri=self.uri,
            rows=rows,
            bytes=sum(file.bytes for file in self.files),
            sha256=hashlib.sha256(marks.encode()).hexdigest(),
            files=self.files,
        )
