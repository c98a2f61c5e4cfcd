"""The types in which columns are published: those that every reader of a parquet file finds again.

Predictions are stored without Arrow's own schema, so that readers see plain types whatever wrote
them.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.arrow.text import is_binary, is_text


@lru_cache(maxsize=256)
def published_type(kind: pa.DataType) -> pa.DataType | None:
    """Return what a column of type ``kind`` is in a published file; None where its meaning would be
    lost.

    A duration would come back as a bare integer.  A column that holds nothing but nulls, so that
    nobody knows its type, becomes text.
    """
    if pa.types.is_dictionary(kind):
        return published_type(kind.value_type)
    if pa.types.is_null(kind) or is_text(kind):
        return pa.string()
    try:
        found = _read_back(kind)
    except pa.ArrowException:
        return None
    return found if _same_meaning(kind, found) else None


def _read_back(kind: pa.DataType) -> pa.DataType:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"c": pa.array([], kind)}), sink, store_schema=False)
    return pq.read_schema(pa.BufferReader(sink.getvalue())).field("c").type


def _same_meaning(stored: pa.DataType, found: pa.DataType) -> bool:
    if stored == found or (is_text(stored) and is_text(found)):
        return True
    if is_binary(stored) and is_binary(found):
        return True
    if pa.types.is_timestamp(stored) and pa.types.is_timestamp(found):
        return (stored.tz is None) == (found.tz is None)
    if pa.types.is_date(stored) and pa.types.is_date(found):
        return True
    if pa.types.is_time(stored) and pa.types.is_time(found):
        return True
    if pa.types.is_decimal(stored) and pa.types.is_decimal(found):
        return (stored.precision, stored.scale) == (found.precision, found.scale)
    if _is_list(stored) and _is_list(found):
        return _same_meaning(stored.value_type, found.value_type)
    if pa.types.is_struct(stored) and pa.types.is_struct(found):
        return [f.name for f in stored] == [f.name for f in found] and all(
            _same_meaning(a.type, b.type) for a, b in zip(stored, found, strict=True)
        )
    return False


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
