"""The rows of a published partition, in the order of its source: those with predictions one part at
a time, the others by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.destinations.manifest import ObjectRecord
from scoring.storage.base import ReadableStorage

_BATCH_ROWS = 16_384
_COLUMNS = ["row", "reason", "column", "value"]


class PublishedRows:
    """Predictions on their way past a reader: ``peek`` shows the next ones, ``skip`` passes them."""

    def __init__(self, file: pq.ParquetFile, columns: list[str]) -> None:
        self.schema = pa.schema([file.schema_arrow.field(name) for name in columns])
        self.rows = file.metadata.num_rows
        self._batches = file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False)
        self._ahead = self.schema.empty_table()
        self._passed = 0

    @property
    def left(self) -> int:
        """How many rows are still to be passed."""
        return int(self.rows - self._passed)

    def peek(self, rows: int) -> pa.Table:
        """Return the next ``rows`` rows; fewer where there are no more."""
        while self._ahead.num_rows < rows:
            batch = next(self._batches, None)
            if batch is None:
                break
            more = pa.Table.from_batches([batch]).select(self.schema.names)
            self._ahead = pa.concat_tables([self._ahead, more.cast(self.schema)])
        return self._ahead.slice(0, rows).combine_chunks()

    def skip(self, rows: int) -> None:
        """Pass rows that ``peek`` has shown."""
        self._ahead = self._ahead.slice(rows)
        self._passed += rows


@contextmanager
def open_predictions(
    storage: ReadableStorage, output: ObjectRecord, but: list[str]
) -> Iterator[PublishedRows]:
    """Yield the published predictions, without the columns ``but``."""
    with storage.open(output.uri) as opened, pq.ParquetFile(opened) as file:
        columns = [name for name in file.schema_arrow.names if name not in but]
        yield PublishedRows(file, columns)


@dataclass(frozen=True)
class Unscored:
    """Why a row has no prediction; ``column`` and ``value`` are None where it is about the row."""

    reason: str
    column: str | None
    value: str | None


class UnscoredRows:
    """Published rows without a prediction, by their number in the source; ``uri`` None: none."""

    def __init__(self, storage: ReadableStorage, record: ObjectRecord | None) -> None:
        self._table = pa.table({name: pa.array([], pa.string()) for name in _COLUMNS})
        if record is not None:
            with storage.open(record.uri) as opened, pq.ParquetFile(opened) as file:
                self._table = file.read(_COLUMNS).sort_by("row").combine_chunks()
        numbers = self._table.column("row").cast(pa.int64())
        self._rows: npt.NDArray[np.int64] = numbers.to_numpy()

    def between(self, first: int, last: int) -> dict[int, Unscored]:
        """Return those of the rows ``first`` to ``last``, by their number."""
        start, end = np.searchsorted(self._rows, [first, last + 1])
        found = self._table.slice(start, end - start).to_pylist()
        return {row["row"]: Unscored(row["reason"], row["column"], row["value"]) for row in found}

    def after(self, row: int) -> int:
        """Return how many of them have a higher number than ``row``."""
        return len(self._rows) - int(np.searchsorted(self._rows, row + 1))

    def counts(self) -> dict[str, int]:
        """Return how many there are of each reason."""
        counted = self._table.column("reason").value_counts().to_pylist()
        return {entry["values"]: entry["counts"] for entry in counted}
