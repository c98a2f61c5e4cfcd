"""Arrow columns: cast to the type a contract names, hashed, and handed to pandas.

Repetitive text stays dictionary-encoded (each distinct value once, and a number a row) all the way
from the file to the model: checks, hashes and conversions then cost as much as the distinct values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scoring.job import Column

Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
}
_SHORT_INTEGER_TEXT = r"^\s*[+-]?0{0,40}\d{1,18}\s*$"
_LONG_INTEGER_TEXT = r"^\s*[+-]?0{0,40}[1-9]\d{18}\s*$"
_ZONED_TEXT = r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)\s*$"
_BOOLEAN_TEXT = {"true": True, "false": False, "1": True, "0": False}


class NotCastable(Exception):
    """A column's stored type cannot become the type that the contract names."""


def cast(values: pa.Array, column: Column, text_only: bool) -> tuple[pa.Array, Mask]:
    """``values`` in the contract's type, and which of them do not fit it (null in the result).

    A widening is always safe.  A narrowing, or a float that stands for an integer, is judged value
    by value.  Text becomes a number or a moment only if ``text_only``, for formats without types.
    Raises NotCastable where the stored type itself is another kind of thing.
    """
    if is_text(values.type):
        if column.type == "string":
            return values, _none(values)
        if not text_only:
            raise NotCastable
        return _parsed(decoded(values), column.type)
    if pa.types.is_null(values.type):
        target = _ARROW_TYPES.get(column.type, pa.timestamp("us"))
        return pa.nulls(len(values), target), _none(values)
    if column.type == "timestamp":
        if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
            raise NotCastable
        zone = getattr(values.type, "tz", None)
        return values.cast(pa.timestamp("us", zone), safe=False), _none(values)
    target = _ARROW_TYPES[column.type]
    if not _same_kind(values.type, target):
        raise NotCastable
    return _narrowed(values, target)


def is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(inner)
        or pa.types.is_large_string(inner)
        or pa.types.is_string_view(inner)
    )


def single(table: pa.Table, name: str) -> pa.Array:
    """A column of ``table`` as one array."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def encoded(values: pa.Array) -> pa.Array:
    """Text as a dictionary of ``string`` and int32 numbers; anything else as it is.

    The dictionary has the values that occur, in the order in which they first do, so that it does
    not depend on how the source was stored.
    """
    if not is_text(values.type):
        return values
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    return _in_order_of_appearance(values).cast(pa.dictionary(pa.int32(), pa.string()))


def decoded(values: pa.Array) -> pa.Array:
    """``values`` without dictionary encoding."""
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def null_mask(values: pa.Array) -> Mask:
    """Where ``values`` has no value: null, and NaN too, which pandas takes for the same."""
    if values.null_count == 0 and not pa.types.is_floating(values.type):
        return _none(values)
    return np.asarray(values.is_null(nan_is_null=True))


def matches(values: pa.Array, allowed: list[Any]) -> Mask:
    """Where a value is one of ``allowed``; text is compared as text, numbers as numbers."""
    if pa.types.is_dictionary(values.type):
        of_distinct = np.append(matches(values.dictionary, allowed), False)
        return np.asarray(of_distinct[_codes(values)])
    try:
        wanted = pa.array(allowed).cast(values.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return _none(values)
    return np.asarray(pc.is_in(values, value_set=wanted))


def hash_rows(columns: list[pa.Array]) -> Hashes:
    """A 64-bit hash for each row of ``columns``, the same for the same values in every process."""
    combined = np.full(len(columns[0]), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for values in columns:
        combined *= np.uint64(0x100000001B3)
        combined ^= _hashes(values)
        combined ^= combined >> np.uint64(29)
    return combined


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


def as_text(values: pa.Array) -> pa.Array:
    """``values`` as they would be printed; null stays null."""
    values = decoded(values)
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string())


def _objects(values: pa.Array) -> npt.NDArray[np.object_]:
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    distinct = np.array([*values.dictionary.to_pylist(), np.nan], dtype=object)
    return np.asarray(distinct[_codes(values)])


def _codes(values: pa.DictionaryArray) -> npt.NDArray[np.intp]:
    """The number of each row's distinct value; for null, one past the last of them."""
    numbers = values.indices.cast(pa.int64())
    if values.indices.null_count:
        numbers = numbers.fill_null(len(values.dictionary))
    return np.asarray(numbers)


def _hashes(values: pa.Array) -> Hashes:
    if is_text(values.type):
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        distinct = np.array(values.dictionary.to_pylist(), dtype=object)
        of_distinct = pd.util.hash_array(distinct, categorize=False)
        return np.append(of_distinct, np.uint64(0))[_codes(values)]
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
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


