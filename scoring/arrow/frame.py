"""The DataFrame that a model is given: its dtypes follow from the contract, whatever the rows hold.

==================  =========================================================
type                dtype of the frame's column
==================  =========================================================
``string``          ``object``: Python strings, NaN for null
``int8`` … `64`     the same; ``float64`` with NaN for null, if ``nullable``
``float32``, `64`   the same, NaN for null
``boolean``         ``bool``; ``object`` with NaN for null, if ``nullable``
``timestamp``       ``datetime64[ns]``, with the column's time zone if it has one
``date``            ``datetime64[ns]``, midnight
==================  =========================================================

``unit`` in the contract gives moments another unit than ns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.moments import in_unit
from scoring.arrow.text import dictionary_codes, is_text
from scoring.job.inputs import ColumnConfig


def to_frame(table: pa.Table, columns: Mapping[str, ColumnConfig]) -> pd.DataFrame:
    """Return ``columns`` of ``table``, which are in the contract's types, with the index 0 to n-1."""
    return pd.DataFrame(
        {name: to_series(combined_column(table, name), c) for name, c in columns.items()}
    )


def to_series(values: pa.Array, column: ColumnConfig) -> pd.Series:
    """Return ``values`` as a Series of the same length and order, with a new RangeIndex.

    Text is a column of Python strings: an encoder reads it three times faster than pandas' own text
    type.
    """
    if is_text(values.type):
        return pd.Series(_objects(values), dtype=object)
    if column.nullable and pa.types.is_boolean(values.type):
        return pd.Series(values.to_numpy(zero_copy_only=False), dtype=object).fillna(np.nan)
    if column.nullable and pa.types.is_integer(values.type):
        values = values.cast(
            pa.float64(), safe=False
        )  # the contract lets none pass that it would change
    elif pa.types.is_date(values.type):
        values, _ = in_unit(values, column.time_unit)
    return pd.Series(values.to_pandas())


def _objects(values: pa.Array) -> npt.NDArray[np.object_]:
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = np.array([*values.dictionary.to_pylist(), np.nan], dtype=object)
    return np.asarray(distinct[dictionary_codes(values)])
