"""Arrow columns cast to the type that a contract names: a function of each value and the contract
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import Mask, no_rows
from scoring.arrow.moments import TextMoments, in_unit, localized, read_moments
from scoring.arrow.narrow import (
    ARROW_TYPES,
    inexact_as_float64,
    is_number,
    narrowed,
    without_negative_zero,
)
from scoring.arrow.parse import parsed
from scoring.arrow.text import decoded, is_numeric_text, is_text
from scoring.job.inputs import ColumnConfig, TimeUnit


class NotCastableError(Exception):
    """A column's stored type cannot become the type that the contract names."""


class MixedZonesError(Exception):
    """Some texts of a column are clock times and others have an offset, so neither is its type."""


@dataclass(frozen=True)
class ColumnCast:
    """How a column becomes what ``column`` says.

    ``zone`` is that of clock times.  ``text_only`` is for sources without types: their text becomes
    numbers and moments.  ``exact`` is for row ids, of which no digit may be lost.
    """

    column: ColumnConfig
    zone: ZoneInfo
    text_only: bool
    exact: bool = False

    def __call__(self, values: pa.Array) -> tuple[pa.Array, Mask]:
        """Return ``values`` in the contract's type, and which of them do not fit it (null in the
        result).

        A widening is always safe.  A narrowing, or a float that stands for an integer, is judged
        value by value.  -0.0 becomes 0.0.  Raises NotCastableError where the stored type itself is
        another kind of thing, and MixedZonesError.
        """
        if pa.types.is_dictionary(values.type) and not is_text(values.type):
            values = decoded(values)
        if pa.types.is_null(values.type):
            return pa.nulls(len(values), self._type()), no_rows(values)
        if is_numeric_text(values.type):
            return self._of_number_text(values.storage)
        if self.column.type == "timestamp":
            return self._moments(values)
        if is_text(values.type):
            return self._of_text(values)
        target = ARROW_TYPES[self.column.type]
        if not _same_kind(values.type, target):
            raise NotCastableError
        typed, unfit = narrowed(values, target)
        if self.exact and pa.types.is_integer(values.type) and pa.types.is_floating(target):
            unfit = unfit | _rounded(values, typed)
        return self._fit_for_the_model(typed, unfit)

    def _type(self) -> pa.DataType:
        if self.column.type == "timestamp":
            return pa.timestamp(self.column.time_unit, self.column.timezone)
        return ARROW_TYPES[self.column.type]

    def _of_text(self, values: pa.Array) -> tuple[pa.Array, Mask]:
        if self.column.type == "string":
            return values, no_rows(values)
        if not self.text_only:
            raise NotCastableError
        return self._parsed(decoded(values))

    def _of_number_text(self, text: pa.Array) -> tuple[pa.Array, Mask]:
        if not self.column.is_number:
            raise NotCastableError
        return self._parsed(pc.replace_substring_regex(text, r"\.0*$", ""))

    def _parsed(self, text: pa.Array) -> tuple[pa.Array, Mask]:
        typed, unfit = parsed(text, self.column.type)
        if self.exact and self.column.type.startswith("float"):
            whole, _ = parsed(text, "int64")
            unfit = unfit | _rounded(whole, typed)
        return self._fit_for_the_model(typed, unfit)

    def _fit_for_the_model(self, typed: pa.Array, unfit: Mask) -> tuple[pa.Array, Mask]:
        """Return ``typed`` and ``unfit``, extended by what the frame (``scoring.arrow.frame``)
        would change.
        """
        column = self.column
        if column.type == "date":
            unfit = unfit | in_unit(typed, column.time_unit)[1]
        elif column.type.startswith("int") and column.nullable:
            unfit = unfit | inexact_as_float64(typed)
        if unfit.any():
            typed = pc.if_else(pa.array(~unfit), typed, pa.scalar(None, typed.type))
        return without_negative_zero(typed), unfit

    def _moments(self, values: pa.Array) -> tuple[pa.Array, Mask]:
        unit, zone = self.column.time_unit, self.column.timezone
        if is_text(values.type):
            if not self.text_only:
                raise NotCastableError
            return self._moments_of_text(values)
        if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
            raise NotCastableError
        moments, unfit = in_unit(values, unit)
        if zone is None:
            return moments, unfit
        if moments.type.tz is None:
            moments, unknown = localized(moments, self.zone)
            unfit = unfit | unknown
        return moments.cast(pa.timestamp(unit, zone)), unfit

    def _moments_of_text(self, values: pa.Array) -> tuple[pa.Array, Mask]:
        """Return clock times where none has an offset, instants in UTC where all have; with a zone,
        both.
        """
        unit, zone = self.column.time_unit, self.column.timezone
        moments = read_moments(values)
        unread = ~moments.valid & np.asarray(values.is_valid())
        zoned = moments.valid & moments.zoned
        if zone is None:
            if not zoned.any():
                clock, outside = moments.clock(unit)
                return clock, unread | outside
            if (moments.valid & ~moments.zoned).any():
                raise MixedZonesError
            instants, outside = moments.instants(unit)
            return instants, unread | outside
        instants, outside = instants_of_text(moments, unit, self.zone)
        return instants.cast(pa.timestamp(unit, zone)), unread | outside


def instants_of_text(
    moments: TextMoments, unit: TimeUnit, zone: ZoneInfo, later: bool = False
) -> tuple[pa.Array, Mask]:
    """Return moments as instants in UTC, those without an offset on the clock of ``zone`` (see
    ``localized``).

    The mask marks moments that ``unit`` cannot hold; they are null, as are texts that are not
    moments.
    """
    instants, outside = moments.instants(unit)
    clock, too_far = moments.clock(unit)
    clock = pc.if_else(pa.array(moments.zoned), pa.scalar(None, clock.type), clock)
    of_clock, unknown = localized(clock, zone, later)
    return pc.coalesce(instants, of_clock), outside | (too_far & ~moments.zoned) | unknown


def _rounded(integers: pa.Array, floats: pa.Array) -> Mask:
    """Return a mask of the integers that differ from the floats made of them."""
    back, lost = narrowed(floats, integers.type)
    differs = np.asarray(pc.not_equal(integers, back).fill_null(False))
    return np.asarray(integers.is_valid()) & (differs | lost)


def _same_kind(stored: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_date(target):
        return bool(pa.types.is_date(stored))
    return stored == target or (is_number(stored) and is_number(target))
