"""CSV files as a source."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from scoring.job.uri_templates import without_query
from scoring.sources.csv_text import CsvReader, read_csv_text
from scoring.sources.files import FileSource
from scoring.storage.base import ReadableStorage


class CsvSource(FileSource):
    """The CSV files of one partition, gzipped where their names say so; a ``Source``."""

    text_only = True
    rows = None  # only reading them all can show it

    def column_names(self, publishable: bool = False) -> list[str]:
        """See ``FileSource``."""
        uri = self.files[0].uri
        with _opened(self.storage, uri) as file:
            reader = CsvReader(uri, file, [])
            next(chain(reader.plain_tables(), reader.strict_tables()))
            return reader.header

    def read(self, uri: str) -> Iterator[pa.Table]:
        """See ``FileSource``.  Raises SourceError, with the line, for what is not well-formed CSV."""
        with _opened(self.storage, uri) as file:
            yield from read_csv_text(uri, file, self.columns)


def _opened(storage: ReadableStorage, uri: str) -> io.BufferedReader:
    file = storage.open(uri)
    if without_query(uri).endswith(".gz"):
        file = pa.CompressedInputStream(file, "gzip")
    return io.BufferedReader(file, 1 << 20)
