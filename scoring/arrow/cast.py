"""Arrow columns cast to the type that a contract names."""

from __future__ import annotations

import pyarrow as pa

from scoring.arrow.columns import Mask, no_rows
from scoring.arrow.narrow import ARROW_TYPES, narrowed
from scoring.arrow.parse import parsed
from scoring.arrow.text import decoded, is_text
from scoring.job.inputs import ColumnConfig


class NotCastableError(Exception):
    """A column's stored type cannot become the type that the contract names."""


def cast(values: pa.Array, column: ColumnConfig, text_only: bool) -> tuple[pa.Array, Mask]:
    """``values`` in the contract's type, and which of them do not fit it (null in the result).

    A widening is always safe.  A narrowing, or a float that stands for an integer, is judged value
    by value.  Text becomes a number or a moment only if ``text_only``, for formats without types.
    Raises NotCastableError where the stored type itself is another kind of thing.
    """
    if is_text(values.type):
        if column.type == "string":
            return values, no_rows(values)
        if not text_only:
            raise NotCastableError
        return parsed(decoded(values), column.type)
    if pa.types.is_null(values.type):
        target = ARROW_TYPES.get(column.type, pa.timestamp("us"))
        return pa.nulls(len(values), target), no_rows(values)
    if column.type == "timestamp":
        if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
            raise NotCastableError
        zone = getattr(values.type, "tz", None)
        return values.cast(pa.timestamp("us", zone), safe=False), no_rows(values)
    target = ARROW_TYPES[column.type]
    if not _same_kind(values.type, target):
        raise NotCastableError
    return narrowed(values, target)


def _same_kind(stored: pa.DataType, target: pa.DataType) -> bool:
    def is_number(kind: pa.DataType) -> bool:
        return bool(
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        )

    if pa.types.is_date(target):
        return bool(pa.types.is_date(stored))
    return stored == target or (is_number(stored) and is_number(target))
