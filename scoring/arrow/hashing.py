"""Hashes of rows: the same values have the same hash in every process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.narrow import without_negative_zero
from scoring.arrow.text import as_text, dictionary_codes, is_binary, is_text

try:
    from scoring.arrow import _siphash
except ImportError:  # installed where there was no compiler: the same numbers, more slowly
    _siphash = None  # type: ignore[assignment]

Hashes = npt.NDArray[np.uint64]

_KEY = b"0123456789123456"
"""The ``hash_key`` of pandas."""


def hash_rows(columns: list[pa.Array]) -> Hashes:
    """Return a 64-bit hash for each row of ``columns``, the same for the same values in every
    process.
    """
    combined = np.full(len(columns[0]), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for values in columns:
        combined *= np.uint64(0x100000001B3)
        combined ^= _hashes(values)
        combined ^= combined >> np.uint64(29)
    return combined


def hash_columns(table: pa.Table, names: list[str]) -> Hashes:
    """Return a hash for each row of ``table``, of the values in the columns ``names``."""
    return hash_rows([combined_column(table, name) for name in names])


def _hashes(values: pa.Array) -> Hashes:
    if is_text(values.type) or is_binary(values.type):
        return _of_texts(values)
    if pa.types.is_floating(values.type):
        values = without_negative_zero(values.cast(pa.float64()))
    elif pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        values = values.cast(pa.int64(), safe=False)  # a large uint64 keeps its bits
    elif pa.types.is_temporal(values.type):
        if pa.types.is_date32(values.type) or pa.types.is_time32(values.type):
            values = values.cast(pa.int32())
        values = values.cast(pa.int64())
    else:
        return _hashes(as_text(values))
    numbers = pd.util.hash_array(values.fill_null(0).to_numpy(zero_copy_only=False))
    if values.null_count:
        numbers[np.asarray(values.is_null())] = 0
    return numbers


def _of_texts(values: pa.Array) -> Hashes:
    if _siphash is None and not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()  # each distinct value becomes an object once
    if pa.types.is_dictionary(values.type):
        return np.append(_of_distinct(values.dictionary), np.uint64(0))[dictionary_codes(values)]
    return _of_distinct(values)


def _of_distinct(values: pa.Array) -> Hashes:
    """Return the hash of each text or bytes; that of null is 0."""
    if pa.types.is_string_view(values.type) or pa.types.is_binary_view(values.type):
        values = values.cast(pa.large_binary())
    if _siphash is None or pa.types.is_fixed_size_binary(values.type):  # which has no offsets
        objects = np.array(values.to_pylist(), dtype=object)
        hashes = np.asarray(pd.util.hash_array(objects, categorize=False))
    else:
        wide = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
        _, offsets, data = values.buffers()
        hashes = np.empty(len(values), dtype=np.uint64)
        if len(values):  # else there may be no offsets
            _siphash.hash_texts(offsets, data or b"", wide, values.offset, _KEY, hashes)
    if values.null_count:
        hashes[np.asarray(values.is_null())] = 0
    return hashes
