"""CSV files as a source: everything is text, parsed into the types of the contract later."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv

from scoring.job.uri_templates import without_query
from scoring.sources.files import FileSource
from scoring.sources.rechunk import check_columns
from scoring.storage.base import ReadableStorage

CSV_BLOCK_BYTES = 4 << 20


class CsvSource(FileSource):
    """The CSV files of one partition, gzipped where their names say so; a ``Source``."""

    text_only = True
    rows = None  # only reading them all can tell

    def read(self, uri: str) -> Iterator[pa.Table]:
        """See ``FileSource``."""
        columns = self.columns
        with _opened_text(self.storage, uri) as stream:
            start = io.BytesIO(
                stream.read(CSV_BLOCK_BYTES)
            )  # no more: the first line may be endless
            header = io.TextIOWrapper(start, encoding="utf-8-sig", newline="")
            check_columns(uri, columns, next(csv.reader(header), []))
        with _opened_text(self.storage, uri) as stream:
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
