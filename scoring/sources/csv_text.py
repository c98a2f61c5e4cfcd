"""CSV: everything is text, parsed into the types of the contract later.

While a file has no quotes, each of its lines is a row, and Arrow reads it. From the first quote on
it is read by Python's own csv module, in its strict mode: Arrow takes a quote that is never closed
for the rest of the file, and rows would vanish.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from scoring.errors import SourceError
from scoring.sources.rechunk import check_columns

BLOCK_BYTES = 4 << 20
"""What is read at once; a line must be shorter, or one without an end would fill the memory."""
ROWS_AT_ONCE = 16_384

NULL_TEXTS = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
]  # fmt: skip
"""What pandas.read_csv takes for a null (``na_values`` in its documentation), quoted or not."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECES = re.compile(r"[^\r]*\r\n?|[^\r]+")


def read_csv_text(uri: str, file: io.BufferedReader, columns: list[str]) -> Iterator[pa.Table]:
    """Yield tables of ``columns``, all text, of the CSV in ``file``.

    Raises SourceError, which names ``uri``, the line and the column, for what is not well-formed.
    """
    reader = CsvReader(uri, file, columns)
    yield from reader.plain_tables()
    yield from reader.strict_tables()


class CsvReader:
    """A file on its way through the two readers."""

    def __init__(self, uri: str, file: io.BufferedReader, columns: list[str]) -> None:
        self._uri, self._file, self._columns = uri, file, columns
        self._header: list[str] = []
        self._line = 0  # how many are behind us
        self._rest = file.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)

    @property
    def header(self) -> list[str]:
        """The names of the columns; empty before the first table."""
        return self._header

    def plain_tables(self) -> Iterator[pa.Table]:
        """Yield the rows up to the block that has the first quote, read by Arrow."""
        while b'"' not in self._rest:
            more = self._file.read(BLOCK_BYTES)
            self._rest += more
            end = len(self._rest) if not more else self._rest.rfind(b"\n") + 1
            block = self._rest[:end]
            if b'"' in more or block.count(b"\r") > block.count(b"\r\n"):
                return
            if not end and len(self._rest) > BLOCK_BYTES:
                raise self._malformed(self._line + 1, f"has more than {BLOCK_BYTES:,} bytes")
            self._rest = self._rest[end:]
            yield from self._plain_table(block)
            if not more:
                return

    def strict_tables(self) -> Iterator[pa.Table]:
        """Yield what ``plain_tables`` left, read by the csv module."""
        records = self._records()
        while rows := list(islice(records, ROWS_AT_ONCE)):
            yield self._table(rows)
        if not self._header:
            self._set_header([])
        yield self._table([])

    def _plain_table(self, block: bytes) -> Iterator[pa.Table]:
        """Yield the rows of a block of whole lines without a quote; none where they all are empty."""
        while block and not self._header:
            line, _, block = block.partition(b"\n")
            self._line += 1
            if text := self._decoded(line, self._line).rstrip("\r"):
                self._set_header(text.split(","))
        if not block.strip(b"\r\n"):
            self._line += block.count(b"\n")
            return
        try:
            if not block.isascii():
                block.decode()
            table = pyarrow.csv.read_csv(
                io.BytesIO(block),
                pyarrow.csv.ReadOptions(
                    use_threads=False, block_size=2 * len(block), column_names=self._header
                ),
                pyarrow.csv.ParseOptions(quote_char=False),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(self._columns, pa.string()),
                    include_columns=self._columns,
                    null_values=NULL_TEXTS,
                    strings_can_be_null=True,
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError):
            self._rest = block + self._rest
            for _ in self._records():  # finds the line at fault
                pass
            raise
        self._line += block.count(b"\n")
        yield table

    def _records(self) -> Iterator[list[str]]:
        """Yield the rows that are left; empty lines are none."""
        first = self._line + 1  # of the current row
        try:
            for record in csv.reader(self._texts(), strict=True):
                if record and not self._header:
                    self._set_header(record)
                elif len(record) == len(self._header):
                    yield record
                elif record:
                    fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
                    raise self._malformed(
                        first, f"begins a row of {fields}, and the header has {len(self._header)}"
                    )
                first = self._line + 1
        except csv.Error as error:
            what = f"begins a row that cannot be read: {error}"
            if "unexpected end" in str(error):
                what = "begins a row with a quote that is never closed"
            raise self._malformed(first, what) from None

    def _texts(self) -> Iterator[str]:
        """Yield the lines that are left, with their ends; a quoted field may go on over several."""
        start = io.BytesIO(self._rest)
        while line := start.readline() or self._file.readline(BLOCK_BYTES):
            if not line.endswith(b"\n"):
                line += self._file.readline(BLOCK_BYTES)
            self._line += 1
            if len(line) >= BLOCK_BYTES and not line.endswith(b"\n"):
                raise self._malformed(self._line, f"has more than {BLOCK_BYTES:,} bytes")
            text = self._decoded(line, self._line)
            if "\r" in text[:-2]:
                yield from _PIECES.findall(text)
            else:
                yield text

    def _table(self, rows: list[list[str]]) -> pa.Table:
        texts = {}
        for name in self._columns:
            position = self._header.index(name)
            of_column = pa.array([row[position] for row in rows], pa.string())
            is_null = pc.is_in(of_column, value_set=pa.array(NULL_TEXTS))
            texts[name] = pc.if_else(is_null, pa.scalar(None, pa.string()), of_column)
        return pa.table(texts)

    def _set_header(self, header: list[str]) -> None:
        check_columns(self._uri, self._columns, header)
        self._header = header

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            wrong = line[error.start : error.start + 1].hex()
            raise self._malformed(
                number, f"is not UTF-8 (0x{wrong} after {error.start:,} bytes of the line)"
            ) from None

    def _malformed(self, line: int, what: str) -> SourceError:
        return SourceError(
            f"{self._uri}, line {line:,} {what}. Write the file again, or fix the line"
        )
