"""Rows on their way to a service keep every value."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.arrow.text import numeric_text
from scoring.serving.parity.request_bodies import arrow_body, csv_body, json_body


def in_json(values: pa.Array, **options: Any) -> list[Any]:
    body = json_body(pa.table({"c": values}))
    assert body.content_type == "application/json"
    return [row["c"] for row in json.loads(body.data, **options)]


@given(st.lists(st.floats(allow_nan=False)))
def test_json_keeps_the_bits_of_numbers(values: list[float]):
    found = np.array(in_json(pa.array(values, pa.float64())), np.float64)
    assert found.tobytes() == np.array(values, np.float64).tobytes()


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_json_keeps_the_bits_of_short_numbers(values: list[float]):
    found = np.array(in_json(pa.array(values, pa.float32())), np.float32)
    assert found.tobytes() == np.array(values, np.float32).tobytes()


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_json_keeps_texts(values: list[str | None]):
    texts = pa.array(values, pa.string())
    assert in_json(texts) == values
    assert in_json(texts.dictionary_encode()) == values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None], pa.uint64()), [1, None]),
        (pa.array([2**63 + 1], pa.uint64()), [2**63 + 1]),
        (pa.array([True, None, False]), [True, None, False]),
        (pa.array([math.nan, None, math.inf, -math.inf]), [None, None, math.inf, -math.inf]),
        (pa.array([None, None], pa.null()), [None, None]),
        (pa.array([b"\x00\xff", None]), ["00ff", None]),
        (pa.array([Decimal("1.50"), None]), [1.5, None]),
        (numeric_text(pa.array(["1.5", "NaN", None, "1e3", "Infinity", ".5"])),
         [1.5, None, None, 1000.0, math.inf, 0.5]),
        (pa.array([datetime.date(2013, 2, 1), None]), ["2013-02-01", None]),
        (pa.array([1359687600], pa.timestamp("s")), ["2013-02-01T03:00:00"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([0], pa.timestamp("us", "America/New_York")), ["1970-01-01T00:00:00.000000Z"]),
        (pa.array([datetime.time(3, 4, 5)]), ["03:04:05.000000"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_each_type_has_its_json(values: pa.Array, expected: list[Any]):
    assert in_json(values) == expected


def test_json_has_every_digit_of_an_exact_number():
    exact = "0.1234567890123456789012345678901234567"
    assert in_json(numeric_text(pa.array([exact])), parse_float=str) == [exact]
    assert in_json(pa.array([Decimal(exact)]), parse_float=str) == [exact]


@given(st.lists(st.tuples(*[st.none() | st.text(st.characters(codec="utf-8"), min_size=1)] * 2)))
def test_csv_keeps_texts(rows: list[tuple[str | None, str | None]]):
    table = pa.table({n: pa.array([r[i] for r in rows], pa.string()) for i, n in enumerate("ab")})
    body = csv_body(table)
    assert body.content_type == "text/csv"
    found = list(csv.reader(io.StringIO(body.data.decode(), newline=""), strict=True))
    assert found[0] == ["a", "b"]
    assert found[1:] == [[text or "" for text in row] for row in rows]


def test_a_null_alone_in_a_line_of_csv_is_not_an_empty_line():
    assert csv_body(pa.table({"a": pa.array([None, "x"], pa.string())})).data == b'a\r\n""\r\nx\r\n'


def test_arrow_has_the_stored_types_and_only_the_values_that_occur():
    table = pa.table(
        {
            "x": pa.array([1.5, None], pa.float32()),
            "t": pa.array([0, 1], pa.timestamp("ms", "Europe/Berlin")),
            "s": pa.array([f"text {i}" for i in range(500)]).dictionary_encode().slice(100, 2),
            "v": pa.array(["a", None], pa.string_view()),
            "n": numeric_text(pa.array(["1.50", None])),
        }
    )
    found = pa.ipc.open_stream(arrow_body(table).data).read_all()
    assert found.drop_columns(["s", "v"]).equals(table.drop_columns(["s", "v"]))
    assert found.column("s").chunk(0).dictionary.to_pylist() == ["text 100", "text 101"]
    assert found.column("v").to_pylist() == ["a", None]
    assert found.schema.field("v").type == pa.string()
