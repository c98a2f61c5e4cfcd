"""Numbers cast to a narrower type, judged value by value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import Mask, no_rows, null_mask

ARROW_TYPES: dict[str, pa.DataType] = {
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
"""All types of a contract but ``timestamp``, which has a unit and may have a zone."""


def narrowed(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Return a number column in another number type; values that it cannot hold become null."""
    if values.type == target:
        return values, no_rows(values)
    if pa.types.is_decimal(values.type):
        if pa.types.is_integer(target):
            return _whole(values, target)
        values = nearest_doubles(values)
    try:
        return values.cast(target), no_rows(values)
    except pa.ArrowInvalid:
        pass
    if not pa.types.is_integer(target):  # a large integer or a double, rounded as pandas does
        return values.cast(target, safe=False), no_rows(values)
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
    """Return decimals as integers, digit for digit: as floats they would lose some above 2**53."""
    try:
        return decimals.cast(target), no_rows(decimals)
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


def nearest_doubles(decimals: pa.Array) -> pa.Array:
    """Return decimals as float64, by way of their text: Arrow's own cast gives 0.6000000000000001
    for 0.6.
    """
    return decimals.cast(pa.string()).cast(pa.float64())


def is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def without_negative_zero(values: pa.Array) -> pa.Array:
    """Return ``values`` with 0.0 in place of -0.0, which is equal to it; anything else as it is."""
    if values.type not in (pa.float32(), pa.float64()):  # Arrow cannot add float16
        return values
    return pc.add(values, pa.scalar(0.0, values.type))


def inexact_as_float64(integers: pa.Array) -> Mask:
    """Return a mask of the integers that a float64 cannot hold: some above 2**53."""
    if integers.type.bit_width <= 32:
        return no_rows(integers)
    numbers = integers.fill_null(0).to_numpy(zero_copy_only=False)
    as_float = numbers.astype(np.float64)
    limits = np.iinfo(numbers.dtype)
    in_range = as_float < float(limits.max)  # the largest one becomes 2**63, which is none
    back = np.where(in_range, as_float, 0).astype(numbers.dtype)
    return np.asarray((back != numbers) | ~in_range)
