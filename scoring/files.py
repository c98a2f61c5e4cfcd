"""A source of files: the job's columns of each, batch by batch, in the order of the files' names.

Each format is one function in ``_READERS`` that yields Arrow tables of a file's columns.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scoring.batches import check_columns, resized
from scoring.connections import Connections
from scoring.errors import SourceError, SourceMissing
from scoring.expansion import unpacks_too_far
from scoring.job import Job
from scoring.manifest import SourceFileRecord, SourceRecord
from scoring.objects import ObjectInfo, ReadableStorage
from scoring.partition import Partition
from scoring.uri import Roots, without_query

CSV_BLOCK_BYTES = 4 << 20
PARQUET_BUFFER_BYTES = 1 << 20


class FileSource:
    """The files of one partition; a ``Source``.  Raises SourceMissing if there are none."""

    def __init__(
        self, job: Job, partition: Partition, roots: Roots, connections: Connections
    ) -> None:
        assert job.source.uri is not None
        self.uri = roots.expand(job.source.uri, partition)
        self.storage = connections.readable_storage(self.uri)
        self.text_only = job.source.file_format == "csv"
        self.columns = job.columns
        self._read = _READERS[job.source.file_format]
        self._footers: dict[str, pq.FileMetaData] = {}
        found = self.storage.find(self.uri)
        if not found:
            raise SourceMissing(
                f"the source of {job.name} {partition.key} is not there: {self.uri}; "
                "nothing was published. Check source.uri in the job file, or wait for the data"
            )
        expected = job.source.sha256.get(partition.key)
        self.files = [self._identified(file, expected) for file in found]

    def _identified(self, file: ObjectInfo, expected: str | None) -> SourceFileRecord:
        """``file`` with the marks of its bytes; their digest has to be ``expected``, if that is given."""
        try:
            file = self.storage.identify(file)
            digest = file.sha256
            if expected and digest is None:  # in S3 the ETag has been mark enough
                digest = self.storage.sha256(file.uri)
        except OSError as error:
            raise SourceError(f"{file.uri} cannot be read: {error.strerror}") from None
        if expected not in (None, digest):
            raise SourceError(
                f"{file.uri} is not the file that source.sha256 in the job file names: its digest is "
                f"{digest}, and {expected} was expected; nothing was published"
            )
        return SourceFileRecord(uri=file.uri, bytes=file.bytes, sha256=digest, etag=file.etag)

    @cached_property
    def rows(self) -> int | None:
        """How many rows there are; None where only reading them all can tell."""
        if self.text_only:
            return None
        try:
            return sum(int(self.footer(file.uri).num_rows) for file in self.files)
        except (pa.ArrowInvalid, OSError):
            return None  # reading will say what is wrong

    def footer(self, uri: str, file: pa.NativeFile | None = None) -> pq.FileMetaData:
        """What a parquet file says of itself, read once: from afar each time is a request.

        ``file`` is the file, where it is open already.
        """
        if uri not in self._footers:
            with self.storage.open(uri) if file is None else nullcontext(file) as opened:
                self._footers[uri] = pq.read_metadata(opened)
        return self._footers[uri]

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """See ``Source``.  Raises SourceError naming the file, and the column if one is missing."""
        return resized(self._pieces(), sizes, self.uri)

    def _pieces(self) -> Iterator[pa.Table]:
        for file in self.files:
            try:
                yield from self._read(self, file.uri)
            except (pa.ArrowException, UnicodeDecodeError, csv.Error, OSError) as error:
                first_line = str(error).splitlines()[0]
                raise SourceError(f"{file.uri} cannot be read: {first_line}") from error

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


def _read_parquet(source: FileSource, uri: str) -> Iterator[pa.Table]:
    columns = source.columns
    remote = uri.startswith("s3://")  # a file over https is read from its copy on the disk
    with source.storage.open(uri) as file:
        metadata = source.footer(uri, file)
        schema = metadata.schema.to_arrow_schema()
        check_columns(uri, columns, schema.names)
        _check_expansion(uri, columns, metadata)
        file.seek(0)
        opened = pq.ParquetFile(
            file,
            metadata=metadata,
            read_dictionary=_repetitive_text(metadata, schema, columns),
            # From afar a row group's columns come in a few large requests and are held meanwhile,
            # so that only one may be asked for at a time; a disk streams them.
            pre_buffer=remote,
            buffer_size=0 if remote else PARQUET_BUFFER_BYTES,
        )
        yield schema.empty_table().select(columns)
        groups = list(range(metadata.num_row_groups))
        for part in [[group] for group in groups] if remote else [groups]:
            for batch in opened.iter_batches(1 << 17, part, columns, use_threads=False):
                yield pa.Table.from_batches([batch]).select(columns)


def _check_expansion(uri: str, columns: list[str], metadata: pq.FileMetaData) -> None:
    """SourceError for a column chunk that could be a single page of gigabytes: pages are read whole."""
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        for chunk in (group.column(i) for i in range(metadata.num_columns)):
            packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
            if chunk.path_in_schema.split(".")[0] in columns and unpacks_too_far(packed, unpacked):
                raise SourceError(
                    f"{uri}: {chunk.path_in_schema!r} has {packed:,} bytes in row group {g + 1} that "
                    f"unpack to {unpacked:,}; nothing was published. If they are meant to, write the "
                    "file with smaller row groups"
                )


def _repetitive_text(metadata: pq.FileMetaData, schema: pa.Schema, columns: list[str]) -> list[str]:
    """The text columns that are stored as a few distinct values and their numbers.

    They are far cheaper to check, to hash and to hand to a model as numbers.  A column chunk that
    takes fewer than 4 bytes a value holds such numbers, not text.
    """
    repetitive = []
    for name in columns:
        kind = schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        index = next(
            i for i in range(metadata.num_columns) if metadata.schema.column(i).path == name
        )
        chunks = [metadata.row_group(g).column(index) for g in range(metadata.num_row_groups)]
        if all(c.total_uncompressed_size < 4 * c.num_values + 65_536 for c in chunks):
            repetitive.append(name)
    return repetitive


def _read_csv(source: FileSource, uri: str) -> Iterator[pa.Table]:
    columns = source.columns
    with _opened_text(source.storage, uri) as stream:
        start = io.BytesIO(stream.read(CSV_BLOCK_BYTES))  # no more: the first line may be endless
        header = io.TextIOWrapper(start, encoding="utf-8-sig", newline="")
        check_columns(uri, columns, next(csv.reader(header), []))
    with _opened_text(source.storage, uri) as stream:
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=columns,
                strings_can_be_null=True,
            ),
        )
        yield reader.schema.empty_table().select(columns)
        for batch in reader:
            yield pa.Table.from_batches([batch]).select(columns)


def _opened_text(storage: ReadableStorage, uri: str) -> pa.NativeFile:
    file = storage.open(uri)
    return pa.CompressedInputStream(file, "gzip") if without_query(uri).endswith(".gz") else file


_READERS: dict[str, Callable[[FileSource, str], Iterator[pa.Table]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
}
