"""What a contract calls an Arrow type, and how it says that values are to be read as one."""

from __future__ import annotations

from typing import cast

import pyarrow as pa

from scoring.arrow.narrow import ARROW_TYPES
from scoring.job.inputs import ColumnConfig, ColumnType

_CONTRACT_TYPES = {kind: cast(ColumnType, name) for name, kind in ARROW_TYPES.items()}


def contract_type(kind: pa.DataType) -> ColumnType | None:
    """Return what a column of type ``kind`` is called in a contract; None for others."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return _CONTRACT_TYPES.get(kind)


def column_of_type(kind: pa.DataType) -> ColumnConfig | None:
    """Return what reads values of a format without types as ``kind``; None for types that no
    contract has.

    No value is refused that ``kind`` can hold: not the integers that a float cannot, which a model
    would be given for a nullable one, and no date.
    """
    found = contract_type(kind)
    if found is None:
        return None
    if found == "timestamp":
        return ColumnConfig(type=found, unit=kind.unit, timezone=kind.tz)
    return ColumnConfig(type=found, unit="s" if found == "date" else None)
