"""Row ids that occur more than once in a partition, found without holding the partition in memory.

Each row id is hashed to 64 bits as the rows stream by; hashes are kept in memory for a small
partition and in 64 files by their first bits for a large one, of which each that is too large is
divided by its next bits.  Rows whose hashes are equal are only candidates: the caller compares their
real ids, so a collision never costs a good row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.hashing import Hashes
from scoring.arrow.text import decoded
from scoring.errors import raise_if_resource_error
from scoring.storage.temporary import TemporaryFolder

ROWS_IN_MEMORY = 1_000_000
CANDIDATES_AT_ONCE = 250_000
FILE_TIMES = 4
"""A file has at most so many times the rows that are kept in memory: it is sorted as a whole."""
BUCKET_BITS = 6
"""Files are divided by so many bits of the hashes: 64 of them at first, and 64 of each too large one."""
ENTRY = np.dtype([("hash", np.uint64), ("row", np.int64)])
"""What a row takes in them."""

Rows = npt.NDArray[np.int64]


class RowIdIndex:
    """The hashes of all row ids seen so far, and the number of the row of each."""

    def __init__(self, rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        self._limit = rows_in_memory
        self._waiting: list[npt.NDArray[np.void]] = []
        self._rows_waiting = 0
        self._folder: TemporaryFolder | None = None

    def close(self) -> None:
        """Remove what is on the disk."""
        if self._folder is not None:
            self._folder.close()

    def add(self, hashes: Hashes, rows: Rows) -> None:
        """Take in the hash and the number of each of some rows."""
        entries = np.empty(len(rows), dtype=ENTRY)
        entries["hash"], entries["row"] = hashes, rows
        self._waiting.append(entries)
        self._rows_waiting += len(rows)
        if self._rows_waiting > self._limit:
            self._spill()

    def candidates(self) -> Iterator[Rows]:
        """Yield, once, row numbers, ascending within each array, of rows that share their hash with
        another one there.

        All rows of one hash are in the same array.
        """
        found: list[Rows] = []
        for bucket in self._buckets():
            # Bare hashes sort many times faster than pairs, and mostly none of them is repeated.
            hashes = np.sort(bucket["hash"])
            repeated = hashes[1:][hashes[1:] == hashes[:-1]]
            if not len(repeated):
                continue
            found.append(bucket["row"][np.isin(bucket["hash"], repeated)])
            if sum(map(len, found)) > CANDIDATES_AT_ONCE:
                yield np.sort(np.concatenate(found))
                found = []
        if found:
            yield np.sort(np.concatenate(found))

    def _buckets(self) -> Iterator[npt.NDArray[np.void]]:
        if self._folder is None:
            yield np.concatenate(self._waiting) if self._waiting else np.empty(0, ENTRY)
            return
        self._spill()
        for file in sorted(Path(self._folder.name).iterdir()):
            yield from self._pieces(file, BUCKET_BITS)

    def _pieces(self, file: Path, bits: int) -> Iterator[npt.NDArray[np.void]]:
        """Yield the entries of ``file``, which share their first ``bits``."""
        most = max(1, self._limit) * FILE_TIMES
        if file.stat().st_size <= most * ENTRY.itemsize or bits + BUCKET_BITS > 64:
            yield np.fromfile(file, dtype=ENTRY)
            return
        folder = file.with_suffix(".divided")
        folder.mkdir()
        with file.open("rb") as whole:
            while len(entries := np.fromfile(whole, dtype=ENTRY, count=most)):
                _divide(entries, folder, bits)
        file.unlink()
        for part in sorted(folder.iterdir()):
            yield from self._pieces(part, bits + BUCKET_BITS)

    def _spill(self) -> None:
        if not self._waiting:
            return
        if self._folder is None:
            self._folder = TemporaryFolder("row-ids")
        entries = np.concatenate(self._waiting)
        self._waiting, self._rows_waiting = [], 0
        _divide(entries, Path(self._folder.name), 0)


def _divide(entries: npt.NDArray[np.void], folder: Path, bits: int) -> None:
    """Append ``entries`` to the files of ``folder``, by what follows the first ``bits`` of their hashes."""
    shifts = np.uint64(64 - bits - BUCKET_BITS)
    bucket = ((entries["hash"] >> shifts) & np.uint64((1 << BUCKET_BITS) - 1)).astype(np.uint8)
    entries = entries[np.argsort(bucket, kind="stable")]
    sizes = np.bincount(bucket, minlength=1 << BUCKET_BITS)
    try:
        for number, part in enumerate(np.split(entries, np.cumsum(sizes)[:-1])):
            if len(part):
                with (folder / f"{number:02d}").open("ab") as file:
                    file.write(part.tobytes())
    except OSError as error:  # here, or it would be taken for one of what is being staged
        raise_if_resource_error(OSError(error.errno, error.strerror, str(folder)))
        raise


def repeated_rows(
    candidates: Rows, tables: Iterable[pa.Table], row_id: list[str], row: str
) -> Rows:
    """Return the rows of ``candidates`` (ascending) that repeat the id of an earlier one of them.

    ``tables`` have the columns ``row_id`` and ``row``, which numbers the rows; in order.
    """
    parts = []
    for table in tables:
        wanted = np.isin(table.column(row).to_numpy(), candidates)
        if wanted.any():
            kept = table.filter(pa.array(wanted))
            parts.append(
                pa.table({n: decoded(combined_column(kept, n)) for n in kept.column_names})
            )
    frame = pa.concat_tables(parts).to_pandas()
    return np.asarray(frame[row][frame.duplicated(row_id, keep="first")], dtype=np.int64)
