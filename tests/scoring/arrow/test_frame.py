from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scoring.arrow.frame import to_frame, to_series
from scoring.job.inputs import ColumnConfig

MOMENT = datetime(2024, 1, 5, 6, tzinfo=UTC)
CLOCK = MOMENT.replace(tzinfo=None)
IN_US = {"type": "timestamp", "unit": "us"}


@pytest.mark.parametrize(
    ("values", "column", "dtype", "expected"),
    [
        (pa.array([1, 2]), {"type": "int64"}, "int64", [1, 2]),
        (pa.array([1, 2], pa.int8()), {"type": "int8"}, "int8", [1, 2]),
        (pa.array([1, 2]), {"type": "int64", "nullable": True}, "float64", [1.0, 2.0]),
        (pa.array([1, None]), {"type": "int64", "nullable": True}, "float64", [1.0, np.nan]),
        (pa.array([1, None], pa.int8()), {"type": "int8", "nullable": True}, "float64", [1.0, np.nan]),
        (pa.nulls(1, pa.int64()), {"type": "int64", "nullable": True}, "float64", [np.nan]),
        (pa.array([1.5, None], pa.float32()), {"type": "float32"}, "float32", [1.5, np.nan]),
        (pa.array(["a", None]), {"type": "string"}, "object", ["a", np.nan]),
        (pa.array(["a", None]).dictionary_encode(), {"type": "string"}, "object", ["a", np.nan]),
        (pa.array([True, False]), {"type": "boolean"}, "bool", [True, False]),
        (pa.array([True, False]), {"type": "boolean", "nullable": True}, "object", [True, False]),
        (pa.array([True, None]), {"type": "boolean", "nullable": True}, "object", [True, np.nan]),
        (pa.array([CLOCK, None], pa.timestamp("ns")), {"type": "timestamp"}, "datetime64[ns]", [CLOCK, None]),
        (pa.array([MOMENT], pa.timestamp("ns", "UTC")), {"type": "timestamp"}, "datetime64[ns, UTC]", [MOMENT]),
        (pa.array([MOMENT], pa.timestamp("us", "UTC")), IN_US, "datetime64[us, UTC]", [MOMENT]),
        (pa.array([date(2024, 1, 5), None]), {"type": "date"}, "datetime64[ns]", [pd.Timestamp("2024-01-05"), None]),
        (pa.array([date(9999, 12, 31)]), {"type": "date", "unit": "s"}, "datetime64[s]", [datetime(9999, 12, 31)]),  # noqa: DTZ001
    ],
)  # fmt: skip
def test_the_dtype_is_that_of_the_contract_whatever_the_rows_hold(
    values: pa.Array, column: dict[str, Any], dtype: str, expected: list[Any]
):
    config = ColumnConfig.model_validate(column)
    pd.testing.assert_series_equal(to_series(values, config), pd.Series(expected, dtype=dtype))
    assert to_series(values.slice(0, 0), config).dtype == dtype


def test_a_frame_has_the_columns_in_their_order_and_a_new_index():
    table = pa.table({"b": [1.0, 2.0], "more": [0, 0], "a": [3, 4]}).slice(1)
    columns = {"a": ColumnConfig(type="int64"), "b": ColumnConfig(type="float64")}
    frame = to_frame(table, columns)
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [4], "b": [2.0]}))
