"""Numbers of a job file that are kept as they were written, and how they are shown."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import PlainValidator

from scoring.job.shorthand import hint, shown


def check_number(value: Any) -> int | float:
    """``value`` itself, a whole number as such; ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"{shown(value)} should be a valid number; {hint((), 'float_type', value)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a finite number; leave the key out for no limit")
    return value


Number = Annotated[float, PlainValidator(check_number, json_schema_input_type=float)]
"""A finite number; one without a fraction stays an ``int``, so that none of its digits is lost."""
