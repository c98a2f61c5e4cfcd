"""Answers are read in the types that are published, and what cannot have them is kept as it came."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from scoring.errors import ServiceError
from scoring.serving.bodies import ARROW
from scoring.serving.parity.answered_rows import AnsweredRows, Column, read_answer
from scoring.serving.parity.client import Body

INF, NAN = float("inf"), float("nan")


def read(body: Body, kind: pa.DataType, rows: int) -> AnsweredRows:
    return read_answer(body, rows, pa.schema({"c": kind}))


def of_json(kind: pa.DataType, values: list[Any]) -> Column:
    rows = [{"row": n, "status": "scored", "c": value} for n, value in enumerate(values, 1)]
    body = Body("application/json", json.dumps({"rows": rows}).encode())
    return read(body, kind, len(values)).columns["c"]


def of_arrow(kind: pa.DataType, values: pa.Array) -> Column:
    names = ("status", "reason", "column", "value", "model_version", "model_sha256")
    columns = {name: pa.nulls(len(values), pa.string()) for name in names}
    table = pa.table({"row": range(1, len(values) + 1), **columns, "c": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return read(Body(ARROW, sink.getvalue().to_pybytes()), kind, len(values)).columns["c"]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (pa.float64(), [1, 0.1, None, "-Infinity"], [1.0, 0.1, None, -INF]),
        (pa.float32(), [0.10000000149011612], [0.10000000149011612]),
        (pa.int64(), [2**63 - 1, 3.0], [2**63 - 1, 3]),
        (pa.bool_(), [True, None], [True, None]),
        (pa.string(), ["ä", None], ["ä", None]),
        (pa.binary(), ["00ff"], [b"\x00\xff"]),
        (pa.decimal128(9, 3), ["1.500"], [Decimal("1.500")]),
        (pa.date32(), ["2013-02-01"], [datetime.date(2013, 2, 1)]),
        (pa.time64("us"), ["03:04:05.000006"], [datetime.time(3, 4, 5, 6)]),
        (pa.list_(pa.float64()), [[1.5, "Infinity", None], None], [[1.5, INF, None], None]),
        (pa.struct({"a": pa.float32(), "b": pa.date32()}), [{"a": "Infinity", "b": None}],
         [{"a": INF, "b": None}]),
    ],
    ids=str,
)  # fmt: skip
def test_json_in_the_published_type(kind: pa.DataType, values: list[Any], expected: list[Any]):
    column = of_json(kind, values)
    assert column.values.type == kind
    assert (column.values.to_pylist(), column.unread) == (expected, {})


@pytest.mark.parametrize(
    "text",
    ["2013-02-01T03:00:00.000001+00:00", "2013-02-01T03:00:00.000001Z",
     "2013-01-31T22:00:00.000001-05:00"],
)  # fmt: skip
def test_a_moment_with_a_zone_is_an_instant(text: str):
    (found,) = of_json(pa.timestamp("us", "UTC"), [text]).values.cast(pa.int64()).to_pylist()
    assert found == 1_359_687_600_000_001


def test_a_moment_keeps_its_nanoseconds():
    column = of_json(pa.timestamp("ns"), ["1970-01-01T00:00:00.000000001", None])
    assert column.values.cast(pa.int64()).to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("kind", "values", "unread"),
    [
        (pa.float64(), [1.0, "one", True, [2]], {1: '"one"', 2: "true", 3: "[2]"}),
        (pa.int32(), [1, 2.5, 2**40, "3"], {1: "2.5", 2: str(2**40), 3: '"3"'}),
        (pa.string(), ["a", 1], {1: "1"}),
        (pa.bool_(), [True, 1], {1: "1"}),
        (pa.timestamp("us"), ["2013-02-01T00:00:00", "2013-02-01T00:00:00Z", "x"],
         {1: '"2013-02-01T00:00:00Z"', 2: '"x"'}),
        (pa.timestamp("us", "UTC"), ["2013-02-01T00:00:00"], {0: '"2013-02-01T00:00:00"'}),
        (pa.decimal128(4, 1), ["1.5", "1.55", "x"], {1: '"1.55"', 2: '"x"'}),
        (pa.list_(pa.float64()), [[1.0], 1.0], {1: "1.0"}),
    ],
    ids=str,
)  # fmt: skip
def test_json_that_is_none_of_the_published_type(
    kind: pa.DataType, values: list[Any], unread: dict[int, str]
):
    column = of_json(kind, values)
    assert column.unread == unread
    assert [n for n, v in enumerate(column.values.to_pylist()) if v is None] == list(unread)


def test_arrow_in_the_published_type():
    assert of_arrow(pa.string(), pa.array(["a", None]).dictionary_encode()) == Column(
        pa.array(["a", None])
    )
    assert of_arrow(pa.float32(), pa.array([0.5, NAN])).values.to_pylist()[0] == 0.5
    assert of_arrow(pa.int64(), pa.array([1, 2], pa.int8())) == Column(pa.array([1, 2]))


def test_arrow_that_is_none_of_the_published_type():
    column = of_arrow(pa.int64(), pa.array([1.0, 1.5]))
    assert (column.values.to_pylist(), column.unread) == ([1, None], {1: "1.5 (float64)"})
    column = of_arrow(pa.float64(), pa.array(["1.0", None]))
    assert column.unread == {0: "1.0 (text)"}


def test_a_column_that_the_stream_does_not_have():
    found = read(_stream({"row": [1]}), pa.int64(), 1).columns["c"]
    assert found.unread == {0: "no column c"}
    with pytest.raises(ServiceError, match="it has no column row"):
        read(_stream({}), pa.int64(), 1)


def _stream(columns: dict[str, list[Any]]) -> Body:
    names = ("status", "reason", "column", "value", "model_version", "model_sha256")
    table = pa.table({**columns, **{name: pa.array(["x"]) for name in names}})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Body(ARROW, sink.getvalue().to_pybytes())
