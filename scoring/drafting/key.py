"""Columns that could identify a row: unique together in the sample, as few as possible."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from scoring.drafting.sample_file import SampledColumn
from scoring.job.columns import ADDED_COLUMNS, QUARANTINE_COLUMNS, RESERVED_COLUMNS

MOST_COLUMNS = 4
"""Nobody would use a key of more."""
_COLUMNS_TRIED = 20
_ROWS_FIRST = 2_000
"""Most combinations repeat within so few rows already."""
_TYPES = ("int", "string", "timestamp", "date")
"""Types of keys; a measured float is unique by chance."""
_RESERVED = {*ADDED_COLUMNS, *QUARANTINE_COLUMNS, *RESERVED_COLUMNS, "month", "day"}

Codes = npt.NDArray[np.int64]


def find_key(columns: dict[str, SampledColumn], inputs: set[str], target: str | None) -> list[str]:
    """Return the fewest columns that are unique together in the sample; none where more than
    ``MOST_COLUMNS`` would be needed.

    Of equally many, columns that are called like keys come first, and those that are not ``inputs``
    of the model.
    """
    candidates = [
        name
        for name, column in columns.items()
        if column.config is not None
        and column.config.type.startswith(_TYPES)
        and not column.is_null.any()
        and name != target
        and name.casefold() not in _RESERVED
    ]
    candidates.sort(key=lambda name: (not is_called_a_key(name), name in inputs))
    codes: dict[str, Codes] = {
        name: pd.factorize(pd.Series(columns[name].values.to_pandas()))[0].astype(np.int64)
        for name in candidates[:_COLUMNS_TRIED]
    }
    for count in range(1, MOST_COLUMNS + 1):
        for names in combinations(codes, count):
            of = [codes[name] for name in names]
            if _are_unique([one[:_ROWS_FIRST] for one in of]) and _are_unique(of):
                return list(names)
    return []


def is_called_a_key(name: str) -> bool:
    """Return whether ``name`` is what keys are called."""
    folded = name.casefold()
    return (
        folded in ("id", "key", "uuid", "guid")
        or folded.endswith(("_id", "_key", "_uuid", "-id", " id", "_no", "_number"))
        or name.endswith(("Id", "ID"))
    )


def _are_unique(codes: list[Codes]) -> bool:
    """Return whether no two rows have the same codes."""
    combined = codes[0]
    for further in codes[1:]:  # numbers below the number of rows, so that none overflows
        combined = np.unique(combined * (further.max() + 1) + further, return_inverse=True)[1]
    return len(np.unique(combined)) == len(combined)
