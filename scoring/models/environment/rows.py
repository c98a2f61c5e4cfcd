"""Rows and results as Arrow streams: this side of what ``child`` does with its own packages.

Only types that pyarrow 17 knows are written, no views, and nothing is compressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.frame import to_series
from scoring.arrow.text import is_text
from scoring.errors import ScorerError
from scoring.job.inputs import ColumnConfig

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Features:
    """The rows of a batch as a child is sent them: an Arrow stream, whose columns in ``objects`` hold
    Python objects there.
    """

    index: pd.Index
    objects: list[str]
    payload: memoryview


def of_table(table: pa.Table, columns: Mapping[str, ColumnConfig]) -> Features:
    """Return ``columns`` of ``table``, which are in the contract's types.

    The child makes the DataFrame of them that ``scoring.arrow.frame.to_frame`` makes here.  Text
    stays encoded on the way, so that it costs as much as its distinct values.  ``NaN`` stays what
    it is in columns of floats; among objects it becomes null, and NaN again.
    """
    import pandas as pd

    found = {}
    for name, column in columns.items():
        values = combined_column(table, name)
        is_encoded = pa.types.is_dictionary(values.type) and not values.dictionary.null_count
        if is_encoded and is_text(values.type):
            found[name] = (True, values.cast(pa.dictionary(pa.int32(), pa.string())))
        else:
            found[name] = _of_series(name, to_series(values, column))
    return _stream(pd.RangeIndex(table.num_rows), found)


def _of_series(name: str, values: pd.Series) -> tuple[bool, pa.Array]:
    """Return whether the values are Python objects, and the values."""
    if values.dtype.kind in "biuf":
        return False, pa.array(values.to_numpy())
    if values.dtype.kind == "M":
        return False, pa.Array.from_pandas(values)
    return True, _of_objects(name, values)


def _stream(index: pd.Index, columns: Mapping[str, tuple[bool, pa.Array]]) -> Features:
    table = pa.table({name: values for name, (_, values) in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    objects = [name for name, (is_objects, _) in columns.items() if is_objects]
    return Features(index, objects, memoryview(sink.getvalue()))


def _of_objects(name: str, values: pd.Series) -> pa.Array:
    try:
        found = pa.array(values.to_numpy(dtype=object), from_pandas=True)
    except pa.ArrowException as error:
        raise ScorerError(
            f"the column {name!r} cannot be handed to the model's environment: {error}"
        ) from error
    return found.dictionary_encode().cast(pa.dictionary(pa.int32(), found.type))


def decoded(method: str, header: dict[str, Any], payload: bytes, given: pd.Index) -> Any:
    """Return what the child's model or scorer returned, for the engine to check: an array, a Series
    or a DataFrame, whose index is ``given`` where it was that of the rows.
    """
    import pandas as pd

    kind = header["kind"]
    if kind == "other":
        raise ScorerError(f"{method} returned {header['type']}; expected one value per row")
    if kind == "array" and not payload:
        return np.broadcast_to(np.zeros(()), header["shape"])  # of a shape that is refused
    columns = pa.ipc.open_stream(payload).read_all().columns
    if kind == "array":
        arrays = [_as_numpy(column) for column in columns]
        if len(header["shape"]) == 1:
            return arrays[0]
        return np.column_stack(arrays) if arrays else np.zeros(header["shape"])
    index: pd.Index = pd.RangeIndex(header["rows"])
    if not header["same_index"]:
        index = pd.Index(columns.pop().to_pylist())
    elif len(index) == len(given):
        index = given
    if kind == "series":
        return pd.Series(_as_pandas(columns[0]), index=index)
    frame = pd.DataFrame({at: _as_pandas(column) for at, column in enumerate(columns)})
    frame.index = index
    if header["names"] is not None:
        frame.columns = pd.Index(header["names"], dtype=object)
    return frame


def _as_numpy(column: pa.ChunkedArray) -> Any:
    if pa.types.is_primitive(column.type) and not column.null_count:
        return column.to_numpy()
    found = np.empty(len(column), dtype=object)
    found[:] = column.to_pylist()
    return found


def _as_pandas(column: pa.ChunkedArray) -> Any:
    """Return values that Arrow makes the same column of again: nulls do not become floats."""
    import pandas as pd

    if pa.types.is_floating(column.type):
        return column.to_pandas().to_numpy()
    if pa.types.is_primitive(column.type) and not column.null_count:
        return column.to_numpy()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pd.array(column.to_pylist(), dtype=object)
    return pd.array(column.combine_chunks(), dtype=pd.ArrowDtype(column.type))
