from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from scoring.arrow.unify import TypeConflictError, exact_cast, unified

BIG = 2**53 + 1
DAY, CLOCK = date(2024, 1, 5), datetime(2024, 1, 5)  # noqa: DTZ001
AWARE = datetime(2024, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("columns", "kind", "values"),
    [
        ([pa.array([1], pa.int8()), pa.array([BIG])], pa.int64(), [[1], [BIG]]),
        ([pa.array([BIG]), pa.array([2.0, None, float("nan")])], pa.int64(), [[BIG], [2, None, None]]),
        ([pa.array([1]), pa.array([2.5])], pa.float64(), [[1.0], [2.5]]),
        ([pa.array([1], pa.uint64()), pa.array([-1])], pa.int64(), [[1], [-1]]),
        ([pa.array([2**64 - 1], pa.uint64()), pa.array([1])], pa.uint64(), [[2**64 - 1], [1]]),
        ([pa.array([0.1], pa.float32()), pa.array([0.1])], pa.float64(), None),
        ([pa.array([Decimal("0.6")]), pa.array([0.6])], pa.float64(), [[0.6], [0.6]]),
        ([pa.nulls(1), pa.array(["a"])], pa.string(), [[None], ["a"]]),
        ([pa.array([DAY]), pa.array([CLOCK], pa.timestamp("ms"))], pa.timestamp("us"), [[CLOCK], [CLOCK]]),
        ([pa.array([AWARE], pa.timestamp("us", "UTC")), pa.array([AWARE], pa.timestamp("ns", "Asia/Tokyo"))],
         pa.timestamp("us", "UTC"), [[AWARE], [AWARE]]),
        ([pa.array([b"a"]), pa.array([b"b"], pa.binary(1))], pa.binary(), [[b"a"], [b"b"]]),
    ],
    ids=lambda value: "" if not isinstance(value, list) else " and ".join(str(getattr(v, "type", v)) for v in value),
)  # fmt: skip
def test_columns_become_one_type_that_changes_no_value(
    columns: list[pa.Array], kind: pa.DataType, values: list[Any] | None
):
    found = unified(columns)
    assert {column.type for column in found} == {kind}
    if values is not None:
        assert [column.to_pylist() for column in found] == values


@pytest.mark.parametrize(
    "columns",
    [
        [pa.array([BIG]), pa.array([2.5])],
        [pa.array([1]), pa.array(["1"])],
        [pa.array([True]), pa.array([1])],
        [pa.array([AWARE]), pa.array([CLOCK])],
        [pa.array([2**64 - 1], pa.uint64()), pa.array([-1])],
        [pa.array([b"a"]), pa.array(["a"])],
    ],
    ids=lambda columns: " and ".join(str(column.type) for column in columns),
)
def test_columns_that_would_change_a_value_are_a_conflict(columns: list[pa.Array]):
    with pytest.raises(TypeConflictError):
        unified(columns)


def test_a_cast_that_would_round_is_a_conflict():
    assert exact_cast(pa.array([0.5]), pa.float32()).to_pylist() == [0.5]
    with pytest.raises(TypeConflictError):
        exact_cast(pa.array([0.1]), pa.float32())
    with pytest.raises(TypeConflictError):
        exact_cast(pa.array([BIG]), pa.float64())
