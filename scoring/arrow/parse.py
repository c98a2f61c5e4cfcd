"""Text of formats without types (CSV), parsed into the types of a contract."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import Mask, null_mask
from scoring.arrow.narrow import ARROW_TYPES, narrowed

_SHORT_INTEGER_TEXT = r"^\s*[+-]?0{0,40}\d{1,18}\s*$"


_LONG_INTEGER_TEXT = r"^\s*[+-]?0{0,40}[1-9]\d{18}\s*$"


_ZONED_TEXT = r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)\s*$"


_BOOLEAN_TEXT = {"true": True, "false": False, "1": True, "0": False}


def parsed(text: pa.Array, target: str) -> tuple[pa.Array, Mask]:
    """Text in the target type; what cannot be read as such becomes null."""
    present = ~null_mask(text)
    if target == "boolean":
        low = pc.utf8_lower(pc.utf8_trim_whitespace(text)).to_pylist()
        parsed = pa.array([_BOOLEAN_TEXT.get(v) for v in low], pa.bool_())
    elif target.startswith("int"):
        kept, too_large = narrowed(_integers(text), ARROW_TYPES[target])
        return kept, present & (too_large | null_mask(kept))
    elif target.startswith("float"):
        parsed = _floats(text).cast(ARROW_TYPES[target], safe=False)
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
    floats, _ = narrowed(_floats(pc.if_else(long, None, others)), pa.int64())
    return pc.coalesce(found, pa.array(exact, pa.int64()), floats)


def _floats(text: pa.Array) -> pa.Array:
    """Text as float64; null where it is no number."""
    numbers = pd.to_numeric(text.to_pandas().astype(object), errors="coerce").astype("float64")
    return pa.array(numbers, from_pandas=True)
