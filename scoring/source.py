"""The rows of a partition, read from where the job says they are: columns pruned, batch by batch.

Each format is one function in ``_READERS`` that yields Arrow tables of a file's columns.  Another
kind of source (SQL, HTTPS) is another class with the attributes and the method of ``FileSource``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scoring.columns import encoded, single
from scoring.errors import SourceError, SourceMissing
from scoring.job import Job
from scoring.partition import Partition
from scoring.storage import ObjectInfo, Storage, storage_for
from scoring.uri import Roots

CSV_BLOCK_BYTES = 4 << 20
PARQUET_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """What was read, so that a re-run can be known to read the same: by digest, or S3's ETag."""

    uri: str
    bytes: int
    sha256: str | None
    etag: str | None


class FileSource:
    """The files of one partition, in the order of their names.

    ``text_only`` says that the format knows no types, so that text may be parsed into the types
    that the contract names.
    """

    def __init__(self, job: Job, partition: Partition, roots: Roots) -> None:
        self.uri = roots.expand(job.source.uri, partition)
        self.storage = storage_for(self.uri)
        self.text_only = job.source.file_format == "csv"
        self._read = _READERS[job.source.file_format]
        self._columns = job.columns
        found = self.storage.find(self.uri)
        if not found:
            raise SourceMissing(
                f"the source of {job.name} {partition.key} is not there: {self.uri}; "
                "nothing was published. Check source.uri in the job file, or wait for the data"
            )
        self.files = [SourceFile(f.uri, f.bytes, self._digest_of(f), f.etag) for f in found]

    def _digest_of(self, found: ObjectInfo) -> str | None:
        if found.etag is not None:
            return None  # the server's own mark of the bytes, without reading them all
        try:
            return self.storage.sha256(found.uri)
        except OSError as error:
            raise SourceError(f"{found.uri} cannot be read: {error.strerror}") from None

    @cached_property
    def rows(self) -> int | None:
        """How many rows there are; None where only reading them all can tell."""
        if self.text_only:
            return None
        try:
            return sum(self._rows_of(file.uri) for file in self.files)
        except (pa.ArrowInvalid, OSError):
            return None  # reading will say what is wrong

    def _rows_of(self, uri: str) -> int:
        with self.storage.open(uri) as file:
            return int(pq.read_metadata(file).num_rows)

    def batches(self, sizes: Iterator[int]) -> Iterator[pa.Table]:
        """Tables of the job's columns, in source order, with as many rows as ``sizes`` says next.

        Only the last table may be shorter than its size; a source without rows gives one empty table.
        Raises SourceError naming the file, and the column if one is missing.
        """
        try:
            yield from _resized(self._pieces(), sizes)
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise SourceError(
                f"{self.uri}: its files store the same column in different types: {error}; nothing "
                "was published"
            ) from error

    def _pieces(self) -> Iterator[pa.Table]:
        for file in self.files:
            try:
                yield from self._read(self.storage, file.uri, self._columns)
            except (pa.ArrowException, UnicodeDecodeError, csv.Error, OSError) as error:
                first_line = str(error).splitlines()[0]
                raise SourceError(f"{file.uri} cannot be read: {first_line}") from error


def _read_parquet(storage: Storage, uri: str, columns: list[str]) -> Iterator[pa.Table]:
    remote = "://" in uri
    with storage.open(uri) as file:
        metadata = pq.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
        _check_columns(uri, columns, schema.names)
        file.seek(0)
        opened = pq.ParquetFile(
            file,
            metadata=metadata,
            read_dictionary=_repetitive_text(metadata, schema, columns),
            # From afar a row group's columns come in a few large requests; a disk streams them.
            pre_buffer=remote,
            buffer_size=0 if remote else PARQUET_BUFFER_BYTES,
        )
        yield schema.empty_table().select(columns)
        for batch in opened.iter_batches(1 << 17, columns=columns, use_threads=False):
            yield pa.Table.from_batches([batch]).select(columns)


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


def _read_csv(storage: Storage, uri: str, columns: list[str]) -> Iterator[pa.Table]:
    with _opened_text(storage, uri) as stream:
        header = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        _check_columns(uri, columns, next(csv.reader(header), []))
    with _opened_text(storage, uri) as stream:
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


def _opened_text(storage: Storage, uri: str) -> pa.NativeFile:
    file = storage.open(uri)
    return pa.CompressedInputStream(file, "gzip") if uri.endswith(".gz") else file


_READERS: dict[str, Callable[[Storage, str, list[str]], Iterator[pa.Table]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
}


def _check_columns(uri: str, wanted: list[str], present: list[str]) -> None:
    missing = [name for name in wanted if name not in present]
    if missing:
        raise SourceError(
            f"{uri} has no column {', '.join(map(repr, missing))}; it has {', '.join(present)}. "
            "Nothing was published"
        )


def _resized(pieces: Iterator[pa.Table], sizes: Iterator[int]) -> Iterator[pa.Table]:
    """The rows of ``pieces``, cut anew into tables of ``sizes``; without rows, one empty table."""
    size, rows, given = next(sizes), 0, False
    waiting: list[pa.Table] = []
    for piece in pieces:
        empty = piece.slice(0, 0)
        while piece.num_rows:
            waiting.append(piece.slice(0, size - rows))
            rows += waiting[-1].num_rows
            piece = piece.slice(waiting[-1].num_rows)
            if rows == size:
                yield _joined(waiting)
                waiting, rows, size, given = [], 0, next(sizes), True
    if rows:
        yield _joined(waiting)
    elif not given:
        yield empty


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table of the rows of all; files may store the same column in different types."""
    if any(table.schema != tables[0].schema for table in tables):
        tables = [_with_encoded_text(table) for table in tables]
    joined = pa.concat_tables(tables, promote_options="permissive")
    return joined.unify_dictionaries().combine_chunks()


def _with_encoded_text(table: pa.Table) -> pa.Table:
    return pa.table({name: encoded(single(table, name)) for name in table.column_names})
