"""Text columns, and their dictionary encoding.

Repetitive text stays dictionary-encoded (each distinct value once, and a number a row) all the way
from the file to the model: checks, hashes and conversions then cost as much as the distinct values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def is_text(kind: pa.DataType) -> bool:
    return _values_are(kind, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def is_binary(kind: pa.DataType) -> bool:
    """Return whether values are bytes, such as UUIDs and digests."""
    of = pa.types
    return _values_are(
        kind, of.is_binary, of.is_large_binary, of.is_binary_view, of.is_fixed_size_binary
    )


def _values_are(kind: pa.DataType, *tests: Callable[[pa.DataType], bool]) -> bool:
    """Return whether the values, encoded or not, are of a type that one of ``tests`` knows."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(inner) for test in tests)


NUMERIC_TEXT = pa.opaque(pa.string(), "numeric", "SQL")
"""The type of SQL's exact numbers, which no Arrow type holds all of: their text, each read by itself."""


def is_numeric_text(kind: pa.DataType) -> bool:
    return bool(kind == NUMERIC_TEXT)


def numeric_text(texts: pa.Array) -> pa.Array:
    """Return texts of numbers, as a column of NUMERIC_TEXT; NaN is null, as it is among floats."""
    is_nan = pc.equal(pc.utf8_lower(texts), "nan")
    texts = pc.if_else(is_nan, pa.scalar(None, pa.string()), texts)
    return pa.ExtensionArray.from_storage(NUMERIC_TEXT, texts)


def dictionary_encoded(values: pa.Array) -> pa.Array:
    """Return text as a dictionary of ``string`` and int32 numbers; anything else as it is.

    The dictionary has the values that occur, in the order in which they first do, so that it does
    not depend on how the source was stored.
    """
    if not is_text(values.type):
        return values
    kind = pa.dictionary(pa.int32(), pa.string())
    if pa.types.is_dictionary(values.type) and not values.dictionary.null_count:
        return _in_order_of_appearance(values).cast(kind)
    # A new dictionary is in that order. In an old one with null, a row may have it by its number or its text.
    return decoded(values).dictionary_encode().cast(kind)


def decoded(values: pa.Array) -> pa.Array:
    """Return ``values`` without dictionary encoding."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def as_text(values: pa.Array) -> pa.Array:
    """Return ``values`` as they would be printed, bytes as hexadecimal digits; null stays null."""
    values = values.storage if is_numeric_text(values.type) else decoded(values)
    if is_binary(values.type):
        return pa.array([None if v is None else v.hex() for v in values.to_pylist()], pa.string())
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string())


def dictionary_codes(values: pa.DictionaryArray) -> npt.NDArray[np.intp]:
    """Return the number of each row's distinct value; for null, one past the last of them."""
    numbers = values.indices.cast(pa.int64())
    if values.indices.null_count:
        numbers = numbers.fill_null(len(values.dictionary))
    return np.asarray(numbers)


def _in_order_of_appearance(values: pa.DictionaryArray) -> pa.DictionaryArray:
    used = values.indices.drop_null().unique().to_numpy()
    if np.array_equal(used, np.arange(len(values.dictionary))):
        return values
    numbers = np.zeros(len(values.dictionary), dtype=np.int32)
    numbers[used] = np.arange(len(used))
    indices = pa.array(numbers).take(values.indices)  # null stays null
    return pa.DictionaryArray.from_arrays(indices, values.dictionary.take(pa.array(used)))
