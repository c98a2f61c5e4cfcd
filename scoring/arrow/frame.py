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

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.moments import in_unit
from scoring.arrow.text import dictionary_codes, is_text
from scoring.job.inputs import ColumnConfig


def to_frame(
    table: pa.Table, columns: Mapping[str, ColumnConfig], coded: Collection[str] = ()
) -> pd.DataFrame:
    """Return ``columns`` of ``table``, which are in the contract's types, with the index 0 to n-1.

    Text of the columns ``coded`` becomes Categorical: each distinct text once, and a number a row.
    """
    found = {}
    for name, column in columns.items():
        values = combined_column(table, name)
        as_codes = categorical(values) if name in coded else None
        found[name] = to_series(values, column) if as_codes is None else as_codes
    return pd.DataFrame(found)


def categorical(values: pa.Array) -> pd.Series | None:
    """Return dictionary-encoded text as a Categorical Series; None where ``values`` are anything else."""
    if not pa.types.is_dictionary(values.type) or not is_text(values.type):
        return None
    texts = pd.Index(values.dictionary.to_numpy(zero_copy_only=False), dtype=object)
    if not texts.is_unique or texts.hasnans:
        return None
    codes = values.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return pd.Series(pd.Categorical.from_codes(codes, texts, validate=False))


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
