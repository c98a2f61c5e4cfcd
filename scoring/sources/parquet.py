"""Parquet files as a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.arrow.published import published_type
from scoring.errors import SourceError
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.sources.files import FileSource
from scoring.sources.rechunk import check_columns
from scoring.storage.connections import Connections
from scoring.storage.decompression import unpacks_too_far

PARQUET_BUFFER_BYTES = 1 << 20


class ParquetSource(FileSource):
    """The parquet files of one partition; a ``Source``."""

    text_only = False

    def __init__(
        self, job: Job, partition: Partition, roots: Roots, connections: Connections
    ) -> None:
        super().__init__(job, partition, roots, connections)
        self._footers: dict[str, pq.FileMetaData] = {}

    @cached_property
    def rows(self) -> int | None:  # type: ignore[override]
        """See ``Source``."""
        try:
            return sum(int(self._footer(file.uri).num_rows) for file in self.files)
        except (pa.ArrowInvalid, OSError):
            return None  # reading will say what is wrong

    def column_names(self, publishable: bool = False) -> list[str]:
        """See ``FileSource``."""
        schema = self._footer(self.files[0].uri).schema.to_arrow_schema()
        return [field.name for field in schema if not publishable or _is_publishable(field.type)]

    def read(self, uri: str) -> Iterator[pa.Table]:
        """See ``FileSource``."""
        columns = self.columns
        remote = uri.startswith("s3://")  # a file over https is read from its copy on the disk
        with self.storage.open(uri) as file:
            metadata = self._footer(uri, file)
            schema = metadata.schema.to_arrow_schema()
            check_columns(uri, columns, schema.names)
            _check_decompression(uri, columns, metadata)
            file.seek(0)
            opened = pq.ParquetFile(
                file,
                metadata=metadata,
                # int96 has no unit, and years that nanoseconds, pyarrow's default, cannot count.
                coerce_int96_timestamp_unit="us",
                read_dictionary=_repetitive_text(metadata, schema, columns),
                # From afar a row group's columns come in a few large requests and are held
                # meanwhile, so that only one may be asked for at a time; a disk streams them.
                pre_buffer=remote,
                buffer_size=0 if remote else PARQUET_BUFFER_BYTES,
            )
            yield opened.schema_arrow.empty_table().select(columns)
            groups = list(range(metadata.num_row_groups))
            for part in [[group] for group in groups] if remote else [groups]:
                for batch in opened.iter_batches(1 << 17, part, columns, use_threads=False):
                    yield pa.Table.from_batches([batch]).select(columns)

    def _footer(self, uri: str, file: pa.NativeFile | None = None) -> pq.FileMetaData:
        """Return what a parquet file says of itself, read once: from afar each time is a request.

        ``file`` is the file, where it is open already.
        """
        if uri not in self._footers:
            with self.storage.open(uri) if file is None else nullcontext(file) as opened:
                self._footers[uri] = pq.read_metadata(opened)
        return self._footers[uri]


def _is_publishable(kind: pa.DataType) -> bool:
    return published_type(kind) is not None and not pa.types.is_nested(kind)


def _check_decompression(uri: str, columns: list[str], metadata: pq.FileMetaData) -> None:
    """Raise SourceError for a column chunk that could be a single page of gigabytes: pages are read
    whole.
    """
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        for chunk in (group.column(i) for i in range(metadata.num_columns)):
            packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
            if chunk.path_in_schema.split(".")[0] in columns and unpacks_too_far(packed, unpacked):
                raise SourceError(
                    f"{uri}: {chunk.path_in_schema!r} has {packed:,} bytes in row group {g + 1} "
                    f"that unpack to {unpacked:,}. If they are meant to, write the file with "
                    "smaller row groups"
                )


def _repetitive_text(metadata: pq.FileMetaData, schema: pa.Schema, columns: list[str]) -> list[str]:
    """Return the text columns that are stored as a few distinct values and their numbers.

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
