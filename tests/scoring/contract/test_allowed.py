from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from scoring.contract.allowed import allowed_mask
from scoring.job.inputs import ColumnConfig

NOON = datetime(2024, 1, 5, 12)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("values", "kind", "allowed", "found"),
    [
        (pa.array(["a", "b", None]), "string", ["a"], [True, False, False]),
        (pa.array(["a", "b", None]).dictionary_encode(), "string", ["a", "c"], [True, False, False]),
        (pa.array([1, 2, None]), "int64", [1, 3], [True, False, False]),
        (pa.array([1, 2, 3], pa.int8()), "int8", [1, 2, 999], [True, True, False]),
        (pa.array([1.0, 2.5]), "float64", [1, 2.5], [True, True]),
        (pa.array([0.0]), "float64", [-0.0], [True]),
        (pa.array([0.1], pa.float32()), "float32", [0.1], [True]),
        (pa.array([True, False]), "boolean", [True], [True, False]),
        (pa.array([date(2013, 5, 7)]), "date", ["2013-05-07"], [True]),
        (pa.array([NOON], pa.timestamp("ns")), "timestamp", ["2024-01-05 12:00"], [True]),
        (pa.array([NOON.replace(tzinfo=UTC)], pa.timestamp("ns", "UTC")), "timestamp", ["2024-01-05 07:00"], [True]),
        (pa.array([NOON.replace(tzinfo=UTC)], pa.timestamp("ns", "UTC")), "timestamp", ["2024-01-05T12:00Z"], [True]),
    ],
)  # fmt: skip
def test_allowed_values_match(values: pa.Array, kind: str, allowed: list[Any], found: list[bool]):
    column = ColumnConfig.model_validate({"type": kind, "allowed": allowed})
    assert allowed_mask(values, column, ZoneInfo("America/New_York")).tolist() == found
