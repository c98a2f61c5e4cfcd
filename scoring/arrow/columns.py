"""Columns of Arrow tables: as one array, and as masks of their rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask = npt.NDArray[np.bool_]


def combined_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column of ``table`` as one array."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def null_mask(values: pa.Array) -> Mask:
    """Return a mask of missing values: null, and NaN too, which pandas takes for the same."""
    if values.null_count == 0 and not pa.types.is_floating(values.type):
        return no_rows(values)
    return np.asarray(values.is_null(nan_is_null=True))


def no_rows(values: pa.Array) -> Mask:
    return np.zeros(len(values), dtype=bool)


def constant(text: str, rows: int) -> pa.Array:
    """Return a text column that has the same value in each of ``rows`` rows."""
    numbers = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(numbers, pa.array([text], pa.string()))