def _in_order_of_appearance(values: pa.DictionaryArray) -> pa.DictionaryArray:
    used = values.indices.drop_null().unique().to_numpy()
    if np.array_equal(used, np.arange(len(values.dictionary))):
        return values
    numbers = np.zeros(len(values.dictionary), dtype=np.int32)
    numbers[used] = np.arange(len(used))
    indices = pa.array(numbers).take(values.indices)  # null stays null
    return pa.DictionaryArray.from_arrays(indices, values.dictionary.take(pa.array(used)))


def _none(values: pa.Array) -> Mask:
    return np.zeros(len(values), dtype=bool)


def _same_kind(stored: pa.DataType, target: pa.DataType) -> bool:
    def is_number(kind: pa.DataType) -> bool:
        return bool(
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        )

    if pa.types.is_date(target):
        return bool(pa.types.is_date(stored))
    return stored == target or (is_number(stored) and is_number(target))


def _narrowed(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """A number column in another number type; values that it cannot hold become null."""
    if values.type == target:
        return values, _none(values)
    if pa.types.is_decimal(values.type):
        if pa.types.is_integer(target):
            return _whole(values, target)
        values = values.cast(pa.float64())
    try:
        return values.cast(target), _none(values)
    except pa.ArrowInvalid:
        pass
    if not pa.types.is_integer(target):  # a large integer or a double, rounded as pandas does
        return values.cast(target, safe=False), _none(values)
    present = ~null_mask(values)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    limits = np.iinfo(target.to_pandas_dtype())
    with np.errstate(invalid="ignore"):
        in_range = (numbers >= limits.min) & (numbers <= limits.max)
        if pa.types.is_integer(values.type):
            fits = present & in_range
        else:
            fits = present & in_range & (np.floor(numbers) == numbers)
            fits &= numbers < 2.0**63  # int64's largest value is not a double
    kept = pa.array(np.where(fits, numbers, 0).astype(limits.dtype), mask=~fits)
    return kept, present & ~fits


def _whole(decimals: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Decimals as integers, digit for digit: as floats they would lose some above 2**53."""
    try:
        return decimals.cast(target), _none(decimals)
    except pa.ArrowInvalid:
        pass
    wide = decimals.cast(pa.decimal256(76, max(0, decimals.type.scale)))  # the type that has trunc
    limits = np.iinfo(target.to_pandas_dtype())
    whole = pc.equal(pc.trunc(wide), wide)
    in_range = pc.and_(
        pc.greater_equal(wide, pa.scalar(limits.min)), pc.less_equal(wide, pa.scalar(limits.max))
    )
    fits = pc.and_(whole, in_range)
    kept = pc.if_else(fits, wide, pa.scalar(None, wide.type)).cast(target)
    return kept, np.asarray(pc.invert(fits).fill_null(False))


def _parsed(text: pa.Array, target: str) -> tuple[pa.Array, Mask]:
    """Text in the target type; what cannot be read as such becomes null."""
    present = ~null_mask(text)
    if target == "boolean":
        low = pc.utf8_lower(pc.utf8_trim_whitespace(text)).to_pylist()
        parsed = pa.array([_BOOLEAN_TEXT.get(v) for v in low], pa.bool_())
    elif target.startswith("int"):
        kept, too_large = _narrowed(_integers(text), _ARROW_TYPES[target])
        return kept, present & (too_large | null_mask(kept))
    elif target.startswith("float"):
        parsed = _floats(text).cast(_ARROW_TYPES[target], safe=False)
    else:
        objects = text.to_pandas().astype(object)
        zoned = bool(pc.any(pc.match_substring_regex(text, _ZONED_TEXT)).as_py())
        moments = pd.to_datetime(objects, errors="coerce", format="ISO8601", utc=zoned)
        kind = pa.timestamp("us", "UTC") if zoned else pa.timestamp("us")
        parsed = pa.array(moments, from_pandas=True).cast(kind, safe=False)
        if target == "date":
            parsed = parsed.cast(pa.date32(), safe=False)
    return parsed, present & null_mask(parsed)


def _integers(text: pa.Array) -> pa.Array:
    """Text as int64, each exactly; null where it is no whole number of 64 bits."""
    short = pc.match_substring_regex(text, _SHORT_INTEGER_TEXT)
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^\+", "")
    found = pc.if_else(short, trimmed, None).cast(pa.int64())
    others = pc.if_else(short, None, text)
    if others.null_count == len(others):
        return found
    long = pc.match_substring_regex(others, _LONG_INTEGER_TEXT).fill_null(False)
    numbers = [None if t is None else int(t) for t in pc.if_else(long, others, None).to_pylist()]
    exact = [n if n is not None and -(2**63) <= n < 2**63 else None for n in numbers]
    floats, _ = _narrowed(_floats(pc.if_else(long, None, others)), pa.int64())
    return pc.coalesce(found, pa.array(exact, pa.int64()), floats)


def _floats(text: pa.Array) -> pa.Array:
    """Text as float64; null where it is no number."""
    numbers = pd.to_numeric(text.to_pandas().astype(object), errors="coerce").astype("float64")
    return pa.array(numbers, from_pandas=True)
