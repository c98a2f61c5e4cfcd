"""Rows and results as Arrow streams: this side of what ``child`` does with its own packages.

Only types that pyarrow 17 knows are written, no views, and nothing is compressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scoring.errors import ScorerError

if TYPE_CHECKING:
    import pandas as pd


def encoded(frame: pd.DataFrame) -> tuple[list[str], memoryview]:
    """Return the columns that hold Python objects, and ``frame`` as an Arrow stream.

    ``NaN`` stays what it is in columns of floats; among objects it becomes null, and NaN again.
    """
    objects, columns = [], {}
    for name, values in frame.items():
        if values.dtype.kind in "biuf":
            columns[str(name)] = pa.array(values.to_numpy())
        elif values.dtype.kind == "M":
            columns[str(name)] = pa.Array.from_pandas(values)
        else:
            objects.append(str(name))
            columns[str(name)] = _of_objects(str(name), values)
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return objects, memoryview(sink.getvalue())


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
