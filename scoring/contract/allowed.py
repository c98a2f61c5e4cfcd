"""The values that a contract allows, in the type of the column that they are compared with."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.cast import instants_of_text
from scoring.arrow.columns import Mask
from scoring.arrow.moments import read_moments
from scoring.arrow.narrow import without_negative_zero
from scoring.arrow.parse import parsed
from scoring.arrow.text import dictionary_codes
from scoring.job.inputs import ColumnConfig


def allowed_mask(values: pa.Array, column: ColumnConfig, zone: ZoneInfo) -> Mask:
    """Return a mask of the ``values``, in the contract's type, that are in ``column.allowed``.

    Moments without an offset are on the clock of ``zone``.
    """
    if pa.types.is_dictionary(values.type):
        of_distinct = np.append(allowed_mask(values.dictionary, column, zone), False)
        return np.asarray(of_distinct[dictionary_codes(values)])
    return np.asarray(pc.is_in(values, value_set=_typed(column, values.type, zone)))


def _typed(column: ColumnConfig, kind: pa.DataType, zone: ZoneInfo) -> pa.Array:
    allowed = column.allowed or []
    if pa.types.is_date(kind):
        return parsed(pa.array(allowed, pa.string()), "date")[0].drop_null()
    if pa.types.is_timestamp(kind):
        moments = read_moments(pa.array(allowed, pa.string()))
        if kind.tz is None:
            return moments.clock(kind.unit)[0].drop_null()
        return instants_of_text(moments, kind.unit, zone)[0].cast(kind).drop_null()
    fitting = []
    for value in allowed:
        try:
            fitting.append(pa.scalar(value).cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue  # no value of this type is equal to it
    return without_negative_zero(pa.array(fitting, kind))
