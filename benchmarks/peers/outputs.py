"""Predictions that two programs have written: the same ones, to the bit, for the same rows?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PREDICTION = "predicted_arr_delay"


def read(files: Iterable[Path], ids: Sequence[str]) -> pa.Table:
    """Return the ids as texts of one column, and the predictions."""
    columns = [*ids, PREDICTION]
    # Each file for itself: writers differ in the type of a text.
    tables = [pq.read_table(file, columns=columns, partitioning=None) for file in files]
    return pa.concat_tables(
        pa.table([_key(table, ids), table[PREDICTION]], names=["id", PREDICTION])
        for table in tables
    )


def check_same(name: str, ours: pa.Table, theirs: pa.Table) -> None:
    """Exit unless both have the same rows and the same bits: other figures cannot be compared."""
    if len(ours) != len(theirs):
        raise SystemExit(f"error: {name} predicted {len(theirs)} rows, scoring {len(ours)}")
    if not ours["id"].equals(theirs["id"]):  # in the same order, they need not be sorted
        ours, theirs = ours.sort_by("id"), theirs.sort_by("id")
    if not ours["id"].equals(theirs["id"]):
        raise SystemExit(f"error: {name} and scoring predicted other rows")
    bits = [table[PREDICTION].to_numpy().view(np.int64) for table in (ours, theirs)]
    if not np.array_equal(*bits):
        differ = int(np.count_nonzero(bits[0] != bits[1]))
        raise SystemExit(f"error: {name} predicted {differ} rows with other bits than scoring")


def _key(table: pa.Table, ids: Sequence[str]) -> pa.ChunkedArray:
    columns = [table[name] for name in ids]
    # A moment is the same one in microseconds and in nanoseconds.
    moments = [
        c.cast(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(c.type) else c for c in columns
    ]
    texts = [c.cast(pa.large_string()) for c in moments]
    return (
        texts[0]
        if len(texts) == 1
        else pc.binary_join_element_wise(*texts, pa.scalar("|", pa.large_string()))
    )
