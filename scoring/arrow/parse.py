"""Text of formats without types (CSV), parsed into numbers, truth values and dates, each text by
itself.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import Mask, null_mask
from scoring.arrow.moments import DAY_SECONDS, read_moments
from scoring.arrow.narrow import ARROW_TYPES, narrowed

_SHORT_INTEGER_TEXT = r"^\s*[+-]?0{0,40}\d{1,18}\s*$"
_LONG_INTEGER_TEXT = r"^\s*[+-]?0{0,40}[1-9]\d{18}\s*$"
_NUMBER_TEXT = r"(?i)^\s*[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d{1,9})?|inf|infinity)\s*$"
_BOOLEAN_TEXT = {"true": True, "false": False, "1": True, "0": False}


def parsed(text: pa.Array, target: str) -> tuple[pa.Array, Mask]:
    """Return text in the type ``target``, and which of it cannot be read as such (null in the
    result).

    ``target`` is a number type, ``boolean`` or ``date``; moments are in ``scoring.arrow.moments``.
    """
    present = np.asarray(text.is_valid())
    if target == "boolean":
        low = pc.utf8_lower(pc.utf8_trim_whitespace(text)).to_pylist()
        found = pa.array([_BOOLEAN_TEXT.get(v) for v in low], pa.bool_())
    elif target.startswith("int"):
        found, _ = narrowed(_integers(text), ARROW_TYPES[target])
    elif target.startswith("float"):
        found = _floats(text).cast(ARROW_TYPES[target], safe=False)
    else:
        found = _dates(text)
    return found, present & null_mask(found)


def _dates(text: pa.Array) -> pa.Array:
    """Return text as date32; null where the text is not a date, or has a time of day or an offset."""
    moments = read_moments(text)
    days, within = np.divmod(moments.seconds, DAY_SECONDS)
    kept = moments.valid & ~moments.zoned & (within == 0) & (moments.nanoseconds == 0)
    return pa.array(days.astype(np.int32), pa.int32(), mask=~kept).cast(pa.date32())


def _integers(text: pa.Array) -> pa.Array:
    """Return text as int64, each exactly; null where it is not an integer of 64 bits."""
    short = pc.match_substring_regex(text, _SHORT_INTEGER_TEXT)
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^\+", "")
    found = pc.if_else(short, trimmed, None).cast(pa.int64())
    others = pc.if_else(short, None, text)
    if others.null_count == len(others):
        return found
    long = pc.match_substring_regex(others, _LONG_INTEGER_TEXT).fill_null(False)
    numbers = [None if t is None else int(t) for t in pc.if_else(long, others, None).to_pylist()]
    exact = [n if n is not None and -(2**63) <= n < 2**63 else None for n in numbers]
    floats, _ = narrowed(_floats(pc.if_else(long, None, others)), pa.int64())
    return pc.coalesce(found, pa.array(exact, pa.int64()), floats)


def _floats(text: pa.Array) -> pa.Array:
    """Return text as the nearest float64; null where the text is not a number."""
    number = pc.match_substring_regex(text, _NUMBER_TEXT)
    trimmed = pc.utf8_trim_whitespace(pc.if_else(number, text, None))
    return trimmed.cast(pa.float64())
