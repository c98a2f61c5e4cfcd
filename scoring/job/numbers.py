"""Numbers of a job file, which keep all digits."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import PlainValidator

from scoring.job.shorthand import hint, shown


def check_number(value: Any) -> int | float:
    """Return ``value``, integers unchanged; raise ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"{shown(value)} should be a valid number; {hint((), 'float_type', value)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a finite number; remove the key for no limit")
    return value


Number = Annotated[float, PlainValidator(check_number, json_schema_input_type=float)]
"""A finite number; integers stay ``int``, so that they keep all digits."""
