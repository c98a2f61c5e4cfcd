"""Columns that are stored in several types, made one without changing a value.

Files of a pattern, batches of a query and months of a destination may store the same column in
different types.  They become one type only where every value stays what it is.
"""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.names import type_name
from scoring.arrow.narrow import is_number, nearest_doubles
from scoring.arrow.text import decoded, dictionary_encoded, is_binary, is_text


class TypeConflictError(Exception):
    """Values of one type that cannot be those of another without changing."""


def exact_cast(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Return ``values`` as ``target``, each the same value; TypeConflictError where one cannot be.

    NaN is null among integers.  Numbers stay numbers, text text, clock times clock times.
    """
    kind = values.type
    if kind == target:
        return values
    if values.null_count == len(values):  # without values, it may be anything
        return pa.nulls(len(values), target)
    if is_text(kind) and is_text(target):
        values = dictionary_encoded(values)
        return values if pa.types.is_dictionary(target) else decoded(values).cast(target)
    values = decoded(values)
    try:
        converted = _converted(values, target)
    except pa.ArrowInvalid as error:
        raise TypeConflictError(f"{type_name(kind)} and {type_name(target)}: {error}") from None
    if converted is None:
        raise TypeConflictError(f"{type_name(kind)} and {type_name(target)}")
    return converted


def unified(columns: list[pa.Array]) -> list[pa.Array]:
    """Return ``columns`` in one type; TypeConflictError where no type holds the values of all."""
    kinds = list(dict.fromkeys(c.type for c in columns if not pa.types.is_null(c.type)))
    if len(kinds) < 2:
        target = kinds[0] if kinds else pa.null()
        return [exact_cast(column, target) for column in columns]
    if all(map(is_text, kinds)):
        return [dictionary_encoded(column) for column in columns]
    for target in _candidates(kinds):
        with suppress(TypeConflictError):
            return [exact_cast(column, target) for column in columns]
    names = " and ".join(dict.fromkeys(map(type_name, kinds)))
    raise TypeConflictError(f"{names}, and none of them holds all its values")


def _candidates(kinds: list[pa.DataType]) -> list[pa.DataType]:
    """Return types that may hold the values of all ``kinds``, the best first."""
    if all(map(pa.types.is_integer, kinds)):
        return [pa.int64(), pa.uint64()]
    if all(map(is_number, kinds)):
        decimals = [kind for kind in kinds if pa.types.is_decimal(kind)]
        widest = [pa.decimal256(76, max(kind.scale for kind in decimals))] if decimals else []
        return [pa.int64(), *widest, pa.float64()]
    if all(pa.types.is_timestamp(kind) or pa.types.is_date(kind) for kind in kinds):
        zone = next((kind.tz for kind in kinds if pa.types.is_timestamp(kind)), None)
        return [pa.timestamp(unit, zone) for unit in ("us", "ns", "s")]
    return [kinds[0]]


def _converted(values: pa.Array, target: pa.DataType) -> pa.Array | None:
    """Return ``values`` as ``target``; None where the two are different kinds of thing."""
    kind = values.type
    if is_number(kind) and is_number(target):
        return _number(values, target)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(target):
        return values.cast(target) if (kind.tz is None) == (target.tz is None) else None
    if pa.types.is_date(kind) and pa.types.is_timestamp(target):
        return values.cast(target) if target.tz is None else None
    if pa.types.is_date(kind) and pa.types.is_date(target):
        return values.cast(target)
    if is_binary(kind) and is_binary(target):
        return values.cast(target)
    if pa.types.is_time(kind) and pa.types.is_time(target):
        return values.cast(target)
    return None


def _number(values: pa.Array, target: pa.DataType) -> pa.Array | None:
    if pa.types.is_floating(values.type):
        if pa.types.is_decimal(target):
            return None
        if pa.types.is_integer(target):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
            return values.cast(target)
        narrow = values.cast(target, safe=False)
        same = pc.or_(pc.equal(narrow.cast(values.type), values), pc.is_nan(values))
        return narrow if pc.all(same).as_py() is not False else None
    if pa.types.is_decimal(values.type) and pa.types.is_floating(target):
        nearest = nearest_doubles(values).cast(target, safe=False)
        again = nearest.cast(pa.float64()).cast(pa.string()).cast(values.type)
        return nearest if pc.all(pc.equal(values, again)).as_py() is not False else None
    return values.cast(target)
