"""Columns of Arrow tables: as one array, as a mask, and handed to pandas."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.text import dictionary_codes, is_text

Mask = npt.NDArray[np.bool_]


def combined_column(table: pa.Table, name: str) -> pa.Array:
    """A column of ``table`` as one array."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def null_mask(values: pa.Array) -> Mask:
    """Where ``values`` has no value: null, and NaN too, which pandas takes for the same."""
    if values.null_count == 0 and not pa.types.is_floating(values.type):
        return no_rows(values)
    return np.asarray(values.is_null(nan_is_null=True))


def matches(values: pa.Array, allowed: list[Any]) -> Mask:
    """Where a value is one of ``allowed``; text is compared as text, numbers as numbers."""
    if pa.types.is_dictionary(values.type):
        of_distinct = np.append(matches(values.dictionary, allowed), False)
        return np.asarray(of_distinct[dictionary_codes(values)])
    try:
        wanted = pa.array(allowed).cast(values.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return no_rows(values)
    return np.asarray(pc.is_in(values, value_set=wanted))


def to_pandas(values: pa.Array) -> pd.Series:
    """``values`` as a pandas Series of the same length and order, with a new RangeIndex.

    Text is a column of Python strings (``object``) with NaN for null: an encoder reads it three
    times faster than pandas' own text type.  Integers with nulls are float64 with NaN.
    """
    if is_text(values.type):
        return pd.Series(_objects(values), dtype=object)
    if pa.types.is_boolean(values.type) and values.null_count:
        return pd.Series(values.to_numpy(zero_copy_only=False), dtype=object).fillna(np.nan)
    return pd.Series(values.to_pandas(date_as_object=False))


def _objects(values: pa.Array) -> npt.NDArray[np.object_]:
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = np.array([*values.dictionary.to_pylist(), np.nan], dtype=object)
    return np.asarray(distinct[dictionary_codes(values)])


def no_rows(values: pa.Array) -> Mask:
    return np.zeros(len(values), dtype=bool)
